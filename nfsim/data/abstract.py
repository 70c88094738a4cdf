"""What every dataset says of itself, and how its batches are loaded."""

from abc import abstractmethod
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nfsim.data.augmentation import STILL, Augmentation
from nfsim.data.batches import Batch, Batches, EpochOrder, unchanged
from nfsim.values import is_number

SPLITS = ("train", "validation", "test")


class AbstractData(lightning.LightningDataModule):
    """Samples in memory, split into train, validation and test, each read when it is first needed.

    A dataset states `features`, `labels`, `steps` and `dt` and implements `read`; its images may be stored as such
    where `layout` turns them into steps.

    Parameters
    ----------
    batch : int, samples
        Size of a training batch.
    evaluation_batch : int, samples
        Size of a batch where no gradient is needed.
    workers : int, processes
        That prepare training batches; 0 prepares them in the training process, which is faster for data in memory.
    shift : int, pixels
        Training images move by up to this many pixels each way; 0 leaves them in place.
    rotate : float, degrees
        Training images turn by up to this angle each way.
    zoom : float, share
        Training images change their size by up to this share each way.
    seed : int
        Of order and moves, which are functions of (seed, epoch, index).
    """

    features: int
    """Input features per step."""
    labels: tuple[str, ...]
    """Names of the classes, in the order of the targets."""
    steps: int
    """Time steps of a sample (of the longest, where lengths differ)."""
    dt: float = 1.0
    """Time between two steps, in the network's time unit."""

    def __init__(
        self,
        *,
        batch: int = 64,
        evaluation_batch: int = 500,
        workers: int = 0,
        shift: int = 0,
        rotate: float = 0.0,
        zoom: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        for name, value, least in (
            ("batch", batch, 1),
            ("evaluation_batch", evaluation_batch, 1),
            ("workers", workers, 0),
            ("shift", shift, 0),
        ):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"data: {name} {value!r} is not a whole number >= {least}; change {name}")
        if not (is_number(rotate) and 0 <= rotate <= 180):
            raise ValueError(f"data: rotate {rotate!r} is not in [0, 180]; give degrees")
        if not (is_number(zoom) and 0 <= zoom < 1):
            raise ValueError(f"data: zoom {zoom!r} is not in [0, 1); give the largest change of size as a share")
        self.batch, self.evaluation_batch, self.workers = batch, evaluation_batch, workers
        self.augmentation, self.seed = Augmentation(shift, float(rotate), float(zoom)), seed
        # a resumed training starts its first pass before Lightning says which epoch it is
        self.next_epoch = 0
        self._splits: dict[str, Batch] = {}

    @abstractmethod
    def read(self, split: str) -> Batch:
        """Samples of `split`, one of `SPLITS`."""

    @staticmethod
    def layout(x: Tensor) -> Tensor:
        """Inputs (B, T, F) of samples as `read` stores them."""
        return x

    def samples(self, split: str) -> Batch:
        """Samples of a split as stored, read once."""
        if split not in SPLITS:
            raise ValueError(f"data: there is no split {split!r}; choose one of {', '.join(SPLITS)}")
        if split not in self._splits:
            self._splits[split] = _checked(self.read(split), split, type(self).__name__)
        return self._splits[split]

    def setup(self, stage: str) -> None:
        """Read what the stage needs, so that missing files are reported before anything starts."""
        for split in {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",)}.get(stage, ()):
            self.samples(split)

    def train_dataloader(self) -> DataLoader:
        """Loader of shuffled, moved training batches."""
        return self.loader("train", train=True)

    def val_dataloader(self) -> DataLoader:
        """Loader of the validation split, in order."""
        return self.loader("validation")

    def test_dataloader(self) -> DataLoader:
        """Loader of the test split, in order."""
        return self.loader("test")

    def loader(self, split: str, *, train: bool = False) -> DataLoader:
        """Loader of any split; shuffled and moved where `train`."""
        samples = self.samples(split)
        workers: dict[str, Any] = {}
        if train and self.workers:
            # a fork would inherit running OpenMP threads, on which parallel numba kernels die
            workers = {
                "num_workers": self.workers,
                "multiprocessing_context": "spawn",
                "persistent_workers": True,
            }
        return DataLoader(
            Batches(samples, self.layout, self.augmentation if train else STILL, self.seed),
            batch_size=None,  # the sampler draws whole batches
            sampler=EpochOrder(
                len(samples.x), self.batch if train else self.evaluation_batch, self.seed, train, self.next_epoch
            ),
            collate_fn=unchanged,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # a loader draws a seed from it, else from the generator that dropout uses
            **workers,
        )


def _checked(samples: Batch, split: str, name: str) -> Batch:
    """Samples in the types that a model takes; says what is wrong with them where something is."""
    x, target, lengths = samples
    if not len(x):
        raise ValueError(f"{name}: the {split} split is empty; give it at least one sample")
    if len(target) != len(x) or (lengths is not None and len(lengths) != len(x)):
        sizes = [len(part) for part in samples if part is not None]
        raise ValueError(f"{name}: the {split} split has parts of {sizes} samples; give each the same number")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name}: the {split} split holds NaN or infinite inputs; remove or replace them")
    lengths = None if lengths is None else lengths.to(torch.int64)
    return Batch(x.to(torch.float32), target.to(torch.int64), lengths)
