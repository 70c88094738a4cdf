"""Energies from a recording alone: free energy with gain as precision, coupling energy, and ledgers over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from nfsim.analysis import _kernels_energy as kernels
from nfsim.analysis._labels import additive, complex_state, describe, threads

_SOURCE = "Feldman & Friston 2010"


def free_energy(
    data: xr.Dataset, *, by: str | None = None, prior_variance: float | xr.DataArray | None = None
) -> xr.Dataset:
    r"""Free energy per node (or group) and step, in its two parts, from the recorded states.

    .. math::
        \mathrm{accuracy} &= \tfrac12 \pi |s - z_\mathrm{before}|^2 - \ln \pi, \qquad \pi = \max(g, 10^{-3}) \\
        \mathrm{complexity} &= \frac{|z|^2}{2 v_0} + \frac{1}{\pi v_0} - 1 + \ln(\pi v_0)

    Gain g is the precision of the belief that a state is: a complex Gaussian of mean z and variance 1/pi per part, with
    prior (0, v_0). "Accuracy" keeps the name it has in the field, though a small value is a good fit.

    Parameters
    ----------
    data : Dataset
        `z`, `steady` and `gain` on `time` and `node`, every tick recorded; `initial` (node), the state before the first
        tick, is 0 when absent. NaN in any of them makes the step NaN.
    by : str, optional
        A coordinate along `node`: means over the nodes of each value, NaN left out.
    prior_variance : float or DataArray (node), optional
        v_0; by default the coordinate `prior_variance`, else 1.

    Returns
    -------
    Dataset
        `accuracy`, `complexity` and `free_energy`, their sum, all in nat.

    Notes
    -----
    Source: Feldman & Friston 2010, Front. Hum. Neurosci. 4:215 (gain as precision).
    """
    if not isinstance(data, xr.Dataset):
        raise TypeError(f"free_energy: needs a recording with z, steady and gain, got a {type(data).__name__}")
    absent = [name for name in ("z", "steady", "gain") if name not in data]
    if absent:
        raise ValueError(
            f"free_energy: the recording has no {', '.join(absent)}; "
            "record them: nfsim.record(model, data, variables=('z', 'steady', 'gain'))"
        )
    every = int(data.attrs.get("every", 1))
    if every != 1:
        raise ValueError(
            f"free_energy: every {every}th tick was recorded, and the state before each is missing; record "
            "with every=1, "
            "or record 'energy_accuracy' and 'energy_complexity' themselves"
        )
    z = complex_state(data, "free_energy")
    if data.attrs.get("start", 0):
        raise ValueError("free_energy: the recording starts in the middle of a run; give one that has its first tick")
    for name in ("time", "node"):
        if name not in z.dims:
            raise ValueError(f"free_energy: z has dims {z.dims}, without {name!r}")
    initial = data["initial"] if "initial" in data else xr.zeros_like(z.isel(time=0, drop=True))
    initial = initial.reset_coords(drop=True).astype(z.dtype)
    node = {"node": z.sizes["node"]}
    prior = _prior(data, prior_variance).broadcast_like(xr.DataArray(np.zeros(node["node"]), dims="node"))
    workers = threads(z)
    steady, gain = data["steady"].reset_coords(drop=True), data["gain"].reset_coords(drop=True)
    inputs = [z, steady, gain, initial]
    if z.chunks is not None:
        inputs = [a.chunk({d: -1 for d in ("time", "node") if d in a.dims}) for a in inputs]

    def both(*blocks: np.ndarray) -> np.ndarray:
        lead = np.broadcast_shapes(*(b.shape[:-2] for b in blocks[:3]), blocks[3].shape[:-1])
        state, toward, precision = (np.broadcast_to(b, (*lead, *b.shape[-2:])) for b in blocks[:3])
        start = np.broadcast_to(blocks[3], (*lead, blocks[3].shape[-1]))
        return kernels.free_energy(state, toward, precision, start, blocks[4], threads=workers)

    parts = xr.apply_ufunc(
        both, *inputs, prior.reset_coords(drop=True),
        input_core_dims=[["time", "node"]] * 3 + [["node"], ["node"]], output_core_dims=[["time", "node", "part"]],
        dask="parallelized", dask_gufunc_kwargs={"meta": np.empty((0,) * (z.ndim + 1)), "output_sizes": {"part": 2}},
    )  # fmt: skip
    parts = parts.assign_coords({n: c for n, c in z.coords.items() if set(c.dims) <= set(parts.dims)})
    if by is not None:
        parts = _mean_by(parts, by)
    accuracy, complexity = parts.isel(part=0), parts.isel(part=1)
    named = {"accuracy": accuracy, "complexity": complexity, "free_energy": accuracy + complexity}
    suffix = f", mean by {by}" if by else ""
    return xr.Dataset(
        {
            name: describe(value, name, units="nat", long_name=name.replace("_", " ") + suffix, source=_SOURCE)
            for name, value in named.items()
        }
    )


def _prior(data: xr.Dataset, given: float | xr.DataArray | None) -> xr.DataArray:
    prior = given if given is not None else data.coords.get("prior_variance", 1.0)
    prior = prior if isinstance(prior, xr.DataArray) else xr.DataArray(float(prior))
    if not bool((prior > 0).all()):
        raise ValueError(f"free_energy: prior_variance {prior.values} is not above 0")
    return prior.reset_coords(drop=True)


def _mean_by(parts: xr.DataArray, by: str) -> xr.DataArray:
    """Return the mean over nodes of each value of `by`, in order of appearance."""
    if by not in parts.coords or parts.coords[by].dims != ("node",):
        known = sorted(str(n) for n, c in parts.coords.items() if c.dims == ("node",))
        raise ValueError(f"free_energy: by={by!r} is no coordinate along 'node'; there are {known}")
    values = parts.coords[by].values
    names = list(dict.fromkeys(values.tolist()))
    means = [parts.isel(node=np.flatnonzero(values == name)).mean("node") for name in names]
    return xr.concat(means, dim=xr.IndexVariable(by, names), coords="minimal", compat="override")


def coupling_energy(data: xr.Dataset, *, over: str = "node") -> xr.DataArray:
    r"""Coupling energy of each step: how far coupled states are from being aligned.

    .. math:: E = -\tfrac12 \sum_{ij} K_{ij} \Re(\bar z_i z_j)

    Never increases for symmetric K, |z| = 1 and equal omega. NaN where a state on an edge is NaN.

    Parameters
    ----------
    data : Dataset
        `z`, with the coordinates `edge_source, edge_target, edge_weight` of its connectome.
    over : str
        Dim of the nodes that edges name.

    Notes
    -----
    Source: the potential of Kuramoto's model: van Hemmen & Wreszinski 1993, J. Stat. Phys. 72:145.
    """
    from nfsim.analysis._sphere import edge_matrix

    z = complex_state(data, "coupling_energy")
    if over not in z.dims:
        raise ValueError(f"coupling_energy: over={over!r} is not among the dims {z.dims} of z")
    rows = edge_matrix(data, over, "coupling_energy").tocoo()
    target, source = (np.asarray(index, np.int64) for index in rows.coords)
    workers = threads(z)

    def kernel(block: np.ndarray) -> np.ndarray:
        return kernels.edge_energy(block, source, target, rows.data, threads=workers)

    energy = additive(kernel, z, (over,), (), {}, np.float64)
    return describe(energy, "coupling_energy", long_name="coupling energy", source="van Hemmen & Wreszinski 1993")


def energy_ledger(recordings: Mapping[Any, xr.Dataset], *, by: str = "region") -> xr.Dataset:
    """Free energy over training, next to accuracy: one entry per epoch and group.

    Parameters
    ----------
    recordings : mapping of epoch to Dataset
        A recording per epoch, of the same samples, each with what `free_energy` needs, or with `energy_accuracy` and
        `energy_complexity`; `target` and `prediction` per trial give the share of correct answers.
    by : str
        Coordinate along `node` to tell apart.

    Returns
    -------
    Dataset
        `accuracy`, `complexity`, `free_energy` (nat, mean over trials, steps and nodes) on `epoch` and `by`, and
        `correct` (share of right predictions) on `epoch`, where recordings have it.
    """
    if not recordings:
        raise ValueError("energy_ledger: no recordings; give a mapping of epochs to recordings")
    rows = []
    for ds in recordings.values():
        if "energy_accuracy" in ds and "energy_complexity" in ds:
            parts = xr.Dataset({"accuracy": ds["energy_accuracy"], "complexity": ds["energy_complexity"]})
            parts = xr.Dataset({name: _mean_by(part, by) for name, part in parts.data_vars.items()})
            parts["free_energy"] = parts["accuracy"] + parts["complexity"]
        else:
            parts = free_energy(ds, by=by)
        row = parts.mean([d for d in parts.dims if d != by])
        if "target" in ds.coords and "prediction" in ds.coords:
            row["correct"] = (ds["target"] == ds["prediction"]).mean("trial").reset_coords(drop=True)
        rows.append(row)
    ledger = xr.concat(rows, dim=xr.IndexVariable("epoch", list(recordings)), coords="minimal", compat="override")
    for name in ("accuracy", "complexity", "free_energy"):
        ledger[name].attrs = {"units": "nat", "long_name": name.replace("_", " "), "source": _SOURCE}
    if "correct" in ledger:
        ledger["correct"].attrs = {"units": "1", "long_name": "share of correct predictions"}
    return ledger
