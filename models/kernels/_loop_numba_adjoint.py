"""The adjoint of one tick of the loop in numba, part by part, on lanes of samples.

Sums over samples: a line of products is folded to one number where the sums are many (edges, feedback), and kept as a
line until the tile ends where they are few (node constants, from_means, inhibition).

Shapes: as in the ticks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba

from nfsim.models.kernels._loop_numba_arithmetic import flush, if_above, inverse_root
from nfsim.models.kernels._loop_numba_lanes import INNER, at, fold, load, splat, stand_alone, store, width
from nfsim.models.kernels._loop_numba_ticks import AT_COUPLING, AT_DRIVE, AT_TIME, add, pull_on, rate_of, rotation_of

RATE, BIAS, DEGREE, COS, SIN = range(5)


class Back(NamedTuple):
    """Scratch of a worker, in lines, and results of all tiles, in numbers; a result that no one wants is empty."""

    du: Any
    """[2N]."""
    turn: Any
    """[2N], gradient of this tick's rotation; empty as `rotation`."""
    force: Any
    """[2N], gradient of F."""
    dg: Any
    """[N], gradient of the gain."""
    dh: Any
    """[C]."""
    dshift: Any
    """[K]."""
    dm: Any
    """[3R]."""
    dmod: Any
    """[N]."""
    dots: Any
    """As many lines as lanes, to be folded."""
    sums: Any
    """[5N + 3CR + KP] and up to a multiple of the lanes: node constants as RATE .. SIN, from_means, inhibition."""
    shared: Any
    """[tile, as sums]."""
    weight: Any
    """[tile, E and up to a multiple of the lanes], in the order of `order`."""
    feedback: Any
    """[tile, K, N and up to a multiple of the lanes]."""
    relayed: Any
    """[B, T, C]."""
    shift: Any
    """[B, T, K]."""
    rotation: Any
    """[B, T, 2N]."""
    first: Any
    """[N + 1], where the edges from a node start in `target` and `order`."""
    target: Any
    """[E], node that an edge leads to."""
    order: Any
    """[E], place of the edge in `Edges`."""


@numba.njit(**INNER)
def turn_back(N, cell, router, edges, tile, back):
    """Adjoint of `turn`; `tile.new` enters as the gradient of the new state, leaves as that of the old."""
    stand_alone()
    dt, one = load(tile.dt, 0), splat(tile.old, 1)
    coupled = edges.source.size > 0
    for i in range(N):
        x, y = load(tile.old, i), load(tile.old, N + i)
        g, place = load(tile.g, i), at(router.places, i)
        gd = g if place & AT_DRIVE else one
        gc = g if place & AT_COUPLING else one
        gt = g if place & AT_TIME else one
        ux, uy = load(tile.drive, i), load(tile.drive, N + i)
        vx, vy = gd * ux, gd * uy
        fx, fy = splat(x, 0), splat(x, 0)
        if coupled:
            fx, fy = pull_on(i, x, y, tile.old, N, edges)
            vx, vy = vx + gc * fx, vy + gc * fy
        a = at(cell.limit, i)
        norm = inverse_root(1 + a * (vx * vx + vy * vy))
        sx, sy = norm * vx, norm * vy
        q = at(cell.rate, i) * dt
        rate, rest, slope = rate_of(gt * q + at(cell.bias, i), cell.exact)
        cos, sin = rotation_of(i, N, cell, tile)
        lx, ly = load(tile.new, i), load(tile.new, N + i)
        dq = slope * (lx * (sx - (cos * x - sin * y)) + ly * (sy - (cos * y + sin * x)))
        along = a * (lx * sx + ly * sy)
        dvx, dvy = rate * norm * (lx - along * sx), rate * norm * (ly - along * sy)
        rx, ry = rest * lx, rest * ly
        dx, dy = cos * rx + sin * ry, cos * ry - sin * rx
        if coupled:
            dfx, dfy = gc * dvx, gc * dvy
            d = at(edges.degree, i)
            dx, dy = dx - d * dfx, dy - d * dfy
            store(back.force, i, dfx)
            store(back.force, N + i, dfy)
            add(back.sums, DEGREE * N + i, -1 * (dfx * x + dfy * y))
        store(tile.new, i, flush(dx))
        store(tile.new, N + i, flush(dy))
        store(back.du, i, gd * dvx)
        store(back.du, N + i, gd * dvy)
        dg = splat(x, 0)
        if place & AT_TIME:
            dg = dg + q * dq
        if place & AT_DRIVE:
            dg = dg + (dvx * ux + dvy * uy)
        if place & AT_COUPLING:
            dg = dg + (dvx * fx + dvy * fy)
        store(back.dg, i, dg)
        add(back.sums, RATE * N + i, dq * dt * gt)
        add(back.sums, BIAS * N + i, dq)
        if back.turn.size > 0:
            store(back.turn, i, rx * x + ry * y)
            store(back.turn, N + i, ry * x - rx * y)
        elif not cell.each_rotation:
            add(back.sums, COS * N + i, rx * x + ry * y)
            add(back.sums, SIN * N + i, ry * x - rx * y)


