"""Numba kernels on states: unit phases, their sums over nodes, and how kernels are compiled and run in parallel.

Kernels take plain arrays and fill `out` arrays; labels and NaN policy in words live in the public modules. All are
compiled at their first call, release the interpreter lock, and take a range of rows: `in_blocks` runs ranges side by
side on threads. numba's own `parallel=True` is not used: its workqueue layer aborts the process when two dask threads
call at once, and its OpenMP layer kills forked workers.

Phases need no trigonometry here: the unit phase of z is z/|z|. Sums run in float32 within 1024 nodes and in float64
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
_BLOCK = 1024
_LIMIT = 1e15  # the square of |z| between 1/limit and limit is a normal number in single precision


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
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set while it is imported
    threads = min(threads or most, rows)
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
def _unit(x, one, limit, out, start, stop):
    """Write x/|x| per row of [row, 2 * n]; zero and non-finite states become 0."""
    for r in range(start, stop):
        for low in range(0, x.shape[1], 2 * _BLOCK):
            row, to = x[r, low : low + 2 * _BLOCK], out[r, low : low + 2 * _BLOCK]
            strain = one - one
            for i in range(row.shape[0] // 2):
                re, im = row[2 * i], row[2 * i + 1]
                square = re * re + im * im
                inv = one / np.sqrt(square)
                to[2 * i], to[2 * i + 1] = re * inv, im * inv
                strain += inv + square / limit
            if abs(strain) < limit:
                continue
            # as in _order_sums: divide first, the square of a tiny or huge state leaves the range of floats
            for i in range(row.shape[0] // 2):
                wide_re, wide_im = np.float64(row[2 * i]), np.float64(row[2 * i + 1])
                top = max(abs(wide_re), abs(wide_im))
                to[2 * i] = to[2 * i + 1] = one - one
                if top > 0 and np.isfinite(wide_re) and np.isfinite(wide_im):
                    wide_re, wide_im = wide_re / top, wide_im / top
                    scale = 1.0 / np.sqrt(wide_re * wide_re + wide_im * wide_im)
                    to[2 * i], to[2 * i + 1] = wide_re * scale, wide_im * scale


def unit(z: np.ndarray, *, order: int = 1, threads: int | None = None) -> np.ndarray:
    """Return (z/|z|)**order, 0 where z is 0 or not finite; same shape and dtype."""
    out = np.empty(z.shape, z.dtype)
    rows = z.size // max(1, z.shape[-1])
    x, to = (parts(a).reshape(rows, -1) if a.size else parts(a).reshape(0, 0) for a in (z, out))
    one, limit = x.dtype.type(1), x.dtype.type(_LIMIT)
    in_blocks(_unit, len(x), x, one, limit, to, threads=threads)
    power = out
    for _ in range(order - 1):
        power = power * out
    return power


@kernel
def _order_sums(x, run_start, run_stop, run_group, one, limit, real, imag, count, start, stop):
    """Add unit phases of [row, 2 * node] over runs of neighbouring nodes, into [row, group]."""
    for r in range(start, stop):
        for k in range(run_start.size):
            g = run_group[k]
            for low in range(run_start[k], run_stop[k], _BLOCK):
                high = min(low + _BLOCK, run_stop[k])
                # A flat slice, and constants of the type of x: else numba checks indices for their sign, gathers, and
                # sums in double. 0.4 ns a node on one core, against 1.5 of x[r, i, 0] with plain constants.
                row, zero = x[r, 2 * low : 2 * high], one - one
                re_sum, im_sum, strain = zero, zero, zero
                for i in range(row.shape[0] // 2):
                    re, im = row[2 * i], row[2 * i + 1]
                    square = re * re + im * im
                    inv = one / np.sqrt(square)
                    re_sum += re * inv
                    im_sum += im * inv
                    # beyond the limit (or NaN) as soon as one |z| leaves (1/limit, limit): cheaper than to compare each
                    strain += inv + square / limit
                if abs(strain) < limit:  # the estimate of 1/sqrt of a denormal ends at -inf
                    real[r, g] += re_sum
                    imag[r, g] += im_sum
                    count[r, g] += high - low
                    continue
                # something is 0, not finite, or so small or large that its square is not to be trusted
                for i in range(low, high):
                    wide_re, wide_im = np.float64(x[r, 2 * i]), np.float64(x[r, 2 * i + 1])
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
    x = parts(z).reshape(rows, 2 * z.shape[-1])
    if z.size:
        in_blocks(
            _order_sums,
            rows,
            x,
            starts,
            stops,
            group[starts],
            x.dtype.type(1),
            x.dtype.type(1e15),
            real,
            imag,
            count,
            threads=threads,
        )
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
