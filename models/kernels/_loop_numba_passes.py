"""The passes of the loop in numba: through time forward, and backward with every quantity of a tick computed again.

Workers share out the tiles. The scratch of a worker stays in its L2 cache. What all samples share has its gradient
summed over time within a tile, and afterwards over tiles: the order, and so the result, does not depend on the number
of workers.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from nfsim.models.kernels._loop_numba_adjoint import gate_back, listen_back, push_back, turn_back
from nfsim.models.kernels._loop_numba_lanes import entry, fold, load, store, width
from nfsim.models.kernels._loop_numba_ticks import fetch, fetch_tick, gate, hand, listen, turn


def _passes(sources: str) -> tuple[Any, Any]:
    """Return both passes.

    numba keeps compiled code until the file of the function changes, or what is in its closure: with a digest of all
    files there, a change to an inner function is not missed.
    """

    @entry
    def forward(u, z0, z, last, cell, router, edges, tile, sizes, keep, worker, workers):
        """Run the tiles of a worker through time; `z` gets every state where `keep`, `last` the last one."""
        _ = sources
        L = width(u)
        B, T, N, K, P, R = sizes
        M, C = 2 * N, 5 * K + P
        old, new = tile.old, tile.new
        for b in range(worker * L, B, workers * L):
            n = min(L, B - b)
            fetch(z0, b * M, M, n, M, old)
            for t in range(T):
                fetch_tick(u, b, t, n, T, N, K, C, cell, router, tile)
                listen(old, N, K, P, R, router, tile)
                gate(old, N, K, router, tile)
                turn(old, new, N, cell, router, edges, tile)
                if keep:
                    hand(new, n, M, z, (b * T + t) * M, T * M)
                old, new = new, old
            hand(old, n, M, last, b * M, M)

    @entry
    def backward(dz, dlast, u, z0, z, du, dz0, cell, router, edges, tile, back, sizes, worker, workers):
        """Run the tiles of a worker back through time; gradients go to `du`, `dz0` and the results in `back`."""
        _ = sources
        L = width(u)
        B, T, N, K, P, R = sizes
        M, C = 2 * N, 5 * K + P
        for b in range(worker * L, B, workers * L):
            n, number = min(L, B - b), b // L
            if dlast.size > 0:
                fetch(dlast, b * M, M, n, M, tile.new)
            else:
                for i in range(M):
                    store(tile.new, i, 0)
            for i in range(back.sums.size // L):
                store(back.sums, i, 0)
            for t in range(T - 1, -1, -1):
                row = b * T + t
                if t > 0:
                    fetch(z, (row - 1) * M, T * M, n, M, tile.old)
                else:
                    fetch(z0, b * M, M, n, M, tile.old)
                if dz.size > 0:
                    fetch(dz, row * M, T * M, n, M, back.du)
                    for i in range(M):
                        store(tile.new, i, load(tile.new, i) + load(back.du, i))
                fetch_tick(u, b, t, n, T, N, K, C, cell, router, tile)
                listen(tile.old, N, K, P, R, router, tile)
                gate(tile.old, N, K, router, tile)
                turn_back(N, cell, router, edges, tile, back)
                if edges.source.size > 0:
                    push_back(number, N, edges, tile, back)
                if C > 0:
                    gate_back(N, K, router, tile, back)
                    listen_back(number, N, K, P, R, router, tile, back)
                    hand(back.dh, n, C, back.relayed, row * C, T * C)
                    hand(back.dshift, n, K, back.shift, row * K, T * K)
                hand(back.du, n, M, du, row * M, T * M)
                if back.rotation.size > 0:
                    hand(back.turn, n, M, back.rotation, row * M, T * M)
            hand(tile.new, n, M, dz0, b * M, M)
            for i in range(0, back.sums.size // L, L):
                store(back.shared, (number * back.sums.size // L + i) // L, fold(back.sums, i))

    return forward, backward


_FILES = sorted(Path(__file__).parent.glob("_loop*numba*.py"))

forward, backward = _passes(hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest())
