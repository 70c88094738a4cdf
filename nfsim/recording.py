"""The recording schema: what a recording is, how it is checked, opened, saved and made from foreign arrays.

A recording is an `xarray.Dataset` on the dims `trial, time, node, nucleus, label, edge` (sweeps and seeds add dims of
their own). The names given in the declaration of a network are the coordinates of its recording.

Only xarray is needed here: no torch. `nfsim.record` makes recordings from a model, `nfsim._store` writes them chunk by
chunk.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nfsim._forms import join_complex, plain_labels, split_complex, string_labels
from nfsim._select import select as select

SCHEMA = 1
"""Version of this schema, stored as the attribute `nfsim_schema`."""

DIMS = ("trial", "time", "node", "nucleus", "label", "edge")


@dataclass(frozen=True)
class Variable:
    """One variable of the schema: its dims, what numbers it holds (`numpy.dtype.kind`), its unit and its long name."""

    dims: tuple[str, ...]
    kind: str
    units: str
    long_name: str


_STATE = ("trial", "time", "node")

VARIABLES: dict[str, Variable] = {
    "z": Variable(_STATE, "c", "1", "oscillator state"),
    "gain": Variable(_STATE, "f", "1", "thalamic gain"),
    "logits": Variable(("trial", "time", "label"), "f", "1", "readout"),
    "steady": Variable(_STATE, "c", "1", "steady state the update moves towards"),
    "drive": Variable(_STATE, "c", "1", "input drive"),
    "nucleus_gain": Variable(("trial", "time", "nucleus"), "f", "1", "mean gain of the nodes a nucleus targets"),
    "initial": Variable(("node",), "c", "1", "state before the first tick"),
    "energy_accuracy": Variable(_STATE, "f", "nat", "free energy: accuracy part"),
    "energy_complexity": Variable(_STATE, "f", "nat", "free energy: complexity part"),
}
"""Variables with a fixed meaning. Others are allowed: one per named state of other dynamics."""

COORDINATES: dict[str, Variable] = {
    "time": Variable(("time",), "iuf", "s", "time since the start of the input"),
    "sample": Variable(("trial",), "iu", "1", "row of the data set"),
    "target": Variable(("trial",), "iu", "1", "index of the correct label"),
    "prediction": Variable(("trial",), "iu", "1", "index of the predicted label"),
    "steps": Variable(("trial",), "iu", "1", "valid input steps; later ones are NaN"),
    "region": Variable(("node",), "UTO", "", "region"),
    "population": Variable(("node",), "UTO", "", "population"),
    "sector": Variable(("node",), "iuf", "1", "sector within the population"),
    "node_label": Variable(("node",), "UTO", "", "name of the node"),
    "pos_x": Variable(("node",), "f", "1", "position on the unit sphere, x"),
    "pos_y": Variable(("node",), "f", "1", "position on the unit sphere, y"),
    "pos_z": Variable(("node",), "f", "1", "position on the unit sphere, z"),
    "lat": Variable(("node",), "f", "degrees_north", "latitude"),
    "lon": Variable(("node",), "f", "degrees_east", "longitude"),
    "omega": Variable(("node",), "f", "rad/s", "natural angular frequency"),
    "prior_variance": Variable(("node",), "f", "1", "variance v0 of the prior"),
    "nucleus": Variable(("nucleus",), "UTO", "", "thalamic nucleus"),
    "label": Variable(("label",), "UTOiu", "", "class"),
    "edge_source": Variable(("edge",), "iu", "1", "node an edge starts from"),
    "edge_target": Variable(("edge",), "iu", "1", "node an edge ends at"),
    "edge_weight": Variable(("edge",), "f", "1", "coupling weight"),
    "edge_length": Variable(("edge",), "f", "1", "length: declared, else rad along the sphere"),
    "edge_projection": Variable(("edge",), "UTO", "", "projection an edge belongs to"),
    "edge_kind": Variable(("edge",), "UTO", "", "kind of that projection"),
}
"""Coordinates with a fixed meaning. `node_label` names nodes, since `label` is the dim of the readout."""

_TIMED = {"time": "{}", "omega": "rad/{}"}


def validate(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` unchanged if it follows the schema; else raise with everything that is wrong, one problem a line.

    Dims beyond those of the schema (`seed`, a swept parameter) are allowed in front. Labels may lie on dims of their
    own where the recording has none of those of the schema, such as the region of a channel.
    """
    problems = _version_problems(ds.attrs)
    for name, rule in VARIABLES.items():
        if name in ds.data_vars:
            problems += _variable_problems(ds[name], name, rule, exact=False)
    for name, rule in COORDINATES.items():
        # foreign recordings may have dims of their own, such as channels with a region each
        if name in ds.coords and set(rule.dims) & set(ds.dims):
            problems += _variable_problems(ds[name], name, rule, exact=name not in ("time", "target", "prediction"))
    if problems:
        raise ValueError("not a valid recording:\n" + "\n".join(f"- {problem}" for problem in problems))
    return ds


