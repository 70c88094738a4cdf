"""Recordings of a compiled model: run over data, batch by batch, into memory or into a zarr store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nfsim._forms import plain_labels
from nfsim._running import Run
from nfsim.recording import describe, open, validate


def record(
    model: Any,
    data: Any,
    *,
    variables: Sequence[str] = ("z", "gain", "logits"),
    every: int = 1,
    to: str | Path | None = None,
    online: Sequence[str] = (),
    batch: int = 32,
    steps: int | None = None,
    dt: Any = None,
    samples: int | None = None,
    resume: bool = False,
    config: Any = None,
    sweep: str = "seed",
) -> xr.Dataset:
    """Run a model over data and return what happened, with its labels.

    Parameters
    ----------
    model : compiled model, or mapping of value to compiled model
        A mapping records each model on the same data; its keys become the coordinate of a new dim, named by `sweep`.
    data : array, tuple or iterable
        x (trial, time, feature); `(x, target)` or `(x, target, lengths)`; or an iterable of such batches, as a loader
        is. x may lie outside of memory (`numpy.memmap`, zarr, dask, xarray): it is read block by block.
    variables : sequence of str
        What to keep, of `nfsim.recording.VARIABLES`: z, gain, logits, steady, drive, nucleus_gain, energy_accuracy,
        energy_complexity. With `steady`, the state before the first tick is kept as `initial`.
    every : int
        Keep each `every`-th tick.
    to : path, optional
        Folder of a zarr store, written block by block, and returned opened; without it the recording is in memory.
    online : sequence of str
        Measures to accumulate over the run, from `nfsim.analysis.online.MEASURES`, also when their variables are not
        kept: memory does not grow with time. They become variables of the recording.
    batch : int
        Samples run at once, for arrays.
    steps : int, optional
        Input steps run at once: bounds memory for long input; by default as many as 16 MB of one variable allow.
    dt : float or array (time), optional
        Duration of input steps, in the network's time unit; by default that of the network.
    samples : int, optional
        Stop after this many samples.
    resume : bool
        Go on with the store at `to`: what is valid stays, the rest is recorded; equal to an uninterrupted recording.
    config : mapping or str, optional
        Kept as an attribute.
    sweep : str
        Name of the dim for several models.

    Returns
    -------
    Dataset
        On `trial, time, node, ...`, with the names of the declaration as coordinates. Ticks after the end of a sample
        (`lengths`) are NaN. Predictions are those of the model's readout.
    """
    if isinstance(model, Mapping):
        return _sweep(model, data, sweep, to, variables=variables, every=every, online=online, batch=batch, steps=steps,
                      dt=dt, samples=samples, resume=resume, config=config)  # fmt: skip
    run = Run(model, data, tuple(variables), every, tuple(online), batch, steps, dt, samples, config)
    if to is None:
        if resume:
            raise ValueError("record: resume=True needs the store to go on with; give to=PATH")
        return _into_memory(run)
    return _into_store(run, Path(to), resume)


def _sweep(models: Mapping[Any, Any], data: Any, dim: str, to: str | Path | None, **arguments: Any) -> xr.Dataset:
    if not models:
        raise ValueError("record: the mapping of models is empty; give at least one")
    if isinstance(data, Iterator):
        raise TypeError("record: an iterator is used up by the first model; give an array or a loader")
    parts = []
    for value, model in models.items():
        store = None if to is None else Path(to) / f"{dim}={value}.zarr"
        parts.append(record(model, data, to=store, **arguments))
    # networks of a sweep differ: each part keeps what tells it apart along the new dim
    whole = xr.concat(parts, dim=xr.IndexVariable(dim, list(models)), join="exact", combine_attrs="drop_conflicts")
    return whole


def _into_memory(run: Run) -> xr.Dataset:
    """Return the whole recording as arrays."""
    ticks = len(run.kept(0, run.length))
    rows: dict[str, list[np.ndarray]] = {}
    labels: dict[str, list[np.ndarray]] = {}
    begun = -1
    for batch, tick, block, found in run.run():
        first, begun = batch.start != begun, batch.start
        for name in run.variables:
            if first:
                rest = block[name].shape[2:]
                rows.setdefault(name, []).append(np.empty((len(batch.x), ticks, *rest), block[name].dtype))
            rows[name][-1][:, tick : tick + block[name].shape[1]] = block[name]
        for name, value in found.items():
            labels.setdefault(name, []).append(value)
    template = run.template()
    ds = template.drop_vars([name for name in (*run.variables, *labels) if name in template.variables])
    for name, parts in rows.items():
        ds[name] = (template[name].dims, np.concatenate(parts), template[name].attrs)
    ds = ds.assign_coords(
        {name: (template[name].dims, np.concatenate(parts), template[name].attrs) for name, parts in labels.items()}
    )
    ds = ds.assign(run.online.result()) if run.online else ds
    return validate(plain_labels(ds.assign_attrs(template.attrs)))


def _into_store(run: Run, path: Path, resume: bool) -> xr.Dataset:
    """Return the recording, written to `path` block by block and opened there."""
    from nfsim._store import Writer, add_fixed

    along = "time" if run.long else "trial"
    template = run.template(len(run.first.x) if along == "time" else 1)
    ticks = template.sizes["time"]
    chunk = len(run.kept(0, run.steps)) if along == "time" else len(run.first.x)
    chunks = {} if along == "time" else {"time": max(1, len(run.kept(0, run.steps)))}
    total = ticks if along == "time" else run.total
    done = _finished(path) if resume and path.exists() else False
    if done and run.total is not None and done == total:
        return open(path)
    if along == "time":
        # labels of trials come with the last block: until then they are unknown, and fixed in the store
        template = template.drop_vars([n for n in ("sample", "prediction", "target", "steps") if n in template.coords])
    with Writer(path, template, along=along, chunk=max(1, chunk), chunks=chunks, length=total, resume=resume) as writer:
        have = writer.valid
        labels: dict[str, np.ndarray] = {}
        for batch, tick, block, found in run.run(skip=have if along == "trial" else 0):
            kept = {name: block[name] for name in run.variables}
            size = next(iter(block.values())).shape[1]
            if along == "time":
                labels = found or labels
                if tick + size > have:
                    writer.write({**kept, "time": template["time"].values[tick : tick + size]}, start=tick)
                    writer.commit(tick + size)
                continue
            if batch.start + len(batch.x) <= have:
                continue
            writer.write(kept, start=batch.start, time=tick)
            if found:
                writer.write(found, start=batch.start)
                writer.commit(batch.start + len(batch.x))
        if along == "time":
            dims = {"prediction": ("trial", "time"), "target": ("trial", "time")}
            on = {k: dims[k] if v.ndim == 2 else ("trial",) for k, v in labels.items()}
            add_fixed(path, describe(xr.Dataset(coords={k: (on[k], v) for k, v in labels.items()})))
        if run.online:
            add_fixed(path, run.online.result())
    return open(path)


def _finished(path: Path) -> int:
    """Return the valid length of a closed store, 0 for one that is not closed."""
    ds = open(path)
    return int(ds.attrs.get("valid_length", 0)) if ds.attrs.get("closed") else 0
