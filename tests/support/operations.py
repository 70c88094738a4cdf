"""Operations of nfsim, and what else computes the same: one table, which tests compare and benchmarks time.

B batch, T time, N node. States [..., 2N] stack real and imaginary parts. Every entry takes the inputs of its operation
by name, and returns one tensor that has gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import scipy.sparse
import torch
from torch import Tensor

import nfsim
import peers
from nfsim.models.kernels import Pattern, cfc_scan, gated_scan, pattern, sparse_product
from nfsim.regions import presets
from scans import ORACLES, Inputs, cfc_inputs, gated_inputs

Operation = Callable[..., Tensor]


EDGES = 12
"""Neighbours of each node in the sparse product."""


@cache
def edges(N: int) -> tuple[Pattern, Tensor]:
    """The pattern of N nodes with `EDGES` sources each, and its (target, source) pairs [2, E]."""
    matrix = scipy.sparse.random_array((N, N), density=min(1, EDGES / N), format="csr", rng=0)
    indptr, indices = (torch.from_numpy(x.astype("int64")) for x in (matrix.indptr, matrix.indices))
    return pattern(indptr, indices, N), torch.stack([torch.repeat_interleave(indptr.diff()), indices])


def product(z: Tensor, w: Tensor) -> Tensor:
    """``sum_j W_ij z_j`` of z [B, N] and the weights w [E] of the edges."""
    return sparse_product(z, w, edges(z.shape[1])[0])


def torch_sparse_product(z: Tensor, w: Tensor) -> Tensor:
    """The same by torch's sparse matrix."""
    N = z.shape[1]
    return torch.sparse.mm(torch.sparse_coo_tensor(edges(N)[1], w, (N, N), check_invariants=True), z.T).T


def dense_product(z: Tensor, w: Tensor) -> Tensor:
    """The same by a matrix of zeros, into which the weights are written."""
    N = z.shape[1]
    return z @ w.new_zeros(N, N).index_put(tuple(edges(N)[1]), w).T


@cache
def cortex(dtype: torch.dtype) -> tuple[nfsim.Model, peers.Thalamocortical]:
    """The preset `thalamocortical`, compiled, and its transcription with the same values."""
    network = presets.thalamocortical(28)
    return nfsim.compile(network, device="cpu").to(dtype), peers.Thalamocortical(network).to(dtype)


def thalamocortical(x: Tensor) -> Tensor:
    """Logits of the preset, of x [B, T, 28]."""
    return cortex(x.dtype)[0](x).logits


def transcription(x: Tensor) -> Tensor:
    """The same equations in plain torch."""
    return cortex(x.dtype)[1](x)


OPERATIONS: dict[Operation, dict[str, Operation]] = {
    **{scan: {"complex loop": loop} for scan, loop in ORACLES.items()},
    product: {"torch.sparse": torch_sparse_product, "dense product": dense_product},
    thalamocortical: {"transcription": transcription},
}


def inputs(operation: Operation, B: int, T: int, N: int, dtype: torch.dtype) -> Inputs:
    """Random inputs of an operation; the sparse product has no time, and the preset its own number of nodes."""
    if operation in (gated_scan, cfc_scan):
        return (gated_inputs if operation is gated_scan else cfc_inputs)(B, T, N, dtype=dtype)
    rng = torch.Generator().manual_seed(0)
    shapes = {"z": (B, N), "w": (len(edges(N)[0].indices),)} if operation is product else {"x": (B, T, 28)}
    return {name: torch.randn(shape, generator=rng, dtype=dtype) for name, shape in shapes.items()}
