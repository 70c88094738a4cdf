"""nfsim: declare a cortex as populations on a sphere, compile it to PyTorch, train it, and read its synchrony."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfsim._record import record
    from nfsim.compiler import compile
    from nfsim.dynamics import CfC, Normal, Uniform
    from nfsim.errors import BuildError
    from nfsim.evaluation import evaluate
    from nfsim.network import Network
    from nfsim.population import Input, Nucleus, Population, Projection, Readout, Region
    from nfsim.recording import from_array, open
    from nfsim.rules import AllToAll, Decay, Explicit, Nearest, OneToOne, Random, Topographic
    from nfsim.runs import load
    from nfsim.serial import declarable
    from nfsim.shuffled import Shuffled
    from nfsim.sphere import Band, Cap
    from nfsim.training import FitResult, fit
    from nfsim.wiring import Connectome, wire

__version__ = "0.1.0"

_HOME = {
    "compile": "nfsim.compiler",
    "CfC": "nfsim.dynamics",
    "Normal": "nfsim.dynamics",
    "Uniform": "nfsim.dynamics",
    "BuildError": "nfsim.errors",
    "Network": "nfsim.network",
    "Input": "nfsim.population",
    "Nucleus": "nfsim.population",
    "Population": "nfsim.population",
    "Projection": "nfsim.population",
    "Readout": "nfsim.population",
    "Region": "nfsim.population",
    "AllToAll": "nfsim.rules",
    "Decay": "nfsim.rules",
    "Explicit": "nfsim.rules",
    "Nearest": "nfsim.rules",
    "OneToOne": "nfsim.rules",
    "Random": "nfsim.rules",
    "Topographic": "nfsim.rules",
    "declarable": "nfsim.serial",
    "Shuffled": "nfsim.shuffled",
    "Band": "nfsim.sphere",
    "Cap": "nfsim.sphere",
    "Connectome": "nfsim.wiring",
    "FitResult": "nfsim.training",
    "evaluate": "nfsim.evaluation",
    "from_array": "nfsim.recording",
    "open": "nfsim.recording",
    "record": "nfsim._record",
    "fit": "nfsim.training",
    "load": "nfsim.runs",
    "wire": "nfsim.wiring",
}
_PARTS = ("analysis", "models", "regions", "data")
__all__ = ["__version__", *_HOME, *_PARTS]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import nfsim` stays light."""
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _PARTS:
        value = importlib.import_module(f"nfsim.{name}")
    else:
        raise AttributeError(f"module 'nfsim' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
