"""The declarations: what a network is made of. Frozen values that hold intent only: no arrays, no torch.

A declaration never raises on a bad value; `problems()` yields what is wrong with it, so that a network reports all of
its problems at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfsim.dynamics import CfC
from nfsim.rules import AbstractRule, AllToAll, as_rule
from nfsim.sphere import Band, Cap, Patch
from nfsim.values import COUNT, flags, freeze, is_count, is_number, one_of, several, share

ACTIVATIONS = ("gelu", "relu", "tanh")
GATINGS = ("state", "feedforward", "ambassador", "attention")
MOST_LABELS = 100_000
"""A number of labels above this is a slip; ImageNet-21k has 21,841 classes."""


@dataclass(frozen=True)
class Input:
    """A stream of features that enters the network; several inputs share the last axis of x in the order declared.

    Parameters
    ----------
    name : str.
    features : int, features per time step.
    """

    name: str
    features: int

    def __post_init__(self) -> None:
        freeze(self)

    def problems(self) -> Iterator[str]:
        if not is_count(self.features):
            yield f"features {self.features!r} is not {COUNT}; give the features per time step"


@dataclass(frozen=True, eq=False)
class Population:
    """Oscillators with common dynamics, placed on the sphere.

    Parameters
    ----------
    name : str.
    size : int, nodes.
    sectors : int that divides size; equal-area parts of the population, such as the motor sector of each class.
    dynamics : CfC.
    labels : one name per node, if the nodes have names (areas of a connectome).
    positions : one (x, y, z) per node, in any unit: their directions are placed on the unit sphere.
    region : name of the region, one for all nodes or one per node; by default the enclosing `Region`, else the
        population.
    patch : `Cap` or `Band` to stand in; by default that of the enclosing region, else a share of the whole sphere.

    Two populations are equal when all of these are, whatever subclass declared them.
    """

    name: str
    size: int
    sectors: int = 1
    dynamics: CfC = CfC()
    labels: Sequence[str] | None = None
    positions: Sequence[Sequence[float]] | NDArray[Any] | None = None
    region: str | Sequence[str] | None = None
    patch: Patch | None = None

    def __post_init__(self) -> None:
        freeze(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Population) and _values(self, Population) == _values(other, Population)

    def __hash__(self) -> int:
        return hash(_values(self, Population))

    def problems(self) -> Iterator[str]:
        if not is_count(self.size):
            yield f"size {self.size!r} is not {COUNT}; give the number of nodes"
        if not is_count(self.sectors):
            yield f"sectors {self.sectors!r} is not {COUNT}; give the number of equal parts"
        elif is_count(self.size) and self.size % self.sectors:
            yield f"{self.sectors} sectors do not divide {self.size} nodes; make size a multiple of sectors"
        if isinstance(self.dynamics, CfC):
            yield from self.dynamics.problems(self.size)
        else:
            yield f"dynamics {self.dynamics!r} is not known to the compiler; give CfC(...)"
        for name in ("labels", "positions", "region"):
            value = getattr(self, name)
            if isinstance(value, tuple) and is_count(self.size) and len(value) != self.size:
                yield f"{name} has {len(value)} entries for {self.size} nodes; give one per node"
        if self.labels is not None and not _texts(self.labels):
            yield f"labels {_short(self.labels)} are not one text per node; give names, or leave them out"
        elif self.labels is not None and len(set(self.labels)) != len(self.labels):
            yield "labels hold the same name twice; name every node differently"
        if not (self.region is None or isinstance(self.region, str) or _texts(self.region)):
            yield f"region {_short(self.region)} is not a text, or one per node; give names, or leave it out"
        if self.positions is not None:
            yield from _position_problems(self.positions)
            if self.patch is not None:
                yield "positions and patch are both given; keep the one that says where the nodes stand"
        yield from _patch_problems(self.patch)


def _texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, str) for v in value)


def _short(value: Any) -> str:
    """The repr of a value, as far as a message should quote it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _patch_problems(patch: Any) -> Iterator[str]:
    if isinstance(patch, Cap | Band):
        yield from patch.problems()
    elif patch is not None:
        yield f"patch {_short(patch)} is no patch of the sphere; give Cap(lat, lon, radius) or Band(south, north)"


