"""Numba and BLAS kernels on pairs of nodes. All are sums over samples, so chunks of a long recording simply add up.

Every kernel takes `[..., node, sample]` and returns sums `[..., node, node]` with an axis of statistics in front. A
sample counts for a pair when both nodes have a phase there (neither 0, NaN nor infinite).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas

from nfsim.analysis._kernels import in_blocks, kernel, parts, unit

_SAMPLES = 1024  # longest sum in float32; partial sums add in complex128


def _gram(x: np.ndarray) -> np.ndarray:
    """Return x x^H of one [node, sample] matrix."""
    # herk computes one triangle: 12 ms against 25 ms of a product, for 20 x 64 x 2000 on two cores
    total = np.zeros((len(x), len(x)), np.complex128)
    herk = blas.zherk if x.dtype == np.complex128 else blas.cherk
    step = x.shape[1] if x.dtype == np.complex128 else _SAMPLES
    for start in range(0, x.shape[1], max(1, step)):
        total += herk(1.0, x[:, start : start + step].T, trans=2)
    upper = np.triu(total).conj()
    return upper + np.triu(upper, 1).conj().T


def _valid_counts(valid: np.ndarray) -> np.ndarray:
    """Return on how many samples both nodes of a pair are valid; valid is [..., node, sample] bool."""
    if valid.all():
        return np.full((*valid.shape[:-1], valid.shape[-2]), float(valid.shape[-1]))
    mask: np.ndarray = valid.astype(np.float32 if valid.shape[-1] < 2**24 else np.float64)
    return np.asarray(mask @ mask.swapaxes(-1, -2), np.float64)


def phase_sums(z: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Return [2, ..., node, node] complex128: the sum of u_i conj(u_j) with u = z/|z|, and the number of samples."""
    u = unit(z, threads=threads)
    flat = u.reshape(-1, *u.shape[-2:])
    cross = np.stack([_gram(row) for row in flat]).reshape(*u.shape[:-1], u.shape[-2])
    return np.stack([cross, _valid_counts(u != 0).astype(np.complex128)])


def power_sums(z: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Return [2, ..., node, node] complex128: the sum of z_i conj(z_j) over finite samples, and their number."""
    ok = np.isfinite(z)
    clean = np.where(ok, z, 0).astype(np.complex128)
    flat = clean.reshape(-1, *clean.shape[-2:])
    cross = np.stack([_gram(row) for row in flat]).reshape(*z.shape[:-1], z.shape[-2])
    return np.stack([cross, _valid_counts(ok).astype(np.complex128)])


@kernel
def _lag_sums(re, im, size, tolerance, out, start, stop):
    """Sum sign, value, modulus and square of Im(z_i conj(z_j)) over samples, per pair i < j of [row, node, sample]."""
    nodes, samples = re.shape[1], re.shape[2]
    for flat in range(start, stop):
        r, i = flat // nodes, flat % nodes
        for j in range(i + 1, nodes):
            sign, value, modulus, square = 0.0, 0.0, 0.0, 0.0
            for s in range(samples):
                lag = im[r, i, s] * re[r, j, s] - re[r, i, s] * im[r, j, s]
                # in phase up to rounding is in phase: its sign would be noise
                lag = lag if abs(lag) > tolerance * size[r, i, s] * size[r, j, s] else 0.0
                sign += (1.0 if lag > 0 else 0.0) - (1.0 if lag < 0 else 0.0)
                value += lag
                modulus += abs(lag)
                square += lag * lag
            out[0, r, i, j], out[0, r, j, i] = sign, -sign
            out[1, r, i, j], out[1, r, j, i] = value, -value
            out[2, r, i, j] = out[2, r, j, i] = modulus
            out[3, r, i, j] = out[3, r, j, i] = square


def lag_sums(z: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Return [5, ..., node, node] float64: sums of sign, value, modulus, square of Im(z_i conj(z_j)), and the number.

    Products are taken in float64, where those of float32 numbers are exact; a lag below 4 rounding units is 0.
    """
    valid = np.isfinite(z) & (z != 0)
    clean = np.where(valid, z, 0).astype(np.complex128)
    lead, (nodes, samples) = z.shape[:-2], z.shape[-2:]
    re = np.ascontiguousarray(clean.real).reshape(-1, nodes, samples)
    im = np.ascontiguousarray(clean.imag).reshape(-1, nodes, samples)
    out = np.zeros((4, len(re), nodes, nodes))
    tolerance = 4 * np.finfo(z.dtype).eps
    in_blocks(_lag_sums, len(re) * nodes, re, im, np.hypot(re, im), tolerance, out, threads=threads)
    return np.concatenate([out.reshape(4, *lead, nodes, nodes), _valid_counts(valid)[None]])


def product_sums(x: np.ndarray, shift: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Return [4, ..., node, node]: sums of x_i x_j, x_i, x_i^2 over the samples both nodes have, and their number.

    `shift` [..., node] is taken off first, so that a large mean does not eat the digits of a small variance.
    """
    valid = np.isfinite(x)
    clean = np.where(valid, x - shift[..., None], 0).astype(np.float64)
    count = _valid_counts(valid)
    product = clean @ clean.swapaxes(-1, -2)
    if valid.all():
        nodes = x.shape[-2]
        first = np.broadcast_to(clean.sum(-1)[..., None], (*x.shape[:-1], nodes))
        square = np.broadcast_to((clean**2).sum(-1)[..., None], (*x.shape[:-1], nodes))
    else:
        mask = valid.astype(np.float64).swapaxes(-1, -2)
        first, square = clean @ mask, clean**2 @ mask
    return np.stack([product, first, square, count])


@kernel
def _orthogonal_sums(re, im, size, out, start, stop):
    """Sum what the correlation of |z_i| with the part of z_j at right angles to z_i needs, per ordered pair."""
    nodes, samples = re.shape[1], re.shape[2]
    for flat in range(start, stop):
        r, i = flat // nodes, flat % nodes
        for j in range(nodes):
            a, aa, o, oo, ao, n = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for s in range(samples):
                both = size[r, i, s] > 0 and size[r, j, s] > 0
                x = size[r, i, s] if both else 1.0
                y = abs(im[r, j, s] * re[r, i, s] - re[r, j, s] * im[r, i, s]) / x if both else 0.0
                x = x if both else 0.0
                a, aa, o, oo, ao = a + x, aa + x * x, o + y, oo + y * y, ao + x * y
                n += 1.0 if both else 0.0
            out[0, r, i, j], out[1, r, i, j], out[2, r, i, j] = a, aa, o
            out[3, r, i, j], out[4, r, i, j], out[5, r, i, j] = oo, ao, n


def orthogonal_sums(z: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Return [6, ..., node, node]: sums of a, a^2, o, o^2, a o, 1, with a = |z_i| and o = |Im(z_j conj(z_i))|/|z_i|."""
    valid = np.isfinite(z) & (z != 0)
    clean = np.where(valid, z, 0).astype(np.complex128)
    lead, (nodes, samples) = z.shape[:-2], z.shape[-2:]
    split = parts(clean).reshape(-1, nodes, samples, 2)
    re, im = np.ascontiguousarray(split[..., 0]), np.ascontiguousarray(split[..., 1])
    out = np.zeros((6, len(re), nodes, nodes))
    in_blocks(_orthogonal_sums, len(re) * nodes, re, im, np.hypot(re, im), out, threads=threads)
    return out.reshape(6, *lead, nodes, nodes)
