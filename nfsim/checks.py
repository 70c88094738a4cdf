"""The rules that a network must keep; every broken one is found, and messages name object, value, rule and cure."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from nfsim.network import Flat, Network
from nfsim.population import Projection
from nfsim.values import COUNT, LARGEST_COUNT, is_count, is_number

_NAME = re.compile(r"[\w -]+")
_PROJECTION_NAME = re.compile(r"[^.:]+")


def problems(network: Network) -> list[str]:
    """Everything that is wrong with `network`, in the order of its parts; without repeats."""
    found = [*_network(network), *_names(network.flat), *_parts(network.flat)]
    found += [*_projections(network.flat), *_nuclei(network.flat), *_readout(network.flat)]
    if not found:  # the rules on paths and geometry need names and sizes that mean something
        found += [*_dale(network.flat), *_reach(network.flat), *_fits(network)]
    return list(dict.fromkeys(found))


def _network(network: Network) -> Iterator[str]:
    where = f"network {network.name!r}"
    if not (is_number(network.dt) and network.dt > 0):
        yield f"{where}: dt {network.dt!r} is not a finite number above 0; give the duration of a step"
    if not is_count(network.ticks):
        yield f"{where}: ticks {network.ticks!r} is not {COUNT}; give the updates per step"
    if not isinstance(network.seed, int) or isinstance(network.seed, bool) or network.seed < 0:
        yield f"{where}: seed {network.seed!r} is not a whole number >= 0; give a seed"
    if not isinstance(network.name, str) or not isinstance(network.time_unit, str):
        yield f"{where}: name and time_unit are not both text; give text"
    if not network.flat.populations:
        yield f"{where}: holds no population; add one, such as Population('v1', 64)"
    sizes = [p.size for p in network.flat.populations.values() if is_count(p.size)]
    if sum(sizes) > LARGEST_COUNT:
        yield f"{where}: holds {sum(sizes)} nodes, and at most {LARGEST_COUNT} are placed; declare smaller populations"
    if not network.flat.inputs:
        yield f"{where}: holds no input; add one, such as Input('retina', 28)"
    if len(network.flat.readouts) != 1:
        yield f"{where}: holds {len(network.flat.readouts)} readouts, and a model has exactly one; keep one Readout"


def _names(flat: Flat) -> Iterator[str]:
    for stranger in flat.strangers:
        yield (
            f"{stranger!r}: is no part of a network; add inputs, populations, regions, nuclei, projections and readouts"
        )
    for path, _ in flat.duplicates:
        yield f"{path}: is declared twice; name every part of a region differently"
    for place in (flat.inputs, flat.populations, flat.regions, flat.nuclei, flat.readouts):
        for part in place.values():
            if not isinstance(part.name, str) or not _NAME.fullmatch(part.name):
                yield f"name {part.name!r} of a {type(part).__name__} is not letters, digits, space, _ or -; rename it"
    for name, p in flat.projections.items():
        if not isinstance(p.name, str) or not _PROJECTION_NAME.fullmatch(name) or not name.isprintable():
            yield f"name {p.name!r} of a projection is not printable text without '.' and ':'; rename it"


def _parts(flat: Flat) -> Iterator[str]:
    places = (flat.inputs, flat.populations, flat.regions, flat.nuclei, flat.projections, flat.readouts)
    for path, part in [*(item for place in places for item in place.items()), *flat.duplicates]:
        yield from (f"{path}: {p}" for p in part.problems())


def _unknown(flat: Flat, name: Any, scope: str, role: str) -> str:
    known = [*flat.populations, *flat.inputs, *flat.regions]
    near = difflib.get_close_matches(str(name), known, n=1) or sorted(known)[:8]
    inside = f" (looked up from region {scope!r} outwards)" if scope else ""
    return f"{role} {name!r} is no population, region or input here{inside}; known: {', '.join(near) or 'none'}"


def _projections(flat: Flat) -> Iterator[str]:
    for name, p in flat.projections.items():
        source, target = flat.source(name), flat.target(name)
        if not source:
            yield f"{name}: {_unknown(flat, p.source, flat.scopes[name], 'source')}"
        if not target:
            yield f"{name}: {_unknown(flat, p.target, flat.scopes[name], 'target')}"
        if any(path in flat.inputs for path in target):
            yield f"{name}: target {p.target!r} is an input, which nothing drives; project to a population"
        if any(path in flat.inputs for path in source):
            if p.kind == "coupling":
                yield f"{name}: source {p.source!r} is an input, which has no state to couple to; set kind='drive'"
            if p.signal == "rate":
                yield f"{name}: source {p.source!r} is an input, which has no rate; leave signal out"
        elif set(source) & set(target) and source != target:
            yield f"{name}: source and target overlap but differ; declare one projection for each part"


def _nuclei(flat: Flat) -> Iterator[str]:
    for path, n in flat.nuclei.items():
        scope = path.rpartition("/")[0]
        for role in ("reads", "targets", "feedback"):
            for name in getattr(n, role):
                ends = flat.resolve(name, scope)
                relays = role == "reads" and n.gating == "feedforward"
                if not ends:
                    yield f"{path}: {_unknown(flat, name, scope, role)}"
                elif relays and name != "*" and ends[0] not in flat.inputs:
                    yield (
                        f"{path}: reads {name!r}, but a feedforward nucleus relays inputs; "
                        "name an input or set gating='state'"
                    )
                elif not relays and ends[0] in flat.inputs:
                    cure = "; name a population" + (" or set gating='feedforward'" if role == "reads" else "")
                    yield f"{path}: {role} {name!r} is an input, which has no state{cure}"


def _readout(flat: Flat) -> Iterator[str]:
    for path, r in flat.readouts.items():
        if "/" in path:
            yield f"{path}: stands in a region, and a readout belongs to the network; add it to the network itself"
        for name in r.reads:
            ends = flat.resolve(name)
            if not ends or ends[0] in flat.inputs:
                yield f"{path}: {_unknown(flat, name, '', 'reads')}"
        ends = flat.populations_of(r.reads)
        if r.kind == "sector" and isinstance(r.labels, tuple):
            if len(ends) != 1:
                yield (
                    f"{path}: kind 'sector' reads {len(ends)} populations, and sectors belong to one; "
                    "name one population"
                )
            elif flat.populations[ends[0]].sectors != len(r.labels):
                got = flat.populations[ends[0]].sectors
                yield f"{path}: {len(r.labels)} labels for {got} sectors of {ends[0]}; declare one sector per label"


def _dale(flat: Flat) -> Iterator[str]:
    """A population that keeps one sign keeps it in every drive and every signed coupling that it sends."""
    sent: dict[str, list[tuple[str, Projection]]] = {}
    for name, p in flat.projections.items():
        for path in flat.source(name):
            if path in flat.populations and (p.sign is not None or p.kind == "drive"):
                sent.setdefault(path, []).append((name, p))
    for path, out in sent.items():
        signs = {p.sign for _, p in out}
        if len(signs) > 1:
            listing = ", ".join(f"{name}: {p.sign}" for name, p in out)
            yield f"{path}: sends projections of different sign ({listing}); give all of them one sign, or none"


def _reach(flat: Flat) -> Iterator[str]:
    """Inputs reach something, and something that was reached is read."""
    sends: dict[str, set[str]] = {}
    for name in flat.projections:
        for path in flat.source(name):
            sends.setdefault(path, set()).update(flat.target(name))
    for path in flat.inputs:
        relayed = any(
            path in flat.inputs_of(n) for n, nucleus in flat.nuclei.items() if nucleus.gating == "feedforward"
        )
        if not sends.get(path) and not relayed:
            yield f"{path}: reaches nothing; connect it to a population or remove it"
    reached: set[str] = set()
    frontier = set(flat.inputs)
    while frontier:
        reached |= frontier
        frontier = {v for u in frontier for v in sends.get(u, ())} - reached
    for path, r in flat.readouts.items():
        if not reached & set(flat.populations_of(r.reads)):
            yield f"{path}: reads {', '.join(r.reads)}, which no input reaches; connect an input to it"


def _fits(network: Network) -> Iterator[str]:
    from nfsim.wiring import place

    flat = network.flat
    nodes = place(network)
    for name, p in flat.projections.items():
        source, target = flat.source(name), flat.target(name)
        if source[0] in flat.populations:
            yield from (f"{name}: {problem}" for problem in p.rule.fits(nodes.select(source), nodes.select(target)))
        elif p.rule.needs_positions:
            yield (
                f"{name}: {type(p.rule).__name__} measures distance, and an input stands nowhere; "
                "use AllToAll, Random or a matrix"
            )
        else:
            features = nodes.features(flat.inputs[source[0]].features)
            yield from (f"{name}: {problem}" for problem in p.rule.fits(features, nodes.select(target)))
