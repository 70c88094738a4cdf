"""What each measure is in plain numpy, and which peers compute the same: drives tests and benchmarks alike.

States come as z (..., node, sample) complex, signals as x (..., node, sample) real; both oracles and our functions give
(..., node, node).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from nfsim import analysis


def _lag(z):
    cross = z[..., :, None, :] * z[..., None, :, :].conj()
    return np.where(abs(cross.imag) > 1e-15 * abs(cross), cross.imag, 0)  # z conj(z) is real but for rounding


def order_parameter(z):
    return abs((z / abs(z)).mean(-2))


def plv(z):
    u = z / abs(z)
    return abs(u @ u.conj().swapaxes(-1, -2)) / z.shape[-1]


def ppc(z):
    n = z.shape[-1]
    return ((plv(z) * n) ** 2 - n) / (n * (n - 1))


def pli(z):
    return abs(np.sign(_lag(z)).mean(-1))


def dpli(z):
    return np.heaviside(_lag(z), 0.5).mean(-1)


def wpli(z):
    y = _lag(z)
    bottom = abs(y).sum(-1)
    return np.divide(abs(y.sum(-1)), bottom, out=np.zeros(bottom.shape), where=bottom > 0)


def wpli_debiased(z):
    y = _lag(z)
    bottom = abs(y).sum(-1) ** 2 - (y**2).sum(-1)
    return np.divide(y.sum(-1) ** 2 - (y**2).sum(-1), bottom, out=np.zeros(bottom.shape), where=bottom > 0)


def aec(z):
    return functional_connectivity(abs(z))


def aec_orthogonalised(z):
    n = z.shape[-2]
    one_way = np.zeros((*z.shape[:-2], n, n))
    for i, j in np.ndindex(n, n):
        a, o = abs(z[..., i, :]), abs((z[..., j, :] * z[..., i, :].conj()).imag) / abs(z[..., i, :])
        a, o = a - a.mean(-1, keepdims=True), o - o.mean(-1, keepdims=True)
        one_way[..., i, j] = 0 if i == j else (a * o).sum(-1) / np.sqrt((a**2).sum(-1) * (o**2).sum(-1))
    return (one_way + one_way.swapaxes(-1, -2)) / 2


def functional_connectivity(x):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).sum(-1, keepdims=True))
    return x @ x.swapaxes(-1, -2)


PAIR_MEASURES: dict[str, tuple[Callable[..., xr.DataArray], Callable[[np.ndarray], np.ndarray]]] = {
    "plv": (analysis.plv, plv),
    "ppc": (analysis.ppc, ppc),
    "pli": (analysis.pli, pli),
    "dpli": (analysis.dpli, dpli),
    "wpli": (analysis.wpli, wpli),
    "wpli2_debiased": (lambda z, **k: analysis.wpli(z, debiased=True, **k), wpli_debiased),
    "aec": (analysis.aec, aec),
    "aec_orthogonalised": (lambda z, **k: analysis.aec(z, orthogonalise=True, **k), aec_orthogonalised),
}
"""Name -> (ours, oracle): measures of complex states."""

COMPARISONS = {
    "plv": {"mne_connectivity": "plv"},
    "ppc": {"mne_connectivity": "ppc"},
    "pli": {"mne_connectivity": "pli"},
    "dpli": {"mne_connectivity": "dpli"},
    "wpli": {"mne_connectivity": "wpli"},
    "wpli2_debiased": {"mne_connectivity": "wpli2_debiased"},
    "coherence": {"scipy": "signal.coherence"},
    "imaginary_coherence": {"scipy": "signal.csd"},
    "aec": {"mne_connectivity": "envelope_correlation(orthogonalize=False)"},
    "aec_orthogonalised": {"mne_connectivity": "envelope_correlation(orthogonalize='pairwise')"},
    "order_parameter": {"numpy": "abs(exp(1j * phase).mean(axis))"},
}
"""Our measure -> {peer: its name for the same thing}."""


def states(seed=0, *, trials=3, nodes=5, samples=60, dtype=np.complex128):
    """Return random states (trial, node, sample) whose nodes are partly bound to each other with a lag."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((trials, nodes, samples, 2)) @ [1, 1j]
    common = rng.standard_normal((trials, 1, samples, 2)) @ [1, 1j]
    return (own + common * np.exp(0.4j * np.arange(nodes))[:, None]).astype(dtype)


def labelled(z):
    """Return (trial, node, time) states as a DataArray in another order of dims, so that order is not relied upon."""
    return xr.DataArray(z, dims=("trial", "node", "time"), name="z").transpose("time", "trial", "node")
