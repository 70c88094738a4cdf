"""The loop in plain torch: for every device and dtype, for export, and differentiable any number of times.

The equations of `cfc_loop`, one operation each, and the oracle of its kernel. Edges are a dense [N, N] matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nfsim.models.kernels._loop_operators import Arguments


def cfc_loop(a: Arguments) -> tuple[Tensor, Tensor]:
    """Return every state [B, T, 2N], and the last one [B, 2N]."""
    T, K, N = a.u.shape[1], len(a.inhibition), a.rate.numel()
    matrix = _dense(a, N)
    relayed = (a.relayed if a.relayed.ndim == 3 else a.relayed.expand(1, T, -1)).unbind(1)
    shift = [None] * T if a.shift is None else a.shift.unbind(1)
    turns = a.rotation.unbind(1) if a.rotation is not None and a.rotation.ndim == 3 else [a.rotation] * T
    z, states = a.z0, []
    for k, (u, dt, turn) in enumerate(zip(a.u.unbind(1), a.dt.unbind(1), turns, strict=True)):
        x, y = z.chunk(2, -1)
        ux, uy = u.chunk(2, -1)
        g = _gain(a, x, y, relayed[k], shift[k], K) if K else a.ungated.expand_as(x)
        gt, gd, gc = (torch.where(place, g, 1.0) for place in (a.at_time, a.at_drive, a.at_coupling))
        vx, vy = gd * ux, gd * uy
        if matrix is not None:
            vx = vx + gc * (x @ matrix.T - a.degree * x)
            vy = vy + gc * (y @ matrix.T - a.degree * y)
        norm = torch.rsqrt(1 + a.limit * (vx * vx + vy * vy))
        q = a.rate * dt.unsqueeze(-1) * gt + a.bias
        t, rest = (-torch.expm1(-q), torch.exp(-q)) if a.exact else (torch.sigmoid(q), torch.sigmoid(-q))
        if turn is not None:
            cos, sin = turn.chunk(2, -1)
            x, y = cos * x - sin * y, cos * y + sin * x
        z = torch.cat([rest * x + t * norm * vx, rest * y + t * norm * vy], -1)
        states.append(z)
    return torch.stack(states, 1), z


def _dense(a: Arguments, N: int) -> Tensor | None:
    if not a.indices.numel():
        return None
    row = torch.repeat_interleave(
        torch.arange(N, device=a.indptr.device), a.indptr.diff(), output_size=a.indices.numel()
    )
    return a.weight.new_zeros(N, N).index_put((row, a.indices), a.weight, accumulate=True)


def _gain(a: Arguments, x: Tensor, y: Tensor, relayed: Tensor, shift: Tensor | None, K: int) -> Tensor:
    """Return the gain g [B, N] of the state before the tick."""
    mod = torch.sqrt(x * x + y * y + 1e-12)
    h = relayed
    if len(a.ranges):
        parts = [part[:, low:high].mean(-1) for low, high in a.ranges.tolist() for part in (x, y, mod)]
        h = h + torch.stack(parts, -1) @ a.from_means.T
    query = h[:, : 5 * K].unflatten(-1, (K, 5))
    s = -torch.relu(h[:, 5 * K :]) @ a.inhibition.T
    s = s if shift is None else s + shift
    s = s if a.feedback is None else s + mod @ a.feedback.T
    logit = query[..., :2] @ torch.stack([x, y], -2) + query[..., 2:] @ a.positions + s.unsqueeze(-1)
    return (a.share * torch.sigmoid(logit)).sum(-2) + a.ungated
