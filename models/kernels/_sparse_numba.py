"""Sparse coupling in numba: rows of states times a matrix in compressed sparse rows, and its adjoint."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels._loops_numba import CACHE
from nfsim.models.kernels._scan_numba import _flat, _pool

_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
FEW_ROWS = 8
"""Rows up to which the nodes are shared among threads, and every edge is read once for all rows."""


@numba.njit(parallel=True, cache=CACHE, **_MATH)
def _by_row(z, w, indptr, indices, out, R, M, N, width):
    """Many rows: each thread takes whole rows, which stay in its cache while it runs through the edges."""
    for r in numba.prange(R):
        x, o = np.uintp(r * M), np.uintp(r * N)
        for i in range(np.uintp(N)):
            total = out.dtype.type(0)
            for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
                total += w[e] * z[x + np.uintp(indices[e])]
            out[o + i] = total


@numba.njit(parallel=True, cache=CACHE, **_MATH)
def _by_node(z, w, indptr, indices, out, R, M, N, width):
    """Few rows: each thread takes a range of nodes, and reads every edge once for two rows, the parts of a sample."""
    blocks = (N + 4095) // 4096
    for b in numba.prange(blocks):
        lo, hi = np.uintp(b * 4096), np.uintp(min(N, (b + 1) * 4096))
        for r in range(0, R, 2):
            x, o = np.uintp(r * M), np.uintp(r * N)
            second, beside = np.uintp(min(r + 1, R - 1) * M), np.uintp(min(r + 1, R - 1) * N)
            for i in range(lo, hi):
                one = two = out.dtype.type(0)
                for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
                    j = np.uintp(indices[e])
                    one += w[e] * z[x + j]
                    two += w[e] * z[second + j]
                out[o + i] = one
                out[beside + i] = two


@numba.njit(parallel=True, cache=CACHE, **_MATH)
def _edges(dout, z, indptr, indices, dw, R, M, N, width):
    """Gradient of each weight, ``sum_r dout_ri z_rj``."""
    blocks = (N + 255) // 256
    for b in numba.prange(blocks):
        for i in range(np.uintp(b * 256), np.uintp(min(N, (b + 1) * 256))):
            for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
                j = np.uintp(indices[e])
                total = dw.dtype.type(0)
                for r in range(np.uintp(R)):
                    total += dout[r * np.uintp(N) + i] * z[r * np.uintp(M) + j]
                dw[e] = total


def product(z: Tensor, w: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
    """Return z W^T [R, N] of z [R, M] and W (N, M) with entries w."""
    R, M = z.shape
    out = z.new_empty(R, len(indptr) - 1)
    if not len(w):
        return out.zero_()
    planes: list[np.ndarray] = [_flat(z), _flat(w), indptr.numpy(), indices.numpy(), _flat(out)]
    _pool.run(_by_node if R <= FEW_ROWS else _by_row, planes, R, M, out.shape[1])
    return out


def weight_gradient(dout: Tensor, z: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
    """Return the gradient of w [E]."""
    dw = torch.empty(len(indices), dtype=z.dtype)
    if len(dw):
        planes = [_flat(dout), _flat(z), indptr.numpy(), indices.numpy(), _flat(dw)]
        _pool.run(_edges, planes, len(z), z.shape[1], dout.shape[1])
    return dw
