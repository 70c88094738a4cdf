"""Travelling waves on the sphere: the spatial gradient of phase, and where waves go."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nfsim.analysis._kernels import in_blocks, kernel, parts, unit
from nfsim.analysis._labels import additive, complex_state, describe, dims_over, threads
from nfsim.analysis._sphere import neighbours_within, positions

_SOURCE = "Rubino et al. 2006"


@kernel
def _gradient(u, index, pointer, to_east, to_north, east, north, count, start, stop):
    """Fit the phase around each node of [row, node, 2] by a plane: weighted sums of phase differences to neighbours."""
    for r in range(start, stop):
        for i in range(pointer.size - 1):
            e, n, have = 0.0, 0.0, 0
            here_re, here_im = np.float64(u[r, i, 0]), np.float64(u[r, i, 1])
            for k in range(pointer[i], pointer[i + 1]):
                re, im = np.float64(u[r, index[k], 0]), np.float64(u[r, index[k], 1])
                # the difference itself, not its sine: steep waves would come out too flat
                step = np.arctan2(im * here_re - re * here_im, re * here_re + im * here_im)
                e += to_east[k] * step
                n += to_north[k] * step
                have += 1 if (re != 0 or im != 0) else 0
            whole = have == pointer[i + 1] - pointer[i] and (here_re != 0 or here_im != 0)
            east[r, i] = e if whole else np.nan
            north[r, i] = n if whole else np.nan
            count[r, i] = have


def tangent_basis(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors to the east and to the north at points [n, 3] of the unit sphere; at a pole, east is +y."""
    east = np.stack([-points[:, 1], points[:, 0], np.zeros(len(points))], axis=-1)
    length = np.linalg.norm(east, axis=-1, keepdims=True)
    pole = length[:, 0] < 1e-12
    east = np.where(pole[:, None], np.array([0.0, 1.0, 0.0]), east / np.where(length > 0, length, 1))
    return east, np.cross(points, east)


def plane_fit(points: np.ndarray, index: np.ndarray, pointer: np.ndarray) -> np.ndarray:
    """Return [2, neighbour] weights that turn differences to the neighbours of each node into its gradient.

    Each row of the pseudo-inverse of the displacements, which are taken along great circles, east and north.
    """
    east, north = tangent_basis(points)
    weights = np.empty((2, index.size))
    for i in range(len(points)):
        near = index[pointer[i] : pointer[i + 1]]
        flat = points[near] - (points[near] @ points[i])[:, None] * points[i]
        sine = np.linalg.norm(flat, axis=-1)
        angle = np.arctan2(sine, points[near] @ points[i])
        along = flat * np.where(sine > 0, angle / np.where(sine > 0, sine, 1), 0)[:, None]
        moves = np.stack([along @ east[i], along @ north[i]], axis=-1)
        if np.linalg.matrix_rank(moves, tol=1e-6 * max(1e-300, np.abs(moves).max(initial=0))) < 2:
            raise ValueError(
                f"phase_gradient: the neighbours of node {i} lie on one line with it, so there is no slope across it; "
                "give a wider angle"
            )
        weights[:, pointer[i] : pointer[i + 1]] = np.linalg.pinv(moves)
    return weights


