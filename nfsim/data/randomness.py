"""Random numbers as functions of (seed, epoch, index), the same in every process and after every resume."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray


def random_bits(*key: ArrayLike) -> NDArray[np.uint64]:
    """64 random bits for each key; integer arrays of a key broadcast against each other.

    A generator object would tie the numbers to the order in which they were drawn, and so to batch size, worker count
    and the point of a restart. Source: the finaliser of splitmix64, Steele, Lea and Flood 2014, OOPSLA, figure 16.

    >>> random_bits(0, [1, 2]).tolist() == [int(random_bits(0, 1)), int(random_bits(0, 2))]
    True
    """
    bits = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in key:
            bits = bits + np.asarray(part, np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            bits = bits ^ (bits >> np.uint64(31))
    return bits


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed in [0, 2^63) for the draws of one epoch that are made in order, such as dropout."""
    return int(random_bits(seed, epoch) >> np.uint64(1))


def shuffled(n: int, seed: int, epoch: int = 0) -> torch.Tensor:
    """Permutation of `range(n)` for one epoch, (n,) int64."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch)))
