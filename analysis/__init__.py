"""Reads the synchrony of labelled recordings. Importing it registers the accessor `.nfsim` of xarray objects.

Everything takes xarray in and gives xarray back, names the dims it averages (`over=`), runs on dask arrays chunk by
chunk, and works on any labelled array, whether it came from nfsim or not.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "_example": ("example",),
    "phases": ("analytic", "from_phase", "phase", "rate", "wavelet"),
    "synchrony": ("chimera_index", "metastability", "order_parameter"),
    "connectivity": ("aec", "dpli", "functional_connectivity", "pli", "plv", "ppc", "wpli"),
    "windows": ("functional_connectivity_dynamics", "sliding"),
    "spectral": ("coherence", "imaginary_coherence", "phase_amplitude_coupling"),
    "energy": ("coupling_energy", "energy_ledger", "free_energy"),
    "surrogates": ("significance", "surrogate"),
    "waves": ("phase_gradient", "travelling_wave"),
    "graph": ("connectome", "graph_measures"),
    "plots": (
        "plot_gain",
        "plot_ledger",
        "plot_matrix",
        "plot_motor",
        "plot_order",
        "plot_phase",
        "plot_rate",
        "plot_readout",
        "plot_regions",
    ),
    "online": ("Online",),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Return the public function `name`, importing its module at the first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'nfsim.analysis' has no attribute {name!r}")
    value = getattr(import_module(f"nfsim.analysis.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return all public names, loaded or not."""
    return sorted({*globals(), *__all__})


from nfsim.analysis import accessor as accessor  # noqa: E402  registers `.nfsim`, once the names above exist
