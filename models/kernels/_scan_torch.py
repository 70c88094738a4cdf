"""Both scans in plain torch: for every device and dtype, for export, and differentiable any number of times.

Three small operations a step, so slower than the fused kernels, but linear in time: sequences are taken apart with
`unbind`; indexing a step of a tensor that needs a gradient would make the backward quadratic in time.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gated_scan(a: Tensor, b: Tensor, z0: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return every state [B, T, 2N] of z_t = a_t z_{t-1} + b_t, and the last one [B, 2N]."""
    ar, ai = a.chunk(2, -1)
    straight, crossed = torch.cat([ar, ar], -1), torch.cat([-ai, ai], -1)
    z = torch.zeros_like(b[:, 0]) if z0 is None else z0
    half = z.shape[-1] // 2
    states = []
    for along, across, into in zip(straight.unbind(1), crossed.unbind(1), b.unbind(1), strict=True):
        z = torch.addcmul(torch.addcmul(into, along, z), across, z.roll(half, -1))
        states.append(z)
    return torch.stack(states, 1), z


def cfc_scan(
    v: Tensor, q: Tensor, rotation: Tensor | None, z0: Tensor | None, inv_a: float, gate: str
) -> tuple[Tensor, Tensor]:
    """Return every state of z_t = (1 - t_t) R_t z_{t-1} + t_t s_t, and the last one."""
    if gate == "sigmoid":
        t, rest = torch.sigmoid(q), torch.sigmoid(-q)
    elif gate == "exact":
        t, rest = -torch.expm1(-q), torch.exp(-q)
    else:
        t, rest = q, 1 - q
    vr, vi = v.chunk(2, -1)
    into = t * torch.rsqrt(1 + (inv_a * vr) ** 2 + (inv_a * vi) ** 2)
    if rotation is None:
        rotation = torch.cat([torch.ones_like(vr[0, 0]), torch.zeros_like(vr[0, 0])])
    a = (torch.cat([rest, rest], -1) * rotation).expand(v.shape)
    return gated_scan(a, torch.cat([into, into], -1) * v, z0)
