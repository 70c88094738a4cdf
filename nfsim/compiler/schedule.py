"""Schedule: which populations run the whole sequence at once, and which must step through time.

A population runs as one scan when its steady state and its update rate do not depend on its own state. Everything that
ties it to its own state, directly or by way of others, is found in the declaration alone.
"""

import networkx

from nfsim.compiler.kernels import against_fusing, against_streaming, coupling_kernel
from nfsim.compiler.program import FUSED, SCAN, TICKS, Program, Stage, listing
from nfsim.ties import Tie, gated, ties
from nfsim.wiring import Connectome


def _reasons(found: list[Tie], members: tuple[str, ...]) -> tuple[str, ...]:
    """What ties some populations to their own state, one sentence per kind."""
    by_reason: dict[str, dict[str, None]] = {}
    for tie in found:
        if tie.source in members and tie.target in members:
            by_reason.setdefault(tie.reason, {})[tie.by] = None
    return tuple(f"{reason}: {listing(tuple(by))}" for reason, by in by_reason.items())


def schedule(connectome: Connectome, coupling: str = "auto") -> Program:
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
        refused = tuple(against_fusing(flat, members)) if inner else ()
        ends = [name for name in flat.projections if set(flat.target(name)) & set(members)]
        stages.append(
            Stage(
                populations=members,
                schedule="loop" if inner else "scan",
                reasons=inner or ("neither steady state nor rate depends on its own state",),
                drives=tuple(n for n in ends if flat.projections[n].kind == "drive"),
                couplings=tuple(n for n in ends if flat.projections[n].kind == "coupling"),
                nuclei=tuple(n for n in flat.nuclei if set(gated(flat, n)) & set(members)),
                kernel=SCAN if not inner else TICKS if refused else FUSED,
                refused=refused,
                coupling_kernels={
                    n: coupling_kernel((m := connectome.matrices[n]).shape, m.nnz, coupling)
                    for n in ends
                    if flat.projections[n].kind == "coupling"
                },
            )
        )
    return Program(connectome, tuple(stages), tuple(against_streaming(connectome.network)))
