"""Numba kernels of the energies: free energy of nodes, and coupling energy over edges."""

from __future__ import annotations

import numpy as np

from nfsim.analysis._kernels import in_blocks, kernel, parts


@kernel
def _free_energy(z, steady, gain, initial, prior, accuracy, complexity, start, stop):
    """Fill accuracy and complexity [row, time, node] from z, steady [row, time, node, 2] and gain [row, time, node]."""
    for r in range(start, stop):
        for t in range(z.shape[1]):
            for i in range(z.shape[2]):
                past_re = np.float64(z[r, t - 1, i, 0] if t > 0 else initial[r, i, 0])
                past_im = np.float64(z[r, t - 1, i, 1] if t > 0 else initial[r, i, 1])
                re, im = np.float64(z[r, t, i, 0]), np.float64(z[r, t, i, 1])
                off_re, off_im = steady[r, t, i, 0] - past_re, steady[r, t, i, 1] - past_im
                g = np.float64(gain[r, t, i])
                precision = 1e-3 if g < 1e-3 else g  # a NaN gain stays NaN
                scaled = precision * prior[i]
                accuracy[r, t, i] = precision * (off_re * off_re + off_im * off_im) / 2 - np.log(precision)
                complexity[r, t, i] = (re * re + im * im) / (2 * prior[i]) + 1 / scaled - 1 + np.log(scaled)


def free_energy(
    z: np.ndarray,
    steady: np.ndarray,
    gain: np.ndarray,
    initial: np.ndarray,
    prior: np.ndarray,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """Return [..., time, node, 2] float64: accuracy and complexity, in nat.

    Parameters
    ----------
    z, steady : (..., time, node) complex
        State after, and steady state of, each tick.
    gain : (..., time, node)
        Gain that acted in the tick.
    initial : (..., node) complex
        State before the first tick.
    prior : (node,)
        Variance v0 of the prior.
    """
    lead, (steps, nodes) = z.shape[:-2], z.shape[-2:]
    rows = int(np.prod(lead))
    accuracy, complexity = (np.empty((rows, steps, nodes)) for _ in range(2))
    in_blocks(
        _free_energy, rows, parts(z).reshape(rows, steps, nodes, 2), parts(steady).reshape(rows, steps, nodes, 2),
        np.ascontiguousarray(gain).reshape(rows, steps, nodes), parts(initial).reshape(rows, nodes, 2),
        np.asarray(prior, np.float64), accuracy, complexity, threads=threads,
    )  # fmt: skip
    return np.stack([accuracy, complexity], axis=-1).reshape(*lead, steps, nodes, 2)


@kernel
def _edge_energy(x, source, target, weight, out, start, stop):
    """Sum w Re(conj(z_source) z_target) over edges, per row of [row, node, 2]."""
    for r in range(start, stop):
        total = 0.0
        for e in range(source.size):
            i, j = source[e], target[e]
            total += weight[e] * (np.float64(x[r, i, 0]) * x[r, j, 0] + np.float64(x[r, i, 1]) * x[r, j, 1])
        out[r] = -0.5 * total


def edge_energy(
    z: np.ndarray, source: np.ndarray, target: np.ndarray, weight: np.ndarray, *, threads: int | None = None
) -> np.ndarray:
    """Return -1/2 sum_e w_e Re(conj(z_source) z_target) per row of (..., node); NaN where a state on an edge is NaN."""
    rows = int(np.prod(z.shape[:-1]))
    out = np.empty(rows)
    x = parts(z).reshape(rows, z.shape[-1], 2)
    in_blocks(_edge_energy, rows, x, source, target, weight, out, threads=threads)
    return out.reshape(z.shape[:-1])
