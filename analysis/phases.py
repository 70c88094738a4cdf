"""Complex phases and amplitudes from real signals (Hilbert, Morlet wavelets), from angles, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nfsim.analysis._labels import complex_state, describe, real_signal, threads, uniform_step


def analytic(
    data: xr.DataArray | xr.Dataset,
    *,
    over: str = "time",
    band: tuple[float, float] | None = None,
    order: int = 4,
    variable: str | None = None,
) -> xr.DataArray:
    r"""Analytic signal x + i H[x] of real signals, band-passed first: its angle is the phase, its modulus the envelope.

    The mean over `over` is taken off. The filter is a Butterworth, forward and backward, so it shifts no phase. The
    ends of a recording bend phases over about one period of the lower band edge: cut them off before averaging.

    Parameters
    ----------
    data : DataArray or Dataset, real
        Signals without NaN (a transform has no place for them), with uniform time.
    over : str
        Time dim; must have a coordinate.
    band : (low, high), in cycles per unit of the time coordinate (Hz for s), optional
        Pass band. Without it the phase of a broad-band signal means little.
    order : int
        Order of the Butterworth filter, each way.
    variable : str, optional
        Which variable of a Dataset.

    Notes
    -----
    Sources: Gabor 1946; Le Van Quyen et al. 2001, J. Neurosci. Methods 111:83. Through `scipy.signal`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> t = np.arange(500) / 250
    >>> eeg = xr.DataArray([np.sin(2 * np.pi * 10 * t)], dims=("node", "time"), coords={"time": t})
    >>> float(abs(analytic(eeg, band=(8, 12)))[0, 250].round(1))
    1.0
    """
    x = real_signal(data, "analytic", variable)
    step = uniform_step(x, over, "analytic")
    sections = None if band is None else _band_pass(band, order, step, x.sizes[over], over)

    workers = threads(x)

    def transform(block: np.ndarray) -> np.ndarray:
        block = _checked(block, over, "analytic")
        block = block - block.mean(-1, keepdims=True)
        if sections is not None:
            from scipy import signal

            block = signal.sosfiltfilt(sections, block, axis=-1)
        return _hilbert(block, workers)

    z = _transform(transform, x, over)
    name = "analytic signal" + (f", {band[0]:g} to {band[1]:g} Hz" if band else "")
    z = describe(z, "z", units=str(x.attrs.get("units", "1")), long_name=name, source="Gabor 1946")
    return z


def _hilbert(x: np.ndarray, workers: int | None) -> np.ndarray:
    """Return x + i H[x] along the last axis: `scipy.signal.hilbert`, which takes a real signal for a complex one."""
    from scipy import fft

    n = x.shape[-1]
    half = n // 2 + 1
    spectrum = np.zeros(x.shape, np.complex128)
    positive = fft.rfft(x, axis=-1, workers=workers or os.cpu_count())
    positive[..., 1 : (n + 1) // 2] *= 2
    spectrum[..., :half] = positive
    return fft.ifft(spectrum, axis=-1, overwrite_x=True, workers=workers or os.cpu_count())


def _band_pass(band: tuple[float, float], order: int, step: float, samples: int, over: str) -> np.ndarray:
    from scipy import signal

    low, high = band
    if not 0 < low < high < 0.5 / step:
        raise ValueError(f"analytic: band {band} is not within (0, {0.5 / step:g}), half the sampling rate of {over!r}")
    sections = signal.butter(order, [low, high], btype="bandpass", fs=1 / step, output="sos")
    needed = 3 * (2 * len(sections) + 1)
    if samples <= needed:
        raise ValueError(f"analytic: {samples} samples of {over!r}, a band-pass of order {order} needs over {needed}")
    return sections


def _checked(block: np.ndarray, over: str, measure: str) -> np.ndarray:
    """Return `block` in float64; raise on NaN and on signals that are constant along the last axis."""
    block = np.asarray(block, np.float64)
    if not block.size:
        return block
    low, high = block.min(-1), block.max(-1)  # NaN and infinity come through
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        share = 1 - np.isfinite(block).mean()
        raise ValueError(
            f"{measure}: {share:.2%} of the signal is NaN or infinite; fill it with .interpolate_na({over!r}) or "
            "cut it out"
        )
    # rounding of a constant would come out as a phase
    flat = high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))
    if flat.any():
        raise ValueError(
            f"{measure}: {int(flat.sum())} of {flat.size} signals are constant along {over!r} and have no "
            "phase; leave them out"
        )
    return block


def _transform(function: Callable[[np.ndarray], np.ndarray], x: xr.DataArray, over: str) -> xr.DataArray:
    whole = x.chunk({over: -1}) if x.chunks is not None else x
    meta = np.empty((0,) * x.ndim, np.complex128)
    z = xr.apply_ufunc(
        function, whole, input_core_dims=[[over]], output_core_dims=[[over]], dask="parallelized",
        dask_gufunc_kwargs={"meta": meta},
    )  # fmt: skip
    return z.transpose(*x.dims)


def wavelet(
    data: xr.DataArray | xr.Dataset,
    *,
    frequencies: Sequence[float],
    over: str = "time",
    cycles: float = 7.0,
    variable: str | None = None,
) -> xr.DataArray:
    r"""Complex Morlet wavelet transform of real signals, on a new dim `frequency`.

    .. math:: w_f(t) = \exp(2\pi i f t) \exp(-t^2 / 2\sigma^2), \qquad \sigma = \frac{c}{2\pi f}

    scaled so that a sine of amplitude 1 at f comes out with modulus 1. Within 3 sigma of either end the wavelet hangs
    over the edge: those samples are NaN, which phase measures leave out.

    Parameters
    ----------
    data : DataArray or Dataset, real
        Signals without NaN, with uniform time.
    frequencies : sequence of float, cycles per unit of the time coordinate
        Centre frequencies.
    over : str
        Time dim.
    cycles : float
        c, the trade of time for frequency resolution; 7 is customary.
    variable : str, optional
        Which variable of a Dataset.

    Notes
    -----
    Source: Tallon-Baudry et al. 1996, J. Neurosci. 16:4240.
    """
    x = real_signal(data, "wavelet", variable)
    step = uniform_step(x, over, "wavelet")
    wanted = np.atleast_1d(np.asarray(frequencies, np.float64))
    samples = x.sizes[over]
    for f in wanted:
        if not 0 < f < 0.5 / step:
            raise ValueError(f"wavelet: frequency {f:g} is not within (0, {0.5 / step:g}), half the sampling rate")
        if 2 * int(3 * cycles / (2 * np.pi * f * step)) + 1 > samples:
            raise ValueError(
                f"wavelet: {cycles:g} cycles of {f:g} do not fit into {samples} samples; take fewer cycles"
            )

    workers = threads(x) or os.cpu_count()

    def transform(block: np.ndarray) -> np.ndarray:
        from scipy import fft

        block = _checked(block, over, "wavelet")
        block = block - block.mean(-1, keepdims=True)
        # Circular convolution: what wraps around lands within half a wavelet of the ends, which are NaN in any case.
        size = fft.next_fast_len(samples, real=True)
        positive = fft.rfft(block, size, axis=-1, workers=workers)
        mirrored = positive[..., size - np.arange(positive.shape[-1], size)].conj()
        out = np.empty((*block.shape[:-1], len(wanted), samples), np.complex128)
        for k, f in enumerate(wanted):
            half = int(3 * cycles / (2 * np.pi * f * step))
            t = np.arange(-half, half + 1) * step
            morlet = np.exp(2j * np.pi * f * t - (2 * np.pi * f * t / cycles) ** 2 / 2)
            kernel = np.zeros(size, np.complex128)
            kernel[np.arange(-half, half + 1)] = morlet * 2 / np.abs(morlet).sum()
            response = fft.fft(kernel)
            product = np.concatenate([positive, mirrored], axis=-1)
            product *= response
            out[..., k, :] = fft.ifft(product, axis=-1, overwrite_x=True, workers=workers)[..., :samples]
            out[..., k, :half] = out[..., k, samples - half :] = np.nan
        return out

    whole = x.chunk({over: -1}) if x.chunks is not None else x
    z = xr.apply_ufunc(
        transform, whole, input_core_dims=[[over]], output_core_dims=[["frequency", over]], dask="parallelized",
        dask_gufunc_kwargs={
            "meta": np.empty((0,) * (x.ndim + 1), np.complex128), "output_sizes": {"frequency": len(wanted)},
        },
    )  # fmt: skip
    z = z.assign_coords(frequency=("frequency", wanted, {"units": "Hz", "long_name": "frequency"}))
    units = str(x.attrs.get("units", "1"))
    return describe(z, "z", units=units, long_name="Morlet wavelet coefficient", source="Tallon-Baudry et al. 1996")


def from_phase(angles: xr.DataArray | xr.Dataset, *, variable: str | None = None) -> xr.DataArray:
    """Return unit complex numbers exp(i*angle) of angles in rad, so that phase measures take them; NaN stays NaN."""
    x = real_signal(angles, "from_phase", variable)
    unit: Any = np.exp(1j * x)  # a DataArray, though the stubs of numpy say ndarray
    return describe(unit, "z", long_name="unit phase", source="exp(i*phase)")


def phase(data: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the angle of complex states, rad in (-pi, pi]; NaN where the state is 0 and has none."""
    z = complex_state(data, "phase")
    angle: Any = np.arctan2(z.imag, z.real)  # a DataArray, though the stubs of numpy say ndarray
    return describe(angle.where(abs(z) > 0), "phase", units="rad", long_name="phase", source="arg z")


def rate(data: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the rate |z| of complex states, in the unit of z."""
    z = complex_state(data, "rate")
    return describe(abs(z), "rate", units=str(z.attrs.get("units", "1")), long_name="rate", source="|z|")
