"""Means, intervals and tests over seeds and over test images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A mean and the half width of its confidence interval."""

    mean: float
    half: float
    """NaN for a single value, which says nothing of its spread."""
    n: int
    """Values."""

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    r"""Mean and t interval of independent values, one a seed.

    ``mean +- t_{n-1, (1 + level) / 2} s / sqrt(n)``, s the standard deviation with n - 1 degrees of freedom.

    Source: Student 1908, Biometrika 6:1.

    >>> t_interval([1.0, 2.0, 3.0])  # half: 4.303 / sqrt(3), of t with two degrees of freedom
    Interval(mean=2.0, half=2.4841377117503303, n=3)
    """
    from scipy.stats import t

    n = len(values)
    if n < 1:
        raise ValueError("t_interval: there are no values; give at least one")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Interval(mean, float(t.ppf((1 + level) / 2, n - 1)) * spread / math.sqrt(n), n)


def paired_interval(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Interval:
    """Mean and t interval of the differences first - second, where values at the same place share a seed.

    A rank test would not do: with five seeds a signed-rank test cannot go below p = 0.06.
    """
    return t_interval([a - b for a, b in zip(first, second, strict=True)], level)


@dataclass(frozen=True)
class McNemar:
    """Disagreement of two models over the same test images."""

    first: int
    """Images that only the first model got right."""
    second: int
    """Images that only the second model got right."""
    p: float
    """Probability of so uneven a split, were both equally good: exact, two-sided."""


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Exact McNemar test of two models, from which images each got right, both (n,) bool.

    Under equal error rates the images that only one of them got right split as Binomial(b + c, 1/2).

    Source: McNemar 1947, Psychometrika 12:153, with the binomial in place of its chi-square approximation.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape:
        raise ValueError(f"mcnemar: {first.shape} and {second.shape} images; give answers to the same images")
    b, c = int(np.sum(first & ~second)), int(np.sum(~first & second))
    return McNemar(b, c, float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0)


def merged_p(values: Sequence[float]) -> float:
    """One p-value from several that may depend on each other in any way, as those of seeds on the same test images do.

    ``min(1, K / k p_(k))`` with k = ceil(K / 2): for three seeds 1.5 times the middle one.

    Source: Rueger 1978, Metrika 25:171; see Vovk and Wang 2020, Biometrika 107:791.
    """
    k = -(-len(values) // 2)
    return min(1.0, len(values) / k * sorted(values)[k - 1])
