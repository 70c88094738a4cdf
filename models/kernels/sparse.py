"""Rows of states times a sparse coupling matrix, whose edges are all that is stored and all that is computed.

Shapes: R row (a part of a sample), N target node, M source node, E edge.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nfsim.models.kernels._operators import _contiguous, backend
from nfsim.models.kernels.scan import Kernel, _check_shape, _choose


class Pattern(NamedTuple):
    """Where a sparse matrix (N, M) has entries, by rows and by columns; int32 indices, int64 starts."""

    indptr: Tensor
    """(N + 1,) first edge of each target."""
    indices: Tensor
    """(E,) source of each edge."""
    by_source: Tensor
    """(M + 1,) first entry of each source in `order`."""
    targets: Tensor
    """(E,) target of each edge in `order`."""
    order: Tensor
    """(E,) edges sorted by source."""


def pattern(indptr: Tensor, indices: Tensor, sources: int) -> Pattern:
    """The pattern of a matrix in compressed sparse rows, (N + 1,) and (E,), with `sources` columns."""
    targets = torch.repeat_interleave(torch.arange(len(indptr) - 1), indptr.diff())
    order = torch.argsort(indices.long(), stable=True)
    counts = torch.bincount(indices.long(), minlength=sources)
    by_source = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Pattern(indptr.long(), indices.int(), by_source, targets[order].int(), order)


def sparse_product(z: Tensor, w: Tensor, p: Pattern, *, kernel: Kernel = "auto") -> Tensor:
    """``sum_j W_ij z_j`` for every row: [R, N] of z [R, M] and the weights w [E] of the edges.

    Parameters
    ----------
    z
        [R, M], float32 or float64.
    w
        [E], in the order of the pattern's rows.
    p
        `Pattern` of W.
    kernel
        "auto" takes numba on the CPU and torch's sparse product elsewhere.
    """
    name = "sparse_product"
    M = len(p.by_source) - 1
    if z.ndim != 2:
        raise ValueError(f"{name}: z has shape {list(z.shape)}; it must be [R, {M}]")
    _check_shape(name, "z", z, [(z.shape[0], M)], "one entry per source")
    _check_shape(name, "w", w, [tuple(p.indices.shape)], "one weight per edge")
    if kernel == "triton":
        raise ValueError(f"{name}: there is no Triton kernel; pass kernel='auto'")
    if kernel == "torch" or (kernel == "auto" and z.device.type != "cpu"):
        targets = torch.empty_like(p.targets).index_copy(0, p.order, p.targets)
        index = torch.stack([targets.long(), p.indices.long()])
        return torch.sparse.mm(
            torch.sparse_coo_tensor(index, w, (len(p.indptr) - 1, M), check_invariants=False, is_coalesced=True), z.T
        ).T
    return _product(z, w, *p, _choose(name, kernel, [z, w]))


def _numba(kernel: str) -> Any:
    """Module of the kernel; raises ImportError with the cure where numba cannot be loaded."""
    backend(kernel)
    from nfsim.models.kernels import _sparse_numba

    return _sparse_numba


@torch.library.custom_op("nfsim::sparse_product", mutates_args=())
def _product(
    z: Tensor,
    w: Tensor,
    indptr: Tensor,
    indices: Tensor,
    by_source: Tensor,
    targets: Tensor,
    order: Tensor,
    kernel: str,
) -> Tensor:
    z, w = _contiguous(z, w)
    return _numba(kernel).product(z, w, indptr, indices)


@torch.library.custom_op("nfsim::sparse_product_backward", mutates_args=())
def _backward(
    dout: Tensor, z: Tensor, w: Tensor, indptr: Tensor, indices: Tensor, by_source: Tensor, targets: Tensor,
    order: Tensor, weighs: bool, kernel: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    dout, z, w = _contiguous(dout, z, w)
    numba = _numba(kernel)
    dw = numba.weight_gradient(dout, z, indptr, indices) if weighs else w.new_empty(0)
    return numba.product(dout, w[order], by_source, targets), dw


@_product.register_fake
def _(z, w, indptr, indices, by_source, targets, order, kernel):
    return z.new_empty(z.shape[0], indptr.shape[0] - 1)


@_backward.register_fake
def _(dout, z, w, indptr, indices, by_source, targets, order, weighs, kernel):
    return z.new_empty(z.shape), w.new_empty(w.shape if weighs else 0)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.kernel = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    weighs = ctx.needs_input_grad[1]
    dz, dw = _backward(dout, *ctx.saved_tensors, weighs, ctx.kernel)
    return dz, dw if weighs else None, None, None, None, None, None, None


_product.register_autograd(_gradient, setup_context=_setup)
