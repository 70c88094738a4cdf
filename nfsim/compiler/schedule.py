"""Schedule: which populations run the whole sequence at once, and which must step through time.

A population runs as one scan when its steady state and its update rate do not depend on its own state. Everything that
ties it to its own state, directly or by way of others, is found in the declaration alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

import networkx

from nfsim.compiler.program import Program, Stage, listing
from nfsim.network import Flat
from nfsim.wiring import Connectome

_DYNAMIC = {"time", "drive", "coupling"}


class Tie(NamedTuple):
    """`target` needs what `source` is or was, because of a part `by` name."""

    source: str
    target: str
    reason: str
    by: str


def gated(flat: Flat, nucleus: str) -> tuple[str, ...]:
    """Populations whose dynamics, not only whose readout, feel the gain of a nucleus."""
    targets = flat.populations_of(flat.nuclei[nucleus].targets, nucleus.rpartition("/")[0])
    return tuple(p for p in targets if _DYNAMIC & set(flat.populations[p].dynamics.gain))


def reticular_partners(flat: Flat, nucleus: str) -> tuple[str, ...]:
    """The other nuclei that inhibit a nucleus through the reticular nucleus of their region."""
    if not flat.nuclei[nucleus].trn:
        return ()
    home = nucleus.rpartition("/")[0]
    return tuple(n for n, d in flat.nuclei.items() if d.trn and n != nucleus and n.rpartition("/")[0] == home)


def _listens(flat: Flat, nucleus: str) -> Iterator[tuple[str, str]]:
    """Populations whose state a nucleus's gain depends on, and by which path."""
    scope = nucleus.rpartition("/")[0]
    for name in (nucleus, *reticular_partners(flat, nucleus)):
        if flat.nuclei[name].gating == "state":
            for p in flat.populations_of(flat.nuclei[name].reads, scope):
                yield (
                    p,
                    "queries read regional means" if name == nucleus else "reticular inhibition relays regional means",
                )
    for p in flat.populations_of(flat.nuclei[nucleus].feedback, scope):
        yield p, "cortico-thalamic feedback"


def ties(flat: Flat) -> Iterator[Tie]:
    """Every dependence between populations, and of populations on themselves."""
    for name, p in flat.projections.items():
        sources = [s for s in flat.source(name) if s in flat.populations]
        for target in flat.target(name):
            if p.kind == "coupling" and p.on == "state":
                yield Tie(target, target, "coupling on the state pulls on each node's own state", name)
            for source in sources:
                if p.kind == "drive" or source != target:
                    yield Tie(source, target, f"{p.kind} between its populations", name)
    for nucleus in flat.nuclei:
        for target in gated(flat, nucleus):
            if flat.nuclei[nucleus].gating == "state":
                yield Tie(target, target, "keys read each node's own state", nucleus)
            for source, reason in _listens(flat, nucleus):
                yield Tie(source, target, reason, nucleus)
    for path, population in flat.populations.items():
        if population.dynamics.limiter == "clamp":
            yield Tie(path, path, "limiter 'clamp' acts on the updated state", path)


def _reasons(ties: list[Tie], members: tuple[str, ...]) -> tuple[str, ...]:
    """What ties some populations to their own state, one sentence per kind."""
    by_reason: dict[str, dict[str, None]] = {}
    for tie in ties:
        if tie.source in members and tie.target in members:
            by_reason.setdefault(tie.reason, {})[tie.by] = None
    return tuple(f"{reason}: {listing(tuple(by))}" for reason, by in by_reason.items())


def schedule(connectome: Connectome) -> Program:
    """The program of a connectome.

    1. collect the ties between populations  2. condense them into strongly connected components  3. order these; among
    equals in the order declared  4. scan a component of one population that is not tied to itself, step through others.
    """
    flat = connectome.network.flat
    found = list(ties(flat))
    graph = networkx.DiGraph()
    graph.add_nodes_from(flat.populations)
    graph.add_edges_from((t.source, t.target) for t in found)
    order = {path: i for i, path in enumerate(flat.populations)}
    condensed = networkx.condensation(graph)
    first = {c: min(order[p] for p in members) for c, members in condensed.nodes(data="members")}
    stages = []
    for c in networkx.lexicographical_topological_sort(condensed, key=first.__getitem__):
        members = tuple(sorted(condensed.nodes[c]["members"], key=order.__getitem__))
        inner = _reasons(found, members)
        ends = [name for name in flat.projections if set(flat.target(name)) & set(members)]
        stages.append(
            Stage(
                populations=members,
                schedule="loop" if inner else "scan",
                reasons=inner or ("neither steady state nor rate depends on its own state",),
                drives=tuple(n for n in ends if flat.projections[n].kind == "drive"),
                couplings=tuple(n for n in ends if flat.projections[n].kind == "coupling"),
                nuclei=tuple(n for n in flat.nuclei if set(gated(flat, n)) & set(members)),
                kernel="torch, one step after another" if inner else "cfc_scan, the whole sequence at once",
                coupling_kernels={n: "dense product" for n in ends if flat.projections[n].kind == "coupling"},
            )
        )
    return Program(connectome, tuple(stages))
