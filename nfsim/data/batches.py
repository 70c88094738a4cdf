"""Batches by index from tensors in memory."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from nfsim.data.augmentation import STILL, Augmentation
from nfsim.data.randomness import shuffled

# B sample of the batch, T time step, F feature


class Batch(NamedTuple):
    """Samples and what they are.

    Parameters
    ----------
    x : (B, T, F) float32
        Inputs; a dataset of images holds (B, row, column) here until a batch is laid out.
    target : (B,) or (B, T) int64
        Number of the label, for the whole sample or for each step.
    lengths : (B,) int64, steps; optional
        Valid steps of each sample; none: all.
    """

    x: Tensor
    target: Tensor
    lengths: Tensor | None = None

    def at(self, index: Tensor) -> "Batch":
        """Return the samples at `index`, (B,) int64."""
        return Batch(self.x[index], self.target[index], None if self.lengths is None else self.lengths[index])

    def to(self, device: torch.device) -> "Batch":
        """Return the samples on a device."""
        lengths = None if self.lengths is None else self.lengths.to(device)
        return Batch(self.x.to(device), self.target.to(device), lengths)


class EpochOrder(Sampler[tuple[int, Tensor]]):
    """Yields (epoch, indices of one batch); the order depends on seed and epoch alone."""

    def __init__(self, n: int, batch: int, seed: int, shuffle: bool, epoch: int = 0):
        self.n, self.batch, self.seed, self.shuffle, self.epoch = n, batch, seed, shuffle, epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.n // self.batch)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        order = shuffled(self.n, self.seed, self.epoch) if self.shuffle else torch.arange(self.n)
        return ((self.epoch, part) for part in order.split(self.batch))


class Batches(Dataset[Batch]):
    """Whole batches, looked up by (epoch, indices): drawn, moved and laid out in one go.

    Parameters
    ----------
    samples : Batch
        All samples of a split.
    layout : callable
        Maps inputs as stored to (B, T, F); a module-level function, so that worker processes can load it.
    augmentation : Augmentation
        Random moves of the images.
    seed : int
        Of the moves.
    """

    def __init__(
        self,
        samples: Batch,
        layout: Callable[[Tensor], Tensor],
        augmentation: Augmentation = STILL,
        seed: int = 0,
    ):
        self.samples, self.layout, self.augmentation, self.seed = samples, layout, augmentation, seed

    def __getitem__(self, key: tuple[int, Tensor]) -> Batch:
        epoch, index = key
        batch = self.samples.at(index)
        x = self.augmentation(batch.x, self.seed, epoch, index) if self.augmentation else batch.x
        return batch._replace(x=self.layout(x))


def unchanged(batch: Any) -> Any:
    """Return the batch itself: a loader would otherwise convert what is a tensor already."""
    return batch
