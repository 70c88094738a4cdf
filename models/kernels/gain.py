"""Thalamic gain of every node from the queries of the nuclei, without an array [row, nucleus, node] in memory.

Shapes: R row (a sample, or a sample at a step), K nucleus, N node, Q = 5 numbers of a query (xr, xi and the position),
or 3 (the position alone).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nfsim.models.kernels._operators import _contiguous, backend
from nfsim.models.kernels.scan import Kernel, _check_shape, _choose


def node_gain(
    query: Tensor, shift: Tensor, z: Tensor | None, positions: Tensor, share: Tensor, *, kernel: Kernel = "auto"
) -> Tensor:
    """Gain of each node, the mean over the nuclei that target it.

        gain_ki = sigmoid(query_k . (xr_i, xi_i, p_i) + shift_k),      g_i = sum_k share_ki gain_ki

    The adjoint computes the gains again rather than keep them.

    Parameters
    ----------
    query
        [R, K, 5], or [R, K, 3] for nuclei that read positions alone.
    shift
        [R, K]. What is added to a whole nucleus: feedback less inhibition.
    z
        [R, 2, N], the state that the keys read; None for queries of 3.
    positions
        [3, N].
    share
        [K, N]. Weight of nucleus k in the gain of node i, 0 where it does not target it.
    kernel
        "auto" takes numba on the CPU, torch elsewhere.

    Returns
    -------
    Tensor
        [R, N].

    """
    name = "node_gain"
    if query.ndim != 3 or query.shape[-1] != (3 if z is None else 5):
        raise ValueError(f"{name}: query has shape {list(query.shape)}; it must be [R, K, {3 if z is None else 5}]")
    R, K, _ = query.shape
    N = positions.shape[-1]
    _check_shape(name, "shift", shift, [(R, K)], "as query")
    _check_shape(name, "positions", positions, [(3, N)], "x, y, z of each node")
    _check_shape(name, "share", share, [(K, N)], "[K, N]")
    if z is not None:
        _check_shape(name, "z", z, [(R, 2, N)], "xr and xi of each node")
    tensors = [x for x in (query, shift, z, positions, share) if x is not None]
    if kernel == "triton":
        raise ValueError(f"{name}: there is no Triton kernel; pass kernel='auto' or 'torch'")
    kernel = _choose(name, "torch" if kernel == "auto" and query.device.type != "cpu" else kernel, tensors)
    if kernel == "torch":
        logit = query[..., -3:] @ positions + shift.unsqueeze(-1)
        logit = logit if z is None else logit + query[..., :2] @ z
        return (torch.sigmoid(logit) * share).sum(-2)
    return _gain(query, shift, z, positions, share, kernel)


def _numba(kernel: str) -> Any:
    """The module of the kernel; raises ImportError with the cure where numba cannot be loaded."""
    backend(kernel)
    from nfsim.models.kernels import _gain_numba

    return _gain_numba


@torch.library.custom_op("nfsim::node_gain", mutates_args=())
def _gain(query: Tensor, shift: Tensor, z: Tensor | None, positions: Tensor, share: Tensor, kernel: str) -> Tensor:
    return _numba(kernel).gain_forward(*_contiguous(query, shift, z, positions, share))


@torch.library.custom_op("nfsim::node_gain_backward", mutates_args=())
def _gain_backward(
    dg: Tensor, query: Tensor, shift: Tensor, z: Tensor | None, positions: Tensor, share: Tensor, kernel: str
) -> tuple[Tensor, Tensor, Tensor]:
    return _numba(kernel).gain_backward(*_contiguous(dg, query, shift, z, positions, share))


@_gain.register_fake
def _(query, shift, z, positions, share, kernel):
    return query.new_empty(query.shape[0], positions.shape[1])


@_gain_backward.register_fake
def _(dg, query, shift, z, positions, share, kernel):
    return torch.empty_like(query), torch.empty_like(shift), query.new_empty(0 if z is None else z.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.kernel = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, dg: Tensor) -> tuple[Tensor | None, ...]:
    query, shift, z, positions, share = ctx.saved_tensors
    dquery, dshift, dz = _gain_backward(dg, query, shift, z, positions, share, ctx.kernel)
    return dquery, dshift, None if z is None else dz, None, None, None


_gain.register_autograd(_gradient, setup_context=_setup)