def _position_problems(positions: Any) -> Iterator[str]:
    try:
        xyz = np.asarray(positions, float)
    except (TypeError, ValueError, OverflowError):
        xyz = np.empty(0)
    if xyz.ndim != 2 or xyz.shape[-1] != 3:
        yield "positions are not one (x, y, z) per node; give three numbers per node"
    elif not np.isfinite(xyz).all() or not xyz.any(axis=-1).all():
        yield "positions hold a value that is not finite or a node at the origin; give directions from the centre"


def _values(part: Any, declared: type) -> tuple:
    return tuple(getattr(part, f.name) for f in fields(declared))


@dataclass(frozen=True)
class Nucleus:
    r"""A thalamic nucleus: it turns the volume of the nodes it targets up or down, and passes nothing on.

    ``gain_ik = sigmoid(Q_k . K_ik / sqrt(key) - TRN_k + CT_k)``; a node's gain is the mean over the nuclei that target
    it. Two other forms stand beside it, to compare with:

    - "ambassador", the older gating: ``gain_i = sigmoid(w_s . [xr_a, xi_a] + c_s)`` for all nodes i of sector s of a
      population, with a its first node.
    - "attention", which mixes information and sets no gain: with the same query and key,
      ``a_jk = softmax_j(Q_k . K_jk / sqrt(key))`` over the nodes j that it targets, ``V_jk = D_k [xr_j, xi_j, p_j]``,
      ``r_k = gelu(sum_j a_jk V_jk)``, and the mean over the nuclei that target node i of ``(O_k + P_k . p_i) r_k`` is
      added to its drive u_i, both parts. All of it reads the previous state.

    Parameters
    ----------
    name : str.
    reads : populations or regions whose means make the query ("*": all); inputs, for feed-forward gating.
    targets : populations or regions whose gain it sets ("*": all).
    gating : "state": Q from the regional means of the previous state, K from a node's own state and position;
        "feedforward": Q from the relayed input, K from the position only; "ambassador" and "attention" as above.
    trn : whether it takes part in the reticular inhibition between the nuclei of its region.
    feedback : populations or regions whose rates feed back to it (cortico-thalamic), or none.
    key : int, dimension d of query and key.
    value : int, dimension of V_jk, for attention.

    Source: gain as precision after Feldman & Friston 2010, Front. Hum. Neurosci. 4:215; attention after Vaswani et al.
    2017, arXiv:1706.03762, eq. 1, with one query per nucleus and gelu before the output.
    """

    name: str
    reads: str | Sequence[str] = ("*",)
    targets: str | Sequence[str] = ("*",)
    gating: str = "state"
    trn: bool = False
    feedback: str | Sequence[str] = ()
    key: int = 16
    value: int = 16

    def __post_init__(self) -> None:
        for name in ("reads", "targets", "feedback"):
            object.__setattr__(self, name, several(getattr(self, name)))
        freeze(self)

    def problems(self) -> Iterator[str]:
        yield from one_of("gating", self.gating, GATINGS)
        yield from flags(self, "trn")
        for name, what in (("key", "query and key"), ("value", "the value")):
            if not is_count(width := getattr(self, name)):
                yield f"{name} {width!r} is not {COUNT}; give the dimension of {what}"
        yield from self._form_problems()
        for name in ("reads", "targets"):
            if not getattr(self, name):
                yield f"{name} is empty; name populations or regions, or '*' for all"

    def _form_problems(self) -> Iterator[str]:
        if self.gating == "ambassador" and self.reads != ("*",):
            yield "an ambassador reads the first node of each sector that it targets; leave reads out"
        if self.gating in ("ambassador", "attention"):
            why = {
                "ambassador": "an ambassador hears its own state alone",
                "attention": "a softmax over nodes cancels what shifts all of them alike",
            }[self.gating]
            if self.trn is True:
                yield f"trn True of gating {self.gating!r}: {why}; set trn=False or gating='state'"
            if self.feedback:
                yield f"feedback {self.feedback!r} of gating {self.gating!r}: {why}; leave it out or set gating='state'"


