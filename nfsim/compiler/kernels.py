"""Which kernel runs a stage, by measured thresholds."""

from collections.abc import Iterator

from nfsim.compiler.program import DENSE, SPARSE, listing
from nfsim.network import Flat, Network
from nfsim.ties import gated, listens
from nfsim.values import one_of

THRESHOLDS = {"density": 0.02, "few nodes": 64}
"""A coupling with a larger share of edges, or fewer sources, is a dense product.

Measured by benchmarks/coupling.py on 2 cores of an Intel Xeon, November 2026: the sparse product takes 0.35 ns per edge
and row of states, the dense one 0.007 ns per pair of nodes: they meet at one edge in fifty pairs. There is no third
kernel that gathers neighbours: with 12 of them it took 4.2 ms where the sparse product takes 0.7 (649 nodes, 256 rows),
and 5.0 for 1.1 (100,000 nodes, 2 rows), since a gathered array has an entry per edge and row."""

COUPLINGS = {"auto": None, "dense": DENSE, "sparse": SPARSE}


def coupling_problems(choice: str) -> list[str]:
    """What is wrong with a choice of coupling kernel."""
    return list(one_of("coupling", choice, COUPLINGS))


def coupling_kernel(shape: tuple[int, int], edges: int, choice: str = "auto") -> str:
    """The kernel of a coupling matrix (target, source) with so many edges: as asked for, or by `THRESHOLDS`."""
    asked = COUPLINGS[choice]
    if asked is not None:
        return asked
    crowded = edges > THRESHOLDS["density"] * shape[0] * shape[1]
    return DENSE if crowded or shape[1] < THRESHOLDS["few nodes"] else SPARSE


def against_fusing(flat: Flat, members: tuple[str, ...]) -> Iterator[str]:
    """Why the populations of a loop cannot run in the one call of `cfc_loop`; nothing where they can."""
    inside = set(members)
    dynamics = [flat.populations[p].dynamics for p in members]
    for name, p in flat.projections.items():
        if not set(flat.target(name)) & inside:
            continue
        if p.kind == "drive" and set(flat.source(name)) & inside:
            yield f"drive {name} reads the stage's own state"
        if p.kind == "coupling" and not set(flat.source(name)) <= inside:
            yield f"coupling {name} comes from an earlier stage"
        if p.kind == "coupling" and p.on == "drive" and any({"drive", "coupling"} & set(d.gain) for d in dynamics):
            yield f"coupling {name} is on a drive that a gain acts on"
        if p.memory == "hebbian":
            yield f"coupling {name} has Hebbian memory, weights of its own in each sample"
    if gated_memory := tuple(p for p in members if flat.populations[p].dynamics.memory == "gated"):
        yield f"populations have gated memory: {listing(gated_memory)}"
    if any(d.limiter == "clamp" for d in dynamics):
        yield "limiter 'clamp' acts on the updated state"
    if len({d.rate for d in dynamics}) > 1:
        yield "its populations differ in rate"
    nuclei = [n for n in flat.nuclei if set(gated(flat, n)) & inside]
    if nuclei and all(flat.nuclei[n].gating == "feedforward" for n in nuclei):
        yield "no nucleus reads its state"
    for gating, how in (("ambassador", "by ambassadors"), ("attention", "mixing values into the drive")):
        if others := tuple(n for n in nuclei if flat.nuclei[n].gating == gating):
            yield f"nuclei act {how}: {listing(others)}"
    for n in nuclei:
        heard = {p for p, _ in listens(flat, n)}
        if not heard <= inside:
            yield f"nucleus {n} listens to an earlier stage"


def against_streaming(network: Network) -> Iterator[str]:
    """Why a step of a network cannot be played from a tape; nothing where it can."""
    flat = network.flat
    if hebbian := tuple(n for n, p in flat.projections.items() if p.memory == "hebbian"):
        yield f"couplings have Hebbian memory: {listing(hebbian)}"
    if gated_memory := tuple(p for p in flat.populations if flat.populations[p].dynamics.memory == "gated"):
        yield f"populations have gated memory: {listing(gated_memory)}"
    if others := tuple(n for n in flat.nuclei if flat.nuclei[n].gating in ("ambassador", "attention")):
        yield f"nuclei act by ambassadors or attention: {listing(others)}"
    if network.ticks > 1 and any(r.when == "mean" for r in flat.readouts.values()):
        yield "the readout is a mean over several ticks"
