"""Selection by any label, repeated ones included, where xarray's `.sel` needs an index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def select(data: Any, labels: Mapping[str, Any]) -> Any:
    """Return the part of a Dataset or DataArray where each coordinate has one of the values asked for.

    Unlike `.sel`, works on any coordinate along one dim, repeated values included; a scalar, a list or a slice
    (`time=slice(0, 1)`, both ends included) may be given.
    """
    for key, wanted in labels.items():
        if key not in data.coords and key not in data.dims:
            known = sorted(map(str, {*data.coords, *data.dims}))
            raise ValueError(f"sel: no coordinate {key!r}; this recording has {known}")
        dim, values = (key, np.arange(data.sizes[key])) if key not in data.coords else _one_dim(data, key)
        keep = _matches(key, values, wanted)
        data = data.isel({dim: np.flatnonzero(keep)})
        if dim == "node" and "edge_source" in data.coords and not keep.all():
            # edges name nodes by number: without the rest of the nodes the numbers mean nothing
            data = _subgraph(data, keep)
    return data


def _one_dim(data: Any, key: str) -> tuple[str, np.ndarray]:
    coord = data.coords[key]
    if coord.ndim != 1:
        raise ValueError(f"sel: coordinate {key!r} has dims {coord.dims}; only labels along one dim select")
    return str(coord.dims[0]), coord.values


def _matches(key: str, values: np.ndarray, wanted: Any) -> np.ndarray:
    if isinstance(wanted, slice):
        if wanted.step is not None:
            raise ValueError(f"sel: {key}={wanted} has a step; use isel for that")
        low = values >= wanted.start if wanted.start is not None else np.ones(len(values), bool)
        return low & (values <= wanted.stop if wanted.stop is not None else True)
    single = isinstance(wanted, str) or not isinstance(wanted, Iterable)
    asked: list[Any] = [wanted] if single else list(wanted)
    keep = np.isin(values, np.asarray(asked)) if asked else np.zeros(len(values), bool)
    absent = [item for item in asked if not np.any(values == item)]
    if absent:
        known = np.unique(values)
        shown = [str(item) for item in known[:12]] + (["..."] if len(known) > 12 else [])
        raise ValueError(f"sel: {key} has no {absent}; it has {', '.join(shown)}")
    return keep


def _subgraph(data: Any, keep: np.ndarray) -> Any:
    number = np.cumsum(keep) - 1
    source, target = data.coords["edge_source"].values, data.coords["edge_target"].values
    inside = keep[source] & keep[target]
    data = data.isel(edge=np.flatnonzero(inside)) if "edge" in data.dims else data
    return data.assign_coords(
        edge_source=("edge", number[source[inside]], data.coords["edge_source"].attrs),
        edge_target=("edge", number[target[inside]], data.coords["edge_target"].attrs),
    )
