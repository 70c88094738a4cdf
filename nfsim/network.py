"""The network: a mutable builder that holds declarations, finds their names and reports what is wrong with them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nfsim import serial
from nfsim.errors import BuildError
from nfsim.population import Input, Nucleus, Part, Population, Projection, Readout, Region
from nfsim.sphere import Patch
from nfsim.values import tuples

if TYPE_CHECKING:
    import networkx

    from nfsim.wiring import Connectome

_KIND_ORDER = {Input: 0, Population: 1, Region: 1, Nucleus: 2, Projection: 3, Readout: 4}


@dataclass
class Flat:
    """The parts of a network by full path ("region/part"), in the order declared."""

    inputs: dict[str, Input] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)
    nuclei: dict[str, Nucleus] = field(default_factory=dict)
    projections: dict[str, Projection] = field(default_factory=dict)
    readouts: dict[str, Readout] = field(default_factory=dict)
    regions: dict[str, Region] = field(default_factory=dict)
    scopes: dict[str, str] = field(default_factory=dict)
    """Projection name -> path of the region that it was declared in."""
    duplicates: list[tuple[str, Part]] = field(default_factory=list)
    """Parts whose path was taken, with that path."""
    strangers: list[Any] = field(default_factory=list)

    def declared(self, path: str) -> bool:
        """Whether a part has this path; parameters are named after their part, so no two parts share one."""
        places = (self.inputs, self.populations, self.nuclei, self.projections, self.readouts, self.regions)
        return any(path in place for place in places)

    def patch(self, path: str) -> tuple[str, Patch] | None:
        """Who declares the patch that the population at `path` stands in, and the patch."""
        own = self.populations[path].patch
        if own is not None:
            return path, own
        for region in _outwards(_parent(path)):
            patch = self.regions[region].patch if region else None
            if patch is not None:
                return region, patch
        return None

    def region(self, path: str) -> str:
        """Name of the region that the population at `path` belongs to, unless it names regions node by node."""
        own = self.populations[path].region
        return own if isinstance(own, str) else _parent(path) or path

    def resolve(self, name: str, scope: str = "") -> tuple[str, ...]:
        """Full paths of the populations, or of the one input, that `name` means inside region `scope`; () if none."""
        if not isinstance(name, str):
            return ()
        if name == "*":
            return tuple(self.populations)
        for region in _outwards(scope):
            path = f"{region}/{name}" if region else name
            if path in self.populations or path in self.inputs:
                return (path,)
            if path in self.regions:
                return tuple(p for p in self.populations if p.startswith(path + "/"))
        return ()

    def source(self, projection: str) -> tuple[str, ...]:
        """Paths at the source of a projection."""
        return self.resolve(self.projections[projection].source, self.scopes[projection])

    def target(self, projection: str) -> tuple[str, ...]:
        """Paths at the target of a projection."""
        return self.resolve(self.projections[projection].target, self.scopes[projection])

    def populations_of(self, names: Sequence[str], scope: str = "") -> tuple[str, ...]:
        """Paths of the populations that several names mean, each once, in the order of the network."""
        found = {path for name in names for path in self.resolve(name, scope)}
        return tuple(p for p in self.populations if p in found)

    def inputs_of(self, nucleus: str) -> tuple[str, ...]:
        """Paths of the inputs that a feed-forward nucleus relays."""
        reads, scope = self.nuclei[nucleus].reads, _parent(nucleus)
        found = {path for name in reads for path in self.resolve(name, scope)}
        return tuple(p for p in self.inputs if p in found or "*" in reads)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _outwards(scope: str) -> Iterator[str]:
    """A region's path, then those around it, then the network itself ("")."""
    while scope:
        yield scope
        scope = _parent(scope)
    yield ""


