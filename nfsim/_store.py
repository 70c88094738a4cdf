"""Streaming zarr v3 stores: written block by block, readable at any moment, resumable.

The order of writing makes a store safe against being killed: arrays grow first, then the blocks of all variables are
written (zarr replaces each chunk file atomically), and only then the attribute `valid_length` moves on. What lies
beyond it is never read. The store appears under its name only when its metadata are complete.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from nfsim._forms import string_labels
from nfsim.recording import describe, validate

_FILL = {"c": complex(np.nan, np.nan), "f": np.nan, "i": -1, "u": 0, "b": 0}


class Writer:
    """A zarr store that grows along one dim.

    Parameters
    ----------
    path : str or Path
        Folder of the store. It must not exist, except with `resume`.
    template : xarray.Dataset
        Every variable and coordinate of the recording. Those without the dim `along` are stored as they are; of the
        others only dims, dtype and attributes are read (the values, and the length of `along`, are not).
    along : str
        The dim that grows: "trial", or "time" for one long run.
    chunk : int
        Length of a chunk along `along`.
    chunks : mapping
        Chunk lengths of other dims; whole by default.
    length : int or None
        Total length, when known: arrays then have it from the start, else they grow with each block.
    resume : bool
        Go on with an existing store. It must have been made from an equal template; the difference is named otherwise.

    Examples
    --------
    >>> import tempfile, numpy as np, xarray as xr
    >>> from nfsim.recording import from_array
    >>> template = from_array(np.zeros((1, 4, 3), "c8"), ("trial", "time", "node"))
    >>> with Writer(tempfile.mkdtemp() + "/run.zarr", template, along="trial", chunk=2) as writer:
    ...     writer.append({"z": np.ones((5, 4, 3), "c8")})
    ...     writer.valid
    5
    """

    def __init__(
        self,
        path: str | Path,
        template: xr.Dataset,
        *,
        along: str = "trial",
        chunk: int,
        chunks: Mapping[str, int] | None = None,
        length: int | None = None,
        resume: bool = False,
    ) -> None:
        self.path, self.along, self.chunk, self.length = Path(path), along, int(chunk), length
        if self.chunk < 1:
            raise ValueError(f"chunk is {chunk}; give a positive length along {along!r}")
        self._template = string_labels(validate(describe(template)))
        self._growing = {str(k): v for k, v in self._template.variables.items() if along in v.dims}
        if not self._growing:
            raise ValueError(f"no variable of the recording has the dim {along!r}; it has {tuple(template.dims)}")
        self.valid = 0
        if resume and self.path.exists():
            self.valid = self._take_up()
        else:
            self._create(chunks or {})
        self._group = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        self._arrays: dict[str, zarr.Array[Any]] = {}
        for name in self._growing:
            array = self._group[name]
            assert isinstance(array, zarr.Array)  # created so, or compared with the template
            self._arrays[name] = array

    def __enter__(self) -> Writer:
        """Return the writer; leaving the block closes the store, unless an exception is on its way."""
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Close after success; after an exception leave the store open, to be resumed."""
        if kind is None:
            self.close()

    def _create(self, chunks: Mapping[str, int]) -> None:
        if self.path.exists():
            raise FileExistsError(f"{self.path}: exists already; resume it, or give a new path")
        size = self.length or 0
        encoding: dict[str, Any] = {}
        growing = {}
        for name, var in self._growing.items():
            shape = tuple(size if dim == self.along else var.sizes[dim] for dim in var.dims)
            lengths = {**{str(dim): max(1, var.sizes[dim]) for dim in var.dims}, **chunks, self.along: self.chunk}
            encoding[name] = {"chunks": tuple(lengths[str(dim)] for dim in var.dims), "fill_value": _fill(var.dtype)}
            growing[name] = (shape, var)
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        fixed = self._template.drop_vars(list(growing)).assign_attrs(valid_length=0, valid_dim=self.along, closed=0)
        for var in fixed.variables.values():
            var.encoding = {}
        fixed.to_zarr(partial, zarr_format=3, consolidated=False)
        group = zarr.open_group(partial, mode="r+")
        for name, (shape, var) in growing.items():
            group.create_array(
                name, shape=shape, dtype=var.dtype, chunks=encoding[name]["chunks"],
                dimension_names=[str(dim) for dim in var.dims], fill_value=encoding[name]["fill_value"],
                attributes=_plain(var.attrs), config={"write_empty_chunks": True},
            )  # fmt: skip
        # the CF attribute by which xarray tells coordinates from variables
        labels = sorted(str(name) for name in self._template.coords if name not in self._template.dims)
        group.attrs["coordinates"] = " ".join(labels)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(self.path)

    def _take_up(self) -> int:
        """Return the valid length of the existing store, after checking that it is a recording of the same thing."""
        old = read(self.path, chunks=None)
        problems = []
        if old.attrs.get("valid_dim") != self.along:
            problems.append(f"it grows along {old.attrs.get('valid_dim')!r}, not {self.along!r}")
        bookkeeping = {"valid_length", "valid_dim", "closed", "git_revision", "nfsim_version", "coordinates"}
        for key in sorted({*old.attrs, *self._template.attrs} - bookkeeping):
            if not _same(old.attrs.get(key), _plain(self._template.attrs).get(key)):
                problems.append(f"attribute {key!r} differs")
        grew = {str(name) for name, var in old.variables.items() if self.along in var.dims}
        for name in sorted(grew | {str(name) for name in self._template.variables}):
            if name not in old.variables or name not in self._template.variables:
                problems.append(f"{name} is only in the {'store' if name in old.variables else 'new recording'}")
                continue
            a, b = old[name].variable, self._template[name].variable
            shapes = [{d: n for d, n in v.sizes.items() if d != self.along} for v in (a, b)]
            if a.dims != b.dims or shapes[0] != shapes[1] or np.dtype(a.dtype).kind != np.dtype(b.dtype).kind:
                problems.append(f"{name} is {a.dtype} on {dict(a.sizes)}, not {b.dtype} on {dict(b.sizes)}")
            elif self.along not in a.dims and not _equal(a.values, b.values):
                problems.append(f"{name} has other values")
        if problems:
            raise ValueError(f"{self.path}: cannot resume, it holds another recording: " + "; ".join(problems))
        _edit_metadata(self.path)
        return int(old.attrs["valid_length"])

    def write(self, block: Mapping[str, Any], *, start: int, **offsets: int) -> None:
        """Write arrays at `start` along the growing dim, and at `offsets` along others, without counting them valid.

        `block` maps variable names to arrays with all the dims of the variable, in its order.
        """
        for name, values in block.items():
            if name not in self._growing:
                raise ValueError(f"{name!r} does not grow along {self.along!r}; the store has {sorted(self._growing)}")
            dims = self._growing[name].dims
            values = np.asarray(values)
            if values.ndim != len(dims):
                raise ValueError(f"{name}: block of shape {values.shape} for dims {dims}; give one axis per dim")
            begin = [start if dim == self.along else offsets.get(str(dim), 0) for dim in dims]
            stop = [b + n for b, n in zip(begin, values.shape, strict=True)]
            array = self._arrays[name]
            for dim, end, have in zip(dims, stop, array.shape, strict=True):
                if end > have and (dim != self.along or self.length is not None):
                    raise ValueError(f"{name}: block ends at {end} along {dim!r}, the store has {have}")
            self._grow(max(start + values.shape[dims.index(self.along)], self.valid))
            array[tuple(slice(b, e) for b, e in zip(begin, stop, strict=True))] = values

    def _grow(self, size: int) -> None:
        if self.length is None:
            self._resize(lambda have: max(size, have))

    def _resize(self, new: Any) -> None:
        for name, array in self._arrays.items():
            axis = self._growing[name].dims.index(self.along)
            size = new(array.shape[axis])
            if size != array.shape[axis]:
                array.resize(tuple(size if i == axis else n for i, n in enumerate(array.shape)))

    def commit(self, valid: int) -> None:
        """Count everything before `valid` along the growing dim as written."""
        if valid < self.valid:
            raise ValueError(f"valid length would go back from {self.valid} to {valid}; it only grows")
        self._group.attrs["valid_length"] = self.valid = int(valid)

    def append(self, block: Mapping[str, Any]) -> None:
        """Write one block of every growing variable behind what is valid, and count it valid."""
        sizes = {np.shape(v)[self._growing[k].dims.index(self.along)] for k, v in block.items() if k in self._growing}
        missing = sorted(set(self._growing) - set(block))
        if missing or len(sizes) != 1:
            fault = f"leaves out {missing}" if missing else f"has lengths {sorted(sizes)} along {self.along!r}"
            raise ValueError(f"block {fault}; give every growing variable, all of one length")
        self.write(block, start=self.valid)
        self.commit(self.valid + sizes.pop())

    def close(self) -> None:
        """Cut the arrays to the valid length, mark the store closed and consolidate its metadata."""
        self._resize(lambda _: self.valid)
        # opened anew: variables may have been added beside the growing ones
        group = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        group.attrs.update({"closed": 1, "valid_length": self.valid})
        with warnings.catch_warnings():
            # zarr warns that consolidated metadata is not in the v3 specification; xarray reads it, others ignore it
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(self.path)


