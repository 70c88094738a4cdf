"""Both scans on the CPU: the numba loops called on torch tensors, on as many threads as torch uses."""

from __future__ import annotations

import os
import threading
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels import _loops_numba as loops

_LINE = 16  # float32 numbers in a cache line: blocks of nodes start at multiples of it, so that tasks share none
_SMALL = 1 << 16  # nodes times steps under which waking a second thread costs more than it saves


def _planes(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return a contiguous stacked tensor as two flat views: from its first real part, from its first imaginary."""
    flat = _flat(x)
    return flat, flat[x.shape[-1] // 2 :]


def _flat(x: Tensor) -> np.ndarray:
    return x.detach().numpy().reshape(-1)


class _Pool:
    """numba's threads: as many as torch uses, one call at a time, and none in a forked child.

    One at a time because numba's `workqueue` layer, which it takes where it finds neither OpenMP nor TBB, ends the
    process on a second caller. None in a child because its OpenMP layer ends the child there.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.orphaned = False
        threads = torch.get_num_threads()
        numba.get_num_threads()  # starts numba's threads, which sets the OpenMP thread count that torch reads
        torch.set_num_threads(threads)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forked)

    def forked(self) -> None:
        self.lock = threading.Lock()
        self.orphaned = numba.threading_layer() == "omp"

    def run(self, kernel: Any, planes: list[np.ndarray], B: int, T: int, N: int, *options: Any) -> None:
        if self.orphaned:
            raise RuntimeError(
                "kernel 'numba': this process was forked from one that had loaded the kernel, and OpenMP's threads do "
                "not survive a fork; start workers with the method 'forkserver' or 'spawn', or pass kernel='torch'"
            )
        most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set while it is imported
        threads = min(torch.get_num_threads(), most) if B * T * N > _SMALL else 1
        blocks = 1 if threads == 1 else -(-4 * threads // B)  # four tasks a thread, out of rows before parts of rows
        width = -(-N // (blocks * _LINE)) * _LINE
        with self.lock:
            before = numba.get_num_threads()
            if before == threads:
                kernel(*planes, B, T, N, width, *options)
                return
            numba.set_num_threads(threads)
            try:
                kernel(*planes, B, T, N, width, *options)
            finally:
                numba.set_num_threads(before)


_pool = _Pool()


def _carry(z0: Tensor | None, like: Tensor) -> Tensor:
    """Return a buffer [B, 2N] that holds `z0`, or 0: the kernels overwrite it step by step."""
    B, _, M = like.shape
    return like.new_zeros(B, M) if z0 is None else z0.clone(memory_format=torch.contiguous_format)


def _state(v: Tensor, keep: bool) -> Tensor:
    B, T, M = v.shape
    return v.new_empty(B, T if keep else 1, M)


def gated_forward(a: Tensor, b: Tensor, z0: Tensor | None, keep: bool) -> tuple[Tensor, Tensor]:
    """Return z and its last step; without `keep`, z is only the buffer of one step."""
    B, T, M = a.shape
    z, last = _state(b, keep), _carry(z0, b)
    _pool.run(loops.gated_forward, [p for x in (a, b, z, last) for p in _planes(x)], B, T, M // 2, keep)
    return z, last


def gated_backward(
    dz: Tensor | None, dlast: Tensor | None, a: Tensor, z0: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a, b and z0."""
    B, T, M = a.shape
    da, db, dz0 = torch.empty_like(a), torch.empty_like(a), _carry(dlast, a)
    start = a.new_zeros(B, M) if z0 is None else z0
    g = a.new_zeros(M) if dz is None else dz
    planes = [p for x in (g, a, z, start, da, db, dz0) for p in _planes(x)]
    _pool.run(loops.gated_backward, planes, B, T, M // 2, dz is not None)
    return da, db, dz0


def _identity(v: Tensor) -> Tensor:
    N = v.shape[-1] // 2
    return torch.cat([v.new_ones(N), v.new_zeros(N)])


def cfc_forward(
    v: Tensor, q: Tensor, rotation: Tensor | None, z0: Tensor | None, inv_a: float, gate: str, keep: bool
) -> tuple[Tensor, Tensor]:
    """Return z and its last step; without `keep`, z is only the buffer of one step."""
    B, T, M = v.shape
    z, last = _state(v, keep), _carry(z0, v)
    R = _identity(v) if rotation is None else rotation
    planes = [*_planes(v), _flat(q), *_planes(R), *_planes(z), *_planes(last)]
    scale = planes[0].dtype.type(inv_a)
    _pool.run(loops.CFC[gate][0], planes, B, T, M // 2, scale, keep, q.ndim == 3, R.ndim == 3)
    return z, last


def cfc_backward(
    dz: Tensor | None, dlast: Tensor | None, v: Tensor, q: Tensor, rotation: Tensor | None, z0: Tensor | None,
    z: Tensor, inv_a: float, gate: str, rotates: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of v, q, rotation (empty unless `rotates`) and z0.

    A gradient shared by all steps and samples is summed over time within a sample, then over samples: the order, and so
    the result, does not depend on the number of threads.
    """
    B, T, M = v.shape
    N = M // 2
    R = _identity(v) if rotation is None else rotation
    each_q, each_r = q.ndim == 3, rotates and R.ndim == 3
    dv, dz0 = torch.empty_like(v), _carry(dlast, v)
    dq = torch.empty_like(q) if each_q else q.new_zeros(B, N)
    dR = torch.zeros_like(R) if each_r else R.new_zeros(B, M)
    start = v.new_zeros(B, M) if z0 is None else z0
    g = v.new_zeros(M) if dz is None else dz
    planes = [*_planes(g), *_planes(v), _flat(q), *_planes(R), *_planes(z), *_planes(start)]
    planes += [*_planes(dv), _flat(dq), *_planes(dR), *_planes(dz0)]
    scale = planes[0].dtype.type(inv_a)
    _pool.run(loops.CFC[gate][1], planes, B, T, N, scale, dz is not None, each_q, R.ndim == 3, each_r)
    dq = dq if each_q else dq.sum(0)
    dR = v.new_empty(0) if not rotates else dR if each_r else dR.sum(0)
    return dv, dq, dR, dz0
