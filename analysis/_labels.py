"""What every labelled measure shares: checks of input, additive sums over chunks, and pairs of nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

Over = str | Sequence[str]


def threads(data: xr.DataArray) -> int | None:
    """Return 1 under dask, which brings its own threads, and None (all cores) for data in memory."""
    return 1 if data.chunks is not None else None


def variable(data: xr.DataArray | xr.Dataset, name: str | None = None) -> xr.DataArray:
    """Return the DataArray to work on: `data`, or variable `name` of a Dataset (by default `z`, or its only one)."""
    if isinstance(data, xr.DataArray):
        return data
    if not isinstance(data, xr.Dataset):
        raise TypeError(
            f"{type(data).__name__} has no labels; make a recording of it: nfsim.from_array(array, dims, coords)"
        )
    if name is None:
        names = list(data.data_vars)
        name = "z" if "z" in names else str(names[0]) if len(names) == 1 else None
    if name is None or name not in data.data_vars:
        raise ValueError(f"no variable {name or 'z'!r} in the recording; it has {sorted(map(str, data.data_vars))}")
    return data[name]


def complex_state(data: xr.DataArray | xr.Dataset, measure: str) -> xr.DataArray:
    """Return the complex DataArray of `data`, or raise: real signals have no phase of their own."""
    z = variable(data)
    if z.dtype.kind != "c":
        raise TypeError(
            f"{measure}: {z.name or 'the array'} is {z.dtype}, not complex; get phases with "
            f".nfsim.analytic(band=(low, high)) or, of angles, nfsim.analysis.from_phase(angles)"
        )
    return z if z.dtype in (np.complex64, np.complex128) else z.astype(np.complex128)


def real_signal(data: xr.DataArray | xr.Dataset, measure: str, name: str | None = None) -> xr.DataArray:
    """Return the real DataArray of `data`, or raise: complex states have several real signals in them."""
    x = variable(data, name)
    if x.dtype.kind == "c":
        raise TypeError(f"{measure}: {x.name or 'the array'} is complex; give the signal you mean, abs(z) or z.real")
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def dims_over(data: xr.DataArray, over: Over, measure: str, *, least: int = 2, why: str = "") -> tuple[str, ...]:
    """Return `over` as dims of `data`, after checking that they exist and hold at least `least` samples together."""
    dims = (over,) if isinstance(over, str) else tuple(over)
    absent = [dim for dim in dims if dim not in data.dims]
    if absent or not dims:
        raise ValueError(
            f"{measure}: over={over!r} is not among the dims {tuple(data.dims)} of {data.name or 'the data'}"
        )
    size = int(np.prod([data.sizes[dim] for dim in dims]))
    if size < least:
        raise ValueError(
            f"{measure}: over={over!r} has {size} sample{'s' * (size != 1)}, needs {least}; {why}".rstrip("; ")
        )
    return dims


def check_dim(data: xr.DataArray, dim: str, measure: str, role: str) -> None:
    """Raise when `dim`, given as the argument `role`, is no dim of `data`."""
    if dim not in data.dims:
        raise ValueError(
            f"{measure}: {role}={dim!r} is not among the dims {tuple(data.dims)} of {data.name or 'the data'}"
        )


def additive(
    kernel: Callable[..., np.ndarray],
    data: xr.DataArray,
    core: Sequence[str],
    over: Sequence[str],
    out: Mapping[str, int],
    dtype: Any,
    *,
    extra: Sequence[xr.DataArray] = (),
) -> xr.DataArray:
    """Return the sums that `kernel` makes over the dims `over`, added up over the chunks of a lazy array.

    `kernel(block, *extra)` takes `[..., *core, *over]` and returns sums `[..., *out]` (dims and sizes). It is called
    per chunk, so memory is bounded by chunks; sums of chunks are added pairwise, as a tree.
    """

    def part(piece: xr.DataArray) -> xr.DataArray:
        piece = piece.chunk({dim: -1 for dim in (*core, *over)}) if piece.chunks is not None else piece
        return xr.apply_ufunc(
            kernel,
            piece,
            *extra,
            input_core_dims=[[*core, *over], *[[d for d in e.dims if d in core] for e in extra]],
            output_core_dims=[list(out)],
            dask="parallelized",
            dask_gufunc_kwargs={
                "output_sizes": dict(out),
                "allow_rechunk": True,
                # given, since dask would make it from the input and warn where a complex array leads to a real one
                "meta": np.empty((0,) * (piece.ndim - len(core) - len(over) + len(out)), dtype),
            },
        )

    if data.chunks is None:
        return part(data)
    edges = {dim: np.cumsum([0, *data.chunksizes[dim]]) for dim in over}
    slices = [[slice(a, b) for a, b in itertools.pairwise(edges[dim])] for dim in over]
    parts = [part(data.isel(dict(zip(over, cut, strict=True)))) for cut in itertools.product(*slices)]
    if len(parts) == 1:
        return parts[0]
    import dask.array

    # Not `a + b`: dask fuses a chain of sums into one task, which then holds the sums of all chunks at once.
    stacked = dask.array.stack([p.data for p in parts])
    return parts[0].copy(data=stacked.sum(axis=0, split_every=2))


def flat_over(block: np.ndarray, dims: int) -> np.ndarray:
    """Return `block` with its last `dims` axes as one."""
    return block.reshape(*block.shape[: block.ndim - dims], -1) if dims != 1 else block


def pair_name(node: str) -> str:
    """Return the name of the second dim of a node by node matrix."""
    return f"{node}_j"


def with_pair_coords(result: xr.DataArray, data: xr.DataArray | xr.Dataset, node: str) -> xr.DataArray:
    """Return a node by node matrix with the coordinates of its nodes on both dims: `region` and `region_j`."""
    other = pair_name(node)
    coords = {}
    for name, coord in data.coords.items():
        if coord.dims == (node,):
            coords[str(name)] = (node, coord.values, coord.attrs)
            coords[pair_name(str(name))] = (other, coord.values, coord.attrs)
    return result.assign_coords(coords)


def one_node_dim(data: xr.DataArray, between: str, over: Sequence[str], measure: str) -> None:
    """Raise unless `between` is a dim of `data`, of at least two nodes, and apart from `over`."""
    check_dim(data, between, measure, "between")
    if between in over:
        raise ValueError(f"{measure}: between={between!r} is also in over={tuple(over)}; average over another dim")
    if data.sizes[between] < 2:
        raise ValueError(
            f"{measure}: {between!r} has one entry, and a node is always locked to itself; give at least two"
        )


def uniform_step(data: xr.DataArray, dim: str, measure: str) -> float:
    """Return the sampling interval along `dim`; raise when there is no such coordinate or its steps differ."""
    check_dim(data, dim, measure, "over")
    if dim not in data.coords:
        raise ValueError(
            f"{measure}: dim {dim!r} has no coordinate, so frequencies have no unit; give it with "
            f".assign_coords({dim}=numpy.arange(n) / rate)"
        )
    values = np.asarray(data.coords[dim].values)
    if values.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{measure}: coordinate {dim!r} is {values.dtype}; give times in numbers")
    if values.size < 2:
        raise ValueError(f"{measure}: {dim!r} has {values.size} sample; a spectrum needs more")
    steps = np.diff(values.astype(np.float64))
    mean = steps.mean()
    # float32 times of a long recording are exact to about 1e-3 of a step
    if not (mean > 0 and np.allclose(steps, mean, rtol=1e-2 if values.dtype == np.float32 else 1e-4, atol=0)):
        raise ValueError(
            f"{measure}: steps of {dim!r} go from {steps.min():.6g} to {steps.max():.6g}; resample to uniform time, "
            f"for example .interp({dim}=numpy.linspace(...))"
        )
    return float(mean)


def describe(result: xr.DataArray, name: str, *, units: str = "1", long_name: str, source: str) -> xr.DataArray:
    """Return `result` with its name, unit, long name and source; attributes of the input are not its own."""
    result = result.rename(name)
    result.attrs = {"units": units, "long_name": long_name, "source": source}
    return result