def add_fixed(path: Path, ds: xr.Dataset) -> None:
    """Add variables and coordinates of final size to a store that is still open, in place of earlier ones."""
    # through zarr and not xarray, whose append mode replaces the attributes of the whole store
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    for name, var in string_labels(ds).variables.items():
        group.create_array(
            str(name), data=np.asarray(var.values), chunks=var.shape or "auto", dimension_names=[str(d) for d in
            var.dims], attributes=_plain(var.attrs), overwrite=True, config={"write_empty_chunks": True},
        )  # fmt: skip
    labels = {*str(group.attrs.get("coordinates", "")).split(), *(str(c) for c in ds.coords if c not in ds.dims)}
    group.attrs["coordinates"] = " ".join(sorted(labels))


def read(path: Path, chunks: Any) -> xr.Dataset:
    """Return the valid part of a store, finished or not; raise when it is foreign or truncated."""
    try:
        group = zarr.open_group(path, mode="r", use_consolidated=False)
    except Exception as error:
        raise ValueError(f"{path}: not a zarr group ({error}); nfsim.open reads recordings that nfsim wrote") from error
    attrs: dict[str, Any] = dict(group.attrs)
    if "nfsim_schema" not in attrs:
        raise ValueError(
            f"{path}: a zarr group without nfsim_schema; open it with xarray and bring its array in with "
            "nfsim.from_array"
        )
    if attrs.get("closed", 0) and "valid_dim" not in attrs:
        return xr.open_zarr(path, chunks=chunks)
    along, valid = attrs["valid_dim"], int(attrs["valid_length"])
    try:
        arrays: dict[str, Any] = dict(group.arrays())
    except Exception as error:
        raise ValueError(f"{path}: metadata of an array are damaged ({error})") from error
    growing = [n for n, a in arrays.items() if along in (a.metadata.dimension_names or ())]
    if not growing:
        raise ValueError(f"{path}: no array along {along!r} is left in this store; it is truncated")
    _check_chunks(path, {name: arrays[name] for name in growing}, along, valid)
    if attrs.get("closed", 0):
        return xr.open_zarr(path, chunks=chunks)
    # killed between two resizes, the arrays differ in length: open them one by one and cut each to what is valid
    parts = []
    for name in growing:
        part = xr.open_zarr(path, chunks=None, consolidated=False, drop_variables=[n for n in growing if n != name])
        parts.append(part.isel({along: slice(0, valid)}))
    ds = xr.merge(parts, compat="override", join="override", combine_attrs="override")
    return ds if chunks is None else ds.chunk(_stored_chunks(ds, arrays, chunks))