def _version_problems(attrs: Mapping[str, Any]) -> list[str]:
    version = attrs.get("nfsim_schema")
    if version is None:
        return ["no attribute nfsim_schema: foreign data; bring arrays in with nfsim.from_array(array, dims, coords)"]
    if int(version) > SCHEMA:
        return [f"nfsim_schema is {version}, this nfsim reads up to {SCHEMA}: install the nfsim that wrote it"]
    return []


def _variable_problems(var: xr.DataArray, name: str, rule: Variable, *, exact: bool) -> list[str]:
    problems = []
    missing = [dim for dim in rule.dims if dim not in var.dims and not (dim == "trial" and not exact)]
    if missing or (exact and var.dims != rule.dims):
        problems.append(f"{name}: dims are {var.dims}, the schema asks for {rule.dims}; rename or transpose")
    if var.dtype.kind not in rule.kind:
        problems.append(f"{name}: dtype is {var.dtype}, the schema asks for kind {rule.kind!r}; convert with astype")
    return problems


def describe(ds: xr.Dataset, time_unit: str = "s") -> xr.Dataset:
    """Return `ds` with the unit and long name of the schema on each variable and coordinate that has none."""
    ds = ds.copy(deep=False)
    for name, rule in {**VARIABLES, **COORDINATES}.items():
        if name in ds.variables:
            attrs = ds[name].attrs
            attrs.setdefault("long_name", rule.long_name)
            if rule.units:
                attrs.setdefault("units", _TIMED.get(name, rule.units).format(time_unit))
    return ds


