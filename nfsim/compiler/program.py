"""The lowered network: ordered stages, and why each runs as it does."""

from dataclasses import dataclass

from nfsim.wiring import Connectome

DENSE, SPARSE = "dense product", "sparse product"
"""Kernels of a coupling."""
SCAN, FUSED, TICKS = "cfc_scan: the whole sequence at once", "cfc_loop: all ticks in one call", "torch: tick after tick"
"""Kernels of a stage. `cfc_loop` is written for the CPU; on other devices the same stage runs tick after tick."""


def listing(names: tuple[str, ...]) -> str:
    """Names for print: all of a few, the ends of many."""
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, ..., {names[-1]} ({len(names)})"


@dataclass(frozen=True)
class Stage:
    """One or more populations that run together.

    Attributes
    ----------
    populations : paths, in node order.
    schedule : "scan" (the whole sequence at once) or "loop" (step by step).
    reasons : why; for a loop, everything that ties the stage to its own state.
    drives, couplings : names of the projections that end here.
    nuclei : paths of the nuclei whose gain acts on the dynamics here.
    kernel : what runs the stage: one of SCAN, FUSED and TICKS.
    refused : why a loop is not FUSED.
    coupling_kernels : the same for each coupling.
    """

    populations: tuple[str, ...]
    schedule: str
    reasons: tuple[str, ...]
    drives: tuple[str, ...]
    couplings: tuple[str, ...]
    nuclei: tuple[str, ...]
    kernel: str
    refused: tuple[str, ...]
    coupling_kernels: dict[str, str]


@dataclass(frozen=True)
class Program:
    """What a network lowers to: its connectome and the stages in the order they run.

    Prints as `explain()`.
    """

    connectome: Connectome
    stages: tuple[Stage, ...]
    against_streaming: tuple[str, ...] = ()
    """Why a step cannot be played from a tape; empty where it can."""

    def stage_of(self, population: str) -> int:
        """Index of the stage that runs a population."""
        return next(i for i, stage in enumerate(self.stages) if population in stage.populations)

    def explain(self, device: str = "cpu") -> str:
        """The program as text, as it runs on a device."""
        from nfsim.compiler.explain import explain

        return explain(self, device)

    def __str__(self) -> str:
        return self.explain()
