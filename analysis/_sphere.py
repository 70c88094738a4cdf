"""Neighbourhoods of nodes: by angle on the sphere, or by the connectome of a recording, as sparse rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse
from scipy.spatial import cKDTree

_POSITION = ("pos_x", "pos_y", "pos_z")


def positions(data: xr.DataArray | xr.Dataset, node: str, measure: str) -> np.ndarray:
    """Return unit positions [node, 3]; raise when they are missing or do not lie on the unit sphere."""
    absent = [name for name in _POSITION if name not in data.coords]
    if absent:
        raise ValueError(
            f"{measure}: no coordinate {', '.join(absent)} along {node!r}; assign pos_x, pos_y, pos_z on "
            "the unit sphere"
        )
    points = np.stack([np.asarray(data.coords[name].values, np.float64) for name in _POSITION], axis=-1)
    if points.shape != (data.sizes[node], 3):
        raise ValueError(f"{measure}: positions lie on {data.coords['pos_x'].dims}, not on {node!r}")
    length = np.linalg.norm(points, axis=-1)
    if not np.allclose(length, 1, atol=1e-3):
        raise ValueError(
            f"{measure}: positions have lengths from {length.min():.4g} to {length.max():.4g}, not 1; "
            "divide them by their distance from the centre of the sphere"
        )
    return points / length[:, None]


def neighbours_within(data: xr.DataArray | xr.Dataset, node: str, angle: float, measure: str) -> sparse.csr_array:
    """Return [node, node] with 1 where two nodes are at most `angle` apart on the sphere; each is its own neighbour."""
    if not 0 < angle <= np.pi:
        raise ValueError(f"{measure}: within={angle} is not in (0, pi]; give an angle on the sphere in rad")
    points = positions(data, node, measure)
    # rounding must not lose a node at exactly the angle
    chord = min(2.0, 2 * np.sin(angle / 2) * (1 + 1e-12))
    pairs = cKDTree(points).query_pairs(chord, output_type="ndarray")
    n = len(points)
    both = np.concatenate([pairs, pairs[:, ::-1], np.repeat(np.arange(n)[:, None], 2, axis=1)])
    rows = sparse.csr_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(n, n))
    rows.sort_indices()
    alone = int(np.sum(np.diff(rows.indptr) < 2))
    if alone:
        raise ValueError(f"{measure}: within={angle} rad leaves {alone} of {n} nodes alone; give a wider angle")
    return rows


def edge_matrix(data: xr.DataArray | xr.Dataset, node: str, measure: str) -> sparse.csr_array:
    """Return the weights of the recording's coupling edges as [target, source]."""
    absent = [name for name in ("edge_source", "edge_target", "edge_weight") if name not in data.coords]
    if absent:
        kind = (
            "a Dataset" if isinstance(data, xr.Dataset) else "a DataArray, which cannot carry edges: give the Dataset"
        )
        raise ValueError(f"{measure}: no {', '.join(absent)} in {kind}; edges name node numbers and weights")
    source, target = (np.asarray(data.coords[f"edge_{end}"].values, np.int64) for end in ("source", "target"))
    n = data.sizes[node]
    if source.size and (min(source.min(), target.min()) < 0 or max(source.max(), target.max()) >= n):
        raise ValueError(
            f"{measure}: edges name nodes up to {max(source.max(), target.max())}, the data have {n} of them"
        )
    weight = np.asarray(data.coords["edge_weight"].values, np.float64)
    if "edge_kind" in data.coords:
        # drive projections carry signals, they do not couple states
        coupling = data.coords["edge_kind"].values.astype(str) == "coupling"
        source, target, weight = source[coupling], target[coupling], weight[coupling]
    return sparse.csr_array((weight, (target, source)), shape=(n, n))


def weight_rows(data: xr.DataArray | xr.Dataset, z: xr.DataArray, node: str, weights: Any) -> sparse.csr_array:
    """Return weights as non-negative sparse rows: row i holds what reaches node i."""
    measure = "order_parameter"
    if isinstance(weights, str):
        if weights != "edges":
            raise ValueError(f"{measure}: weights={weights!r}; give 'edges' or a matrix")
        rows = edge_matrix(data, node, measure)
    else:
        rows = sparse.csr_array(weights if sparse.issparse(weights) else np.asarray(weights, np.float64))
    n = z.sizes[node]
    if rows.shape != (n, n):
        raise ValueError(f"{measure}: weights have shape {rows.shape}, {node!r} needs {(n, n)}")
    if rows.nnz and not (np.all(np.isfinite(rows.data)) and rows.data.min() >= 0):
        raise ValueError(f"{measure}: weights hold negative or non-finite numbers; give their absolute values")
    rows.eliminate_zeros()
    rows.sort_indices()
    return rows