def from_array(
    array: Any,
    dims: Sequence[str] | None = None,
    coords: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    units: str = "1",
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Return a recording made from any array: EEG, MEG, fMRI, or the output of another simulator.

    Parameters
    ----------
    array : array or xarray.DataArray
        numpy, dask or labelled; complex states or real signals.
    dims : sequence of str
        One name per axis. `trial`, `time`, `node` have a meaning to the schema; others are kept. A DataArray brings its
        own; dims given beside it rename them in order.
    coords : mapping
        Values along a dim under the dim's own name, or `(dim, values)` for a further label:
        `{"time": t, "region": ("node", names)}`.
    name : str
        Variable name; by default `z` for complex arrays on `time` and `node`, else `signal`.
    units : str
        Unit of the array's numbers.
    attrs : mapping
        Attributes of the recording (subject, licence, ...).

    Examples
    --------
    >>> import numpy as np
    >>> ds = from_array(np.zeros((2, 50), "c8"), ("node", "time"), {"region": ("node", ["pfc", "motor"])})
    >>> dict(ds.sizes), ds.z.dtype
    ({'node': 2, 'time': 50}, dtype('complex64'))
    """
    if isinstance(array, xr.Dataset):
        raise TypeError("from_array: got a Dataset; give one of its variables, as in from_array(ds['signal'])")
    data = array if isinstance(array, xr.DataArray) else _labelled(array, dims)
    if isinstance(array, xr.DataArray) and dims is not None:
        data = data.rename(dict(zip(map(str, data.dims), _checked_dims(dims, data.ndim), strict=True)))
    if data.dtype.kind not in "iufc":
        raise TypeError(f"from_array: dtype {data.dtype} holds no numbers; convert the array to float or complex")
    state = data.dtype.kind == "c" and {"time", "node"} <= set(data.dims)
    name = name or ("z" if state else "signal")
    ds = data.rename(name).to_dataset()
    ds[name].attrs.setdefault("units", units)
    for key, value in (coords or {}).items():
        ds = ds.assign_coords({key: _coordinate(key, value, ds)})
    ds.attrs = {**ds.attrs, **(attrs or {}), "nfsim_schema": SCHEMA}
    return validate(describe(ds))


def _checked_dims(dims: Sequence[str], ndim: int) -> tuple[str, ...]:
    dims = (dims,) if isinstance(dims, str) else tuple(dims)
    if len(dims) != ndim:
        raise ValueError(f"from_array: {len(dims)} dims {dims} for an array of {ndim} axes; give one name per axis")
    if len(set(dims)) != len(dims):
        raise ValueError(f"from_array: dims {dims} repeat a name; each axis needs its own")
    return dims


def _labelled(array: Any, dims: Sequence[str] | None) -> xr.DataArray:
    if dims is None:
        raise ValueError("from_array: an array without labels needs dims, such as ('trial', 'node', 'time')")
    if not hasattr(array, "dask"):
        array = np.asarray(array)
    return xr.DataArray(array, dims=_checked_dims(dims, array.ndim))


def _coordinate(key: str, value: Any, ds: xr.Dataset) -> tuple[str, Any]:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        dim, values = value
    elif key in ds.dims:
        dim, values = key, value
    else:
        raise ValueError(f"from_array: coordinate {key!r} is not a dim of {tuple(ds.dims)}; give it as (dim, values)")
    values = np.asarray(values)
    if dim not in ds.dims:
        raise ValueError(f"from_array: coordinate {key!r} lies on {dim!r}, which is not among {tuple(ds.dims)}")
    if values.shape != (ds.sizes[dim],):
        raise ValueError(f"from_array: coordinate {key!r} has shape {values.shape}, dim {dim!r} has {ds.sizes[dim]}")
    return dim, values


def save(ds: xr.Dataset, path: str | Path) -> Path:
    """Write a recording to `path` and return the path: netCDF for `.nc`, a zarr v3 store otherwise.

    netCDF has no complex numbers: `z` is stored as `z_real` and `z_imag`, which `nfsim.open` joins again.
    """
    path = Path(path)
    validate(ds)
    if path.exists():
        raise FileExistsError(f"{path}: exists already; give a new path, or remove it first")
    if path.suffix in (".nc", ".nc4"):
        split_complex(ds).to_netcdf(path, engine="h5netcdf")
        return path
    ds = string_labels(ds).assign_attrs(closed=1)
    for var in ds.variables.values():
        var.encoding = {}
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata is not in the v3 specification; xarray reads it, others ignore it
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        ds.to_zarr(path, zarr_format=3, consolidated=True)
    return path


def open(path: str | Path, *, chunks: Any = None) -> xr.Dataset:
    """Return the recording stored at `path`, lazily: a zarr store (finished or not) or a netCDF file.

    A store whose writer was killed opens at its valid length; `ds.attrs["closed"]` is 0 and `ds.attrs["valid_length"]`
    says how much of `ds.attrs["valid_dim"]` there is.

    Parameters
    ----------
    path : str or Path
        Folder of a zarr store, or a netCDF file.
    chunks
        Dask chunks, as in `xarray.open_dataset`; by default those of the store.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such recording; nfsim.record(model, data, to=...) writes one")
    if path.is_dir():
        from nfsim import _store

        ds = _store.read(path, {} if chunks is None else chunks)
    else:
        try:
            ds = join_complex(xr.open_dataset(path, engine="h5netcdf", chunks={} if chunks is None else chunks))
        except OSError as error:
            raise ValueError(
                f"{path}: not a netCDF-4 file ({error}); nfsim.open reads zarr stores and netCDF"
            ) from error
    problems = _version_problems(ds.attrs)
    if problems:
        raise ValueError(f"{path}: {problems[0]}")
    # labels are small and always needed: only the variables stay lazy
    return validate(plain_labels(ds.assign_coords(ds.coords.to_dataset().load().coords)))
