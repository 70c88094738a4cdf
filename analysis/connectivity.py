"""Which nodes move together: phase locking, phase lag, envelope and signal correlation, all pairs at once.

Every measure returns a node by node matrix: rows keep the name and the coordinates of the dim (`node`, `region`),
columns add `_j` (`node_j`, `region_j`). The coordinate `n_valid` counts the samples that entered each pair; a pair
with fewer than two has no value (NaN).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from nfsim.analysis import _kernels_pairs as kernels
from nfsim.analysis._labels import (
    Over,
    additive,
    complex_state,
    describe,
    dims_over,
    flat_over,
    one_node_dim,
    pair_name,
    real_signal,
    threads,
    with_pair_coords,
)

_ONE = "over a single sample it is 1 (or its sign) by definition; average over more"


def pair_sums(
    z: xr.DataArray,
    kernel: Callable[..., np.ndarray],
    over: Over,
    between: str,
    measure: str,
    dtype: type,
    statistics: int,
) -> xr.DataArray:
    """Return the sums of a pair kernel on the dims `..., statistic, node, node_j`, with the coordinates of pairs."""
    dims = dims_over(z, over, measure, why=_ONE)
    one_node_dim(z, between, dims, measure)
    workers = threads(z)

    def block_sums(block: np.ndarray) -> np.ndarray:
        return np.moveaxis(kernel(flat_over(block, len(dims)), threads=workers), 0, -1)

    n = z.sizes[between]
    out = {between: n, pair_name(between): n, "statistic": statistics}
    # sums of pairs come back with new node dims: the old one must not be among the dims of the result twice
    renamed = z.rename({between: "_node"}) if z.name != between else z.rename("_").rename({between: "_node"})
    renamed = renamed.drop_vars([name for name, coord in renamed.coords.items() if "_node" in coord.dims])
    return with_pair_coords(additive(block_sums, renamed, ("_node",), dims, out, dtype), z, between)


def _counted(value: xr.DataArray, count: xr.DataArray) -> xr.DataArray:
    count = count.reset_coords(drop=True) if "statistic" in count.coords else count
    return value.where(count >= 2).assign_coords(n_valid=count.astype(np.int64))


def plv(data: xr.DataArray | xr.Dataset, *, over: Over, between: str = "node") -> xr.DataArray:
    r"""Phase-locking value of all pairs: 1 when the phase difference never changes, about 1/sqrt(n) when independent.

    .. math:: \mathrm{PLV}_{ij} = \left|\frac{1}{n}\sum_s u_{is}\,\bar u_{js}\right|, \qquad u = z/|z|

    States that are 0, NaN or infinite have no phase: such samples are left out of the pairs they concern.

    Parameters
    ----------
    data : DataArray or Dataset, complex
        States, or analytic signals.
    over : str or sequence of str
        Samples s: "time" within each trial, "trial" at each time, or both. At least two.
    between : str
        Dim whose entries are paired.

    Notes
    -----
    Source: Lachaux et al. 1999, Hum. Brain Mapp. 8:194.

    Examples
    --------
    >>> from nfsim.analysis import example
    >>> matrix = plv(example(), over=("trial", "time"))
    >>> matrix.dims, float(matrix[0, 1].round(4))
    (('node', 'node_j'), 1.0)
    """
    z = complex_state(data, "plv")
    sums = pair_sums(z, kernels.phase_sums, over, between, "plv", np.complex128, 2)
    cross, count = sums.isel(statistic=0), sums.isel(statistic=1).real
    value = _counted((abs(cross) / count).clip(max=1), count)
    return describe(value, "plv", long_name="phase-locking value", source="Lachaux et al. 1999")


def ppc(data: xr.DataArray | xr.Dataset, *, over: Over, between: str = "node") -> xr.DataArray:
    r"""Pairwise phase consistency of all pairs: the squared phase-locking value without its bias by sample size.

    .. math:: \mathrm{PPC} = \frac{|\sum_s u_{is}\bar u_{js}|^2 - n}{n (n - 1)}

    May be below 0. NaN policy and parameters as in `plv`.

    Notes
    -----
    Source: Vinck et al. 2010, NeuroImage 51:112.
    """
    z = complex_state(data, "ppc")
    sums = pair_sums(z, kernels.phase_sums, over, between, "ppc", np.complex128, 2)
    cross, count = sums.isel(statistic=0), sums.isel(statistic=1).real
    value = (cross.real**2 + cross.imag**2 - count) / (count * (count - 1)).where(count >= 2)
    return describe(_counted(value, count), "ppc", long_name="pairwise phase consistency", source="Vinck et al. 2010")


def _lags(data: xr.DataArray | xr.Dataset, over: Over, between: str, measure: str) -> list[xr.DataArray]:
    z = complex_state(data, measure)
    sums = pair_sums(z, kernels.lag_sums, over, between, measure, np.float64, 5)
    return [sums.isel(statistic=k) for k in range(5)]


def pli(data: xr.DataArray | xr.Dataset, *, over: Over, between: str = "node") -> xr.DataArray:
    r"""Phase-lag index of all pairs: how one-sided the phase difference is; 0 for in-phase and mixed signals.

    .. math:: \mathrm{PLI}_{ij} = \left|\langle \mathrm{sign}\, \Im(z_i \bar z_j) \rangle_s\right|

    A lag within rounding of 0 counts as 0. NaN policy and parameters as in `plv`.

    Notes
    -----
    Source: Stam, Nolte & Daffertshofer 2007, Hum. Brain Mapp. 28:1178.
    """
    sign, _, _, _, count = _lags(data, over, between, "pli")
    return describe(_counted(abs(sign) / count, count), "pli", long_name="phase-lag index", source="Stam et al. 2007")


def dpli(data: xr.DataArray | xr.Dataset, *, over: Over, between: str = "node") -> xr.DataArray:
    r"""Directed phase-lag index of all pairs: above 1/2 where the row leads the column, below where it lags.

    .. math:: \mathrm{dPLI}_{ij} = \langle H(\Im(z_i \bar z_j)) \rangle_s, \qquad H(0) = 1/2

    NaN policy and parameters as in `plv`.

    Notes
    -----
    Source: Stam & van Straaten 2012, NeuroImage 62:1415.
    """
    sign, _, _, _, count = _lags(data, over, between, "dpli")
    value = _counted((sign / count + 1) / 2, count)
    return describe(value, "dpli", long_name="directed phase-lag index", source="Stam & van Straaten 2012")


def wpli(data: xr.DataArray | xr.Dataset, *, over: Over, between: str = "node", debiased: bool = False) -> xr.DataArray:
    r"""Weighted phase-lag index of all pairs: the phase-lag index with lags near 0 weighing little.

    .. math::
        \mathrm{wPLI} = \frac{|\sum_s y_s|}{\sum_s |y_s|}, \qquad
        \mathrm{debiased\ wPLI}^2 = \frac{(\sum y)^2 - \sum y^2}{(\sum |y|)^2 - \sum y^2}, \qquad y = \Im(z_i \bar z_j)

    0 where no sample has a lag. NaN policy and parameters as in `plv`.

    Parameters
    ----------
    data, over, between
        As in `plv`.
    debiased : bool
        Return the debiased estimate of the *squared* index, which may be below 0.

    Notes
    -----
    Source: Vinck et al. 2011, NeuroImage 55:1548, eqs. 8 and 33.
    """
    _, value, modulus, square, count = _lags(data, over, between, "wpli")
    top = value**2 - square if debiased else abs(value)
    bottom = modulus**2 - square if debiased else modulus
    index = _counted((top / bottom.where(bottom > 0)).fillna(0), count)
    name = "wpli2_debiased" if debiased else "wpli"
    long_name = "weighted phase-lag index" + (", squared and debiased" if debiased else "")
    return describe(index, name, long_name=long_name, source="Vinck et al. 2011")


def aec(
    data: xr.DataArray | xr.Dataset, *, over: Over, between: str = "node", orthogonalise: bool = False
) -> xr.DataArray:
    r"""Amplitude-envelope correlation of all pairs: the Pearson correlation of |z_i| and |z_j|.

    Parameters
    ----------
    data : DataArray or Dataset, complex
        Analytic signals or states. NaN and infinite samples are left out of the pairs they concern; an amplitude of 0
        is a value like others, except with `orthogonalise`, which needs a phase.
    over, between
        As in `plv`.
    orthogonalise : bool
        Correlate |z_i| with the part of z_j at right angles to z_i, which no instantaneous mixing can produce, and
        average both directions. The diagonal is then 0.

    Notes
    -----
    Sources: Bruns et al. 2000, NeuroReport 11:1509; Hipp et al. 2012, Nat. Neurosci. 15:884 (orthogonalised).
    """
    z = complex_state(data, "aec")
    if not orthogonalise:
        value = _correlation(abs(z), over, between, "aec")
        return describe(value, "aec", long_name="amplitude-envelope correlation", source="Bruns et al. 2000")
    sums = pair_sums(z, kernels.orthogonal_sums, over, between, "aec", np.float64, 6)
    a, aa, o, oo, ao, n = (sums.isel(statistic=k) for k in range(6))
    spread = (aa - a**2 / n) * (oo - o**2 / n)
    # in-phase pairs have nothing at right angles: their spread is rounding noise
    lagged = (oo > 1e-12 * aa) & (spread > 0)
    one_way = ((ao - a * o / n) / np.sqrt(spread.where(lagged))).fillna(0)
    other = one_way.variable.transpose(*_swapped(one_way.dims, between))
    value = _counted(one_way.copy(data=(one_way.data + other.data) / 2), n)
    return describe(value, "aec", long_name="orthogonalised amplitude-envelope correlation", source="Hipp et al. 2012")


def _swapped(dims: tuple, node: str) -> list:
    exchange = {node: pair_name(node), pair_name(node): node}
    return [exchange.get(dim, dim) for dim in dims]


def functional_connectivity(data: xr.DataArray | xr.Dataset, *, over: Over, between: str = "node") -> xr.DataArray:
    r"""Functional connectivity: the Pearson correlation of all pairs of real signals (rates, BOLD, EEG).

    NaN and infinite samples are left out of the pairs they concern. A constant signal has no correlation: it is
    refused, and NaN in a lazy array, whose values are not known yet.

    Parameters
    ----------
    data : DataArray or Dataset, real
        Signals; of complex states take `abs(ds.z)` or `ds.z.real`.
    over, between
        As in `plv`.

    Notes
    -----
    Source: Biswal et al. 1995, Magn. Reson. Med. 34:537.
    """
    value = _correlation(real_signal(data, "functional_connectivity"), over, between, "functional_connectivity")
    return describe(value, "functional_connectivity", long_name="functional connectivity", source="Biswal et al. 1995")


def _correlation(x: xr.DataArray, over: Over, between: str, measure: str) -> xr.DataArray:
    dims = dims_over(x, over, measure, why=_ONE)
    one_node_dim(x, between, dims, measure)
    first = x.isel({dim: 0 for dim in dims}, drop=True)
    shift = first.where(np.isfinite(first), 0)

    def kernel(block: np.ndarray, offset: np.ndarray) -> np.ndarray:
        return np.moveaxis(kernels.product_sums(flat_over(block, len(dims)), offset), 0, -1)

    n = x.sizes[between]
    renamed = [
        a.drop_vars([name for name, coord in a.coords.items() if between in coord.dims]).rename({between: "_node"})
        for a in (x, shift)
    ]
    out = {between: n, pair_name(between): n, "statistic": 4}
    sums = additive(kernel, renamed[0], ("_node",), dims, out, np.float64, extra=[renamed[1]])
    value, count = correlation_of_sums(with_pair_coords(sums, x, between), between)
    if value.chunks is None:
        _refuse_constant(value, between, measure)
    return _counted(value, count)


def correlation_of_sums(sums: xr.DataArray, between: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Return Pearson correlation and sample count from the sums of `product_sums`; NaN for a constant signal."""
    product, first, square, count = (sums.isel(statistic=k) for k in range(4))
    swapped = [s.variable.transpose(*_swapped(s.dims, between)).data for s in (first, square)]
    n = count.where(count >= 2)
    own = square - first**2 / n
    other = swapped[1] - swapped[0] ** 2 / n
    # below rounding of the sums there is no variance to speak of
    varies = (own > 1e-13 * square) & (other > 1e-13 * swapped[1])
    value = (product - first * swapped[0] / n) / np.sqrt((own * other).where(varies))
    return value.clip(-1, 1), count


def _refuse_constant(value: xr.DataArray, between: str, measure: str) -> None:
    own = np.diagonal(value.transpose(..., between, pair_name(between)).values, axis1=-2, axis2=-1)
    constant = np.flatnonzero(np.isnan(own).reshape(-1, own.shape[-1]).any(axis=0))
    if constant.size:
        shown = ", ".join(map(str, constant[:8])) + (", ..." if constant.size > 8 else "")
        raise ValueError(
            f"{measure}: the signal is constant (or missing) at {between} {shown}, so it has no correlation; "
            f"leave those out with .drop_isel({between}=[...])"
        )
