"""The loop on the CPU: the numba passes called on torch tensors, tiles of samples shared out over threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels import _loop_numba_passes as passes
from nfsim.models.kernels._loop_numba_adjoint import Back
from nfsim.models.kernels._loop_numba_lanes import LINE, entry
from nfsim.models.kernels._loop_numba_ticks import AT_COUPLING, AT_DRIVE, AT_TIME, Cell, Edges, Router, Tile
from nfsim.models.kernels._loop_operators import GRADIENTS, Arguments
from nfsim.models.kernels._scan_numba import _flat

_SMALL = 1 << 17  # nodes times steps under which one thread does all


class _Sizes(NamedTuple):
    B: int
    T: int
    N: int
    K: int
    P: int
    R: int


@entry
def _reach(share, places):
    """List the nuclei that target each node at which the gain acts, as `Router` holds them."""
    K, N = share.shape
    first, nucleus, listed = np.zeros(N + 1, np.int64), np.empty(K * N, np.int64), np.empty(K * N, share.dtype)
    end = 0
    for i in range(N):
        for k in range(K):
            if places[i] > 0 and share[k, i] != 0:
                nucleus[end], listed[end] = k, share[k, i]
                end += 1
        first[i + 1] = end
    return first, nucleus[:end], listed[:end]


@entry
def _by_source(indptr, source):
    """Sort edges in rows by the node that they come from, as `Back` holds them."""
    N, E = indptr.size - 1, source.size
    first, target, order = np.zeros(N + 1, np.int64), np.empty(E, np.int64), np.empty(E, np.int64)
    for e in range(E):
        first[source[e] + 1] += 1
    for j in range(N):
        first[j + 1] += first[j]
    end = first[:-1].copy()
    for i in range(N):
        for e in range(indptr[i], indptr[i + 1]):
            j = source[e]
            target[end[j]], order[end[j]] = i, e
            end[j] += 1
    return first, target, order


class _Call:
    """What both passes need of the arguments, as flat arrays."""

    def __init__(self, a: Arguments):
        (B, T, M), (K, P), R = a.u.shape, a.inhibition.shape, len(a.ranges)
        self.sizes = _Sizes(B, T, M // 2, K, P, R)
        self.count = LINE // a.u.element_size()
        self.tiles = -(-B // self.count)
        N = self.sizes.N
        turn = torch.cat([a.u.new_ones(N), a.u.new_zeros(N)]) if a.rotation is None else a.rotation
        rate, bias, limit, rotation, dt = (_flat(x) for x in (a.rate, a.bias, a.limit, turn, a.dt))
        self.cell = Cell(rate, bias, limit, rotation, dt, a.exact, turn.ndim == 3)
        shift, feedback = (_flat(a.u.new_empty(0) if x is None else x) for x in (a.shift, a.feedback))
        masks = ((AT_TIME, a.at_time), (AT_DRIVE, a.at_drive), (AT_COUPLING, a.at_coupling))
        places = np.sum([place * _flat(mask).view(np.uint8) for place, mask in masks], 0, np.uint8)
        first, nucleus, share = _reach(a.share.numpy(), places)
        self.router = Router(
            _flat(a.relayed), shift, _flat(a.from_means), _flat(a.ranges), _flat(a.inhibition), feedback,
            _flat(a.positions), first, nucleus, share, _flat(a.ungated), places, a.relayed.ndim == 3,
        )  # fmt: skip
        self.edges = Edges(*(_flat(x) for x in (a.indptr, a.indices, a.weight, a.degree)))
        self.like = a.u

    def lines(self, *counts: int) -> list[np.ndarray]:
        """Return scratch of so many lines each."""
        scratch = _flat(self.like.new_empty(sum(counts) * self.count))
        ends = np.cumsum(counts) * self.count
        return [scratch[end - count * self.count : end] for end, count in zip(ends, counts, strict=True)]

    def tile(self, pairs: int) -> Tile:
        """Return the scratch of a worker, with gains of so many pairs kept."""
        s = self.sizes
        M, C = 2 * s.N, 5 * s.K + s.P
        turn = M if self.cell.each_rotation else 0
        return Tile(*self.lines(M, M, M, turn, 1, s.N, 3 * s.R, C, C, s.K, s.N, pairs))

    def run(self, work: Callable[[int, int], None]) -> None:
        """Call work(worker, workers) for every worker, each in a thread of its own.

        Threads last for one call: none is left that a fork could lose. Starting one takes 0.05 ms, and the least work
        that is shared out 1 ms.
        """
        s = self.sizes
        workers = min(torch.get_num_threads(), self.tiles) if s.B * s.T * s.N > _SMALL else 1
        if workers == 1:
            work(0, 1)
            return
        with ThreadPoolExecutor(workers - 1) as pool:
            others = [pool.submit(work, worker, workers) for worker in range(1, workers)]
            work(0, workers)
            for other in others:
                other.result()


def forward(a: Arguments, keep: bool) -> tuple[Tensor, Tensor]:
    """Return z and its last step; without `keep`, z is empty but for one step."""
    call = _Call(a)
    s = call.sizes
    z, last = a.u.new_empty(s.B, s.T if keep else 1, 2 * s.N), a.u.new_empty(s.B, 2 * s.N)
    arrays = [_flat(x) for x in (a.u, a.z0, z, last)]

    def work(worker: int, workers: int) -> None:
        tile = call.tile(0)
        passes.forward(*arrays, call.cell, call.router, call.edges, tile, s, keep, worker, workers)

    call.run(work)
    return z, last


def backward(
    a: Arguments, z: Tensor, dz: Tensor | None, dlast: Tensor | None, wanted: dict[str, bool]
) -> tuple[Tensor, ...]:
    """Return the gradients in the order of GRADIENTS, empty where `wanted` says no.

    Tiles are added up in their order: the result does not depend on the number of threads.
    """
    call = _Call(a)
    s, like, count = call.sizes, a.u, call.count
    N, K, P, E, C = s.N, s.K, s.P, a.indices.numel(), 5 * s.K + s.P
    sums = -(-(5 * N + 3 * C * s.R + K * P) // count) * count
    du, dz0 = torch.empty_like(a.u), torch.empty_like(a.z0)
    shared = like.new_empty(call.tiles, sums)
    weight = like.new_zeros(call.tiles, -(-E // count) * count if wanted["weight"] else 0)
    feedback = like.new_zeros(call.tiles, K, -(-N // count) * count if wanted["feedback"] else 0)
    relayed, shift = like.new_empty(s.B, s.T, C), like.new_empty(s.B, s.T, K)
    each = wanted["rotation"] and call.cell.each_rotation
    rotation = like.new_empty(a.u.shape if each else 0)
    results = [_flat(x) for x in (shared, weight, feedback, relayed, shift, rotation)]
    edges = _by_source(call.edges.first, call.edges.source)
    empty = like.new_empty(0)
    arrays = [_flat(empty if x is None else x) for x in (dz, dlast, a.u, a.z0, z, du, dz0)]

    def work(worker: int, workers: int) -> None:
        scratch = call.lines(2 * N, 2 * N if each else 0, 2 * N, N, C, K, 3 * s.R, N, count, sums)
        back = Back(*scratch, *results, *edges)
        tile = call.tile(len(call.router.nucleus))
        passes.backward(*arrays, call.cell, call.router, call.edges, tile, back, s, worker, workers)

    call.run(work)
    total = shared.sum(0)
    rates, biases, degrees, turn, means, inhibition = (
        x.clone() for x in total.split([N, N, N, 2 * N, 3 * C * s.R, sums - 5 * N - 3 * C * s.R])
    )
    grads = {
        "u": du,
        "z0": dz0,
        "rate": rates,
        "bias": biases,
        "degree": degrees,
        "rotation": rotation if each else turn,
        "relayed": relayed if a.relayed.ndim == 3 else relayed.sum((0, 1)),
        "from_means": means.view(C, 3 * s.R),
        "inhibition": inhibition[: K * P].view(K, P).clone(),
        "feedback": feedback.sum(0)[:, :N].contiguous(),
        "shift": shift,
        "weight": like.new_empty(E).index_copy_(0, torch.from_numpy(edges[2]), weight.sum(0)[:E])
        if wanted["weight"]
        else empty,
    }
    return tuple(grads[name] if wanted.get(name, True) else empty.clone() for name in GRADIENTS)
