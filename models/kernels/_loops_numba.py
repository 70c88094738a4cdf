"""The loops of both scans in numba: parallel over (sample, block of nodes), vectorised over the nodes of a block.

Every task walks through time with its carried state in the L1 cache, so that memory traffic, which bounds the speed, is
one read of the inputs and one write of the results. Three habits keep the inner loop free of checks; LLVM vectorises it
only with all of them:

- A stacked array comes as two flat views of the same memory, real parts and imaginary parts. No element is reached
  through both, so the `noalias` that numba gives the arguments of a parallel body holds and no overlap is tested at run
  time. (It gives it only to a body that slices no array: hence offsets into flat arrays.)
- Offsets are unsigned: numba wraps a signed index round where it is negative, element by element.
- Division follows numpy (`error_model`): no branch that raises.

Offsets: `x` of a stacked row [b, t], `y` of a row [b, t] of rates, `c` of a carried row [b], `lo` of the first node.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import overload

CACHE = os.environ.get("NFSIM_NUMBA_CACHE", "1") != "0"
"""Whether compiled kernels are kept on disk. NFSIM_NUMBA_CACHE=0 turns it off, as for many processes on one folder."""

_GATES = {"none": 0, "sigmoid": 1, "exact": 2}
_NONE, _SIGMOID, _EXACT = _GATES.values()

_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}  # NaN and infinity stay what they are


def _parallel(function: Callable[..., None]) -> Any:
    """Return `function` compiled at its first call, in parallel, and kept on disk where there is a folder for it."""
    try:
        return numba.njit(parallel=True, cache=CACHE, **_MATH)(function)
    except RuntimeError:
        # numba found no folder it can write its cache to
        return numba.njit(parallel=True, **_MATH)(function)


@numba.njit(**_MATH)
def _power_and_rest(x):
    """exp(x) = s (1 + p) in float32: s a power of two, p = exp(r) - 1 with |r| <= ln(2)/2."""
    x = np.float32(88.0) if x > np.float32(88.0) else x
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    shifted = x * np.float32(1.4426950408889634) + np.float32(12582912.0)  # 1.5 * 2^23: rounds to integer
    k = shifted - np.float32(12582912.0)
    r = x - k * np.float32(0.693359375) - k * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r
    bits = np.int32((np.float32(shifted).view(np.int32) + np.int32(127)) << np.int32(23))
    return np.int32(bits).view(np.float32), p


def _exp(x):
    """exp(x); in float32 the polynomial of Cephes' expf, which unlike a call of libm is vectorised."""
    return math.exp(x)


def _expm1(x):
    """exp(x) - 1, without cancellation around 0."""
    return math.expm1(x)


@overload(_exp)
def _(x):
    if x != numba.float32:
        return lambda x: math.exp(x)

    def exp_float32(x):
        s, p = _power_and_rest(x)
        return s * p + s

    return exp_float32


@overload(_expm1)
def _(x):
    if x != numba.float32:
        return lambda x: math.expm1(x)

    def expm1_float32(x):
        s, p = _power_and_rest(x)
        return s * p + (s - np.float32(1.0))

    return expm1_float32


def _flush(x):
    """Return x, or 0 for a float32 under 1e-30: what decays for long would reach subnormal numbers, and there the
    processor computes ten times slower (measured on a backward from the last of 784 steps: 2 times as a whole).
    """  # noqa: D205
    return x


@overload(_flush)
def _(x):
    if x != numba.float32:
        return lambda x: x
    return lambda x: np.float32(0.0) if abs(x) < np.float32(1e-30) else x  # in this order NaN stays NaN


@numba.njit(**_MATH)
def _rate(q, gate):
    """Return the update rate t, 1 - t, and dt/dq."""
    one = type(q)(1)
    if gate == _SIGMOID:
        e = _exp(-q)
        t = one / (one + e)
        return t, e * t, t * (e * t)
    if gate == _EXACT:
        e = _exp(-q)
        return -_expm1(-q), e, e
    return q, one - q, one


@_parallel
def gated_forward(ar, ai, br, bi, zr, zi, cr, ci, B, T, N, width, keep):
    """Run z = a z + b forward; `c` enters as the initial state and leaves as the last one."""
    blocks = (N + width - 1) // width
    for task in numba.prange(B * blocks):
        i = task // blocks
        lo = task % blocks * width
        w = np.uintp(min(width, N - lo))
        c = np.uintp(i * 2 * N + lo)
        for t in range(T):
            x = np.uintp((i * T + t) * 2 * N + lo)
            o = x if keep else c
            for j in range(w):
                re, im = cr[c + j], ci[c + j]
                cr[c + j] = _flush(ar[x + j] * re - ai[x + j] * im + br[x + j])
                ci[c + j] = _flush(ar[x + j] * im + ai[x + j] * re + bi[x + j])
                zr[o + j] = cr[c + j]
                zi[o + j] = ci[c + j]


