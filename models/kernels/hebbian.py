"""Hebbian edges: one tick of weights that follow the phases at their two ends, and what they pull.

Shapes: B batch, N target node, M source node, E edge. States are real, [B, 2, N]: the parts xr and xi.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nfsim.models.kernels._operators import _contiguous, backend
from nfsim.models.kernels.scan import Kernel, _check_shape, _choose


def hebbian_step(
    W: Tensor, source: Tensor, target: Tensor, rule: Tensor, indptr: Tensor, indices: Tensor, *, kernel: Kernel = "auto"
) -> tuple[Tensor, Tensor]:
    """One tick of fast weights, and the diffusive coupling by them.

        W'_ij = rho W_ij + eta Re(conj(z_i) z_j),      F_i = sum_j W'_ij (z_j - z_i)

    One pass over the edges; the adjoint is another, and keeps W' alone of all that has an entry per edge.

    Parameters
    ----------
    W
        [B, E], in the order of the rows of `indptr`.
    source, target
        [B, 2, M] and [B, 2, N], the states z_j and z_i.
    rule
        [2]: rho and eta.
    indptr, indices
        (N + 1,) first edge of each target, and (E,) source of each edge; int64.
    kernel
        "auto" takes numba on the CPU, torch elsewhere.

    Returns
    -------
    tuple of Tensor
        W' [B, E] and F [B, 2, N].

    Notes
    -----
    Source: Ba et al. 2016, arXiv:1610.06258, eq. 1; here on the edges that exist, and between phases.
    """
    name = "hebbian_step"
    if source.ndim != 3 or source.shape[1] != 2:
        raise ValueError(f"{name}: source has shape {list(source.shape)}; it must be [batch, 2, node]")
    B, N, E = len(source), len(indptr) - 1, len(indices)
    _check_shape(name, "target", target, [(B, 2, N)], "xr and xi of each row of indptr")
    _check_shape(name, "W", W, [(B, E)], "one weight per sample and edge")
    _check_shape(name, "rule", rule, [(2,)], "retention and gain")
    tensors = [W, source, target, rule]
    if kernel == "triton":
        raise ValueError(f"{name}: there is no Triton kernel; pass kernel='auto' or 'torch'")
    kernel = _choose(name, "torch" if kernel == "auto" and W.device.type != "cpu" else kernel, tensors)
    if kernel != "torch":
        return _step(*tensors, indptr, indices, kernel)
    row = torch.repeat_interleave(torch.arange(N, device=W.device), indptr.diff(), output_size=E)
    i, j = target.index_select(-1, row), source.index_select(-1, indices)
    W = rule[0] * W + rule[1] * (i * j).sum(-2)  # Re(conj(z_i) z_j) is a product of two plane vectors
    return W, torch.zeros_like(target).index_add(-1, row, W.unsqueeze(-2) * (j - i))


def _numba(kernel: str) -> Any:
    """The module of the kernel; raises ImportError with the cure where numba cannot be loaded."""
    backend(kernel)
    from nfsim.models.kernels import _hebbian_numba

    return _hebbian_numba


@torch.library.custom_op("nfsim::hebbian_step", mutates_args=())
def _step(
    W: Tensor, source: Tensor, target: Tensor, rule: Tensor, indptr: Tensor, indices: Tensor, kernel: str
) -> tuple[Tensor, Tensor]:
    return _numba(kernel).forward(*_contiguous(W, source, target, rule, indptr, indices))


@torch.library.custom_op("nfsim::hebbian_step_backward", mutates_args=())
def _step_backward(
    dW: Tensor | None, dF: Tensor | None, W: Tensor, grown: Tensor, source: Tensor, target: Tensor, rule: Tensor,
    indptr: Tensor, indices: Tensor, kernel: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    tensors = _contiguous(dW, dF, W, grown, source, target, rule, indptr, indices)
    return _numba(kernel).backward(*tensors)


@_step.register_fake
def _(W, source, target, rule, indptr, indices, kernel):
    return torch.empty_like(W), torch.empty_like(target)


@_step_backward.register_fake
def _(dW, dF, W, grown, source, target, rule, indptr, indices, kernel):
    return torch.empty_like(W), torch.empty_like(source), torch.empty_like(target), torch.empty_like(rule)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    W, *rest, ctx.kernel = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(W, output[0], *rest)


def _gradient(ctx: Any, dW: Tensor | None, dF: Tensor | None) -> tuple[Tensor | None, ...]:
    if dW is None and dF is None:
        return (None,) * 7
    return *_step_backward(dW, dF, *ctx.saved_tensors, ctx.kernel), None, None, None


_step.register_autograd(_gradient, setup_context=_setup)
