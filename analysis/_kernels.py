"""Numba kernels on states: unit phases, their sums over nodes, and how kernels are compiled and run in parallel.

Kernels take plain arrays and fill `out` arrays; labels and NaN policy in words live in the public modules. All are
compiled at their first call, release the interpreter lock, and take a range of rows: `in_blocks` runs ranges side by
side on threads. numba's own `parallel=True` is not used: its workqueue layer aborts the process when two dask threads
call at once, and its OpenMP layer kills forked workers.

Phases need no trigonometry here: the unit phase of z is z/|z|. Sums run in float32 within 256 nodes and in float64
beyond: measured against all-float64 sums, 1.2 times the speed and an error of 2e-8 in r.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

CACHE = os.environ.get("NFSIM_NUMBA_CACHE", "1") != "0"
"""Whether compiled kernels are kept on disk. NFSIM_NUMBA_CACHE=0 turns it off, as for many processes on one folder."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, ninf: comparisons with NaN must stay as they are
_BLOCK = 256


def kernel(function: Callable[..., None]) -> Any:
    """Return `function` compiled lazily, without the interpreter lock and without changing what NaN means."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "error_model": "numpy"}
    try:
        return numba.njit(cache=CACHE, **options)(function)
    except RuntimeError:
        # numba found no folder it can write its cache to
        return numba.njit(**options)(function)


def in_blocks(function: Callable[..., None], rows: int, *arrays: Any, threads: int | None = None) -> None:
    """Call `function(*arrays, start, stop)` on ranges that cover `rows`, on `threads` threads (default: all cores)."""
    threads = min(threads or numba.config.NUMBA_NUM_THREADS, rows)
    if threads <= 1:
        function(*arrays, 0, rows)
        return
    cuts = [rows * k // threads for k in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(function, *arrays, a, b) for a, b in itertools.pairwise(cuts)]:
            done.result()


def parts(z: np.ndarray) -> np.ndarray:
    """Return a complex array as a real view with a last axis of two, contiguous."""
    z = np.ascontiguousarray(z)
    return z.view(z.real.dtype).reshape(*z.shape, 2)


@kernel
def _unit(x, out, start, stop):
    """Write x/|x| per row of [row, n, 2]; zero and non-finite states become 0."""
    for r in range(start, stop):
        for i in range(x.shape[1]):
            re, im = np.float64(x[r, i, 0]), np.float64(x[r, i, 1])
            top = max(abs(re), abs(im))
            ok = top > 0 and np.isfinite(re) and np.isfinite(im)
            if ok:
                # divide first: the square of a tiny or huge state leaves the range of floats
                re, im = re / top, im / top
                inv = 1.0 / np.sqrt(re * re + im * im)
                out[r, i, 0], out[r, i, 1] = re * inv, im * inv
            else:
                out[r, i, 0], out[r, i, 1] = 0, 0


def unit(z: np.ndarray, *, order: int = 1, threads: int | None = None) -> np.ndarray:
    """Return (z/|z|)**order, 0 where z is 0 or not finite; same shape and dtype."""
    out = np.empty(z.shape, z.dtype)
    rows = max(1, z.size // max(1, z.shape[-1])) if z.ndim else 1
    flat = parts(z).reshape(rows, -1, 2)
    in_blocks(_unit, rows, flat, parts(out).reshape(rows, -1, 2), threads=threads)
    power = out
    for _ in range(order - 1):
        power = power * out
    return power


@kernel
def _order_sums(x, run_start, run_stop, run_group, tiny, huge, real, imag, count, start, stop):
    """Add unit phases of [row, node, 2] over runs of neighbouring nodes, into [row, group]."""
    for r in range(start, stop):
        for k in range(run_start.size):
            g = run_group[k]
            for low in range(run_start[k], run_stop[k], _BLOCK):
                high = min(low + _BLOCK, run_stop[k])
                re_sum, im_sum, n = tiny * 0, tiny * 0, np.int32(0)
                for i in range(low, high):
                    re, im = x[r, i, 0], x[r, i, 1]
                    square = re * re + im * im
                    inv = 1 / np.sqrt(square)
                    re_sum += re * inv
                    im_sum += im * inv
                    n += np.int32((square > tiny) and (square < huge))
                if n == high - low:
                    real[r, g] += re_sum
                    imag[r, g] += im_sum
                    count[r, g] += n
                    continue
                # something is 0, not finite, or so small or large that its square is not to be trusted
                for i in range(low, high):
                    wide_re, wide_im = np.float64(x[r, i, 0]), np.float64(x[r, i, 1])
                    top = max(abs(wide_re), abs(wide_im))
                    if top > 0 and np.isfinite(wide_re) and np.isfinite(wide_im):
                        wide_re, wide_im = wide_re / top, wide_im / top
                        scale = 1.0 / np.sqrt(wide_re * wide_re + wide_im * wide_im)
                        real[r, g] += wide_re * scale
                        imag[r, g] += wide_im * scale
                        count[r, g] += 1


def order_sums(
    z: np.ndarray, group: np.ndarray, groups: int, *, order: int = 1, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of (z/|z|)**order over the nodes of each group, and how many nodes entered it.

    Parameters
    ----------
    z : (..., node) complex
    group : (node,) int
        Group of each node, in [0, groups).

    Returns
    -------
    total : (..., group) complex128
    count : (..., group) int64
        States that are 0, NaN or infinite have no phase: they enter neither.
    """
    if order > 1:
        z = unit(z, order=order, threads=threads)
    lead, rows = z.shape[:-1], int(np.prod(z.shape[:-1]))
    change = np.flatnonzero(np.diff(group)) + 1
    starts = np.concatenate([[0], change]).astype(np.int64)
    stops = np.concatenate([change, [group.size]]).astype(np.int64)
    real, imag, count = np.zeros((rows, groups)), np.zeros((rows, groups)), np.zeros((rows, groups), np.int64)
    x = parts(z).reshape(rows, z.shape[-1], 2)
    tiny, huge = (x.dtype.type(1e-30), x.dtype.type(1e30))
    if z.shape[-1]:
        in_blocks(_order_sums, rows, x, starts, stops, group[starts], tiny, huge, real, imag, count, threads=threads)
    return (real + 1j * imag).reshape(*lead, groups), count.reshape(*lead, groups)


