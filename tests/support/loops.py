"""Random loops, small enough for gradcheck, and the same loop in complex numpy, sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels import LoopCoupling, LoopThalamus, cfc_loop

LEARNED = ("u", "z0", "rate", "bias", "rotation")
ROUTED = ("relayed", "from_means", "inhibition", "feedback", "shift")
COUPLED = ("weight", "degree")


def loop_inputs(
    B: int = 2, T: int = 2, N: int = 3, K: int = 2, P: int = 1, R: int = 1, E: int = 5, *, thalamus: bool = True,
    coupling: bool = True, rotation: str = "shared", dt: str = "each", exact: bool = False, limited: bool = True,
    relayed: str = "each", feedback: bool = True, shift: bool = True, places: str = "mixed",
    dtype: torch.dtype = torch.float64, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Arguments of `cfc_loop`, in one flat dict; those of thalamus and coupling absent where there is none."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    out: dict[str, Any] = {"u": normal(B, T, 2 * N), "z0": normal(B, 2 * N), "rate": uniform(N) + 0.5}
    out["gate"] = "exact" if exact else "sigmoid"
    if not exact:
        out["bias"] = normal(N)
    if limited:
        out["limit"] = uniform(N) * (uniform(N) > 0.3)
    if rotation != "none":
        angle = normal(B, T, N) if rotation == "each" else normal(N)
        out["rotation"] = torch.cat([angle.cos(), angle.sin()], -1)
    out["dt"] = uniform(B, T) + 0.5 if dt == "each" else 0.7
    if thalamus:
        C = 5 * K + P
        first = torch.randint(0, N, (R,), generator=rng)
        out |= {
            "relayed": normal(B, T, C) if relayed == "each" else normal(C),
            "from_means": normal(C, 3 * R) / 2,
            "ranges": torch.stack([first, first + 1 + (uniform(R) * (N - first)).long()], -1),
            "inhibition": uniform(K, P),
            "feedback": normal(K, N) / 2 if feedback else None,
            "shift": normal(B, T, K) if shift else None,
            "positions": normal(3, N),
            "share": uniform(K, N) * (uniform(K, N) > 0.3),
            "ungated": uniform(N),
        }
        for name in ("at_time", "at_drive", "at_coupling"):
            out[name] = {"mixed": uniform(N) > 0.4, "all": uniform(N) > -1, "none": uniform(N) > 1}[places]
    if coupling:
        target = torch.randint(0, N, (E,), generator=rng)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(target, minlength=N).cumsum(0)])
        out |= {"indptr": indptr, "indices": torch.randint(0, N, (E,), generator=rng)}
        out |= {"weight": normal(E) / 2, "degree": normal(N) / 2}
    floats = {k: x.to(dtype) for k, x in out.items() if isinstance(x, Tensor) and x.is_floating_point()}
    return out | floats


def run(inputs: dict[str, Any], **options: Any) -> Tensor:
    """Call `cfc_loop` with flat arguments."""
    groups: dict[str, Any] = {}
    rest = dict(inputs)
    for group, kind in (("thalamus", LoopThalamus), ("coupling", LoopCoupling)):
        if kind._fields[0] in inputs:
            groups[group] = kind(**{name: rest.pop(name) for name in kind._fields})
    return cfc_loop(**rest, **groups, **options)


def learned(inputs: dict[str, Any]) -> list[str]:
    """Names of the arguments that have a gradient."""
    return [name for name in (*LEARNED, *ROUTED, *COUPLED) if isinstance(inputs.get(name), Tensor)]


def gradients(inputs: dict[str, Any], **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the states and the gradient of every learned argument, under a fixed random cotangent."""
    names = learned(inputs)
    leaves = {name: inputs[name].detach().clone().requires_grad_() for name in names}
    z = run(inputs | leaves, **options)
    cotangent = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(z.dtype)
    found = torch.autograd.grad(z, list(leaves.values()), cotangent, allow_unused=True)
    return z.detach(), {n: torch.zeros_like(leaves[n]) if g is None else g for n, g in zip(names, found, strict=True)}


def loop_in_numpy(inputs: dict[str, Any]) -> np.ndarray:
    """The equations of `cfc_loop` in complex numbers, one sample and one tick after the other."""
    a = {k: x.numpy() if isinstance(x, Tensor) else x for k, x in inputs.items()}
    B, T, M = a["u"].shape
    N = M // 2
    u, z = (x[..., :N] + 1j * x[..., N:] for x in (a["u"], a["z0"]))
    out = np.empty((B, T, N), complex)
    for b in range(B):
        for t in range(T):
            now, g = z[b], np.ones(N)
            if "relayed" in a:
                g = _gain_in_numpy(a, now, b, t)
            gt, gd, gc = (np.where(a[k], g, 1) if k in a else g for k in ("at_time", "at_drive", "at_coupling"))
            F = np.zeros(N, complex)
            if "indptr" in a:
                for i in range(N):
                    edges = slice(a["indptr"][i], a["indptr"][i + 1])
                    F[i] = a["weight"][edges] @ now[a["indices"][edges]] - a["degree"][i] * now[i]
            v = gd * u[b, t] + gc * F
            s = v / np.sqrt(1 + a.get("limit", 0) * abs(v) ** 2)
            q = a["rate"] * (a["dt"] if np.ndim(a["dt"]) == 0 else a["dt"][b, t]) * gt + a.get("bias", 0)
            rate = 1 - np.exp(-q) if a["gate"] == "exact" else 1 / (1 + np.exp(-q))
            R = 1.0
            if "rotation" in a:
                turn = a["rotation"] if a["rotation"].ndim == 1 else a["rotation"][b, t]
                R = turn[:N] + 1j * turn[N:]
            z[b] = out[b, t] = (1 - rate) * R * now + rate * s
    return np.concatenate([out.real, out.imag], -1)


def _gain_in_numpy(a: dict[str, Any], z: np.ndarray, b: int, t: int) -> np.ndarray:
    K, mod = len(a["inhibition"]), np.sqrt(abs(z) ** 2 + 1e-12)
    m = [part[low:high].mean() for low, high in a["ranges"] for part in (z.real, z.imag, mod)]
    h = (a["relayed"] if a["relayed"].ndim == 1 else a["relayed"][b, t]) + a["from_means"] @ np.array(m)
    keys = np.stack([z.real, z.imag, *a["positions"]])
    shift = -a["inhibition"] @ np.maximum(h[5 * K :], 0)
    shift = shift if a["feedback"] is None else shift + a["feedback"] @ mod
    shift = shift if a["shift"] is None else shift + a["shift"][b, t]
    gain = 1 / (1 + np.exp(-(h[: 5 * K].reshape(K, 5) @ keys + shift[:, None])))
    return (a["share"] * gain).sum(0) + a["ungated"]
