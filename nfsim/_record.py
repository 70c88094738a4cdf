"""Recordings of a compiled model: run over data, batch by batch, into memory or into a zarr store."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nfsim._batches import Batch, answer, at_ticks, batches
from nfsim._forms import plain_labels
from nfsim._labels import node_labels, template
from nfsim._provenance import provenance
from nfsim.recording import SCHEMA, VARIABLES, describe, open, validate

_BLOCK = 2**26
"""Bytes of one variable in one block, where the length of a block is left to us."""


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
        is.
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
        Input steps run at once: bounds memory for long input; by default as many as 64 MB of one variable allow.
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
    run = _Run(model, data, tuple(variables), every, tuple(online), batch, steps, dt, samples, config)
    if to is None:
        if resume:
            raise ValueError("record: resume=True needs the store to go on with; give to=PATH")
        return run.into_memory()
    return run.into_store(Path(to), resume)


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


class _Run:
    """One recording of one model: checks, blocks, labels."""

    def __init__(
        self, model: Any, data: Any, variables: tuple[str, ...], every: int, online: tuple[str, ...], batch: int,
        steps: int | None, dt: Any, samples: int | None, config: Any,
    ) -> None:  # fmt: skip
        import torch

        if not hasattr(model, "node_coords"):
            raise TypeError(f"record: {type(model).__name__} is no compiled network; give nfsim.compile(network)")
        recordable = set(VARIABLES) - {"initial"}
        unknown = [name for name in variables if name not in recordable]
        if unknown:
            raise ValueError(f"record: no variable {', '.join(unknown)}; there are {', '.join(sorted(recordable))}")
        if not variables and not online:
            raise ValueError("record: nothing to record; name variables, or measures in online")
        for name, value in (("every", every), ("batch", batch), ("steps", steps), ("samples", samples)):
            if value is not None and (int(value) != value or value < 1):
                raise ValueError(f"record: {name} is {value}; give a whole number from 1 on")
        self.model, self.variables, self.every = model, variables, every
        self.network = model.network
        self.when = next(iter(self.network.flat.readouts.values())).when
        self.ticks, self.unit = int(self.network.ticks), str(self.network.time_unit)
        self.online = None
        if online:
            from nfsim.analysis.online import Online

            self.online = Online(online)
        self.needs = tuple(dict.fromkeys([*variables, *(self.online.needs if self.online else ())]))
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        self.samples = samples
        self.batches, self.total = batches(data, batch, samples)
        first = next(iter(self.batches()), None)
        if first is None:
            raise ValueError("record: the data hold no sample; give at least one")
        self.first = first
        self.length = first.x.shape[1]
        self.nodes = model.node_coords()
        count = len(first.x)
        per_step = count * len(self.nodes["region"]) * self.ticks * 8
        self.steps = min(self.length, steps or max(1, _BLOCK // per_step))
        self.dt = self._durations(dt)
        self.long = self.total is not None and self.total <= count and self.steps < self.length
        self.config = config

    def _durations(self, dt: Any) -> np.ndarray:
        """Return the duration of each input step."""
        value = np.asarray(self.network.dt if dt is None else dt, np.float64)
        if value.ndim > 1 or (value.ndim == 1 and value.shape != (self.length,)):
            raise ValueError(
                f"record: dt has shape {value.shape}; give one number, or one per input step ({self.length})"
            )
        return np.broadcast_to(value, (self.length,))

    def kept(self, start: int, stop: int) -> np.ndarray:
        """Return which ticks of the input steps [start, stop) are kept, counted from the first of them."""
        tick = np.arange(start * self.ticks, stop * self.ticks)
        return np.flatnonzero((tick + 1) % self.every == 0)

    def template(self) -> xr.Dataset:
        """Return an empty recording with all labels: one trial, of which only dims and dtypes mean anything."""
        tick = np.cumsum(np.repeat(self.dt / self.ticks, self.ticks))
        growing: dict[str, tuple[str, ...]] = {"sample": ("trial",), "prediction": ("trial",)}
        if self.when == "each":
            growing["prediction"] = ("trial", "time")
        if self.first.target is not None:
            growing["target"] = ("trial",) if self.first.target.ndim == 1 else ("trial", "time")
        if self.first.lengths is not None:
            growing["steps"] = ("trial",)
        ds = template(self.model, self.variables, tick[self.kept(0, self.length)], growing)
        attrs = provenance(
            nfsim_schema=SCHEMA,
            network=self.network.to_json(),
            config=self.config,
            seed=self.network.seed,
            digest=self.network.digest(),
            time_unit=self.unit,
            ticks=self.ticks,
            every=self.every,
        )
        return validate(describe(ds.assign_attrs(attrs), self.unit))

    def blocks(self, batch: Batch) -> Iterator[tuple[int, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Yield, per block of input steps, its first kept tick, the variables, and (with the last) the trial labels."""
        import torch

        if batch.x.shape[1] != self.length:
            raise ValueError(
                f"record: sample {batch.start} has {batch.x.shape[1]} steps, those before it {self.length}; "
                "pad to one length and give lengths"
            )
        state, done = None, 0
        ends = np.full(len(batch.x), self.length) if batch.lengths is None else batch.lengths.cpu().numpy()
        parts: list[Any] = []
        whole = self.steps >= self.length
        ask = self.needs if whole or self.when == "each" else tuple(dict.fromkeys([*self.needs, "logits"]))
        for begin in range(0, self.length, self.steps):
            end = min(begin + self.steps, self.length)
            x = batch.x[:, begin:end].to(self.device, self.dtype)
            here = np.clip(ends - begin, 1, end - begin)
            lengths = None if batch.lengths is None else torch.as_tensor(here, device=self.device)
            dt = torch.as_tensor(self.dt[begin:end].copy(), dtype=self.dtype, device=self.device)
            uniform = bool(np.all(self.dt == self.dt[0]))
            out = self.model(x, state, dt=float(self.dt[0]) if uniform else dt, lengths=lengths, record=ask)
            state = out.state
            parts.append(
                out.logits if whole or self.when == "each" else at_ticks(out.record["logits"], here, self.ticks)
            )
            keep = self.kept(begin, end)
            tick = begin * self.ticks + keep
            over = tick[None, :] >= (ends * self.ticks)[:, None]
            block = {}
            for name in self.needs:
                value = out.record[name].detach().cpu().numpy()[:, keep]
                value = value.astype(np.complex64 if value.dtype.kind == "c" else np.float32, copy=False)
                if over.any():
                    value = np.where(over.reshape(over.shape + (1,) * (value.ndim - 2)), _nan(value.dtype), value)
                block[name] = value
            last = end == self.length
            yield (
                done,
                block,
                self._trial_labels(batch, answer(parts, self.when, ends, self.steps, whole), ends) if last else {},
            )
            done += len(keep)

    def _trial_labels(self, batch: Batch, logits: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
        prediction = logits.argmax(-1)
        found = {
            "sample": np.arange(batch.start, batch.start + len(batch.x)),
            "prediction": self._spread(prediction, ends),
        }
        if batch.target is not None:
            found["target"] = self._spread(batch.target, ends)
        if batch.lengths is not None:
            found["steps"] = ends
        return {name: np.asarray(value, np.int64) for name, value in found.items()}

    def _spread(self, values: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return labels of input steps on the kept ticks, -1 after the end of a sample; others as they are."""
        if values.ndim == 1:
            return values
        step = np.repeat(np.arange(self.length), self.ticks)[self.kept(0, self.length)]
        return np.where(step[None, :] < ends[:, None], values[:, step], -1)

    def run(self, skip: int = 0) -> Iterator[tuple[Batch, int, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Yield all blocks of all batches that reach beyond trial `skip`, with the model in evaluation mode."""
        import torch

        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                checked = False
                for batch in self.batches():
                    if batch.start + len(batch.x) <= skip and self.online is None:
                        continue
                    for tick, block, labels in self.blocks(batch):
                        if not checked and "z" in block and block["z"].size:
                            _warn_if_real(block["z"])
                            checked = True
                        if self.online is not None and next(iter(block.values())).shape[1]:
                            self._accumulate(block, batch.start)
                        yield batch, tick, block, labels
        finally:
            self.model.train(training)

    def _accumulate(self, block: dict[str, np.ndarray], start: int) -> None:
        assert self.online is not None
        nodes = {name: ("node", value) for name, value in node_labels(self.model).items()}
        chunk = {name: (("trial", "time", "node"), block[name]) for name in self.online.needs}
        self.online.update(xr.Dataset(chunk, coords=nodes), start=start)

    def into_memory(self) -> xr.Dataset:
        """Return the whole recording as arrays."""
        ticks = len(self.kept(0, self.length))
        rows: dict[str, list[np.ndarray]] = {}
        labels: dict[str, list[np.ndarray]] = {}
        begun = -1
        for batch, tick, block, found in self.run():
            first, begun = batch.start != begun, batch.start
            for name in self.variables:
                if first:
                    rest = block[name].shape[2:]
                    rows.setdefault(name, []).append(np.empty((len(batch.x), ticks, *rest), block[name].dtype))
                rows[name][-1][:, tick : tick + block[name].shape[1]] = block[name]
            for name, value in found.items():
                labels.setdefault(name, []).append(value)
        template = self.template()
        ds = template.drop_vars([name for name in (*self.variables, *labels) if name in template.variables])
        for name, parts in rows.items():
            ds[name] = (template[name].dims, np.concatenate(parts), template[name].attrs)
        ds = ds.assign_coords(
            {name: (template[name].dims, np.concatenate(parts), template[name].attrs) for name, parts in labels.items()}
        )
        ds = ds.assign(self.online.result()) if self.online else ds
        return validate(plain_labels(ds.assign_attrs(template.attrs)))

    def into_store(self, path: Path, resume: bool) -> xr.Dataset:
        """Return the recording, written to `path` block by block and opened there."""
        from nfsim._store import Writer, add_fixed

        along = "time" if self.long else "trial"
        template = self.template()
        ticks = template.sizes["time"]
        if along == "time":
            template = template.isel(trial=np.zeros(len(self.first.x), int))
        chunk = len(self.kept(0, self.steps)) if along == "time" else len(self.first.x)
        chunks = {} if along == "time" else {"time": max(1, len(self.kept(0, self.steps)))}
        total = ticks if along == "time" else self.total
        done = _finished(path) if resume and path.exists() else False
        if done and self.total is not None and done == total:
            return open(path)
        if along == "time":
            # labels of trials come with the last block: until then they are unknown, and fixed in the store
            template = template.drop_vars(
                [n for n in ("sample", "prediction", "target", "steps") if n in template.coords]
            )
        with Writer(
            path, template, along=along, chunk=max(1, chunk), chunks=chunks, length=total, resume=resume
        ) as writer:
            have = writer.valid
            labels: dict[str, np.ndarray] = {}
            for batch, tick, block, found in self.run(skip=have if along == "trial" else 0):
                kept = {name: block[name] for name in self.variables}
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
            if self.online:
                add_fixed(path, self.online.result())
        return open(path)


def _finished(path: Path) -> int:
    """Return the valid length of a closed store, 0 for one that is not closed."""
    ds = open(path)
    return int(ds.attrs.get("valid_length", 0)) if ds.attrs.get("closed") else 0


def _nan(dtype: np.dtype) -> Any:
    return dtype.type(complex(np.nan, np.nan)) if dtype.kind == "c" else dtype.type(np.nan)


def _warn_if_real(z: np.ndarray) -> None:
    if not np.any(z.imag):
        warnings.warn(
            "the state stays real (preferred phase 0, omega 0, real coupling): its phases are 0 or pi and mean "
            "nothing; declare omega > 0 or preferred phases to study synchrony",
            stacklevel=4,
        )