@kernel
def _neighbour_sums(x, index, pointer, weight, real, imag, total, count, start, stop):
    """Add weighted unit phases of [row, node, 2] over the neighbours of each node (CSR), into [row, node]."""
    for r in range(start, stop):
        for i in range(pointer.size - 1):
            re_sum, im_sum, w_sum, n = 0.0, 0.0, 0.0, 0
            for k in range(pointer[i], pointer[i + 1]):
                re, im = np.float64(x[r, index[k], 0]), np.float64(x[r, index[k], 1])
                # unit phases come in, 0 for a state without a phase
                if re != 0 or im != 0:
                    re_sum += weight[k] * re
                    im_sum += weight[k] * im
                    w_sum += weight[k]
                    n += 1
            real[r, i], imag[r, i], total[r, i], count[r, i] = re_sum, im_sum, w_sum, n


def neighbour_sums(
    z: np.ndarray, index: np.ndarray, pointer: np.ndarray, weight: np.ndarray, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per node the weighted sum of unit phases over its neighbours, the sum of weights, and their number.

    `index`, `pointer`, `weight` are the CSR form of a [node, node] matrix: row i holds the neighbours of node i.
    """
    u = unit(z, threads=threads)
    lead, rows, n = z.shape[:-1], int(np.prod(z.shape[:-1])), z.shape[-1]
    real, imag, total = (np.zeros((rows, n)) for _ in range(3))
    count = np.zeros((rows, n), np.int64)
    x = parts(u).reshape(rows, n, 2)
    in_blocks(_neighbour_sums, rows, x, index, pointer, weight, real, imag, total, count, threads=threads)
    return (real + 1j * imag).reshape(*lead, n), total.reshape(*lead, n), count.reshape(*lead, n)
