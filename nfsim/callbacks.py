"""What happens around the epochs: speed is measured, the history kept, and a run made resumable."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint

from nfsim.files import replacing, write_text
from nfsim.settings import Select, TrainerSettings

LAST, BEST, HISTORY = "last.ckpt", "best.ckpt", "history.csv"


class Speed(Callback):
    """Logs the `seconds` of each epoch, and the `samples_per_second` of its training part; reads the clock, no more."""

    def __init__(self) -> None:
        self._start = self._trained = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._start, self._trained = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Training ends where validation starts."""
        if trainer.training or trainer.validating:
            self._trained = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Log both."""
        seconds = time.perf_counter() - self._start
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it without declaring it
        samples = len(data.samples("train").x)
        module.log("seconds", seconds)
        module.log("samples_per_second", samples / (self._trained or seconds))


class Keeper(Checkpoint):
    """Keeps the history, the best and the last state; stops when validation has not improved for `patience` epochs.

    At the end of each epoch it writes best.ckpt (weights, where they are the best), last.ckpt (everything that a resume
    needs, this history included) and history.csv, in this order: a run that is killed between two of them resumes from
    the older last.ckpt and writes the same best.ckpt again.

    Parameters
    ----------
    settings : TrainerSettings
        `patience` and `select` are used.
    folder : path, optional
        Where to write; without one, the best weights are kept in memory.
    table : bool
        Whether to write history.csv.
    """

    def __init__(self, settings: TrainerSettings, folder: Path | None = None, table: bool = True):
        self.settings, self.folder, self.table = settings, folder, table
        self.history: list[dict[str, float]] = []
        self.weights: dict[str, torch.Tensor] = {}

    @property
    def chosen(self) -> dict[str, float]:
        """Row of the history whose weights are kept."""
        if self.settings.select is Select.last:
            return self.history[-1]
        return max(self.history, key=lambda row: (row["val/accuracy"], -row["val/loss"]))

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        patience = self.settings.patience
        best = max(self.history, key=lambda row: row["val/accuracy"], default=None)  # the first of equals
        return bool(patience and best and self.history[-1]["epoch"] - best["epoch"] >= patience)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Add a row to the history and write what has to be written."""
        row = {"epoch": float(trainer.current_epoch + 1), "step": float(trainer.global_step)}
        row |= {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        if not row["train/loss"] < float("inf"):
            raise FloatingPointError(
                f"training: the loss is {row['train/loss']} in epoch {row['epoch']:.0f}; lower trainer.lr, or clip the "
                "gradient by trainer.clip; trainer.guard=true names the node and step where it begins"
            )
        self.history.append(row)
        improved = self.chosen is row
        if improved and self.folder is None:
            self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
        if self.folder is not None:
            if improved:
                self._save(trainer, self.folder / BEST, weights_only=True)
            self._save(trainer, self.folder / LAST)
            if self.table:
                write_text(self.folder / HISTORY, as_csv(self.history))
        if self.exhausted:
            trainer.should_stop = True

    def _save(self, trainer: lightning.Trainer, path: Path, weights_only: bool = False) -> None:
        with replacing(path) as temporary:
            trainer.save_checkpoint(temporary, weights_only=weights_only)

    def state_dict(self) -> dict[str, Any]:
        """History, in plain types."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the history of the run that is resumed."""
        self.history = list(state_dict["history"])


def as_csv(history: list[dict[str, float]]) -> str:
    """Return the history as comma-separated text, a row per epoch."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in history for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    return text.getvalue()
