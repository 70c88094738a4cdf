"""The cell: limiter, update rate, rotation and the closed-form update.

B batch, T tick, N node. A state is real, [..., 2, N]: the parts xr and xi, then the nodes.
"""

import torch
from torch import Tensor

EPS = 1e-6
"""Added in quadrature under every modulus, so that its gradient is finite at 0."""


def modulus(z: Tensor) -> Tensor:
    """Rate ``|z| = sqrt(xr^2 + xi^2 + eps^2)`` [..., N] of a state [..., 2, N]."""
    return torch.sqrt(z.square().sum(-2) + EPS**2)


def limit(v: Tensor, inverse_square: Tensor | float) -> Tensor:
    """Steady state ``s = v / sqrt(1 + |v|^2 / A^2)`` of v [..., 2, N], given 1 / A^2 (0: no limit)."""
    return v * torch.rsqrt(1 + v.square().sum(-2, keepdim=True) * inverse_square)


def clamp(z: Tensor, inverse: Tensor | float) -> Tensor:
    """The state with ``|z| <= A``, phase kept (the historical limiter, after the update), given 1 / A (0: no limit).

    The inverse, because an infinite A would make a gradient of 0 times infinity.
    """
    return z / (modulus(z) * inverse).clamp(min=1).unsqueeze(-2)


def update_rate(gate: Tensor, rate: str) -> Tensor:
    """Share t of the way to the steady state in one tick.

    "sigmoid": ``t = sigmoid(gate)`` of ``gate = g lambda dt / tau + bias``; "exact": ``t = 1 - exp(-gate)`` without a
    bias, for which two half steps are one step.
    """
    return torch.sigmoid(gate) if rate == "sigmoid" else -torch.expm1(-gate)


def rotation(omega: Tensor, dt: Tensor | float) -> Tensor:
    """``exp(i omega dt)`` as [..., 2, N] (cosine, sine)."""
    angle = omega * dt
    return torch.stack([angle.cos(), angle.sin()], dim=-2)


def rotate(z: Tensor, turn: Tensor) -> Tensor:
    """Complex product of two [..., 2, N]."""
    (a, b), (c, s) = z.unbind(-2), turn.unbind(-2)
    return torch.stack([a * c - b * s, a * s + b * c], dim=-2)


def cfc_update(z: Tensor, s: Tensor, t: Tensor, turn: Tensor) -> Tensor:
    """Next state ``(1 - t) exp(i omega dt) z + t s``, with t [..., N] and all else [..., 2, N].

    Source: Hasani et al. 2022, Nat. Mach. Intell. 4:992, eq. 2, with exp(i omega dt) z for its first branch.
    """
    t = t.unsqueeze(-2)
    turned = rotate(z, turn)
    return turned + t * (s - turned)


def free_energy(s: Tensor, z_before: Tensor, z: Tensor, gain: Tensor, v0: Tensor | float) -> tuple[Tensor, Tensor]:
    r"""Accuracy and complexity parts of the free energy per node [..., N], in nats.

    ``eps = s - z_before``, ``pi = max(gain, 1e-3)``: accuracy ``pi |eps|^2 / 2 - ln pi``; complexity
    ``|z|^2 / (2 v0) + 1 / (pi v0) - 1 + ln(pi v0)``, the divergence of a complex Gaussian of mean z and variance 1/pi
    per part from the prior (0, v0).

    Source: Feldman & Friston 2010, Front. Hum. Neurosci. 4:215 (gain as precision).
    """
    precision = gain.clamp(min=1e-3)
    accuracy = precision * (s - z_before).square().sum(-2) / 2 - precision.log()
    complexity = z.square().sum(-2) / (2 * v0) + 1 / (precision * v0) - 1 + (precision * v0).log()
    return accuracy, complexity