@_parallel
def gated_backward(gr, gi, ar, ai, zr, zi, z0r, z0i, dar, dai, dbr, dbi, cr, ci, B, T, N, width, dense):
    """Run lambda_t = g_t + conj(a_{t+1}) lambda_{t+1} backward; `c` enters as the last gradient, leaves as dz0."""
    blocks = (N + width - 1) // width
    for task in numba.prange(B * blocks):
        i = task // blocks
        lo = task % blocks * width
        w = np.uintp(min(width, N - lo))
        c = np.uintp(i * 2 * N + lo)
        for t in range(T - 1, -1, -1):
            x = np.uintp((i * T + t) * 2 * N + lo)
            xp = np.uintp((i * T + max(t - 1, 0)) * 2 * N + lo)
            g = x if dense else np.uintp(lo)
            for j in range(w):
                pr, pi = zr[xp + j], zi[xp + j]
                re, im = z0r[c + j], z0i[c + j]
                pr = pr if t > 0 else re
                pi = pi if t > 0 else im
                lr = gr[g + j] + cr[c + j]
                li = gi[g + j] + ci[c + j]
                dar[x + j] = lr * pr + li * pi
                dai[x + j] = li * pr - lr * pi
                dbr[x + j] = lr
                dbi[x + j] = li
                cr[c + j] = _flush(ar[x + j] * lr + ai[x + j] * li)
                ci[c + j] = _flush(ar[x + j] * li - ai[x + j] * lr)


def _cfc_kernels(gate: int) -> tuple[Any, Any]:
    """Return the forward and backward kernels of one gate, constant in them: a branch on it stops vectorising."""

    @_parallel
    def forward(vr, vi, q, rr, ri, zr, zi, cr, ci, B, T, N, width, inv_a, keep, steps_q, steps_r):
        """Run z = (1 - t) R z + t s forward; `c` enters as the initial state and leaves as the last one."""
        blocks = (N + width - 1) // width
        for task in numba.prange(B * blocks):
            i = task // blocks
            lo = task % blocks * width
            w = np.uintp(min(width, N - lo))
            c = np.uintp(i * 2 * N + lo)
            one = type(inv_a)(1)
            for t in range(T):
                x = np.uintp((i * T + t) * 2 * N + lo)
                y = np.uintp((i * T + t) * N + lo) if steps_q else np.uintp(lo)
                r = x if steps_r else np.uintp(lo)
                o = x if keep else c
                for j in range(w):
                    ur, ui = vr[x + j] * inv_a, vi[x + j] * inv_a
                    rate, rest, _ = _rate(q[y + j], gate)
                    into = rate / math.sqrt(one + (ur * ur + ui * ui))
                    re, im = cr[c + j], ci[c + j]
                    cr[c + j] = _flush(rest * (rr[r + j] * re - ri[r + j] * im) + into * vr[x + j])
                    ci[c + j] = _flush(rest * (rr[r + j] * im + ri[r + j] * re) + into * vi[x + j])
                    zr[o + j] = cr[c + j]
                    zi[o + j] = ci[c + j]

    @_parallel
    def backward(
        gr, gi, vr, vi, q, rr, ri, zr, zi, z0r, z0i, dvr, dvi, dq, drr, dri, cr, ci,
        B, T, N, width, inv_a, dense, steps_q, steps_r, steps_dr,
    ):  # fmt: skip
        """Run lambda_t = g_t + (1 - t_{t+1}) conj(R_{t+1}) lambda_{t+1} backward; `c` enters as the last gradient."""
        blocks = (N + width - 1) // width
        for task in numba.prange(B * blocks):
            i = task // blocks
            lo = task % blocks * width
            w = np.uintp(min(width, N - lo))
            c = np.uintp(i * 2 * N + lo)
            zero, one = type(inv_a)(0), type(inv_a)(1)
            for t in range(T - 1, -1, -1):
                x = np.uintp((i * T + t) * 2 * N + lo)
                xp = np.uintp((i * T + max(t - 1, 0)) * 2 * N + lo)
                y = np.uintp((i * T + t) * N + lo) if steps_q else np.uintp(lo)
                dy = y if steps_q else np.uintp(i * N + lo)
                r = x if steps_r else np.uintp(lo)
                dr = x if steps_dr else c
                g = x if dense else np.uintp(lo)
                for j in range(w):
                    pr, pi = zr[xp + j], zi[xp + j]
                    re, im = z0r[c + j], z0i[c + j]
                    pr = pr if t > 0 else re
                    pi = pi if t > 0 else im
                    lr = gr[g + j] + cr[c + j]
                    li = gi[g + j] + ci[c + j]
                    ur, ui = vr[x + j] * inv_a, vi[x + j] * inv_a
                    n = one / math.sqrt(one + (ur * ur + ui * ui))
                    sr, si = n * vr[x + j], n * vi[x + j]
                    rate, rest, slope = _rate(q[y + j], gate)
                    cos, sin = rr[r + j], ri[r + j]
                    dt = lr * (sr - (cos * pr - sin * pi)) + li * (si - (cos * pi + sin * pr))
                    dq[dy + j] = slope * dt + (zero if steps_q else dq[dy + j])
                    along = inv_a * inv_a * (lr * sr + li * si)
                    dvr[x + j] = rate * n * (lr - along * sr)
                    dvi[x + j] = rate * n * (li - along * si)
                    fr, fi = rest * lr, rest * li
                    drr[dr + j] += fr * pr + fi * pi
                    dri[dr + j] += fi * pr - fr * pi
                    cr[c + j] = _flush(cos * fr + sin * fi)
                    ci[c + j] = _flush(cos * fi - sin * fr)

    return forward, backward


CFC = {name: _cfc_kernels(code) for name, code in _GATES.items()}
