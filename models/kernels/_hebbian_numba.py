"""Hebbian edges in numba: one pass over the edges of a sample, parallel over samples."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels._loops_numba import CACHE
from nfsim.models.kernels._scan_numba import _flat, _planes, _pool

_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}


@numba.njit(parallel=True, cache=CACHE, **_MATH)
def _forward(W, zr, zi, tr, ti, rule, indptr, indices, grown, Fr, Fi, B, E, N, width, M):
    """W' = rho W + eta Re(conj(z_i) z_j) and F_i = sum_j W'_ij (z_j - z_i)."""
    for b in numba.prange(B):
        w, s, t = np.uintp(b * E), np.uintp(b * 2 * M), np.uintp(b * 2 * N)
        rho, eta = rule[0], rule[1]
        for i in range(np.uintp(N)):
            re, im = tr[t + i], ti[t + i]
            pull_r = pull_i = rho * 0
            for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
                j = np.uintp(indices[e])
                a, c = zr[s + j], zi[s + j]
                new = rho * W[w + e] + eta * (re * a + im * c)
                grown[w + e] = new
                pull_r += new * (a - re)
                pull_i += new * (c - im)
            Fr[t + i], Fi[t + i] = pull_r, pull_i


@numba.njit(parallel=True, cache=CACHE, **_MATH)
def _backward(
    dgrown, dFr, dFi, W, grown, zr, zi, tr, ti, rule, indptr, indices, dW, dzr, dzi, dtr, dti, drule,
    B, E, N, width, M, carried,
):  # fmt: skip
    """The adjoint; `carried`: whether the next tick has a gradient of W'."""
    for b in numba.prange(B):
        w, s, t = np.uintp(b * E), np.uintp(b * 2 * M), np.uintp(b * 2 * N)
        rho, eta = rule[0], rule[1]
        drho = deta = rho * 0
        for i in range(np.uintp(N)):
            re, im, dr, di = tr[t + i], ti[t + i], dFr[t + i], dFi[t + i]
            own_r = own_i = rho * 0
            for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
                j = np.uintp(indices[e])
                a, c, new = zr[s + j], zi[s + j], grown[w + e]
                g = dr * (a - re) + di * (c - im)
                if carried:
                    g += dgrown[w + e]
                drho += g * W[w + e]
                deta += g * (re * a + im * c)
                dW[w + e] = rho * g
                h = eta * g
                own_r += h * a - new * dr
                own_i += h * c - new * di
                dzr[s + j] += h * re + new * dr
                dzi[s + j] += h * im + new * di
            dtr[t + i], dti[t + i] = own_r, own_i
        drule[2 * b], drule[2 * b + 1] = drho, deta


def _parts(z: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return _planes(z.flatten(1))


def forward(
    W: Tensor, source: Tensor, target: Tensor, rule: Tensor, indptr: Tensor, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Return W' [B, E] and F [B, 2, N]."""
    grown, F = torch.empty_like(W), torch.empty_like(target)
    planes = [_flat(W), *_parts(source), *_parts(target), _flat(rule), _flat(indptr), _flat(indices)]
    planes += [_flat(grown), *_parts(F)]
    _pool.run(_forward, planes, *W.shape, target.shape[-1], source.shape[-1])
    return grown, F


def backward(
    dW: Tensor | None, dF: Tensor | None, W: Tensor, grown: Tensor, source: Tensor, target: Tensor, rule: Tensor,
    indptr: Tensor, indices: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of W, source, target and rule, the last summed over samples whatever the threads."""
    dF = torch.zeros_like(target) if dF is None else dF
    out, dsource, dtarget = torch.empty_like(W), torch.zeros_like(source), torch.empty_like(target)
    drule = rule.new_empty(len(W), 2)
    planes = [_flat(W if dW is None else dW), *_parts(dF), _flat(W), _flat(grown), *_parts(source), *_parts(target)]
    planes += [_flat(rule), _flat(indptr), _flat(indices), _flat(out), *_parts(dsource), *_parts(dtarget), _flat(drule)]
    _pool.run(_backward, planes, *W.shape, target.shape[-1], source.shape[-1], dW is not None)
    return out, dsource, dtarget, drule.sum(0)
