"""The labels that a compiled model gives its recording, and the empty recording that carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nfsim.recording import VARIABLES


def template(
    model: Any,
    variables: Sequence[str],
    time: np.ndarray,
    growing: Mapping[str, tuple[str, ...]],
    trials: int = 1,
) -> xr.Dataset:
    """Return a recording with all labels, of which only dims and dtypes mean anything. It takes no memory.

    Parameters
    ----------
    model : compiled model
        Gives the labels of nodes, edges, nuclei and classes.
    variables : sequence of str
        Names from `VARIABLES`; with `steady`, the state before the first tick is there as `initial`.
    time : (time,) float
        Times of the ticks that are kept.
    growing : mapping of str to dims
        Integer coordinates that come with the trials.
    trials : int
        Length of the dim `trial`.
    """
    sizes = {"trial": trials, "time": len(time), "node": len(model.node_coords()["region"])}
    sizes |= {"label": len(model.labels), "nucleus": len(model.nucleus_names)}
    ds = xr.Dataset(coords={"time": ("time", time), **_labels(model)})
    for name in variables:
        rule = VARIABLES[name]
        dtype = np.complex64 if rule.kind == "c" else np.float32
        # broadcast, and of its final size: to select or repeat trials of it would make an array of the whole length
        ds[name] = (rule.dims, np.broadcast_to(np.zeros((), dtype), [sizes[d] for d in rule.dims]))
    if "steady" in variables:
        ds["initial"] = ("node", _initial(model))
    return ds.assign_coords(
        {
            name: (dims, np.broadcast_to(np.zeros((), np.int64), [sizes[d] for d in dims]))
            for name, dims in growing.items()
        }
    )


def node_labels(model: Any) -> dict[str, np.ndarray]:
    """Return the labels of nodes: `label` as `node_label`, since the dim of the readout has that name."""
    return {("node_label" if name == "label" else name): value for name, value in model.node_coords().items()}


def _labels(model: Any) -> dict[str, Any]:
    """Return the coordinates that depend on the network alone."""
    flat = model.network.flat
    prior = [np.full(p.size, float(p.dynamics.prior_variance)) for p in flat.populations.values()]
    edges = dict(model.edge_coords())
    projection = [str(name) for name in edges["edge_projection"]]
    edges["edge_projection"] = np.array(projection, dtype=str)
    edges["edge_kind"] = np.array([flat.projections[name].kind for name in projection], dtype=str)
    for end in ("edge_source", "edge_target"):
        edges[end] = np.asarray(edges[end], np.int64)
    coords = {name: ("node", value) for name, value in node_labels(model).items()}
    coords["prior_variance"] = ("node", np.concatenate(prior))
    coords |= {name: ("edge", value) for name, value in edges.items()}
    coords["label"] = ("label", np.array([str(name) for name in model.labels]))
    if model.nucleus_names:
        coords["nucleus"] = ("nucleus", np.array(model.nucleus_names))
    return coords


def _initial(model: Any) -> np.ndarray:
    """Return the state before the first tick, complex64 (node)."""
    parts = []
    for path, population in model.network.flat.populations.items():
        name = f"{path}:initial"
        if name in model.values:
            real, imag = model.values[name].detach().cpu().double().numpy()
            parts.append(real + 1j * imag)
        else:
            parts.append(np.zeros(population.size, complex))
    return np.concatenate(parts).astype(np.complex64)
