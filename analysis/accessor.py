"""The accessor `.nfsim` of xarray objects: every measure as a method, and selection by any label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from nfsim import analysis
from nfsim.recording import save, select, validate

MEASURES = (
    "aec",
    "analytic",
    "chimera_index",
    "coherence",
    "connectome",
    "coupling_energy",
    "dpli",
    "free_energy",
    "from_phase",
    "functional_connectivity",
    "functional_connectivity_dynamics",
    "graph_measures",
    "imaginary_coherence",
    "metastability",
    "order_parameter",
    "phase",
    "phase_amplitude_coupling",
    "phase_gradient",
    "pli",
    "plv",
    "ppc",
    "rate",
    "travelling_wave",
    "wavelet",
    "wpli",
)
"""Functions of `nfsim.analysis` that are methods of the accessor: their first argument is the data."""

PLOTS = (
    "plot_gain",
    "plot_matrix",
    "plot_motor",
    "plot_order",
    "plot_phase",
    "plot_rate",
    "plot_readout",
    "plot_regions",
)
"""Functions that draw a recording and return matplotlib Axes."""


class _Accessor:
    """Measures on one xarray object: `ds.nfsim.plv(over="time")` is `nfsim.analysis.plv(ds, over="time")`."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __dir__(self) -> list[str]:
        """Return the methods, measures included."""
        return sorted({*super().__dir__(), *MEASURES, *PLOTS})

    def __getattr__(self, name: str) -> Any:
        """Return the measure `name` with the data filled in."""
        if name not in MEASURES and name not in PLOTS:
            raise AttributeError(f"no measure {name!r}; there are {', '.join((*MEASURES, *PLOTS))}")
        function, data = getattr(analysis, name), self._data

        def measure(*args: Any, **arguments: Any) -> Any:
            return function(data, *args, **arguments)

        measure.__name__, measure.__doc__ = name, function.__doc__
        return measure

    def sel(self, **labels: Any) -> Any:
        """Return the part where each label has one of the values asked for: `sel(region=["pfc", "motor"], sector=3)`.

        Any coordinate along one dim selects, repeated values included; slices take both ends in.
        """
        return select(self._data, labels)


@xr.register_dataset_accessor("nfsim")
class DatasetAccessor(_Accessor):
    """Measures, checks and files of a recording."""

    def save(self, path: str | Path) -> Path:
        """Write the recording to a netCDF file (`.nc`) or a zarr store, and return the path."""
        return save(self._data, path)

    def validate(self) -> xr.Dataset:
        """Return the recording if it follows the schema; else raise with everything that is wrong."""
        return validate(self._data)


@xr.register_dataarray_accessor("nfsim")
class DataArrayAccessor(_Accessor):
    """Measures of one variable."""