@numba.njit(**INNER)
def push_back(number, N, edges, tile, back):
    """Adjoint of the sums over neighbours, and the gradients of weights: edges in the order of their sources."""
    stand_alone()
    L = width(tile.old)
    E, wanted = back.order.size, back.weight.size > 0
    start = number * ((E + L - 1) // L)
    for j in range(N):
        x, y = load(tile.old, j), load(tile.old, N + j)
        dx, dy = load(tile.new, j), load(tile.new, N + j)
        for e in range(at(back.first, j), at(back.first, j + 1)):
            i, w = at(back.target, e), at(edges.weight, at(back.order, e))
            fx, fy = load(back.force, i), load(back.force, N + i)
            dx = dx + w * fx
            dy = dy + w * fy
            if wanted:
                store(back.dots, e % L, fx * x + fy * y)
                if e % L == L - 1:
                    add(back.weight, start + e // L, fold(back.dots, 0))
        store(tile.new, j, dx)
        store(tile.new, N + j, dy)
    if wanted and E % L > 0:
        for e in range(E % L, L):
            store(back.dots, e, 0)
        add(back.weight, start + E // L, fold(back.dots, 0))


@numba.njit(**INNER)
def gate_back(N, K, router, tile, back):
    """Adjoint of the gains: to the state, the queries and the shifts."""
    stand_alone()
    z, h, gains, dz, dh, dshift = tile.old, tile.h, tile.gains, tile.new, back.dh, back.dshift
    first, nucleus, share, positions = router.first, router.nucleus, router.share, router.positions
    for c in range(5 * K):
        store(dh, c, 0)
    for k in range(K):
        store(dshift, k, 0)
    for i in range(N):
        x, y, dg = load(z, i), load(z, N + i), load(back.dg, i)
        a, b, c = at(positions, i), at(positions, N + i), at(positions, 2 * N + i)
        dx, dy = load(dz, i), load(dz, N + i)
        for j in range(at(first, i), at(first, i + 1)):
            k = at(nucleus, j)
            q = 5 * k
            gain = load(gains, j)
            dl = at(share, j) * dg * (gain - gain * gain)
            dx = dx + load(h, q) * dl
            dy = dy + load(h, q + 1) * dl
            add(dh, q, dl * x)
            add(dh, q + 1, dl * y)
            add(dh, q + 2, dl * a)
            add(dh, q + 3, dl * b)
            add(dh, q + 4, dl * c)
            add(dshift, k, dl)
        store(dz, i, dx)
        store(dz, N + i, dy)


@numba.njit(**INNER)
def listen_back(number, N, K, P, R, router, tile, back):
    """Adjoint of shifts, relays, queries, means and moduli: to the state, and to what the nuclei share."""
    stand_alone()
    C = 5 * K + P
    from_means, inhibition = 5 * N, 5 * N + 3 * C * R
    for p in range(P):
        h = load(tile.h, 5 * K + p)
        relay, d = if_above(h, 0, h, 0), splat(h, 0)
        for k in range(K):
            dshift = load(back.dshift, k)
            d = d - at(router.inhibition, k * P + p) * dshift
            add(back.sums, inhibition + k * P + p, -1 * relay * dshift)
        store(back.dh, 5 * K + p, if_above(h, 0, d, 0))
    for j in range(3 * R):
        m, d = load(tile.m, j), splat(tile.old, 0)
        for c in range(C):
            dh = load(back.dh, c)
            d = d + at(router.from_means, c * 3 * R + j) * dh
            add(back.sums, from_means + c * 3 * R + j, dh * m)
        store(back.dm, j, d)
    if router.feedback.size > 0:
        _feedback_back(number, N, K, router, tile, back)
    elif R > 0:
        for i in range(N):
            store(back.dmod, i, 0)
    for r in range(R):
        low, high = at(router.ranges, 2 * r), at(router.ranges, 2 * r + 1)
        share = 1 / (high - low)
        dx, dy, dmod = share * load(back.dm, 3 * r), share * load(back.dm, 3 * r + 1), share * load(back.dm, 3 * r + 2)
        for i in range(low, high):
            add(tile.new, i, dx)
            add(tile.new, N + i, dy)
            add(back.dmod, i, dmod)
    if R > 0 or router.feedback.size > 0:
        for i in range(N):
            x, y = load(tile.old, i), load(tile.old, N + i)
            d = load(back.dmod, i) * inverse_root(x * x + y * y + 1e-12)
            add(tile.new, i, d * x)
            add(tile.new, N + i, d * y)


@numba.njit(**INNER)
def _feedback_back(number, N, K, router, tile, back):
    """Adjoint of the feedback: `back.dmod` gets that of the moduli, `back.feedback` adds up that of its weights."""
    L = width(tile.old)
    blocks = (N + L - 1) // L
    for i in range(N):
        d = splat(tile.old, 0)
        for k in range(K):
            d = d + at(router.feedback, k * N + i) * load(back.dshift, k)
        store(back.dmod, i, d)
    if back.feedback.size > 0:
        for block in range(blocks):
            end = min(L, N - block * L)
            for k in range(K):
                dshift = load(back.dshift, k)
                for i in range(end):
                    store(back.dots, i, dshift * load(tile.mod, block * L + i))
                for i in range(end, L):
                    store(back.dots, i, 0)
                add(back.feedback, (number * K + k) * blocks + block, fold(back.dots, 0))
