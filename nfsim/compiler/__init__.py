"""The compiler: check, wire, schedule, build."""

from typing import TYPE_CHECKING

from nfsim.compiler.kernels import coupling_problems
from nfsim.compiler.program import Program, Stage
from nfsim.compiler.schedule import schedule
from nfsim.errors import BuildError
from nfsim.network import Network
from nfsim.values import one_of
from nfsim.wiring import Connectome, wire

if TYPE_CHECKING:
    from nfsim.models.model import AbstractModel

__all__ = ["Program", "Stage", "compile", "lower"]

BACKENDS = ("torch", "reference")
DEVICES = ("auto", "cpu", "cuda", "mps")


def lower(network: Network | Connectome, coupling: str = "auto") -> Program:
    """The program of a network or of its connectome; raises `BuildError` with all that cannot be compiled."""
    if not isinstance(network, Network | Connectome):
        raise TypeError(f"compile: a {type(network).__name__} is no network; give a Network, or its Connectome")
    connectome = network if isinstance(network, Connectome) else wire(network)
    delayed = [
        f"{name}: delay {p.delay} is not kept by a compiled step, which carries no history; leave the delay out"
        for name, p in connectome.network.flat.projections.items()
        if p.delay
    ]
    if delayed:
        raise BuildError(delayed)
    return schedule(connectome, coupling)


def compile(
    network: Network | Connectome,
    *,
    backend: str = "torch",
    device: str = "auto",
    coupling: str = "auto",
    guard: bool = False,
) -> "AbstractModel":
    """The trainable model of a network: ``model(x) -> Output(logits, state, record)``.

    Parameters
    ----------
    network : the declaration, or its connectome.
    backend : "torch", or "reference": a plain float64 transcription of the equations, slow, to check against.
    device : "auto" (CUDA, then MPS, then CPU), or one of these. MPS is untested. The reference stays on the CPU, where
        float64 is.
    coupling : kernel of every coupling: "auto" (by measured thresholds, said in `explain()`), "dense" or "sparse".
    guard : look at every state of every call, and raise `FloatingPointError` with the node and the step where the first
        is not finite. It keeps all states and passes over them once; `model.guard` switches it at any time.

    Raises
    ------
    BuildError : with every problem of the declaration, or for a backend or device that there is none of.
    """
    device = getattr(device, "type", device)  # of a torch.device, without loading torch
    problems = [
        f"compile: {p}"
        for p in (
            *one_of("backend", backend, BACKENDS),
            *one_of("device", device, DEVICES),
            *coupling_problems(coupling),
            *one_of("guard", guard, (True, False)),
        )
    ]
    if problems:
        raise BuildError(problems)
    program = lower(network, coupling)
    from nfsim.models.build import build

    model = build(program, backend=backend, device=device)
    model.guard = guard
    return model
