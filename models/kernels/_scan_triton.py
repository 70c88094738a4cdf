"""Both scans on CUDA devices: the Triton loops called on torch tensors."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton
from torch import Tensor

from nfsim.models.kernels import _loops_triton as loops
from nfsim.models.kernels._operators import state_dtype

_LANES = 32  # a program is one warp: the most programs, and no exchange between warps
_STAGES = 4


def _launch(kernel: Any, like: Tensor, *arguments: Any, **constants: Any) -> None:
    """Run a loop on the device of `like` [B, T, 2N], on its grid of samples and blocks of nodes."""
    B, T, M = like.shape
    N = M // 2
    block = _LANES * max(1, 4 // like.element_size())  # loads of under 4 bytes a lane are not pipelined
    device = torch.cuda.device(like.device) if like.is_cuda else contextlib.nullcontext()
    with device:
        kernel[(B, triton.cdiv(N, block))](*arguments, T, N, **constants, BLOCK=block, STAGES=_STAGES, num_warps=1)


def _terms(dtype: torch.dtype) -> int:
    """Return how many terms of the series of exp(x) - 1, |x| < 1/2, its precision needs."""
    return 14 if dtype == torch.float64 else 8


def gated_forward(a: Tensor, b: Tensor, z0: Tensor | None, keep: bool) -> tuple[Tensor, Tensor]:
    """Return z and its last step; without `keep`, z is only a buffer of one step."""
    B, T, M = a.shape
    dtype = torch.promote_types(a.dtype if z0 is None else z0.dtype, torch.float32)
    z, last = a.new_empty(B, T if keep else 1, M, dtype=dtype), a.new_empty(B, M, dtype=dtype)
    _launch(loops.gated_forward, a, a, b, z0, z, last, KEEP=keep)
    return z, last


def gated_backward(
    dz: Tensor | None, dlast: Tensor | None, a: Tensor, z0: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a, b and z0."""
    B, _, M = a.shape
    da, db, dz0 = torch.empty_like(a), torch.empty_like(a), z.new_empty(B, M)
    _launch(loops.gated_backward, a, dz, dlast, a, z0, z, da, db, dz0)
    return da, db, dz0


def cfc_forward(
    v: Tensor, q: Tensor, rotation: Tensor | None, z0: Tensor | None, inv_a: float, gate: str, keep: bool
) -> tuple[Tensor, Tensor]:
    """Return z and its last step; without `keep`, z is only a buffer of one step."""
    B, T, M = v.shape
    dtype = state_dtype(v, q, rotation, z0)
    z, last = v.new_empty(B, T if keep else 1, M, dtype=dtype), v.new_empty(B, M, dtype=dtype)
    each = {"EACH_Q": q.ndim == 3, "EACH_R": rotation is not None and rotation.ndim == 3}
    constants = {"INV_A": inv_a, "GATE": gate, "KEEP": keep, "TERMS": _terms(dtype), **each}
    _launch(loops.cfc_forward, v, v, q, rotation, z0, z, last, **constants)
    return z, last


def cfc_backward(
    dz: Tensor | None, dlast: Tensor | None, v: Tensor, q: Tensor, rotation: Tensor | None, z0: Tensor | None,
    z: Tensor, inv_a: float, gate: str, rotates: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of v, q, rotation (empty unless `rotates`) and z0."""
    B, _, M = v.shape
    each = {"EACH_Q": q.ndim == 3, "EACH_R": rotation is not None and rotation.ndim == 3}
    dv, dz0 = torch.empty_like(v), z.new_empty(B, M)
    dq = torch.empty_like(q) if each["EACH_Q"] else z.new_empty(B, M // 2)
    dR = None if not rotates else z.new_empty(z.shape) if each["EACH_R"] else z.new_empty(B, M)
    constants = {"INV_A": inv_a, "GATE": gate, "TERMS": _terms(z.dtype), **each}
    _launch(loops.cfc_backward, v, dz, dlast, v, q, rotation, z0, z, dv, dq, dR, dz0, **constants)
    if not each["EACH_Q"]:
        dq = dq.sum(0).to(q.dtype)
    if dR is None:
        dR = z.new_empty(0)
    elif not each["EACH_R"]:
        dR = dR.sum(0)
    return dv, dq, dR, dz0
