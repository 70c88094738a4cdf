"""The CfC scan of nodes whose update rate is gated by nuclei that listen to the input alone.

Shapes: B batch, T time, N node, K nucleus.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nfsim.models.kernels._operators import _contiguous, _states, _wants, backend
from nfsim.models.kernels.gain import node_gain
from nfsim.models.kernels.scan import (
    Gate,
    Kernel,
    _check_sequence,
    _check_shape,
    _check_start,
    _choose,
    _trains,
    cfc_scan,
)


def routed_scan(
    v: Tensor,
    query: Tensor,
    shift: Tensor,
    positions: Tensor,
    share: Tensor,
    lam: Tensor,
    bias: Tensor | None,
    rotation: Tensor | None = None,
    z0: Tensor | None = None,
    amplitude: float | None = 1.0,
    *,
    gate: Gate = "sigmoid",
    final: bool = False,
    kernel: Kernel = "auto",
) -> Tensor:
    """`cfc_scan` with the gate of `node_gain`, in one pass: no gain and no rate is ever stored.

        g_i = sum_k share_ki sigmoid(query_k . p_i + shift_k),      t_i = sigmoid(lam_i g_i + bias_i)

    and then the limiter and the update of `cfc_scan`; gate="exact" has t = 1 - exp(-lam g).

    Parameters
    ----------
    v
        [B, T, 2N]. Input before the limiter, stacked.
    query, shift
        [B, T, K, 3] and [B, T, K], of the nuclei.
    positions, share
        [3, N] and [K, N], as in `node_gain`.
    lam, bias
        [N]. lambda dt / tau, and the bias of a sigmoid gate; None for an exact one.
    rotation, z0, amplitude, final
        As in `cfc_scan`, one rotation for all steps.
    kernel
        "auto" takes numba on the CPU; elsewhere `node_gain` and `cfc_scan` run one after the other.

    Returns
    -------
    Tensor
        [B, T, 2N], or [B, 2N] if `final`.
    """
    name = "routed_scan"
    _check_sequence(name, "v", v)
    B, T, M = v.shape
    N, K = M // 2, share.shape[0]
    _check_shape(name, "query", query, [(B, T, K, 3)], "[B, T, K, 3]")
    _check_shape(name, "shift", shift, [(B, T, K)], "[B, T, K]")
    _check_shape(name, "positions", positions, [(3, N)], "[3, N]")
    _check_shape(name, "share", share, [(K, N)], "[K, N]")
    _check_start(name, z0, v)
    for argument, x, shape in (("lam", lam, (N,)), ("bias", bias, (N,)), ("rotation", rotation, (M,))):
        if x is not None:
            _check_shape(name, argument, x, [shape], "one entry per node")
    if gate not in ("sigmoid", "exact") or (gate == "exact") != (bias is None):
        raise ValueError(
            f"{name}: gate {gate!r} with bias {bias is not None}; give a bias to 'sigmoid', none to 'exact'"
        )
    tensors = [x for x in (v, query, shift, positions, share, lam, bias, rotation, z0) if x is not None]
    if kernel == "triton":
        raise ValueError(f"{name}: there is no Triton kernel; pass kernel='auto'")
    if kernel == "torch" or (kernel == "auto" and v.device.type != "cpu"):
        g = node_gain(query.flatten(0, 1), shift.flatten(0, 1), None, positions, share, kernel=kernel).view(B, T, N)
        q = lam * g if bias is None else torch.addcmul(bias, lam, g)
        return cfc_scan(v, q, rotation, z0, amplitude, gate=gate, final=final, kernel=kernel)
    kernel = _choose(name, kernel, tensors)
    inv_a = 0.0 if amplitude is None or math.isinf(amplitude) else 1.0 / amplitude
    fixed = positions, share, lam, bias, rotation, z0
    z, last = _routed(v, query, shift, *fixed, inv_a, gate, not final or _trains(tensors), kernel)
    return last if final else z


def _numba(kernel: str) -> Any:
    """Module of the kernel; raises ImportError with the cure where numba cannot be loaded."""
    backend(kernel)
    from nfsim.models.kernels import _routed_numba

    return _routed_numba


@torch.library.custom_op("nfsim::routed_scan", mutates_args=())
def _routed(
    v: Tensor, query: Tensor, shift: Tensor, positions: Tensor, share: Tensor, lam: Tensor, bias: Tensor | None,
    rotation: Tensor | None, z0: Tensor | None, inv_a: float, gate: str, keep: bool, kernel: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    tensors = _contiguous(v, query, shift, positions, share, lam, bias, rotation, z0)
    return _numba(kernel).forward(*tensors, inv_a, gate, keep)


@torch.library.custom_op("nfsim::routed_scan_backward", mutates_args=())
def _routed_backward(
    dz: Tensor | None, dlast: Tensor | None, v: Tensor, query: Tensor, shift: Tensor, positions: Tensor, share: Tensor,
    lam: Tensor, bias: Tensor | None, rotation: Tensor | None, z0: Tensor | None, z: Tensor, inv_a: float, gate: str,
    kernel: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    tensors = _contiguous(dz, dlast, v, query, shift, positions, share, lam, bias, rotation, z0, z)
    return _numba(kernel).backward(*tensors, inv_a, gate)


@_routed.register_fake
def _(v, query, shift, positions, share, lam, bias, rotation, z0, inv_a, gate, keep, kernel):
    return _states(v, keep)


@_routed_backward.register_fake
def _(dz, dlast, v, query, shift, positions, share, lam, bias, rotation, z0, z, inv_a, gate, kernel):
    B, _, M = v.shape
    node = lam.new_empty(lam.shape)
    return (
        torch.empty_like(v),
        query.new_empty(query.shape),
        shift.new_empty(shift.shape),
        node,
        torch.empty_like(node),
        v.new_empty(M),
        v.new_empty(B, M),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.inv_a, ctx.gate, ctx.keep, ctx.kernel = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[0])


def _gradient(ctx: Any, dz: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
    if not _wants(ctx.keep, (dz, dlast)):
        return (None,) * 13
    *tensors, z = ctx.saved_tensors
    grads = _routed_backward(dz, dlast, *tensors, z, ctx.inv_a, ctx.gate, ctx.kernel)
    dv, dquery, dshift, dlam, dbias, dR, dz0 = (g if i else None for g, i in zip(grads, _needed(ctx), strict=True))
    return dv, dquery, dshift, None, None, dlam, dbias, dR, dz0, None, None, None, None


def _needed(ctx: Any) -> tuple[bool, ...]:
    return tuple(ctx.needs_input_grad[i] for i in (0, 1, 2, 5, 6, 7, 8))


_routed.register_autograd(_gradient, setup_context=_setup)
