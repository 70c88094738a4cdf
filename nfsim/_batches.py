"""Input of a recording in batches, and the answers of a readout put together from the blocks of long input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """One batch of samples, and the number of its first."""

    start: int
    x: torch.Tensor
    target: np.ndarray | None
    lengths: torch.Tensor | None


def batches(data: Any, batch: int, samples: int | None) -> tuple[Any, int | None]:
    """Return a function that starts the batches anew, and how many samples there are, where that is known."""
    import torch

    if isinstance(data, torch.Tensor | np.ndarray):
        data = (data,)
    if isinstance(data, tuple):
        x = torch.as_tensor(data[0])
        if x.ndim != 3:
            raise ValueError(f"record: x has shape {tuple(x.shape)}; give (trial, time, feature)")
        parts = [x] + [None if part is None else torch.as_tensor(part) for part in data[1:]]
        wrong = [len(part) for part in parts if part is not None and len(part) != len(x)]
        if wrong or len(parts) > 3:
            raise ValueError(
                f"record: x has {len(x)} samples, its companions {wrong}; give (x, target, lengths) of one length"
            )
        count = min(len(x), samples or len(x))
        cuts = [(a, min(a + batch, count)) for a in range(0, count, batch)]

        def slices() -> Iterator[Batch]:
            for a, b in cuts:
                yield batch_of(a, *(None if part is None else part[a:b] for part in parts))

        return slices, count
    if not isinstance(data, Iterable):
        raise TypeError(
            f"record: cannot run over a {type(data).__name__}; give an array, (x, target, lengths), or a loader"
        )
    source = list(data) if isinstance(data, Iterator) else data  # the first batch is looked at before the run

    def loaded() -> Iterator[Batch]:
        start = 0
        for item in source:
            parts = tuple(item) if isinstance(item, tuple | list) else (item,)
            room = math.inf if samples is None else samples - start
            if room <= 0:
                return
            parts = tuple(None if part is None else part[: int(min(room, len(part)))] for part in parts)
            made = batch_of(start, *parts)
            yield made
            start += len(made.x)

    return loaded, samples if samples is not None and _holds(source, samples) else None


def _holds(source: Any, samples: int) -> bool:
    dataset: Any = getattr(source, "dataset", None)
    return hasattr(dataset, "__len__") and len(dataset) >= samples


def batch_of(start: int, x: Any, target: Any = None, lengths: Any = None) -> Batch:
    import torch

    target = None if target is None else torch.as_tensor(target).detach().cpu().numpy()
    return Batch(start, torch.as_tensor(x), target, None if lengths is None else torch.as_tensor(lengths))


def at_ticks(logits: Any, lengths: np.ndarray, ticks: int) -> tuple[Any, np.ndarray]:
    return logits.detach().cpu().double().numpy(), lengths * ticks


def answer(parts: list[Any], when: str, ends: np.ndarray, steps: int, whole: bool) -> np.ndarray:
    """Return the logits of the readout over the whole input, from those of its blocks.

    The readout is affine in its features, so the mean of logits over ticks is the logits of the mean.
    """
    if whole:
        return np.asarray(parts[0].detach().cpu().double())
    if when == "each":
        return np.concatenate([np.asarray(part.detach().cpu().double()) for part in parts], axis=1)
    rows = np.arange(len(ends))
    total, count, last = 0.0, np.zeros(len(ends)), np.zeros((len(ends), parts[0][0].shape[-1]))
    for k, (logits, valid) in enumerate(parts):
        live = ends > k * steps
        inside = (np.arange(logits.shape[1])[None, :] < valid[:, None]) & live[:, None]
        total = total + (logits * inside[..., None]).sum(1)
        count += inside.sum(1)
        last = np.where(live[:, None], logits[rows, valid - 1], last)
    return last if when == "last" else total / count[:, None]
