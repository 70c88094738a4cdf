"""The LightningModule: a model, its loss, and the means of every epoch."""

from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from nfsim import checkpoints
from nfsim.data.batches import Batch
from nfsim.data.randomness import epoch_seed
from nfsim.losses import ENERGIES, aligned, confidence, free_energy
from nfsim.optimization import optimizer, scheduler
from nfsim.settings import TrainerSettings


class Classifier(lightning.LightningModule):
    """A model and its loss: cross-entropy + energy_weight * free energy + confidence_weight * entropy.

    Parameters
    ----------
    model : Module
        Called as `model(x, lengths=..., record=...)`; returns an object with `logits` and `record`.
    settings : TrainerSettings
    seed : int
        Of dropout: every epoch starts from a seed of its own, so that a resumed one repeats it.
    config : str
        JSON text of the run's settings, kept in the checkpoints.
    """

    def __init__(self, model: nn.Module, settings: TrainerSettings, seed: int = 0, config: str = ""):
        super().__init__()
        self.model, self.settings, self.seed, self.config = model, settings, seed, config
        self.record = ENERGIES if settings.energy_weight else ()
        labels: Any = model.labels  # a module's attributes count as tensors or modules
        classes = len(labels)
        # values are checked once, when they are read; doing so at each step costs more than the metric
        self.train_accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.val_accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self._sums: dict[str, list[Tensor]] = {}

    def loss(self, batch: Batch, part: str) -> Tensor:
        """Loss of a batch; adds to the loss and the accuracy of the epoch."""
        settings = self.settings
        out = self.model(batch.x, lengths=batch.lengths, record=self.record)
        logits, target = aligned(out.logits, batch.target, batch.lengths)
        loss = cross_entropy(logits, target, label_smoothing=settings.label_smoothing if self.training else 0.0)
        if settings.energy_weight:
            loss = loss + settings.energy_weight * free_energy(out.record, batch.lengths, batch.x.shape[1])
        if settings.confidence_weight:
            loss = loss + settings.confidence_weight * confidence(logits)
        self._accuracy(part).update(logits.detach(), target)
        # kept as tensors: reading a number at each step would wait for the device
        total, count = self._sums.get(part, [loss.new_zeros(()), loss.new_zeros(())])
        self._sums[part] = [total + loss.detach() * len(target), count + len(target)]
        return loss

    def _accuracy(self, part: str) -> MulticlassAccuracy:
        return self.train_accuracy if part == "train" else self.val_accuracy

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of a training batch."""
        return self.loss(batch, "train")

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add a validation batch to the epoch's means."""
        self.loss(batch, "val")

    def on_train_epoch_start(self) -> None:
        """Start the epoch's own stream of random numbers."""
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))

    def on_train_epoch_end(self) -> None:
        """Log the means of the epoch."""
        self._log("train")
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_end(self) -> None:
        """Log the means of the validation split."""
        self._log("val")

    def _log(self, part: str) -> None:
        total, count = self._sums.pop(part)
        accuracy = self._accuracy(part)
        self.log_dict({f"{part}/loss": total / count, f"{part}/accuracy": accuracy.compute()})
        accuracy.reset()

    def configure_optimizers(self) -> Any:
        """AdamW, with its schedule advanced after each step."""
        adamw = optimizer(self.model, self.settings)
        steps = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": adamw,
            "lr_scheduler": {"scheduler": scheduler(adamw, self.settings, steps), "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Tie the checkpoint to the declaration of the model."""
        checkpoint[checkpoints.KEY] = checkpoints.stamp(self.model, self.config)