@dataclass(frozen=True)
class Projection:
    r"""A bundle of connections from one set of nodes to another.

    A coupling pulls each node towards others, ``F_i = sum_j K_ij (z_j - z_i)``; a drive adds ``W y_source`` to the
    target's input.

    A coupling with Hebbian memory remembers recent phase relations on its edges: before each tick
    ``W_ij <- rho W_ij + eta Re(conj(z_i) z_j)``, from W = 0, and ``F_i = sum_j (K_ij + W_ij) (z_j - z_i)``. Both are
    learned, one pair per projection: ``rho = sigmoid(raw)``, which starts at 0.95, a memory of twenty ticks, and
    ``eta = strength (1 - rho) k`` with k the mean size of the declared weights, so that at strength 1, where it starts,
    phases that keep still for long make W_ij as large as the weights that were declared. Like the rate "sigmoid",
    rho is per tick and does not follow dt.

    Parameters
    ----------
    source, target : population, region (all of its populations) or "*"; the source of a drive may be an input.
    rule : which nodes connect, and how strongly.
    kind : "coupling" or "drive"; by default coupling within one population and drive elsewhere.
    name : by default "source->target".
    on : what a coupling smooths: the "state" z, or the "drive" u, which needs no loop through time.
    signal : what a drive reads from its source: "state" (xr, xi) or "rate".
    rank : int, a drive through that many hidden units, ``W = U act(V y)``; needs AllToAll.
    activation : nonlinearity of the hidden units: "gelu", "relu", "tanh".
    normalise : divide y by the root mean square rate of its source (divisive normalisation).
    dropout : share, in [0, 1), of what the last weight of a drive reads that training leaves out at random.
    weight : for a coupling the row sum kappa that K is scaled to; for a drive a factor on the initial weights.
    scaling : of a coupling: "rows" (each row sums to `weight`), "max" (the largest does: a symmetric K stays
        symmetric), or "none" (the rule's own weights times `weight`).
    learnable : "scale" (one factor, the default of a coupling), "edges" (each edge within the mask, the default of a
        drive) or "none".
    sign : +1 or -1 to keep every weight of that sign (Dale), None for free.
    memory : of a coupling on the state: "none", or "hebbian" as above.
    length, speed : of the fibres, in mm and mm per time unit; carried as labels of the edges.
    delay : transmission delay in time units, for simulation of the network; compiling refuses it.

    Source of divisive normalisation: Carandini & Heeger 2012, Nat. Rev. Neurosci. 13:51, eq. 1 with exponent 2; of the
    Hebbian memory: Ba et al. 2016, arXiv:1610.06258, eq. 1, on the edges that exist, between phases.
    """

    source: str
    target: str
    rule: AbstractRule = AllToAll()
    kind: str | None = None
    name: str = ""
    on: str = "state"
    signal: str = "state"
    rank: int | None = None
    activation: str | None = None
    normalise: bool = False
    dropout: float = 0.0
    weight: float | None = None
    scaling: str = "rows"
    learnable: str | None = None
    sign: int | None = None
    memory: str = "none"
    length: float | None = None
    speed: float | None = None
    delay: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", as_rule(self.rule))
        freeze(self)
        defaults: dict[str, Any] = {
            "kind": "coupling" if self.source == self.target else "drive",
            "name": f"{self.source}->{self.target}",
        }
        coupling = (self.kind or defaults["kind"]) == "coupling"
        defaults |= {"learnable": "scale" if coupling else "edges", "weight": 0.5 if coupling else 1.0}
        for name, value in defaults.items():
            if getattr(self, name) in (None, ""):
                object.__setattr__(self, name, value)

    def problems(self) -> Iterator[str]:
        yield from one_of("kind", self.kind, ("coupling", "drive"))
        yield from one_of("on", self.on, ("state", "drive"))
        yield from one_of("signal", self.signal, ("state", "rate"))
        yield from one_of("scaling", self.scaling, ("rows", "max", "none"))
        yield from one_of("learnable", self.learnable, ("scale", "edges", "none"))
        yield from one_of("sign", self.sign, (None, 1, -1))
        yield from one_of("activation", self.activation, (None, *ACTIVATIONS))
        yield from one_of("memory", self.memory, ("none", "hebbian"))
        yield from flags(self, "normalise")
        yield from share("dropout", self.dropout)
        if not is_number(self.weight):
            yield f"weight {self.weight!r} is not a finite number; give a number"
        for name in ("length", "speed", "delay"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and value >= 0):
                yield f"{name} {value!r} is not a finite number >= 0; give a number or leave it out"
        if self.rank is not None and not is_count(self.rank):
            yield f"rank {self.rank!r} is not {COUNT}; give the number of hidden units or leave it out"
        yield from self._combination_problems()
        if isinstance(self.rule, AbstractRule):
            yield from self.rule.problems()
        else:
            yield f"rule {self.rule!r} is not a wiring rule; give one of nfsim.rules, such as Nearest(12)"

    def _combination_problems(self) -> Iterator[str]:
        low_rank = self.rank is not None
        if self.kind == "coupling":
            if low_rank or self.activation or self.normalise or self.dropout or self.signal != "state":
                yield (
                    "rank, activation, normalise, dropout and signal belong to a drive; "
                    "leave them out or set kind='drive'"
                )
            if is_number(self.weight) and self.weight < 0:
                yield f"weight {self.weight} of a coupling is below 0; give its size and sign=-1"
            if self.memory == "hebbian" and self.on == "drive":
                yield "memory 'hebbian' is of phases of the state, and this coupling is on the drive; set on='state'"
            if self.memory == "hebbian" and self.sign is not None:
                yield f"memory 'hebbian' cannot keep sign {self.sign}: phases agree or oppose; leave one of them out"
        elif self.on == "drive":
            yield "on='drive' belongs to a coupling; leave it out or set kind='coupling'"
        if self.kind == "drive" and self.memory == "hebbian":
            yield "memory 'hebbian' belongs to a coupling; leave it out or set kind='coupling'"
        if self.activation and not low_rank:
            yield f"activation {self.activation!r} has no hidden units to act on; give a rank"
        if low_rank and not isinstance(self.rule, AllToAll):
            yield f"rank {self.rank} has no mask to learn within; use rule AllToAll() or leave the rank out"
        if low_rank and self.sign is not None:
            yield f"rank {self.rank} cannot keep sign {self.sign}; leave one of them out"


