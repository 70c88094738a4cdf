"""The instructions of a tape, and the loop that reads them: one input step of a network, sample after sample.

An instruction is a row of unsigned whole numbers: its code, then its operands. (numba wraps a signed index round where
it is negative, element by element, and that keeps a loop from being vectorised.) Offsets reach into three flat arrays:
`memory`, what a step computes, `weight`, what it does not, and `index`, the nodes and edges of couplings. Values per
node lie in blocks of 2N, xr of all nodes and then xi.

Every instruction is compiled by itself, so that its loop knows few arrays: LLVM vectorises it after a test of overlap.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numba
import numpy as np

from nfsim.models.kernels._loops_numba import _EXACT, _SIGMOID, CACHE, _flush, _rate

OPERANDS = 12
EPS, NORMALISE_EPS = 1e-6, 1e-5  # of nfsim.models.cell.EPS and nfsim.models.drive.NORMALISE_EPS
_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz", "reassoc"}, "error_model": "numpy"}
_STEP: Any = numba.njit(inline="never", **_MATH)


class Op(IntEnum):
    """Codes of the instructions, named as the functions that they call."""

    LOAD = 0
    COPY = 1
    PRODUCT = 2
    DIVIDE = 3
    ACTIVATE = 4
    RATES = 5
    MEANS = 6
    MULTIPLY = 7
    GAIN = 8
    PULL = 9
    UPDATE = 10


ACTIVATIONS = {"gelu": 0, "relu": 1, "tanh": 2}


@_STEP
def _load(memory, weight, to, w, n):
    """memory = weight."""
    for j in range(n):
        memory[to + j] = weight[w + j]


@_STEP
def _copy(memory, to, at, n):
    """memory = memory."""
    for j in range(n):
        memory[to + j] = memory[at + j]


@_STEP
def _product(memory, weight, to, at, w, rows, columns):
    """y += W x, with W held by columns: four of them at a time, so that y is read and written once for four."""
    one = np.uintp(1)
    last, fours = at + columns, columns // np.uintp(4)
    for _ in range(fours):
        a, b, c, d = memory[at], memory[at + one], memory[at + one + one], memory[at + one + one + one]
        w1, w2, w3 = w + rows, w + rows + rows, w + rows + rows + rows
        for j in range(rows):
            total = a * weight[w + j] + b * weight[w1 + j] + c * weight[w2 + j] + d * weight[w3 + j]
            memory[to + j] += total
        at, w = at + np.uintp(4), w3 + rows
    while at < last:
        a = memory[at]
        for j in range(rows):
            memory[to + j] += a * weight[w + j]
        at, w = at + one, w + rows


@_STEP
def _divide(memory, at, n, parts):
    """Divisive normalisation, y / sqrt(mean |y|^2 + eps), of n values, `parts` of them per node."""
    power = memory[at] * 0
    for j in range(n):
        power += memory[at + j] * memory[at + j]
    scale = type(power)(1 / math.sqrt(power * parts / n + NORMALISE_EPS))
    for j in range(n):
        memory[at + j] *= scale


@_STEP
def _activate(memory, at, n, kind):
    """The nonlinearity of hidden units."""
    half, one = type(memory[at])(0.5), type(memory[at])(1)
    root = type(memory[at])(math.sqrt(0.5))
    for j in range(n):
        y = memory[at + j]
        if kind == 0:
            y = half * y * (one + math.erf(y * root))
        elif kind == 1:
            y = max(y, y * 0)
        else:
            y = math.tanh(y)
        memory[at + j] = y


@_STEP
def _rates(memory, to, at, n, N):
    """|z| of n nodes."""
    eps = type(memory[at])(EPS * EPS)
    for j in range(n):
        re, im = memory[at + j], memory[at + N + j]
        memory[to + j] = math.sqrt(re * re + im * im + eps)


@_STEP
def _means(memory, to, at, n, N):
    """Means over n nodes of xr, xi and |z|."""
    re = im = rate = memory[at] * 0
    eps = type(re)(EPS * EPS)
    for j in range(n):
        a, b = memory[at + j], memory[at + N + j]
        re += a
        im += b
        rate += math.sqrt(a * a + b * b + eps)
    one = np.uintp(1)
    memory[to], memory[to + one], memory[to + one + one] = re / n, im / n, rate / n


@_STEP
def _multiply(memory, to, at, n):
    """y *= x."""
    for j in range(n):
        memory[to + j] *= memory[at + j]


@_STEP
def _gain(memory, weight, to, n, K, Q, query, shift, place, share, state, N):
    """g += sum_k share_k sigmoid(query_k . (xr, xi, p) + shift_k), `share` by nuclei of n nodes each."""
    one, y, z = np.uintp(1), place + N, place + N + N
    for _ in range(K):
        p = query + Q - one
        a0, a1, a2, b = memory[p - one - one], memory[p - one], memory[p], memory[shift]
        if Q == 5:
            s0, s1 = memory[query], memory[query + one]
            for j in range(n):
                logit = a0 * weight[place + j] + a1 * weight[y + j] + a2 * weight[z + j] + b
                logit += s0 * memory[state + j] + s1 * memory[state + N + j]
                memory[to + j] += weight[share + j] * _rate(logit, _SIGMOID)[0]
        else:
            for j in range(n):
                logit = a0 * weight[place + j] + a1 * weight[y + j] + a2 * weight[z + j] + b
                memory[to + j] += weight[share + j] * _rate(logit, _SIGMOID)[0]
        query, shift, share = query + Q, shift + one, share + n


@_STEP
def _pull(memory, weight, index, to, at, nodes, count, starts, sources, w, N):
    """F_i += sum_j K_ij (z_j - z_i) of `count` nodes, in compressed sparse rows."""
    for k in range(count):
        node = np.uintp(index[nodes + k])
        here, across = memory[at + node], memory[at + N + node]
        re = im = here * 0
        for e in range(np.uintp(index[starts + k]), np.uintp(index[starts + k + np.uintp(1)])):
            j = at + np.uintp(index[sources + e])
            re += weight[w + e] * (memory[j] - here)
            im += weight[w + e] * (memory[j + N] - across)
        memory[to + node] += re
        memory[to + N + node] += im


@_STEP
def _update(memory, weight, z, drive, pull, gain, new, constants, first, n, N):
    """Limiter, rate, rotation and update of nodes first .. first + n; `constants` are rows of N.

    The rows: rate * dt, bias, whether exact, cos, sin, 1 / A^2, 1 / A of a clamp, and where the gain acts (time, drive,
    coupling).
    """
    one, zero = type(memory[z])(1), type(memory[z])(0)
    eps = type(one)(EPS * EPS)
    for a in range(first, first + n):
        c = constants + a
        bias, exact, cos, sin = c + N, c + np.uintp(2) * N, c + np.uintp(3) * N, c + np.uintp(4) * N
        square, ceiling = c + np.uintp(5) * N, c + np.uintp(6) * N
        at_time, at_drive, at_pull = c + np.uintp(7) * N, c + np.uintp(8) * N, c + np.uintp(9) * N
        g = memory[gain + a]
        gd, gp = g if weight[at_drive] > zero else one, g if weight[at_pull] > zero else one
        vr = gd * memory[drive + a] + gp * memory[pull + a]
        vi = gd * memory[drive + N + a] + gp * memory[pull + N + a]
        m = one / math.sqrt(one + (vr * vr + vi * vi) * weight[square])
        gate = weight[c] * (g if weight[at_time] > zero else one) + weight[bias]
        rate, rest, _ = _rate(gate, _EXACT) if weight[exact] > zero else _rate(gate, _SIGMOID)
        re, im = memory[z + a], memory[z + N + a]
        new_r = _flush(rest * (weight[cos] * re - weight[sin] * im) + rate * m * vr)
        new_i = _flush(rest * (weight[cos] * im + weight[sin] * re) + rate * m * vi)
        over = math.sqrt(new_r * new_r + new_i * new_i + eps) * weight[ceiling]
        shrink = one / over if over > one else one
        memory[new + a], memory[new + N + a] = new_r * shrink, new_i * shrink


@numba.njit(cache=CACHE, **_MATH)
def play(tape, index, weight, memory, places, x, xr, xi, logits, new_xr, new_xi):
    """Read the tape once for each sample; False where an input or a state is not finite.

    Parameters
    ----------
    places : offsets in memory of x, the state before, the state after, and the logits.
    x, xr, xi, logits, new_xr, new_xi : [B, ...]; the last three are written.
    """
    B, F, N, L = len(x), np.uintp(x.shape[1]), np.uintp(xr.shape[1]), np.uintp(logits.shape[1])
    for b in range(B):
        total = memory.dtype.type(0)
        for j in range(F):
            memory[places[0] + j] = x[b, j]
            total += x[b, j] * 0
        for j in range(N):
            memory[places[1] + j], memory[places[1] + N + j] = xr[b, j], xi[b, j]
            total += xr[b, j] * 0 + xi[b, j] * 0
        if total != 0:  # not a number, if anything was not finite
            return False
        for k in range(len(tape)):
            op, o = np.int64(tape[k, 0]), tape[k]
            if op == Op.LOAD:
                _load(memory, weight, o[1], o[2], o[3])
            elif op == Op.COPY:
                _copy(memory, o[1], o[2], o[3])
            elif op == Op.PRODUCT:
                _product(memory, weight, o[1], o[2], o[3], o[4], o[5])
            elif op == Op.DIVIDE:
                _divide(memory, o[1], o[2], o[3])
            elif op == Op.ACTIVATE:
                _activate(memory, o[1], o[2], o[3])
            elif op == Op.RATES:
                _rates(memory, o[1], o[2], o[3], N)
            elif op == Op.MEANS:
                _means(memory, o[1], o[2], o[3], N)
            elif op == Op.MULTIPLY:
                _multiply(memory, o[1], o[2], o[3])
            elif op == Op.GAIN:
                _gain(memory, weight, o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8], o[9], N)
            elif op == Op.PULL:
                _pull(memory, weight, index, o[1], o[2], o[3], o[4], o[5], o[6], o[7], N)
            elif op == Op.UPDATE:
                _update(memory, weight, o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8], N)
        for j in range(N):
            new_xr[b, j], new_xi[b, j] = memory[places[2] + j], memory[places[2] + N + j]
        for j in range(L):
            logits[b, j] = memory[places[3] + j]
    return True
