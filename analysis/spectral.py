"""Coherence between signals, and the coupling of slow phases to fast amplitudes."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nfsim.analysis import _kernels_pairs as kernels
from nfsim.analysis._labels import (
    Over,
    check_dim,
    describe,
    dims_over,
    one_node_dim,
    pair_name,
    real_signal,
    uniform_step,
    with_pair_coords,
)
from nfsim.analysis.phases import _checked, analytic


def coherence(
    data: xr.DataArray | xr.Dataset,
    *,
    over: Over = "time",
    between: str = "node",
    segment: float,
    imaginary: bool = False,
    variable: str | None = None,
) -> xr.DataArray:
    r"""Magnitude-squared coherence of all pairs of real signals per frequency, or the imaginary part of coherency.

    .. math:: C_{ij}(f) = \frac{|S_{ij}|^2}{S_{ii} S_{jj}}, \qquad \Im\frac{S_{ij}}{\sqrt{S_{ii}S_{jj}}}

    Spectra S are averaged over half-overlapping Hann segments without their mean, as `scipy.signal.coherence` does, and
    over further dims in `over`.

    Parameters
    ----------
    data : DataArray or Dataset, real
        Signals without NaN, with uniform time.
    over : str or sequence of str
        The time dim, last, and further dims to average over ("trial", "time").
    between : str
        Dim whose entries are paired.
    segment : float, in the unit of the time coordinate
        Length of a segment: frequencies are 1/segment apart. At least two must fit, since the coherence of one is 1.
    imaginary : bool
        Return the imaginary part of coherency, signed: 0 for instantaneous mixing, antisymmetric in the pair.
    variable : str, optional
        Which variable of a Dataset.

    Notes
    -----
    Sources: Welch 1967; Nolte et al. 2004, Clin. Neurophysiol. 115:2292 (imaginary). Through `scipy.signal.stft`.
    """
    measure = "imaginary_coherence" if imaginary else "coherence"
    x = real_signal(data, measure, variable)
    dims = dims_over(x, over, measure)
    time, pooled = dims[-1], dims[:-1]
    one_node_dim(x, between, dims, measure)
    dt = uniform_step(x, time, measure)
    length = round(segment / dt)
    count = (x.sizes[time] - length // 2) // max(1, length - length // 2)
    total = count * int(np.prod([x.sizes[d] for d in pooled]))
    if length < 4 or count < 1 or total < 2:
        raise ValueError(
            f"{measure}: segment={segment:g} is {length} of {x.sizes[time]} samples, {max(0, total)} segments in all; "
            "needs segments of 4 samples, and two of them, since the coherence of one segment is 1"
        )
    frequency = np.fft.rfftfreq(length, dt)

    def cross(block: np.ndarray) -> np.ndarray:
        from scipy import signal

        block = _checked(block, time, measure)  # [..., node, *pooled, time]
        _, _, spectra = signal.stft(
            block, 1 / dt, "hann", length, length // 2, detrend="constant", boundary=None, padded=False, axis=-1
        )  # [..., node, *pooled, frequency, segment]
        spectra = np.moveaxis(spectra, -2, -3 - len(pooled))
        spectra = spectra.reshape(*spectra.shape[: spectra.ndim - 1 - len(pooled)], -1)
        return kernels.power_sums(spectra)[0]

    n = x.sizes[between]
    renamed = x.drop_vars([name for name, coord in x.coords.items() if between in coord.dims]).rename(
        {between: "_node"}
    )
    if renamed.chunks is not None:
        renamed = renamed.chunk({"_node": -1, **{d: -1 for d in dims}})
    lead = x.ndim - 1 - len(dims)
    sums = xr.apply_ufunc(
        cross, renamed, input_core_dims=[["_node", *pooled, time]],
        output_core_dims=[["frequency", between, pair_name(between)]], dask="parallelized",
        dask_gufunc_kwargs={
            "meta": np.empty((0,) * (lead + 3), np.complex128),
            "output_sizes": {"frequency": frequency.size, between: n, pair_name(between): n},
        },
    )  # fmt: skip
    own = xr.apply_ufunc(
        lambda s: np.diagonal(s, axis1=-2, axis2=-1).real, sums, input_core_dims=[[between, pair_name(between)]],
        output_core_dims=[["_node"]], dask="parallelized",
        dask_gufunc_kwargs={"meta": np.empty((0,) * (lead + 2)), "output_sizes": {"_node": n}, "allow_rechunk": True},
    )  # fmt: skip
    power = own.rename({"_node": between}) * own.rename({"_node": pair_name(between)})
    power = power.where(power > 0)
    value = sums.imag / np.sqrt(power) if imaginary else (sums.real**2 + sums.imag**2) / power
    value = value.transpose(..., "frequency", between, pair_name(between))
    attrs = {"units": "Hz", "long_name": "frequency"}
    value = with_pair_coords(value.assign_coords(frequency=("frequency", frequency, attrs)), x, between)
    long_name = "imaginary part of coherency" if imaginary else "magnitude-squared coherence"
    return describe(value, measure, long_name=long_name, source="Nolte et al. 2004" if imaginary else "Welch 1967")


def imaginary_coherence(
    data: xr.DataArray | xr.Dataset,
    *,
    over: Over = "time",
    between: str = "node",
    segment: float,
    variable: str | None = None,
) -> xr.DataArray:
    """Imaginary part of coherency of all pairs, per frequency: `coherence(..., imaginary=True)`."""
    return coherence(data, over=over, between=between, segment=segment, imaginary=True, variable=variable)


def phase_amplitude_coupling(
    data: xr.DataArray | xr.Dataset,
    *,
    over: str = "time",
    phase_band: tuple[float, float],
    amplitude_band: tuple[float, float],
    bins: int = 18,
    variable: str | None = None,
) -> xr.DataArray:
    r"""Phase-amplitude coupling of each signal, in [0, 1]: how unevenly the fast envelope spreads over the slow phase.

    .. math:: \mathrm{MI} = \frac{\ln K + \sum_k p_k \ln p_k}{\ln K}

    with p_k the mean amplitude in phase bin k over its sum. A bin that no sample falls into is an error: the
    recording is too short for the slow band.

    Parameters
    ----------
    data : DataArray or Dataset, real
        Signals without NaN, with uniform time.
    over : str
        Time dim.
    phase_band, amplitude_band : (low, high), cycles per unit of the time coordinate
        The slow band and the fast band, apart from each other.
    bins : int
        K; 18 bins of 20 degrees are customary.
    variable : str, optional
        Which variable of a Dataset.

    Notes
    -----
    Source: Tort et al. 2010, J. Neurophysiol. 104:1195.
    """
    x = real_signal(data, "phase_amplitude_coupling", variable)
    check_dim(x, over, "phase_amplitude_coupling", "over")
    if not phase_band[1] <= amplitude_band[0]:
        raise ValueError(
            f"phase_amplitude_coupling: phase_band {phase_band} and amplitude_band {amplitude_band} overlap; "
            "the amplitude band must lie above"
        )
    slow, fast = analytic(x, over=over, band=phase_band), analytic(x, over=over, band=amplitude_band)

    def index(slow_block: np.ndarray, fast_block: np.ndarray) -> np.ndarray:
        place = np.floor((np.angle(slow_block) + np.pi) / (2 * np.pi) * bins).astype(np.int64) % bins
        rows = np.arange(int(np.prod(place.shape[:-1])))[:, None] * bins + place.reshape(-1, place.shape[-1])
        size = (len(rows), bins)
        count = np.bincount(rows.ravel(), minlength=np.prod(size)).reshape(size)
        if not count.all():
            raise ValueError("phase_amplitude_coupling: a phase bin is empty; give a longer recording or fewer bins")
        total = np.bincount(rows.ravel(), np.abs(fast_block).ravel(), minlength=np.prod(size)).reshape(size)
        p = total / count
        p /= p.sum(-1, keepdims=True)
        entropy = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)
        return (1 - entropy / np.log(bins)).reshape(place.shape[:-1])

    value = xr.apply_ufunc(
        index, slow, fast, input_core_dims=[[over], [over]], dask="parallelized",
        dask_gufunc_kwargs={"meta": np.empty((0,) * (x.ndim - 1))},
    )  # fmt: skip
    return describe(
        value,
        "phase_amplitude_coupling",
        long_name="phase-amplitude coupling (modulation index)",
        source="Tort et al. 2010",
    )