def phase_gradient(data: xr.DataArray | xr.Dataset, *, over: str = "node", within: float) -> xr.Dataset:
    r"""Spatial gradient of phase at each node: the plane that fits the phase differences to its neighbours best.

    .. math::
        \nabla\phi_i = \arg\min_g \sum_{j:\, \angle(i,j) \le \alpha} \big(\arg(z_j \bar z_i) - g \cdot d_{ij}\big)^2

    with d the way from i to j along the great circle. Differences are taken in (-pi, pi]: a wave must be sampled by
    more than two nodes per wavelength. A node where it or one of its neighbours has no phase (0, NaN) is NaN.

    Parameters
    ----------
    data : DataArray or Dataset, complex
        States, with `pos_x, pos_y, pos_z` along `over`.
    over : str
        Dim of the nodes.
    within : float, rad
        How far neighbours lie at most.

    Returns
    -------
    Dataset
        `east`, `north` (rad of phase per rad on the sphere) and `n_valid`, neighbours that have a phase.

    Notes
    -----
    Source: Rubino, Robbins & Hatsopoulos 2006, Nat. Neurosci. 9:1549, carried over to the sphere.
    """
    z = complex_state(data, "phase_gradient")
    dims_over(z, over, "phase_gradient", least=3, why="a slope needs three nodes")
    rows = neighbours_within(z, over, within, "phase_gradient")
    rows.setdiag(0)
    rows.eliminate_zeros()
    index, pointer = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    to_east, to_north = plane_fit(positions(z, over, "phase_gradient"), index, pointer)
    workers = threads(z)

    def fit(block: np.ndarray) -> np.ndarray:
        u = unit(block, threads=workers)
        count_rows, nodes = int(np.prod(block.shape[:-1])), block.shape[-1]
        east, north = np.empty((count_rows, nodes)), np.empty((count_rows, nodes))
        count = np.empty((count_rows, nodes), np.int64)
        flat = parts(u).reshape(count_rows, nodes, 2)
        in_blocks(_gradient, count_rows, flat, index, pointer, to_east, to_north, east, north, count, threads=workers)
        return np.stack([east, north, count], axis=-1).reshape(*block.shape, 3)

    result = additive(fit, z, (over,), (), {over: z.sizes[over], "part": 3}, np.float64)
    result = result.assign_coords({name: coord for name, coord in z.coords.items() if over in coord.dims})
    slope = {"units": "rad/rad", "source": _SOURCE}
    return xr.Dataset(
        {
            "east": describe(result.isel(part=0), "east", long_name="phase gradient to the east", **slope),
            "north": describe(result.isel(part=1), "north", long_name="phase gradient to the north", **slope),
            "n_valid": describe(
                result.isel(part=2).astype(np.int64), "n_valid", long_name="neighbours with a phase", source=_SOURCE
            ),
        }
    )


def travelling_wave(data: xr.DataArray | xr.Dataset, *, over: str = "node", within: float) -> xr.Dataset:
    r"""Where waves travel on the sphere: at each node, over all nodes, and around which axis.

    A wave with phase omega t - k.x moves along k, down the phase gradient; this takes phases to advance in time
    (omega > 0), and turns around where they run backwards. Nodes whose gradient is NaN are left out of the sums.

    .. math::
        \text{directionality} = \frac{|\sum_i g_i|}{\sum_i |g_i|}, \qquad
        \text{axis} = \frac{\sum_i p_i \times (-g_i)}{\sum_i |g_i|}

    Parameters
    ----------
    data, over, within
        As in `phase_gradient`.

    Returns
    -------
    Dataset
        Per node `bearing` (rad, from north over east), `wavenumber` (rad/rad). Over nodes `directionality` in [0, 1]: 1
        when all parts go the same way in space, as in a small patch; `axis` (xyz), the axis that waves go around
        counter-clockwise, of a length up to 1; and `n_valid`, nodes with a gradient.

    Notes
    -----
    Source: Rubino et al. 2006 (directionality); the axis is their sum taken as angular momentum.
    """
    gradient = phase_gradient(data, over=over, within=within)
    z = complex_state(data, "travelling_wave")
    points = positions(z, over, "travelling_wave")
    basis = [xr.DataArray(axis, dims=(over, "xyz")) for axis in tangent_basis(points)]
    slope = gradient.east * basis[0] + gradient.north * basis[1]
    size = np.hypot(gradient.east, gradient.north)
    total = size.sum(over)
    total = total.where(total > 0)
    turn = xr.cross(xr.DataArray(points, dims=(over, "xyz")), -slope, dim="xyz")
    summed = slope.sum(over)
    bearing = np.arctan2(-gradient.east, -gradient.north).where(size > 0)
    result = {
        "bearing": (bearing, "rad", "direction of travel, from north over east"),
        "wavenumber": (size, "rad/rad", "wavenumber"),
        "directionality": (np.sqrt((summed**2).sum("xyz")) / total, "1", "phase gradient directionality"),
        "axis": (turn.sum(over) / total, "1", "axis of rotation"),
        "n_valid": (size.notnull().sum(over), "1", "nodes with a gradient"),
    }
    return xr.Dataset(
        {
            name: describe(value, name, units=units, long_name=text, source=_SOURCE)
            for name, (value, units, text) in result.items()
        }
    ).assign_coords(xyz=["x", "y", "z"])
