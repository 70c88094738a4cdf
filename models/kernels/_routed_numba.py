"""The CfC scan of gated nodes in numba: nuclei, gate, limiter and update in one pass, parallel over samples.

As in `_loops_numba`, every sample walks through time with its carried state in the L1 cache; the gain of a step is made
there too, nucleus by nucleus, and made again by the adjoint, which keeps the slopes until it has the node's gradient.
Sums over nodes may be taken in any order (`reassoc`):
without that they are not vectorised.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels._loops_numba import _EXACT, _SIGMOID, CACHE, _flush, _rate
from nfsim.models.kernels._scan_numba import _carry, _flat, _identity, _planes, _pool, _state

_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz", "reassoc"}, "error_model": "numpy"}


def _kernels(gate: int) -> tuple[Any, Any]:
    """Return the forward and backward kernels of one gate, constant in them: a branch on it stops vectorising."""

    @numba.njit(parallel=True, cache=CACHE, **_MATH)
    def forward(
        vr, vi, query, shift, px, py, pz, share, lam, bias, rr, ri, zr, zi, cr, ci, gs, B, T, N, width, K, inv_a, keep
    ):
        """Run z = (1 - t) R z + t s forward; `c` enters as the initial state and leaves as the last one."""
        for i in numba.prange(B):
            n, c, h = np.uintp(N), np.uintp(i * 2 * N), np.uintp(i * N)
            one, zero = type(inv_a)(1), type(inv_a)(0)
            for t in range(T):
                x = np.uintp((i * T + t) * 2 * N)
                o = x if keep else c
                for j in range(n):
                    gs[h + j] = zero
                for k in range(K):
                    row, s = (i * T + t) * K + k, np.uintp(k * N)
                    b, a0, a1, a2 = shift[row], query[3 * row], query[3 * row + 1], query[3 * row + 2]
                    for j in range(n):
                        gs[h + j] += share[s + j] * _rate(a0 * px[j] + a1 * py[j] + a2 * pz[j] + b, _SIGMOID)[0]
                for j in range(n):
                    ur, ui = vr[x + j] * inv_a, vi[x + j] * inv_a
                    rate, rest, _ = _rate(lam[j] * gs[h + j] + bias[j], gate)
                    into = rate / math.sqrt(one + (ur * ur + ui * ui))
                    re, im = cr[c + j], ci[c + j]
                    cr[c + j] = _flush(rest * (rr[j] * re - ri[j] * im) + into * vr[x + j])
                    ci[c + j] = _flush(rest * (rr[j] * im + ri[j] * re) + into * vi[x + j])
                    zr[o + j] = cr[c + j]
                    zi[o + j] = ci[c + j]

    @numba.njit(parallel=True, cache=CACHE, **_MATH)
    def backward(
        gr, gi, vr, vi, query, shift, px, py, pz, share, lam, bias, rr, ri, zr, zi, z0r, z0i,
        dvr, dvi, dquery, dshift, dlam, dbias, drr, dri, cr, ci, gs, slopes, B, T, N, width, K, inv_a, dense,
    ):  # fmt: skip
        """Run lambda_t = g_t + (1 - t_{t+1}) conj(R) lambda_{t+1} backward; `c` enters as the last gradient."""
        for i in numba.prange(B):
            n, c, h, own = np.uintp(N), np.uintp(i * 2 * N), np.uintp(i * N), np.uintp(i * K * N)
            one, zero = type(inv_a)(1), type(inv_a)(0)
            for t in range(T - 1, -1, -1):
                x, xp = np.uintp((i * T + t) * 2 * N), np.uintp((i * T + max(t - 1, 0)) * 2 * N)
                g = x if dense else np.uintp(0)
                for j in range(n):
                    gs[h + j] = zero
                for k in range(K):
                    row, s = (i * T + t) * K + k, np.uintp(k * N)
                    b, a0, a1, a2 = shift[row], query[3 * row], query[3 * row + 1], query[3 * row + 2]
                    for j in range(n):
                        gain, _, slope = _rate(a0 * px[j] + a1 * py[j] + a2 * pz[j] + b, _SIGMOID)
                        gs[h + j] += share[s + j] * gain
                        slopes[own + s + j] = share[s + j] * slope
                for j in range(n):
                    pr, pi = zr[xp + j], zi[xp + j]
                    re, im = z0r[c + j], z0i[c + j]
                    pr = pr if t > 0 else re
                    pi = pi if t > 0 else im
                    lr = gr[g + j] + cr[c + j]
                    li = gi[g + j] + ci[c + j]
                    ur, ui = vr[x + j] * inv_a, vi[x + j] * inv_a
                    m = one / math.sqrt(one + (ur * ur + ui * ui))
                    sr, si = m * vr[x + j], m * vi[x + j]
                    gain = gs[h + j]
                    rate, rest, slope = _rate(lam[j] * gain + bias[j], gate)
                    cos, sin = rr[j], ri[j]
                    dq = slope * (lr * (sr - (cos * pr - sin * pi)) + li * (si - (cos * pi + sin * pr)))
                    dlam[h + j] += dq * gain
                    dbias[h + j] += dq
                    gs[h + j] = dq * lam[j]  # from here on, the gradient of the gain
                    along = inv_a * inv_a * (lr * sr + li * si)
                    dvr[x + j] = rate * m * (lr - along * sr)
                    dvi[x + j] = rate * m * (li - along * si)
                    fr, fi = rest * lr, rest * li
                    drr[c + j] += fr * pr + fi * pi
                    dri[c + j] += fi * pr - fr * pi
                    cr[c + j] = _flush(cos * fr + sin * fi)
                    ci[c + j] = _flush(cos * fi - sin * fr)
                for k in range(K):
                    row, s = (i * T + t) * K + k, np.uintp(k * N)
                    d0, d1, d2, db = zero, zero, zero, zero
                    for j in range(n):
                        d = gs[h + j] * slopes[own + s + j]
                        d0 += d * px[j]
                        d1 += d * py[j]
                        d2 += d * pz[j]
                        db += d
                    dquery[3 * row], dquery[3 * row + 1], dquery[3 * row + 2], dshift[row] = d0, d1, d2, db

    return forward, backward


_GATED = {"sigmoid": _kernels(_SIGMOID), "exact": _kernels(_EXACT)}


def _nodes(positions: Tensor, share: Tensor, lam: Tensor, bias: Tensor | None) -> list[np.ndarray]:
    N = len(lam)
    p = _flat(positions)
    return [p, p[N:], p[2 * N :], _flat(share), _flat(lam), _flat(lam.new_zeros(N) if bias is None else bias)]


def forward(
    v: Tensor, query: Tensor, shift: Tensor, positions: Tensor, share: Tensor, lam: Tensor, bias: Tensor | None,
    rotation: Tensor | None, z0: Tensor | None, inv_a: float, gate: str, keep: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return z and its last step; without `keep`, z is only the buffer of one step."""
    B, T, M = v.shape
    z, last = _state(v, keep), _carry(z0, v)
    R = _identity(v) if rotation is None else rotation
    planes = [*_planes(v), _flat(query), _flat(shift), *_nodes(positions, share, lam, bias), *_planes(R)]
    planes += [*_planes(z), *_planes(last), _flat(v.new_empty(B, M // 2))]
    _pool.run(_GATED[gate][0], planes, B, T, M // 2, len(share), planes[0].dtype.type(inv_a), keep)
    return z, last


def backward(
    dz: Tensor | None, dlast: Tensor | None, v: Tensor, query: Tensor, shift: Tensor, positions: Tensor, share: Tensor,
    lam: Tensor, bias: Tensor | None, rotation: Tensor | None, z0: Tensor | None, z: Tensor, inv_a: float, gate: str,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the gradients of v, query, shift, lam, bias, rotation and z0.

    What all steps and samples share is summed over time within a sample, then over samples, whatever the threads.
    """
    B, T, M = v.shape
    N = M // 2
    R = _identity(v) if rotation is None else rotation
    dv, dquery, dshift, dz0 = torch.empty_like(v), torch.empty_like(query), torch.empty_like(shift), _carry(dlast, v)
    dlam, dbias, dR = v.new_zeros(B, N), v.new_zeros(B, N), v.new_zeros(B, M)
    start = v.new_zeros(B, M) if z0 is None else z0
    g = v.new_zeros(M) if dz is None else dz
    planes = [*_planes(g), *_planes(v), _flat(query), _flat(shift), *_nodes(positions, share, lam, bias), *_planes(R)]
    planes += [*_planes(z), *_planes(start), *_planes(dv), _flat(dquery), _flat(dshift), _flat(dlam), _flat(dbias)]
    planes += [*_planes(dR), *_planes(dz0), _flat(v.new_empty(B, N)), _flat(v.new_empty(B, len(share), N))]
    _pool.run(_GATED[gate][1], planes, B, T, N, len(share), planes[0].dtype.type(inv_a), dz is not None)
    return dv, dquery, dshift, dlam.sum(0), dbias.sum(0), dR.sum(0), dz0
