"""A compiled model run over data in blocks of batch and time, each block with what was asked to be kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from nfsim._batches import Batch, Prediction, batches
from nfsim._labels import node_labels, template
from nfsim._provenance import provenance
from nfsim.recording import SCHEMA, VARIABLES, describe, validate

_BLOCK = 2**24
"""Bytes of one variable in one block, where the length of a block is left to us: a model holds some twenty of them."""


class Run:
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

    def template(self, trials: int = 1) -> xr.Dataset:
        """Return an empty recording of `trials` with all labels, of which only dims and dtypes mean anything."""
        tick = np.cumsum(np.repeat(self.dt / self.ticks, self.ticks))
        growing: dict[str, tuple[str, ...]] = {"sample": ("trial",), "prediction": ("trial",)}
        if self.when == "each":
            growing["prediction"] = ("trial", "time")
        if self.first.target is not None:
            growing["target"] = ("trial",) if self.first.target.ndim == 1 else ("trial", "time")
        if self.first.lengths is not None:
            growing["steps"] = ("trial",)
        ds = template(self.model, self.variables, tick[self.kept(0, self.length)], growing, trials)
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
        predicted = Prediction(self.when, ends, self.ticks)
        whole = self.steps >= self.length
        ask = self.needs if whole or self.when == "each" else tuple(dict.fromkeys([*self.needs, "logits"]))
        for begin in range(0, self.length, self.steps):
            end = min(begin + self.steps, self.length)
            x = batch.x.steps(begin, end).to(self.device, self.dtype)
            here = np.clip(ends - begin, 1, end - begin)
            lengths = None if batch.lengths is None else torch.as_tensor(here, device=self.device)
            dt = torch.as_tensor(self.dt[begin:end].copy(), dtype=self.dtype, device=self.device)
            uniform = bool(np.all(self.dt == self.dt[0]))
            out = self.model(x, state, dt=float(self.dt[0]) if uniform else dt, lengths=lengths, record=ask)
            state = out.state
            predicted.add(begin, out.logits if whole or self.when == "each" else out.record["logits"], whole)
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
            yield done, block, self._trial_labels(batch, predicted.result(), ends) if last else {}
            done += len(keep)

    def _trial_labels(self, batch: Batch, prediction: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
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


def _nan(dtype: np.dtype) -> Any:
    return dtype.type(complex(np.nan, np.nan)) if dtype.kind == "c" else dtype.type(np.nan)


def _warn_if_real(z: np.ndarray) -> None:
    if not np.any(z.imag):
        warnings.warn(
            "the state stays real (preferred phase 0, omega 0, real coupling): its phases are 0 or pi and mean "
            "nothing; declare omega > 0 or preferred phases to study synchrony",
            stacklevel=4,
        )
