"""Dynamics of a population, and the constants of its nodes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfsim.values import flags, freeze, is_number, one_of, several

GAIN_PLACES = ("time", "drive", "coupling", "readout")


@dataclass(frozen=True)
class Uniform:
    """A constant per node, drawn evenly from [low, high] with the seed of its population."""

    low: float
    high: float

    def __post_init__(self) -> None:
        freeze(self)

    def problems(self) -> Iterator[str]:
        if not (is_number(self.low) and is_number(self.high) and self.low <= self.high):
            yield f"Uniform({self.low!r}, {self.high!r}) breaks low <= high, both finite; swap or correct the bounds"

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(self.low, self.high, n)


@dataclass(frozen=True)
class Normal:
    """A constant per node, drawn from a normal distribution with the seed of its population."""

    mean: float
    sd: float

    def __post_init__(self) -> None:
        freeze(self)

    def problems(self) -> Iterator[str]:
        if not (is_number(self.mean) and is_number(self.sd) and self.sd >= 0):
            yield f"Normal({self.mean!r}, {self.sd!r}) breaks sd >= 0, both finite; correct the parameters"

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(self.mean, self.sd, n)


PerNode = float | tuple[float, ...] | Uniform | Normal


def per_node(value: PerNode, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) float64: the constant of each node, drawn where `value` is a distribution."""
    return (
        value.draw(n, rng)
        if isinstance(value, Uniform | Normal)
        else np.broadcast_to(np.asarray(value, float), n).copy()
    )


def _per_node_problems(name: str, value: Any, size: Any) -> Iterator[str]:
    if isinstance(value, Uniform | Normal):
        yield from (f"{name}: {p}" for p in value.problems())
    elif isinstance(value, tuple):
        if isinstance(size, int) and len(value) != size:
            yield f"{name} has {len(value)} values for {size} nodes; give one per node, one number, or a distribution"
        if not all(is_number(v) for v in value):
            yield f"{name} holds a value that is not a finite number; give finite numbers"
    elif not is_number(value):
        yield (
            f"{name} {value!r} is not a finite number; "
            "give a number, one per node, Uniform(low, high) or Normal(mean, sd)"
        )


@dataclass(frozen=True)
class CfC:
    r"""Closed-form continuous-time dynamics of a population.

    ``z <- (1 - t) exp(i omega dt) z + t s``, with the steady state ``s = limiter(u + F)`` and the update rate t.

    With gated memory each node also keeps a complex c, 0 at the start: ``c <- f c + i s`` with
    ``f = sigmoid(a |z| + b |u| + d)`` and i alike, from the state before the tick and the drive u, and z moves towards
    ``limiter(c)`` in the place of s. Six parameters per node; d starts at 1 in f and -1 in i, where f + i = 1 and c is
    a running mean of s. c is held beside the state as cr and ci; like the rate "sigmoid", f and i are per tick and do
    not follow dt.

    Parameters
    ----------
    tau : time constant, in the network's time unit.
    rate : "sigmoid": ``t = sigmoid(g lambda dt / tau + bias)``, a learned rate per step, which does not go to 0 with
        dt; "exact": ``t = 1 - exp(-g lambda dt / tau)``, where two half steps are one step (`bias` is not used).
    bias : start of the bias of the sigmoid, one number, one per node, or a distribution; -5 is slow decay.
    learn_bias : whether training changes it.
    omega : angular frequency, rad per time unit; 0 is the historical cell.
    learn_omega : whether training changes it.
    drive : "phase": a real drive turned by the preferred phase; "complex": both parts are learned (2N weights).
    phase : preferred phase phi of a "phase" drive: "longitude" of the node, "learned" from there, or a number in rad.
    limiter : "amplitude": ``v / sqrt(1 + |v|^2 / A^2)``; "clamp": ``|z| <= A`` after the update; "none".
    amplitude : A; 1 by default, and 10 is the historical clamp.
    initial : state before the first step, "zero" or "learned".
    gain : where the thalamic gain acts: any of "time", "drive", "coupling", "readout".
    prior_variance : v0 of the free energy.
    memory : "none", or "gated" as above.

    Source: Hasani et al. 2022, Nat. Mach. Intell. 4:992, eq. 2, with a constant second branch turned by omega. Start of
    the memory's gates: Gers et al. 2000, Neural Comput. 12:2451, and, for i = 1 - f, Greff et al. 2017, IEEE TNNLS
    28:2222.
    """

    tau: float = 1.0
    rate: str = "sigmoid"
    bias: PerNode = Uniform(-4.0, 1.0)
    learn_bias: bool = True
    omega: PerNode = Uniform(0.0, 0.8 * math.pi)
    learn_omega: bool = False
    drive: str = "phase"
    phase: str | float = "longitude"
    limiter: str = "amplitude"
    amplitude: float = 1.0
    initial: str = "zero"
    gain: tuple[str, ...] = ("time", "readout")
    prior_variance: float = 1.0
    memory: str = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", several(self.gain))
        freeze(self)

    def problems(self, size: Any) -> Iterator[str]:
        yield from one_of("rate", self.rate, ("sigmoid", "exact"))
        yield from one_of("drive", self.drive, ("phase", "complex"))
        yield from one_of("limiter", self.limiter, ("amplitude", "clamp", "none"))
        yield from one_of("initial", self.initial, ("zero", "learned"))
        yield from one_of("memory", self.memory, ("none", "gated"))
        yield from flags(self, "learn_bias", "learn_omega")
        for place in self.gain:
            yield from one_of("gain place", place, GAIN_PLACES)
        if isinstance(self.phase, str):
            yield from one_of("phase", self.phase, ("longitude", "learned"))
        elif not is_number(self.phase):
            yield f"phase {self.phase!r} is not a finite number; give rad, 'longitude' or 'learned'"
        yield from _per_node_problems("bias", self.bias, size)
        yield from _per_node_problems("omega", self.omega, size)
        for name in ("tau", "amplitude", "prior_variance"):
            if not (is_number(value := getattr(self, name)) and value > 0):
                yield f"{name} {value!r} is not a finite number above 0; give a positive number"
