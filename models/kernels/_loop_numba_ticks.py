"""One tick of the loop in numba, on lanes of samples: what the forward and the backward pass both compute.

A tile is as many samples as a line has lanes, interleaved: a state [2N] of each is 2N lines, so that the neighbours of
a node are read as whole lines (gathering single numbers runs at one a cycle, lines of 16 at two).

Shapes: N node, K nucleus, P reticular partner, C = 5K + P, R range of nodes whose means are read, E edge, J pair of a
nucleus and a node that it targets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from nfsim.models.kernels._loop_numba_arithmetic import decay, flush, if_above, inverse_root, reciprocal
from nfsim.models.kernels._loop_numba_lanes import INNER, at, load, splat, stand_alone, store, transpose, width

AT_TIME, AT_DRIVE, AT_COUPLING = 1, 2, 4


class Cell(NamedTuple):
    """Node constants, and dt."""

    rate: Any
    bias: Any
    limit: Any
    rotation: Any
    """[2N], or [B, T, 2N] where `each_rotation`."""
    dt: Any
    """[B, T]."""
    exact: bool
    each_rotation: bool


class Router(NamedTuple):
    """What makes the gain; K = P = R = 0 without a thalamus."""

    relayed: Any
    """[C], or [B, T, C] where `each_relayed`."""
    shift: Any
    """[B, T, K], or empty."""
    from_means: Any
    """[C, 3R]."""
    ranges: Any
    """[R, 2]."""
    inhibition: Any
    """[K, P]."""
    feedback: Any
    """[K, N], or empty."""
    positions: Any
    """[3, N]."""
    first: Any
    """[N + 1], where the pairs of a node start in `nucleus` and `share`."""
    nucleus: Any
    """[J]."""
    share: Any
    """[J]."""
    ungated: Any
    """[N]."""
    places: Any
    """[N], sum of AT_TIME, AT_DRIVE and AT_COUPLING."""
    each_relayed: bool


class Edges(NamedTuple):
    """Coupling, in rows; empty without one."""

    first: Any
    """[N + 1]."""
    source: Any
    """[E]."""
    weight: Any
    """[E]."""
    degree: Any
    """[N]."""


class Tile(NamedTuple):
    """Scratch of a worker for one tick of a tile, in lines."""

    old: Any
    """[2N], state before."""
    new: Any
    """[2N], state after; backward, what is carried to the tick before."""
    drive: Any
    """[2N], u."""
    turn: Any
    """[2N], rotation; empty where no tick has its own."""
    dt: Any
    """[1]."""
    mod: Any
    """[N], |z|."""
    m: Any
    """[3R], means."""
    relayed: Any
    """[C], what the input adds to h."""
    h: Any
    """[C], five query numbers of each nucleus, then the relays."""
    shift: Any
    """[K]: first from outside, then whole."""
    g: Any
    """[N], gain."""
    gains: Any
    """[J], gain of each nucleus on each node that it targets; empty forward."""


@numba.njit(**INNER)
def add(lines, i, x):
    """Add to a line."""
    store(lines, i, load(lines, i) + x)


@numba.njit(**INNER)
def fetch(source, first, stride, n, M, lines):
    """Read a row [M] of each of n samples to M lines; lanes without a sample are 0."""
    stand_alone()
    L = width(lines)
    if n == L and L <= M:
        for i in range(0, M, L):
            i = min(i, M - L)
            transpose(source, first + i, stride, lines, i * L, L)
        return
    for i in range(M):
        store(lines, i, 0)
    for j in range(n):
        for i in range(M):
            lines[np.uintp(i * L + j)] = at(source, first + j * stride + i)


@numba.njit(**INNER)
def hand(lines, n, M, into, first, stride):
    """Write M lines to a row [M] of each of n samples."""
    stand_alone()
    L = width(lines)
    if n == L and L <= M:
        for i in range(0, M, L):
            i = min(i, M - L)
            transpose(lines, i * L, L, into, first + i, stride)
        return
    for j in range(n):
        for i in range(M):
            into[np.uintp(first + j * stride + i)] = at(lines, i * L + j)


@numba.njit(**INNER)
def fetch_tick(u, b, t, n, T, N, K, C, cell, router, tile):
    """Read what comes from outside in tick t to the n samples from sample b."""
    row = b * T + t
    fetch(u, row * 2 * N, T * 2 * N, n, 2 * N, tile.drive)
    fetch(cell.dt, row, T, n, 1, tile.dt)
    if cell.each_rotation:
        fetch(cell.rotation, row * 2 * N, T * 2 * N, n, 2 * N, tile.turn)
    if router.each_relayed:
        fetch(router.relayed, row * C, T * C, n, C, tile.relayed)
    else:
        for c in range(C):
            store(tile.relayed, c, at(router.relayed, c))
    if router.shift.size > 0:
        fetch(router.shift, row * K, T * K, n, K, tile.shift)
    else:
        for k in range(K):
            store(tile.shift, k, 0)


@numba.njit(**INNER)
def listen(z, N, K, P, R, router, tile):
    """Compute means, queries, relays and shifts of the nuclei from the state before the tick."""
    stand_alone()
    C = 5 * K + P
    if R > 0 or router.feedback.size > 0:
        for i in range(N):
            x, y = load(z, i), load(z, N + i)
            square = x * x + y * y + 1e-12
            store(tile.mod, i, square * inverse_root(square))
    for r in range(R):
        low, high = at(router.ranges, 2 * r), at(router.ranges, 2 * r + 1)
        x, y, mod = splat(z, 0), splat(z, 0), splat(z, 0)
        for i in range(low, high):
            x = x + load(z, i)
            y = y + load(z, N + i)
            mod = mod + load(tile.mod, i)
        share = 1 / (high - low)
        store(tile.m, 3 * r, x * share)
        store(tile.m, 3 * r + 1, y * share)
        store(tile.m, 3 * r + 2, mod * share)
    for c in range(C):
        h = load(tile.relayed, c)
        for j in range(3 * R):
            h = h + at(router.from_means, c * 3 * R + j) * load(tile.m, j)
        store(tile.h, c, h)
    for k in range(K):
        s = load(tile.shift, k)
        for p in range(P):
            relay = load(tile.h, 5 * K + p)
            s = s - at(router.inhibition, k * P + p) * if_above(relay, 0, relay, 0)
        store(tile.shift, k, s)
    if router.feedback.size > 0:
        for i in range(N):  # outside: sums over nodes, side by side, do not wait for one another
            mod = load(tile.mod, i)
            for k in range(K):
                add(tile.shift, k, at(router.feedback, k * N + i) * mod)


@numba.njit(**INNER)
def gate(z, N, K, router, tile):
    """Compute the gain of every node."""
    stand_alone()
    keep = tile.gains.size > 0
    for i in range(N):
        x, y = load(z, i), load(z, N + i)
        a, b, c = at(router.positions, i), at(router.positions, N + i), at(router.positions, 2 * N + i)
        g = splat(z, at(router.ungated, i))
        for j in range(at(router.first, i), at(router.first, i + 1)):
            k = at(router.nucleus, j)
            q = 5 * k
            logit = load(tile.h, q) * x + load(tile.h, q + 1) * y + load(tile.shift, k)
            logit = logit + load(tile.h, q + 2) * a + load(tile.h, q + 3) * b + load(tile.h, q + 4) * c
            e, _ = decay(logit)
            gain = reciprocal(1 + e)
            g = g + at(router.share, j) * gain
            if keep:
                store(tile.gains, j, gain)
        store(tile.g, i, g)


@numba.njit(**INNER)
def pull_on(i, x, y, z, N, edges):
    """Return the coupling F of node i at state (x, y)."""
    fx, fy = splat(z, 0), splat(z, 0)
    for e in range(at(edges.first, i), at(edges.first, i + 1)):
        w, j = at(edges.weight, e), at(edges.source, e)
        fx = fx + w * load(z, j)
        fy = fy + w * load(z, N + j)
    d = at(edges.degree, i)
    return fx - d * x, fy - d * y


@numba.njit(**INNER)
def rate_of(q, exact):
    """Return the update rate t, 1 - t, and dt/dq."""
    e, rest = decay(q)
    if exact:
        return rest, e, e
    t = reciprocal(1 + e)
    return t, e * t, t * (e * t)


@numba.njit(**INNER)
def rotation_of(i, N, cell, tile):
    """Return the cosine and the sine that node i turns by."""
    if cell.each_rotation:
        return load(tile.turn, i), load(tile.turn, N + i)
    return splat(tile.turn, at(cell.rotation, i)), splat(tile.turn, at(cell.rotation, N + i))


@numba.njit(**INNER)
def turn(old, new, N, cell, router, edges, tile):
    """Compute the state after the tick."""
    stand_alone()
    dt, one = load(tile.dt, 0), splat(old, 1)
    for i in range(N):
        x, y = load(old, i), load(old, N + i)
        g, place = load(tile.g, i), at(router.places, i)
        vx, vy = load(tile.drive, i), load(tile.drive, N + i)
        if place & AT_DRIVE:
            vx, vy = g * vx, g * vy
        if edges.source.size > 0:
            fx, fy = pull_on(i, x, y, old, N, edges)
            gc = g if place & AT_COUPLING else one
            vx, vy = vx + gc * fx, vy + gc * fy
        q = at(cell.rate, i) * dt
        rate, rest, _ = rate_of((g * q if place & AT_TIME else q) + at(cell.bias, i), cell.exact)
        into = rate * inverse_root(1 + at(cell.limit, i) * (vx * vx + vy * vy))
        cos, sin = rotation_of(i, N, cell, tile)
        store(new, i, flush(rest * (cos * x - sin * y) + into * vx))
        store(new, N + i, flush(rest * (cos * y + sin * x) + into * vy))
