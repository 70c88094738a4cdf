"""The two scans and their adjoints as torch operators, so that autograd, torch.compile and torch.export know them.

An operator names the kernel that runs it ("numba" or "triton") and returns the states and, as a second output, the last
state: a loss of the last state alone then has no gradient [B, T, 2N] to fill with zeros and to read. Without `keep` the
states are not wanted: the first output is then a buffer of one step, and there is no backward. The adjoint recomputes
the steady state and the rate, so that only the inputs and the states stay in memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CURES = {
    "numba": "install numba, which nfsim requires",
    "triton": "install triton, which builds of torch for CUDA bring along",
}


def backend(kernel: str) -> Any:
    """Return the module of a kernel, imported at its first use."""
    try:
        if kernel == "numba":
            from nfsim.models.kernels import _scan_numba

            return _scan_numba
        from nfsim.models.kernels import _scan_triton

        return _scan_triton
    except ImportError as error:
        message = f"kernel {kernel!r} cannot be loaded: {error}; {_CURES[kernel]}, or pass kernel='torch'"
        raise ImportError(message) from error


def state_dtype(*tensors: Tensor | None) -> torch.dtype:
    """Return the dtype of the states: the widest of the inputs, and at least float32."""
    dtype = torch.float32
    for x in tensors:
        dtype = dtype if x is None else torch.promote_types(dtype, x.dtype)
    return dtype


def _contiguous(*tensors: Tensor | None) -> list[Any]:
    return [None if x is None else x.contiguous() for x in tensors]


def _states(x: Tensor, keep: bool, *others: Tensor | None) -> tuple[Tensor, Tensor]:
    B, T, M = x.shape
    dtype = state_dtype(x, *others)
    return x.new_empty(B, T if keep else 1, M, dtype=dtype), x.new_empty(B, M, dtype=dtype)


def _wants(kept: bool, grads: tuple[Tensor | None, ...]) -> bool:
    """Whether there is a gradient to hand on."""
    if all(g is None for g in grads):
        return False
    if not kept:
        raise RuntimeError("the states of this scan were not kept, so it has no gradient; call it with keep=True")
    return True


@torch.library.custom_op("nfsim::gated_scan", mutates_args=())
def gated(a: Tensor, b: Tensor, z0: Tensor | None, keep: bool, kernel: str) -> tuple[Tensor, Tensor]:
    """Return the states of z_t = a_t z_{t-1} + b_t, and the last one."""
    return backend(kernel).gated_forward(*_contiguous(a, b, z0), keep)


@torch.library.custom_op("nfsim::gated_scan_backward", mutates_args=())
def gated_backward(
    dz: Tensor | None, dlast: Tensor | None, a: Tensor, z0: Tensor | None, z: Tensor, kernel: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a, b and z0."""
    return backend(kernel).gated_backward(*_contiguous(dz, dlast, a, z0, z))


@gated.register_fake
def _(a, b, z0, keep, kernel):
    return _states(a, keep, b, z0)


@gated_backward.register_fake
def _(dz, dlast, a, z0, z, kernel):
    return a.new_empty(a.shape), a.new_empty(a.shape), z.new_empty(z.shape[0], z.shape[2])


def _gated_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, _, z0, ctx.keep, ctx.kernel = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(a, z0, output[0])


def _gated_gradient(ctx: Any, dz: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
    if not _wants(ctx.keep, (dz, dlast)):
        return (None,) * 5
    a, z0, z = ctx.saved_tensors
    da, db, dz0 = gated_backward(dz, dlast, a, z0, z, ctx.kernel)
    return da, db, None if z0 is None else dz0, None, None


gated.register_autograd(_gated_gradient, setup_context=_gated_setup)


@torch.library.custom_op("nfsim::cfc_scan", mutates_args=())
def cfc(
    v: Tensor, q: Tensor, rotation: Tensor | None, z0: Tensor | None, inv_a: float, gate: str, keep: bool, kernel: str
) -> tuple[Tensor, Tensor]:
    """Return the states of z_t = (1 - t_t) R_t z_{t-1} + t_t s_t, and the last one."""
    return backend(kernel).cfc_forward(*_contiguous(v, q, rotation, z0), inv_a, gate, keep)


@torch.library.custom_op("nfsim::cfc_scan_backward", mutates_args=())
def cfc_backward(
    dz: Tensor | None, dlast: Tensor | None, v: Tensor, q: Tensor, rotation: Tensor | None, z0: Tensor | None,
    z: Tensor, inv_a: float, gate: str, rotates: bool, kernel: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of v, q, rotation (empty unless `rotates`) and z0."""
    tensors = _contiguous(dz, dlast, v, q, rotation, z0, z)
    return backend(kernel).cfc_backward(*tensors, inv_a, gate, rotates)


@cfc.register_fake
def _(v, q, rotation, z0, inv_a, gate, keep, kernel):
    return _states(v, keep, q, rotation, z0)


@cfc_backward.register_fake
def _(dz, dlast, v, q, rotation, z0, z, inv_a, gate, rotates, kernel):
    dR = rotation.new_empty(rotation.shape) if rotates else z.new_empty(0)
    return v.new_empty(v.shape), q.new_empty(q.shape), dR, z.new_empty(z.shape[0], z.shape[2])


def _cfc_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    v, q, rotation, z0, ctx.inv_a, ctx.gate, ctx.keep, ctx.kernel = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(v, q, rotation, z0, output[0])


def _cfc_gradient(ctx: Any, dz: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
    if not _wants(ctx.keep, (dz, dlast)):
        return (None,) * 8
    v, q, rotation, z0, z = ctx.saved_tensors
    rotates = rotation is not None and ctx.needs_input_grad[2]
    dv, dq, dR, dz0 = cfc_backward(dz, dlast, v, q, rotation, z0, z, ctx.inv_a, ctx.gate, rotates, ctx.kernel)
    return dv, dq, dR if rotates else None, None if z0 is None else dz0, None, None, None, None


cfc.register_autograd(_cfc_gradient, setup_context=_cfc_setup)
