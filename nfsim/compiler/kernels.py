"""Which kernel runs a stage, by measured thresholds."""

from nfsim.compiler.program import DENSE, SPARSE
from nfsim.values import one_of

THRESHOLDS = {"density": 0.02, "few nodes": 64}
"""A coupling with a larger share of edges, or fewer sources, is a dense product.

Measured by benchmarks/coupling.py on 2 cores of an Intel Xeon, November 2026: the sparse product takes 0.35 ns per edge
and row of states, the dense one 0.007 ns per pair of nodes: they meet at one edge in fifty pairs."""

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
