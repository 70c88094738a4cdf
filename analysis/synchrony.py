"""How much a population moves together: order parameters, metastability, chimera index."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nfsim.analysis import _kernels
from nfsim.analysis._labels import (
    Over,
    additive,
    check_dim,
    complex_state,
    describe,
    dims_over,
    flat_over,
    threads,
)

_KURAMOTO = "Kuramoto 1984, Chemical Oscillations, Waves, and Turbulence"


def order_parameter(
    data: xr.DataArray | xr.Dataset,
    *,
    over: Over,
    by: str | None = None,
    order: int = 1,
    within: float | None = None,
    weights: Any = None,
) -> xr.Dataset:
    r"""Kuramoto order parameter: how long (`r`) and where (`psi`) the mean of unit phases points.

    .. math:: r\,e^{i\psi} = \frac{1}{n} \sum_{j=1}^{n} \left(\frac{z_j}{|z_j|}\right)^m

    A state that is 0, NaN or infinite has no phase: it is left out, and `n_valid` counts what entered. Where fewer than
    two entered, r and psi are NaN, since one unit vector always has length 1.

    Parameters
    ----------
    data : DataArray or Dataset, complex
        States with any dims; of a Dataset the variable `z`.
    over : str or sequence of str
        Dim(s) to average over, "node", "time", "trial" or any other.
    by : str, optional
        A coordinate along `over`: one order parameter per value, on a dim of that name.
    order : int
        m of Daido's higher orders: 2 sees two clusters half a turn apart.
    within : float, rad, optional
        Local order parameter: for each node the mean over nodes at most this angle away on the sphere, itself included.
    weights : "edges", array or DataArray (node, node), optional
        Connectome-weighted: for each node i the mean over j weighted by w_ij >= 0 (row i: what reaches node i). "edges"
        takes the edges of the recording.

    Returns
    -------
    Dataset
        `r` (1), `psi` (rad, in (-pi, pi]) and `n_valid`, on the dims that are left.

    Notes
    -----
    Sources: Kuramoto 1984; Daido 1992, Prog. Theor. Phys. 88:1213 (orders); Schröder et al. 2017, Chaos 27:073119
    (weighted by the network).

    Examples
    --------
    >>> from nfsim.analysis import example
    >>> order_parameter(example(), over="node", by="region").r.mean(("trial", "time")).round(2).values[:2].tolist()
    [1.0, 0.0]
    """
    z = complex_state(data, "order_parameter")
    dims = dims_over(
        z, over, "order_parameter", why="the order parameter of one is 1 by definition; average over another dim"
    )
    if order < 1 or int(order) != order:
        raise ValueError(f"order_parameter: order is {order}; give a whole number from 1 on")
    if sum(choice is not None for choice in (by, within, weights)) > 1:
        raise ValueError("order_parameter: by, within and weights exclude each other; give one")
    if within is not None or weights is not None:
        if len(dims) > 1:
            raise ValueError(f"order_parameter: within and weights need one dim of nodes, not over={dims}")
        if order > 1:
            raise ValueError(
                "order_parameter: higher orders are defined for the plain mean; leave out within and weights"
            )
        total, count = _neighbour_means(data, z, dims[0], within, weights)
    else:
        total, count = _group_means(z, dims, by, int(order))
    few = count < 2
    r = abs(total).clip(max=1).where(~few)  # single precision can end 1e-7 above 1
    angle: Any = np.arctan2(total.imag, total.real)  # a DataArray, though the stubs of numpy say ndarray
    psi = angle.where(~few)
    return xr.Dataset(
        {
            "r": describe(r, "r", long_name=_long_name("order parameter", by, order), source=_KURAMOTO),
            "psi": describe(psi, "psi", units="rad", long_name="mean phase", source=_KURAMOTO),
            "n_valid": describe(count.astype(np.int64), "n_valid", long_name="states with a phase", source=_KURAMOTO),
        }
    )


def _long_name(name: str, by: str | None, order: int) -> str:
    return name + (f" of order {order}" if order > 1 else "") + (f" by {by}" if by else "")


def _group_means(
    z: xr.DataArray, dims: tuple[str, ...], by: str | None, order: int
) -> tuple[xr.DataArray, xr.DataArray]:
    if by is None:
        sums = _summed(z, dims, None, 1, "group", order)
        total, count = sums.isel(group=0, statistic=0), sums.isel(group=0, statistic=1).real
    else:
        names, group = _groups(z, dims, by)
        labels = xr.DataArray(group, dims=dims)
        sums = _summed(z, dims, labels, len(names), by, order)
        sums = sums.assign_coords({by: names})
        total, count = sums.isel(statistic=0), sums.isel(statistic=1).real
    return total / count.where(count > 0), count


def _summed(
    z: xr.DataArray, dims: tuple[str, ...], labels: xr.DataArray | None, groups: int, out: str, order: int
) -> xr.DataArray:
    workers = threads(z)

    def kernel(block: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        block = flat_over(block, len(dims))
        group = np.zeros(block.shape[-1], np.int64) if group is None else group
        return np.stack(_kernels.order_sums(block, group, groups, order=order, threads=workers), axis=-1).astype(
            complex
        )

    if labels is None:
        return additive(kernel, z, (), dims, {"group": 1, "statistic": 2}, np.complex128)
    # groups are told apart by position, so the grouped dim stays whole
    return additive(kernel, z, dims, (), {out: groups, "statistic": 2}, np.complex128, extra=[labels])


def _groups(z: xr.DataArray, dims: tuple[str, ...], by: str) -> tuple[list[Any], np.ndarray]:
    """Return the values of coordinate `by` in order of appearance, and the group number of each entry of the dim."""
    if by not in z.coords:
        raise ValueError(
            f"order_parameter: no coordinate {by!r} to group by; the data have {sorted(map(str, z.coords))}"
        )
    if len(dims) > 1 or z.coords[by].dims != dims:
        raise ValueError(
            f"order_parameter: by={by!r} lies on {z.coords[by].dims}, not on over={dims}; group along one dim"
        )
    values = z.coords[by].values
    names = list(dict.fromkeys(values.tolist()))
    group = np.array([names.index(value) for value in values.tolist()], np.int64)
    alone = [str(name) for k, name in enumerate(names) if np.sum(group == k) < 2]
    if alone:
        raise ValueError(
            f"order_parameter: {by} {', '.join(alone)} has one {dims[0]}: its r is 1 by definition; "
            f"leave it out with .nfsim.sel({by}=[...])"
        )
    return names, group


def _neighbour_means(
    data: xr.DataArray | xr.Dataset, z: xr.DataArray, node: str, within: float | None, weights: Any
) -> tuple[xr.DataArray, xr.DataArray]:
    from nfsim.analysis._sphere import neighbours_within, weight_rows

    rows = (
        neighbours_within(z, node, within, "order_parameter")
        if within is not None
        else weight_rows(data, z, node, weights)
    )
    index, pointer = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    workers = threads(z)

    def kernel(block: np.ndarray) -> np.ndarray:
        total, weight, count = _kernels.neighbour_sums(block, index, pointer, rows.data, threads=workers)
        mean = np.divide(total, weight, out=np.full(total.shape, np.nan + 0j), where=weight > 0)
        return np.stack([mean, count.astype(complex)], axis=-1)

    sums = additive(kernel, z, (node,), (), {node: z.sizes[node], "statistic": 2}, np.complex128)
    sums = sums.assign_coords({name: coord for name, coord in z.coords.items() if node in coord.dims})
    return sums.isel(statistic=0), sums.isel(statistic=1).real


def metastability(
    data: xr.DataArray | xr.Dataset, *, over: Over, along: str = "time", by: str | None = None
) -> xr.DataArray:
    r"""How much synchrony comes and goes: the standard deviation along time of the order parameter r.

    Steps whose r is NaN (fewer than two valid phases) are left out.

    Parameters
    ----------
    data : DataArray or Dataset, complex
        States.
    over : str or sequence of str
        Dim(s) r averages over, usually "node".
    along : str
        Dim along which r fluctuates, at least two steps.
    by : str, optional
        One value per group of this coordinate, as in `order_parameter`.

    Notes
    -----
    Source: Shanahan 2010, Chaos 20:013108, who takes the variance; the standard deviation, in the unit of r, follows
    Deco et al. 2017, Sci. Rep. 7:3095.
    """
    z = complex_state(data, "metastability")
    _fluctuates(z, over, along, "metastability")
    r = order_parameter(z, over=over, by=by).r
    return describe(
        r.std(along),
        "metastability",
        long_name=_long_name("metastability", by, 1),
        source="Shanahan 2010; Deco et al. 2017",
    )


def chimera_index(
    data: xr.DataArray | xr.Dataset, *, over: Over, along: str = "time", by: str = "region"
) -> xr.DataArray:
    r"""How unequal the synchrony of groups is at one time: the variance of r across groups, averaged along time.

    .. math:: \chi = \langle \mathrm{var}_c\, r_c(t) \rangle_t, \qquad \mathrm{var} \text{ with } M - 1

    0 when all groups are equally synchronous; up to 1/4 * M/(M-1) when half are locked and half are not. Steps where a
    group has no r are left out of the variance of that step.

    Parameters
    ----------
    data : DataArray or Dataset, complex
        States.
    over : str or sequence of str
        Dim(s) r averages over, usually "node".
    along : str
        Dim to average the variance along.
    by : str
        Coordinate that names the groups: at least two values.

    Notes
    -----
    Source: Shanahan 2010, Chaos 20:013108, eq. 5.
    """
    z = complex_state(data, "chimera_index")
    check_dim(z, along, "chimera_index", "along")
    if along in dims_over(z, over, "chimera_index"):
        raise ValueError(f"chimera_index: along={along!r} is also in over={over!r}; r would have no time left")
    r = order_parameter(z, over=over, by=by).r
    if r.sizes[by] < 2:
        raise ValueError(f"chimera_index: {by!r} has one group; a variance across groups needs two")
    return describe(
        r.var(by, ddof=1).mean(along), "chimera_index", long_name=f"chimera index by {by}", source="Shanahan 2010"
    )


def _fluctuates(z: xr.DataArray, over: Over, along: str, measure: str) -> None:
    check_dim(z, along, measure, "along")
    if along in dims_over(z, over, measure, why="r of one is 1 by definition"):
        raise ValueError(f"{measure}: along={along!r} is also in over={over!r}; r would have no time left to vary in")
    if z.sizes[along] < 2:
        raise ValueError(f"{measure}: {along!r} has one step, so r cannot vary; give a longer recording")
