"""Interleaved timing: every contender runs in turn, so that a drift of the machine meets all of them."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor, nn


def training_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Forward and backward of a cross-entropy, of a model that returns logits or an `Output`."""

    def step() -> None:
        out = model(x)
        logits = out if isinstance(out, Tensor) else out.logits
        for p in model.parameters():
            p.grad = None
        nn.functional.cross_entropy(logits, y).backward()
        if x.is_cuda:
            torch.cuda.synchronize()

    return step


def milliseconds(steps: Mapping[str, Callable[[], None]], repeats: int = 20, warm: int = 3) -> dict[str, list[float]]:
    """Milliseconds of every repeat of every step, in interleaved order, after `warm` runs that are not counted."""
    for step in steps.values():
        for _ in range(warm):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def ratio(times: dict[str, list[float]], peer: str, ours: str) -> float:
    """Median over repeats of how many times longer the peer took."""
    return median(a / b for a, b in zip(times[peer], times[ours], strict=True))