@dataclass(frozen=True)
class Readout:
    r"""Population rate code: ``rate_i * gain_i`` to logits.

    Parameters
    ----------
    name : str.
    labels : names of the classes, or their number.
    kind : "rate": ``Linear(rate * gain)``; "state": ``Linear([xr, xi, rate] * gain)``; "sector": mean of rate * gain
        over each sector of one population, times one learned factor.
    when : "last" step, "mean" over the steps, or "each" step.
    reads : populations or regions ("*": all).
    normalise : divide the features by their root mean square over nodes (divisive normalisation).
    dropout : share, in [0, 1), of the features that training leaves out at random.
    """

    name: str
    labels: Sequence[str] | int
    kind: str = "rate"
    when: str = "last"
    reads: str | Sequence[str] = ("*",)
    normalise: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", several(self.reads))
        labels: Any = self.labels
        if is_count(labels) and labels <= MOST_LABELS:
            labels = range(int(labels))
        if isinstance(labels, Iterable) and not isinstance(labels, str | bytes | dict):
            object.__setattr__(self, "labels", tuple(str(v) for v in labels))
        freeze(self)

    def problems(self) -> Iterator[str]:
        yield from one_of("kind", self.kind, ("rate", "state", "sector"))
        yield from one_of("when", self.when, ("last", "mean", "each"))
        yield from flags(self, "normalise")
        yield from share("dropout", self.dropout)
        if not isinstance(self.labels, tuple) or not self.labels:
            yield (
                f"labels {_short(self.labels)} are not names or a number in [1, {MOST_LABELS}]; "
                "give the classes to tell apart"
            )
        elif len(set(self.labels)) != len(self.labels):
            yield "labels hold the same name twice; name every class differently"
        if not self.reads:
            yield "reads is empty; name populations or regions, or '*' for all"


@dataclass(frozen=True, eq=False)
class Region:
    """A named part of the network that holds populations, nuclei, projections and other regions.

    Names inside it are looked up in the region first, then outwards; its parts are addressed as "region/part".

    Parameters
    ----------
    name : str.
    parts : populations, nuclei, projections and regions.
    patch : `Cap` or `Band` of the sphere that its populations share, unless they declare their own.
    """

    name: str
    parts: "Sequence[Part]" = ()
    patch: Patch | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", several(self.parts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and _values(self, Region) == _values(other, Region)

    def __hash__(self) -> int:
        return hash(_values(self, Region))

    def problems(self) -> Iterator[str]:
        if not self.parts:
            yield "holds no parts; add a population or leave the region out"
        yield from _patch_problems(self.patch)


Part = Input | Population | Region | Nucleus | Projection | Readout
