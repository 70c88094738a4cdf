"""The thalamic gain and its adjoint in numba: parallel over rows, vectorised over nodes."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels._loops_numba import _SIGMOID, CACHE, _rate
from nfsim.models.kernels._scan_numba import _flat, _planes, _pool

_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz", "reassoc"}, "error_model": "numpy"}
"""Sums over nodes may be taken in any order: without that they are not vectorised."""


@numba.njit(parallel=True, cache=CACHE, **_MATH)
def _forward(query, shift, zr, zi, px, py, pz, share, g, R, K, N, width, by_state):
    """Add up the gains of all nuclei, node by node; each nucleus sweeps a row's nodes, which stay in the L1 cache."""
    for r in numba.prange(R):
        row, x, n = np.uintp(r * N), np.uintp(r * 2 * N), np.uintp(N)
        for i in range(n):
            g[row + i] = 0
        for k in range(K):
            b, s = shift[r * K + k], np.uintp(k * N)
            if by_state:
                q = (r * K + k) * 5
                a0, a1, a2, a3, a4 = query[q], query[q + 1], query[q + 2], query[q + 3], query[q + 4]
                for i in range(n):
                    logit = a0 * zr[x + i] + a1 * zi[x + i] + a2 * px[i] + a3 * py[i] + a4 * pz[i] + b
                    g[row + i] += share[s + i] * _rate(logit, _SIGMOID)[0]
            else:
                q = (r * K + k) * 3
                a2, a3, a4 = query[q], query[q + 1], query[q + 2]
                for i in range(n):
                    g[row + i] += share[s + i] * _rate(a2 * px[i] + a3 * py[i] + a4 * pz[i] + b, _SIGMOID)[0]


@numba.njit(parallel=True, cache=CACHE, **_MATH)
def _backward(dg, query, shift, zr, zi, px, py, pz, share, dquery, dshift, dzr, dzi, R, K, N, width, by_state):
    """Gradients of query, shift and z, from gains computed again."""
    for r in numba.prange(R):
        row, x, n = np.uintp(r * N), np.uintp(r * 2 * N), np.uintp(N)
        if by_state:
            for i in range(n):
                dzr[x + i] = 0
                dzi[x + i] = 0
        for k in range(K):
            b, s = shift[r * K + k], np.uintp(k * N)
            zero = type(b)(0)
            d0, d1, d2, d3, d4, db = zero, zero, zero, zero, zero, zero
            if by_state:
                q = (r * K + k) * 5
                a0, a1, a2, a3, a4 = query[q], query[q + 1], query[q + 2], query[q + 3], query[q + 4]
                for i in range(n):
                    logit = a0 * zr[x + i] + a1 * zi[x + i] + a2 * px[i] + a3 * py[i] + a4 * pz[i] + b
                    d = dg[row + i] * share[s + i] * _rate(logit, _SIGMOID)[2]
                    dzr[x + i] += d * a0
                    dzi[x + i] += d * a1
                    d0 += d * zr[x + i]
                    d1 += d * zi[x + i]
                    d2 += d * px[i]
                    d3 += d * py[i]
                    d4 += d * pz[i]
                    db += d
                dquery[q], dquery[q + 1], dquery[q + 2], dquery[q + 3], dquery[q + 4] = d0, d1, d2, d3, d4
            else:
                q = (r * K + k) * 3
                a2, a3, a4 = query[q], query[q + 1], query[q + 2]
                for i in range(n):
                    d = dg[row + i] * share[s + i] * _rate(a2 * px[i] + a3 * py[i] + a4 * pz[i] + b, _SIGMOID)[2]
                    d2 += d * px[i]
                    d3 += d * py[i]
                    d4 += d * pz[i]
                    db += d
                dquery[q], dquery[q + 1], dquery[q + 2] = d2, d3, d4
            dshift[r * K + k] = db


def _fixed(positions: Tensor, share: Tensor) -> list[np.ndarray]:
    N = positions.shape[1]
    p = _flat(positions)
    return [p, p[N:], p[2 * N :], _flat(share)]


def _state(z: Tensor | None, like: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Both parts of z [R, 2, N]; a dummy where no key reads it."""
    return _planes(like.new_zeros(2) if z is None else z.flatten(1))


def gain_forward(query: Tensor, shift: Tensor, z: Tensor | None, positions: Tensor, share: Tensor) -> Tensor:
    """Return g [R, N]."""
    R, K = shift.shape
    g = query.new_empty(R, positions.shape[1])
    planes = [_flat(query), _flat(shift), *_state(z, query), *_fixed(positions, share), _flat(g)]
    _pool.run(_forward, planes, R, K, g.shape[1], z is not None)
    return g


def gain_backward(
    dg: Tensor, query: Tensor, shift: Tensor, z: Tensor | None, positions: Tensor, share: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, shift and z (empty without one)."""
    R, K = shift.shape
    dquery, dshift = torch.empty_like(query), torch.empty_like(shift)
    dz = query.new_empty(0) if z is None else torch.empty_like(z)
    planes = [_flat(dg), _flat(query), _flat(shift), *_state(z, query), *_fixed(positions, share)]
    planes += [_flat(dquery), _flat(dshift), *_state(None if z is None else dz, query)]
    _pool.run(_backward, planes, R, K, positions.shape[1], z is not None)
    return dquery, dshift, dz
