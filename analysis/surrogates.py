"""Surrogates that keep each signal but break what binds signals together, and tests against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from nfsim.analysis._labels import check_dim

METHODS = ("time_shift", "phase_shuffle")


def surrogate(
    data: xr.DataArray, *, over: str = "time", between: str = "node", method: str = "time_shift", seed: int = 0
) -> xr.DataArray:
    r"""One surrogate of `data`: every entry of `between` changed by itself, so that only chance binds them.

    "time_shift" turns each signal around in time by a random amount of at least a tenth of its length: keeps waveform
    and spectrum. "phase_shuffle" gives every Fourier component a random phase: keeps the spectrum only. Both keep the
    amplitude spectrum of each signal, for real signals and complex states alike.

    Parameters
    ----------
    data : DataArray, real or complex
        At least 10 samples along `over`; no NaN for "phase_shuffle", which transforms the whole signal.
    over : str
        Time dim.
    between : str
        Dim whose entries are to be independent. Other dims (trials) are drawn independently, too.
    method : "time_shift" or "phase_shuffle"
        What is done to each signal.
    seed : int
        Of the random draws: the same seed gives the same surrogate, whatever the chunks.

    Notes
    -----
    Sources: Andrzejak et al. 2003, Phys. Rev. E 68:066202 (shifts); Theiler et al. 1992, Physica D 58:77 (phases).
    """
    if method not in METHODS:
        raise ValueError(f"surrogate: method {method!r} is not one of {METHODS}")
    for role, dim in (("over", over), ("between", between)):
        check_dim(data, dim, "surrogate", role)
    samples = data.sizes[over]
    if samples < 10:
        raise ValueError(
            f"surrogate: {over!r} has {samples} samples; shifting or shuffling so few is no test; needs 10"
        )
    lead = [dim for dim in data.dims if dim != over]
    rng = np.random.default_rng(seed)
    shape = tuple(data.sizes[dim] for dim in lead)
    if method == "time_shift":
        least = samples // 10
        draws = xr.DataArray(rng.integers(least, samples - least, shape, endpoint=True), dims=lead)
    else:
        # one draw for each signal: its phases come from a stream of its own, so that chunks do not matter
        draws = xr.DataArray(rng.integers(0, 2**63, shape), dims=lead)
    change = _shift if method == "time_shift" else _shuffle
    whole = data.chunk({over: -1}) if data.chunks is not None else data
    result = xr.apply_ufunc(
        change, whole, draws, input_core_dims=[[over], []], output_core_dims=[[over]], dask="parallelized",
        dask_gufunc_kwargs={"meta": np.empty((0,) * data.ndim, data.dtype)}, keep_attrs=True,
    )  # fmt: skip
    return result.transpose(*data.dims).rename(data.name)


def _shift(block: np.ndarray, amount: np.ndarray) -> np.ndarray:
    index = (np.arange(block.shape[-1]) - amount[..., None]) % block.shape[-1]
    return np.take_along_axis(block, index, axis=-1)


def _shuffle(block: np.ndarray, streams: np.ndarray) -> np.ndarray:
    if block.size and not np.isfinite(block).all():
        raise ValueError(
            "surrogate: the data hold NaN or infinite numbers; fill or cut them, or use method='time_shift'"
        )
    out = np.empty_like(block)
    n = block.shape[-1]
    for index in np.ndindex(*block.shape[:-1]):
        rng = np.random.default_rng(int(streams[index]))
        if np.iscomplexobj(block):
            spectrum = np.fft.fft(block[index])
            out[index] = np.fft.ifft(spectrum * np.exp(2j * np.pi * rng.random(n)))
        else:
            spectrum = np.fft.rfft(block[index])
            turn = np.exp(2j * np.pi * rng.random(spectrum.size))
            turn[0] = 1  # mean
            if n % 2 == 0:
                turn[-1] = 1  # the Nyquist component of a real signal is real
            out[index] = np.fft.irfft(spectrum * turn, n)
    return out


def significance(
    measure: Callable[..., xr.DataArray],
    data: xr.DataArray,
    *,
    over: Any = "time",
    between: str = "node",
    shuffle_over: str = "time",
    method: str = "time_shift",
    surrogates: int = 200,
    alpha: float = 0.05,
    seed: int = 0,
    prepare: Callable[[xr.DataArray], xr.DataArray] | None = None,
    **arguments: Any,
) -> xr.Dataset:
    r"""A pair measure with p values against surrogates, and which pairs stand out under false-discovery control.

    .. math:: p = \frac{1 + \#\{\text{surrogates} \ge \text{observed}\}}{1 + \text{surrogates}}

    One-sided: larger is more. Each unordered pair is tested once; the diagonal is not tested (NaN, False). q values
    follow Benjamini & Hochberg within each matrix.

    Parameters
    ----------
    measure : function
        Symmetric pair measure with `over` and `between`: `plv`, `wpli`, `aec`, ...
    data : DataArray
        What the measure takes; or what `prepare` turns into it.
    over, between
        Given to the measure.
    shuffle_over : str
        Time dim that surrogates are made along.
    method : str
        As in `surrogate`.
    surrogates : int
        How many: p cannot fall below 1/(1 + surrogates), and with false-discovery control over m pairs at least
        m/alpha are needed for a single pair to stand out.
    alpha : float
        Level of the false-discovery rate.
    seed : int
        Of all draws.
    prepare : function, optional
        Applied to observed data and surrogates alike, such as `analytic` with a band.
    **arguments
        Further arguments of the measure.

    Returns
    -------
    Dataset
        `value`, `p`, `q` and `significant` on the dims of the measure.

    Notes
    -----
    Sources: Phipson & Smyth 2010 (p is never 0); Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289.
    """
    from scipy import stats

    if surrogates < 1 / alpha - 1:
        raise ValueError(
            f"significance: {surrogates} surrogates cannot reach p = {alpha}; take "
            f"{int(np.ceil(1 / alpha - 1))} or more"
        )

    def compute(signals: xr.DataArray) -> xr.DataArray:
        ready = prepare(signals) if prepare else signals
        return measure(ready, over=over, between=between, **arguments).compute()

    value = compute(data)
    pair = (between, f"{between}_j")
    if value.dims[-2:] != pair:
        raise ValueError(f"significance: the measure gives dims {value.dims}, not pairs {pair}; use a pair measure")
    above = np.zeros(value.shape)
    for stream in np.random.SeedSequence(seed).generate_state(surrogates):
        changed = surrogate(data, over=shuffle_over, between=between, method=method, seed=int(stream))
        above += compute(changed).values >= value.values
    upper = np.triu(np.ones(value.shape[-2:], bool), 1) & np.isfinite(value.values)
    p = np.where(upper, (1 + above) / (1 + surrogates), np.nan)
    q = np.full_like(p, np.nan)
    for index in np.ndindex(*p.shape[:-2]):
        if upper[index].any():
            q[index][upper[index]] = stats.false_discovery_control(p[index][upper[index]])
    p, q = (np.where(np.isnan(a), a.swapaxes(-1, -2), a) for a in (p, q))
    source = "Benjamini & Hochberg 1995"
    return xr.Dataset(
        {
            "value": value,
            "p": value.copy(data=p).assign_attrs(units="1", long_name="p value against surrogates", source=source),
            "q": value.copy(data=q).assign_attrs(units="1", long_name="false-discovery rate", source=source),
            "significant": value.copy(data=q <= alpha).assign_attrs(
                units="1", long_name=f"q <= {alpha}", source=source
            ),
        },
        attrs={"surrogates": surrogates, "method": method, "alpha": alpha, "seed": seed},
    )
