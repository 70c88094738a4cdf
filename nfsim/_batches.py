"""Input of a recording in batches, read where it lies, and the predictions put together from blocks of long input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch


class Rows:
    """Samples [start, stop) of an x (trial, time, feature), which is read when a block of it is asked for.

    `source` is a tensor, or anything that has a shape and can be sliced into an array: numpy, `numpy.memmap`, zarr,
    dask, xarray.
    """

    def __init__(self, source: Any, start: int, stop: int) -> None:
        self.source, self.start, self.stop = source, start, stop
        self.shape = (stop - start, *map(int, source.shape[1:]))

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.stop - self.start

    def steps(self, begin: int, end: int) -> torch.Tensor:
        """Return the input steps [begin, end) of all samples."""
        import torch

        part = self.source[self.start : self.stop, begin:end]
        if not isinstance(part, torch.Tensor):
            part = np.asarray(part)
            # torch shares memory with an array, and warns where it may not write to it
            part = torch.as_tensor(part if part.flags.writeable else part.copy())
        return part.contiguous()  # products round by strides: the numbers are the same wherever the input lies


class Batch(NamedTuple):
    """One batch of samples, and the number of its first."""

    start: int
    x: Rows
    target: np.ndarray | None
    lengths: torch.Tensor | None


def batches(data: Any, batch: int, samples: int | None) -> tuple[Any, int | None]:
    """Return a function that starts the batches anew, and how many samples there are, where that is known."""
    import torch

    if _sliceable(data):
        data = (data,)
    if isinstance(data, tuple):
        x = data[0] if _sliceable(data[0]) else torch.as_tensor(data[0])
        if len(x.shape) != 3:
            raise ValueError(f"record: x has shape {tuple(x.shape)}; give (trial, time, feature)")
        parts = [None if part is None else torch.as_tensor(part) for part in data[1:]]
        wrong = [len(part) for part in parts if part is not None and len(part) != x.shape[0]]
        if wrong or len(parts) > 2:
            raise ValueError(
                f"record: x has {x.shape[0]} samples, its companions {wrong}; give (x, target, lengths) of one length"
            )
        count = min(x.shape[0], samples or x.shape[0])
        cuts = [(a, min(a + batch, count)) for a in range(0, count, batch)]

        def slices() -> Iterator[Batch]:
            for a, b in cuts:
                yield _batch_of(a, Rows(x, a, b), *(None if part is None else part[a:b] for part in parts))

        return slices, count
    if not isinstance(data, Iterable):
        raise TypeError(
            f"record: cannot run over a {type(data).__name__}; give an array, (x, target, lengths), or a loader"
        )
    source = list(data) if isinstance(data, Iterator) else data  # the first batch is looked at before the run

    def loaded() -> Iterator[Batch]:
        start = 0
        for item in source:
            x, *rest = item if isinstance(item, tuple | list) else (item,)
            x = x if _sliceable(x) else torch.as_tensor(x)
            room = math.inf if samples is None else samples - start
            if room <= 0:
                return
            count = int(min(room, len(x)))
            yield _batch_of(start, Rows(x, 0, count), *(None if part is None else part[:count] for part in rest))
            start += count

    return loaded, samples if samples is not None and _holds(source, samples) else None


def _sliceable(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__getitem__")


def _holds(source: Any, samples: int) -> bool:
    dataset: Any = getattr(source, "dataset", None)
    return hasattr(dataset, "__len__") and len(dataset) >= samples


def _batch_of(start: int, x: Rows, target: Any = None, lengths: Any = None) -> Batch:
    import torch

    target = None if target is None else torch.as_tensor(target).detach().cpu().numpy()
    return Batch(start, x, target, None if lengths is None else torch.as_tensor(lengths))


class Prediction:
    """The readout's prediction for one batch, from the logits of its blocks in order of time.

    The readout is affine in its features, so the mean of logits over ticks is the logits of the mean. What is kept does
    not grow with time, but for the predictions themselves where there is one for `each` step.

    Parameters
    ----------
    when : str
        When the model reads out: "last", "mean" or "each".
    ends : (trial,) int
        Input steps of each sample.
    ticks : int
        Ticks of an input step.
    """

    def __init__(self, when: str, ends: np.ndarray, ticks: int) -> None:
        self.when, self.ends, self.ticks = when, ends, ticks
        self._steps: list[np.ndarray] = []
        self._logits: Any = 0.0

    def add(self, begin: int, logits: torch.Tensor, whole: bool) -> None:
        """Take in the block from input step `begin` on.

        `logits` are of each step for "each"; else of the readout where the block is the `whole` input, or of each tick.
        """
        values = logits.detach().cpu().double().numpy()
        if self.when == "each":
            self._steps.append(values.argmax(-1).astype(np.int32))
            return
        if whole:
            self._logits = values
            return
        rows, count = np.arange(len(values)), values.shape[1]
        valid = np.clip((self.ends - begin) * self.ticks, 0, count)
        if self.when == "last":
            last = values[rows, np.maximum(valid, 1) - 1]
            self._logits = np.where((valid > 0)[:, None], last, self._logits)
        else:
            inside = np.arange(count)[None, :] < valid[:, None]
            self._logits = self._logits + (values * inside[..., None]).sum(1) / (self.ends * self.ticks)[:, None]

    def result(self) -> np.ndarray:
        """Return the index of the label: (trial) or, for "each", (trial, step)."""
        return np.concatenate(self._steps, axis=1) if self.when == "each" else self._logits.argmax(-1)
