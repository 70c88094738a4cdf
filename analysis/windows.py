"""How connectivity changes: any measure in sliding windows, and the similarity of connectivity at different times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from nfsim.analysis._labels import describe, pair_name, real_signal, uniform_step
from nfsim.analysis.connectivity import functional_connectivity


def sliding(
    measure: Callable[..., xr.DataArray],
    data: xr.DataArray,
    *,
    over: str = "time",
    window: float,
    step: float,
    **arguments: Any,
) -> xr.DataArray:
    """Return `measure(data, over=over, ...)` of windows that slide along `over`, on a new dim `window`.

    Parameters
    ----------
    measure : function
        Any measure of this package that takes `over`: `plv`, `functional_connectivity`, ...
    data : DataArray
        Whatever the measure takes, with uniform time.
    over : str
        Dim to slide along.
    window, step : float, in the unit of the coordinate `over`
        Length of a window, and how far the next one starts. The last samples that fill no window are left out.
    **arguments
        Further arguments of the measure.

    Returns
    -------
    DataArray
        The coordinate `window` is the centre of each window.

    Examples
    --------
    >>> from nfsim.analysis import example, plv
    >>> dict(sliding(plv, example().z, window=0.5, step=0.25).sizes)
    {'window': 7, 'trial': 4, 'node': 12, 'node_j': 12}
    """
    dt = uniform_step(data, over, "sliding")
    length, hop = round(window / dt), round(step / dt)
    if length < 2 or hop < 1:
        raise ValueError(
            f"sliding: window={window:g} and step={step:g} are {length} and {hop} samples of {dt:g}; need "
            "2 and 1 at least"
        )
    starts = np.arange(0, data.sizes[over] - length + 1, hop)
    if not starts.size:
        raise ValueError(f"sliding: window={window:g} is longer than the recording, {data.sizes[over] * dt:g}")
    pieces = [measure(data.isel({over: slice(a, a + length)}), over=over, **arguments) for a in starts]
    result = xr.concat(pieces, dim="window", coords="different", compat="equals", join="override")
    centres = np.asarray(data.coords[over].values)[starts] + (length - 1) * dt / 2
    attrs = {"long_name": "centre of the window", **{k: v for k, v in data.coords[over].attrs.items() if k == "units"}}
    result.attrs = pieces[0].attrs
    return result.assign_coords(window=("window", centres, attrs))


def functional_connectivity_dynamics(
    data: xr.DataArray | xr.Dataset,
    *,
    over: str = "time",
    window: float,
    step: float,
    between: str = "node",
    variable: str | None = None,
) -> xr.DataArray:
    r"""Functional connectivity dynamics: the correlation of the connectivity matrices of all pairs of windows.

    The upper triangles of the matrices of windows a and b are correlated; blocks of high values are spells of a lasting
    pattern. Constant signals within a window are refused, as in `functional_connectivity`.

    Parameters
    ----------
    data : DataArray or Dataset, real
        Signals, at least three nodes: two have one pair, and the correlation of single numbers is not defined.
    over, window, step
        As in `sliding`; windows overlap by window - step.
    between : str
        Dim whose entries are paired.
    variable : str, optional
        Which variable of a Dataset.

    Notes
    -----
    Source: Hansen et al. 2015, NeuroImage 105:525.
    """
    x = real_signal(data, "functional_connectivity_dynamics", variable)
    if between not in x.dims or x.sizes[between] < 3:
        raise ValueError(
            f"functional_connectivity_dynamics: between={between!r} needs at least three entries, the data "
            f"have {dict(x.sizes)}"
        )
    matrices = sliding(functional_connectivity, x, over=over, window=window, step=step, between=between)
    if matrices.sizes["window"] < 2:
        raise ValueError("functional_connectivity_dynamics: one window; give a shorter window or a longer recording")
    upper = np.triu_indices(x.sizes[between], 1)

    def correlate(block: np.ndarray) -> np.ndarray:
        pairs = block[..., upper[0], upper[1]]
        centred = pairs - pairs.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).sum(-1, keepdims=True))
        return np.clip(normed @ normed.swapaxes(-1, -2), -1, 1)

    if matrices.chunks is not None:
        matrices = matrices.chunk({"window": -1, between: -1, pair_name(between): -1})
    lead = matrices.ndim - 3
    fcd = xr.apply_ufunc(
        correlate, matrices.drop_vars("n_valid"), input_core_dims=[["window", between, pair_name(between)]],
        output_core_dims=[["window", "window_j"]], dask="parallelized",
        dask_gufunc_kwargs={"meta": np.empty((0,) * (lead + 2)), "output_sizes": {"window_j":
        matrices.sizes["window"]}},
    )  # fmt: skip
    fcd = fcd.assign_coords(window_j=("window_j", matrices.window.values, matrices.window.attrs))
    return describe(
        fcd,
        "functional_connectivity_dynamics",
        long_name="functional connectivity dynamics",
        source="Hansen et al. 2015",
    )
