"""A dataset of one's own arrays."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nfsim.data.abstract import SPLITS, AbstractData
from nfsim.data.batches import Batch


class Arrays(AbstractData):
    """Dataset of arrays that are in memory already.

    Parameters
    ----------
    train, validation, test : tuple of (x, target) or (x, target, lengths)
        x (sample, T, F) or, for one step each, (sample, F); target (sample,) or (sample, T), numbers of labels;
        lengths (sample,), steps. `test` may be left out where nothing is to be reported on it.
    labels : sequence of str
        Names of the classes; by default the numbers that occur, from "0".
    dt : float
        Time between two steps, in the network's time unit.
    **loading
        `batch`, `evaluation_batch`, `workers` and `seed` of `AbstractData`.

    Examples
    --------
    >>> import numpy as np
    >>> x, target = np.zeros((6, 5, 3)), np.array([0, 1, 0, 1, 0, 1])
    >>> data = Arrays(train=(x, target), validation=(x, target), labels=["rest", "go"])
    >>> data.steps, data.features, data.labels
    (5, 3, ('rest', 'go'))
    """

    def __init__(
        self,
        *,
        train: Sequence[ArrayLike],
        validation: Sequence[ArrayLike],
        test: Sequence[ArrayLike] | None = None,
        labels: Sequence[str] | None = None,
        dt: float = 1.0,
        **loading: Any,
    ):
        super().__init__(**loading)
        if self.augmentation:
            raise ValueError(f"Arrays: {self.augmentation} moves images, and these are none; leave all of them 0")
        given = {name: part for name, part in zip(SPLITS, (train, validation, test), strict=True) if part is not None}
        self._given = {name: _batch(part, name) for name, part in given.items()}
        self.steps, self.features = self._given["train"].x.shape[1:]
        for name, part in self._given.items():
            if part.x.shape[1:] != (self.steps, self.features):
                raise ValueError(
                    f"Arrays: {name} has {tuple(part.x.shape[1:])} steps and features, train has "
                    f"{(self.steps, self.features)}; give all splits the same"
                )
        highest = max(int(part.target.max()) for part in self._given.values())
        self.labels = tuple(str(label) for label in (range(highest + 1) if labels is None else labels))
        if highest >= len(self.labels):
            raise ValueError(f"Arrays: target {highest} has no name among {len(self.labels)} labels; name every class")
        self.dt = float(dt)

    def read(self, split: str) -> Batch:
        """Samples of a split that was given."""
        if split not in self._given:
            raise ValueError(f"Arrays: no {split} split was given; pass {split}=(x, target)")
        return self._given[split]


def _batch(parts: Sequence[ArrayLike], split: str) -> Batch:
    if not 2 <= len(parts) <= 3:
        raise ValueError(f"Arrays: {split} has {len(parts)} parts; give (x, target) or (x, target, lengths)")
    x, target, *lengths = (torch.as_tensor(part) for part in parts)
    if x.ndim == 2:
        x = x[:, None, :]
    if x.ndim != 3 or not x.numel():
        raise ValueError(f"Arrays: {split} inputs have shape {tuple(x.shape)}; give (sample, time, feature), not empty")
    if target.is_floating_point() or target.is_complex() or target.ndim > 2 or bool((target < 0).any()):
        raise ValueError(f"Arrays: {split} targets ({target.dtype}) must be numbers of labels: whole, from 0")
    return Batch(x, target, *(_valid(part, x, split) for part in lengths))


def _valid(lengths: Tensor, x: Tensor, split: str) -> Tensor:
    if bool((lengths < 1).any()) or bool((lengths > x.shape[1]).any()):
        raise ValueError(f"Arrays: {split} lengths must lie in [1, {x.shape[1]}], the steps at hand; change them")
    return lengths