def _stored_chunks(ds: xr.Dataset, arrays: Mapping[str, Any], chunks: Any) -> dict[str, int]:
    if chunks:
        return dict(chunks)
    found: dict[str, int] = {}
    for name in ds.data_vars:
        found.update(zip(arrays[str(name)].metadata.dimension_names, arrays[str(name)].chunks, strict=True))
    return {dim: n for dim, n in found.items() if dim in ds.dims}


def _check_chunks(path: Path, arrays: Mapping[str, Any], along: str, valid: int) -> None:
    """Raise when a chunk file of the valid part is missing: zarr would read it as fill values, silently."""
    for name, array in arrays.items():
        dims, lost = array.metadata.dimension_names, 0
        axis = dims.index(along)
        counts = [
            -(-(valid if i == axis else size) // step)
            for i, (size, step) in enumerate(zip(array.shape, array.chunks, strict=True))
        ]
        if array.shape[axis] < valid:
            raise ValueError(
                f"{path}: {name} has {array.shape[axis]} of {valid} along {along!r}; the store is truncated"
            )
        folder = path / name / "c"
        for index in np.ndindex(*counts):
            lost += not folder.joinpath(*map(str, index)).is_file()
        if lost:
            total = int(np.prod(counts))
            raise ValueError(f"{path}: {lost} of {total} chunks of {name} are missing; the store is truncated")


def _edit_metadata(path: Path) -> None:
    """Mark the store open again, and drop consolidated metadata: they would hide the new length."""
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    content.pop("consolidated_metadata", None)
    content["attributes"]["closed"] = 0
    partial = file.with_suffix(".json.partial")
    partial.write_text(json.dumps(content))
    partial.replace(file)


def _fill(dtype: np.dtype) -> Any:
    if dtype.kind not in _FILL:
        raise TypeError(f"dtype {dtype} cannot grow in a store; give numbers (labels lie on fixed dims)")
    return np.dtype(dtype).type(_FILL[dtype.kind])


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as JSON types."""
    return {str(k): v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in attrs.items()}


def _same(a: Any, b: Any) -> bool:
    return json.dumps(a, sort_keys=True, default=str) == json.dumps(b, sort_keys=True, default=str)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind in "fc":
        return bool(np.array_equal(a, b.astype(a.dtype), equal_nan=True))
    return [str(x) for x in a.ravel()] == [str(x) for x in b.ravel()]