def _flatten(parts: Sequence[Part], scope: str, flat: Flat) -> Flat:
    for part in parts:
        if not isinstance(part, tuple(_KIND_ORDER)):
            flat.strangers.append(part)
            continue
        if isinstance(part, Projection):
            name = f"{scope}/{part.name}" if scope else str(part.name)
            auto = part.name == f"{part.source}->{part.target}"
            k = 2
            while auto and name in flat.projections:
                name, k = f"{name.split('#')[0]}#{k}", k + 1
            if flat.declared(name):
                flat.duplicates.append((name, part))
            flat.projections.setdefault(name, part)
            flat.scopes.setdefault(name, scope)
            continue
        path = f"{scope}/{part.name}" if scope else str(part.name)
        places: Any = {
            Input: flat.inputs,
            Population: flat.populations,
            Region: flat.regions,
            Nucleus: flat.nuclei,
            Readout: flat.readouts,
        }
        kind = next(k for k in places if isinstance(part, k))
        if flat.declared(path):
            flat.duplicates.append((path, part))
        places[kind].setdefault(path, part)
        if isinstance(part, Region):
            _flatten(part.parts, path, flat)
    return flat


class Network:
    """A network being declared.

    Parameters
    ----------
    name : str.
    seed : int, root of every random draw; a part draws from (seed, its full path), so that adding one reshuffles no
        other.
    dt : float, duration of one input step, in `time_unit`.
    ticks : int, updates per input step; each advances dt / ticks while the input is held.
    time_unit : str, unit of dt, tau and delays; angular frequencies are rad per time unit.

    Examples
    --------
    >>> import nfsim
    >>> net = nfsim.Network("two areas", seed=1)
    >>> net.add(nfsim.Input("retina", 28), nfsim.Population("v1", 64), nfsim.Population("pfc", 32))
    Network('two areas': 1 input, 2 populations, 96 nodes, 0 projections, 0 nuclei)
    >>> p = net.connect("retina", "v1")
    >>> p = net.connect("v1", "pfc", rank=8, activation="gelu")
    >>> net.add(nfsim.Readout("digit", 10, reads="pfc")).check()
    """

    def __init__(self, name: str = "network", *, seed: int = 0, dt: float = 1.0, ticks: int = 1, time_unit: str = "s"):
        self._frozen = False
        self.name, self.seed, self.dt, self.ticks, self.time_unit = name, seed, dt, ticks, time_unit
        self.parts: tuple[Part, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_frozen", False):
            raise BuildError(f"{self.name}: is the snapshot of a compiled network and cannot change; change a copy()")
        self.__dict__.pop("flat", None)
        super().__setattr__(name, tuples(value))

    def add(self, *parts: Part) -> "Network":
        """Add parts and return the network. What is wrong with them is reported by `check`, all at once."""
        self.parts = (*self.parts, *parts)
        return self

    def connect(self, source: str, target: str, rule: Any = None, **options: Any) -> Projection:
        """Add a `Projection` between two names and return it; `rule` may be a networkx graph or a matrix as well."""
        if rule is not None:
            options["rule"] = rule
        projection = Projection(source, target, **options)
        self.add(projection)
        return projection

    def copy(self) -> "Network":
        """A network of the same declarations that can be changed."""
        new = Network(self.name, seed=self.seed, dt=self.dt, ticks=self.ticks, time_unit=self.time_unit)
        return new.add(*self.parts)

    def freeze(self) -> "Network":
        """A snapshot of the network that cannot change any more."""
        new = self.copy()
        new._frozen = True
        return new

    @cached_property
    def flat(self) -> Flat:
        """All parts by full path."""
        return _flatten(self.parts, "", Flat())

    def problems(self) -> list[str]:
        """Everything that is wrong with the network, each as object, value, rule and cure."""
        from nfsim.checks import problems

        return problems(self)

    def check(self) -> None:
        """Raise one `BuildError` that holds all of `problems`, if there are any."""
        if found := self.problems():
            raise BuildError(found)

    def wire(self) -> "Connectome":
        """The connectome of the network: positions, and one sparse matrix per projection."""
        from nfsim.wiring import wire

        return wire(self)

    def to_json(self, indent: int | None = None) -> str:
        """The declaration as canonical JSON."""
        parts = sorted(self.parts, key=_kind_order)
        meta = {"name": self.name, "seed": self.seed, "dt": self.dt, "ticks": self.ticks, "time_unit": self.time_unit}
        return serial.dumps(
            {"schema": serial.SCHEMA, **meta, "parts": [serial.encode(_ordered(p)) for p in parts]}, indent
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Network":
        """The network of a text that `to_json` wrote; raises `BuildError` on anything else."""
        value = serial.loads(text)
        meta = {k: value[k] for k in ("name", "seed", "dt", "ticks", "time_unit") if k in value}
        if unknown := set(value) - {"schema", "parts", *meta}:
            raise BuildError(f"network JSON has unknown keys {sorted(map(str, unknown))}; remove them")
        parts = value.get("parts")
        if not isinstance(parts, list):
            raise BuildError("network JSON has no list of parts; give the text of Network.to_json()")
        try:
            return cls(**meta).add(*serial.decode(parts))
        except RecursionError:
            raise BuildError(
                "network JSON is nested too deeply to be a network; give the text of Network.to_json()"
            ) from None

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_networkx(self) -> "networkx.MultiDiGraph":
        """Populations and inputs as nodes, projections as keyed edges, each with its declaration as an attribute."""
        from nfsim.graphs import to_networkx

        return to_networkx(self)

    @classmethod
    def from_networkx(cls, graph: "networkx.MultiDiGraph") -> "Network":
        """The network of a graph that `to_networkx` made, with whatever was added to or removed from it since."""
        from nfsim.graphs import from_networkx

        return from_networkx(graph)

    def summary(self) -> str:
        """A table of all parts."""
        rows = [repr(self)]
        rows += [f"  input       {path:<24} {p.features} features" for path, p in self.flat.inputs.items()]
        for path, p in self.flat.populations.items():
            sectors = f", {p.sectors} sectors" if p.sectors != 1 else ""
            rows.append(f"  population  {path:<24} {p.size} nodes{sectors}, region {self.flat.region(path)}")
        for path, n in self.flat.nuclei.items():
            reads, targets = (", ".join(map(str, names)) for names in (n.reads, n.targets))
            rows.append(f"  nucleus     {path:<24} {n.gating}, reads {reads}, targets {targets}")
        for name, c in self.flat.projections.items():
            rank = f", rank {c.rank}" if c.rank else ""
            rows.append(f"  projection  {name:<24} {c.kind}, {type(c.rule).__name__}{rank}, learns {c.learnable}")
        for path, r in self.flat.readouts.items():
            labels = len(r.labels) if isinstance(r.labels, tuple) else r.labels
            rows.append(
                f"  readout     {path:<24} {r.kind} of {', '.join(map(str, r.reads))}, {labels} labels, {r.when}"
            )
        return "\n".join(rows)

    # A class with __eq__ and no __hash__ has no hash, as befits what changes.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.to_json() == other.to_json()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "flat"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        flat = self.flat
        sizes = [p.size for p in flat.populations.values() if isinstance(p.size, int)]
        counts = [
            _count(len(flat.inputs), "input"),
            _count(len(flat.populations), "population"),
            _count(sum(sizes), "node"),
            _count(len(flat.projections), "projection"),
            f"{len(flat.nuclei)} nucle{'us' if len(flat.nuclei) == 1 else 'i'}",
        ]
        return f"Network({self.name!r}: {', '.join(counts)})"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _kind_order(part: Part) -> int:
    return next((order for kind, order in _KIND_ORDER.items() if isinstance(part, kind)), len(_KIND_ORDER))


def _ordered(part: Part) -> Part:
    """A region with its parts in canonical order: the order between populations and projections says nothing."""
    if not isinstance(part, Region):
        return part
    return Region(part.name, tuple(_ordered(p) for p in sorted(part.parts, key=_kind_order)), part.patch)
