"""From a program to a model on a device."""

import torch

from nfsim.compiler.program import Program
from nfsim.errors import BuildError
from nfsim.models.compiled import CompiledModel
from nfsim.models.model import AbstractModel
from nfsim.models.reference import ReferenceModel


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one, then MPS, then the CPU.

    MPS is untested. Raises `BuildError` for a device that this machine or this build of torch does not have.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in has.items() if there)
    if not has[name]:
        raise BuildError(
            f"compile: device {name!r} is not available to torch {torch.__version__} here; use 'auto' or 'cpu'"
        )
    return torch.device(name)


def build(program: Program, *, backend: str = "torch", device: str = "auto") -> AbstractModel:
    """The model of a program: parameters are drawn, then moved to the device."""
    if backend == "reference":
        return ReferenceModel(program)
    return CompiledModel(program).to(choose_device(device))
