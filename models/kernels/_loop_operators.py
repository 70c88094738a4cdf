"""The loop and its adjoint as torch operators, so that autograd, torch.compile and torch.export know them.

As for the scans: the operator returns the states and the last state, without `keep` the states are not wanted and there
is no backward, and the adjoint computes every tick again, so that only the arguments and the states stay in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

import torch
from torch import Tensor

from nfsim.models.kernels._operators import _CURES, _contiguous, _wants


class Arguments(NamedTuple):
    """Everything that a loop needs, checked; what is absent has no rows, or is None."""

    u: Tensor
    """[B, T, 2N]."""
    z0: Tensor
    """[B, 2N]."""
    rate: Tensor
    """[N]."""
    bias: Tensor
    """[N]."""
    limit: Tensor
    """[N]."""
    dt: Tensor
    """[B, T]."""
    rotation: Tensor | None
    """[2N] or [B, T, 2N]."""
    relayed: Tensor
    """[C] or [B, T, C]."""
    from_means: Tensor
    """[C, 3R]."""
    ranges: Tensor
    """[R, 2] int64."""
    inhibition: Tensor
    """[K, P]."""
    feedback: Tensor | None
    """[K, N]."""
    shift: Tensor | None
    """[B, T, K]."""
    positions: Tensor
    """[3, N]."""
    share: Tensor
    """[K, N]."""
    ungated: Tensor
    """[N]."""
    at_time: Tensor
    """[N] bool, as the next two."""
    at_drive: Tensor
    at_coupling: Tensor
    indptr: Tensor
    """[N + 1] int64."""
    indices: Tensor
    """[E] int64."""
    weight: Tensor
    """[E]."""
    degree: Tensor
    """[N]."""
    exact: bool


GRADIENTS = (
    "u", "z0", "rate", "bias", "rotation",
    "relayed", "from_means", "inhibition", "feedback", "shift",
    "weight", "degree",
)  # fmt: skip
"""The arguments that have a gradient, in the order in which the adjoint returns them."""

COSTLY = ("rotation", "feedback", "weight")
"""Those whose gradient is computed only on request: elsewhere it is empty."""

_KINDS = {Tensor: "Tensor", Tensor | None: "Tensor?", bool: "bool"}
_SCHEMA = ", ".join(f"{_KINDS[kind]} {name}" for name, kind in get_type_hints(Arguments).items())
_RESULTS = ", ".join(["Tensor"] * len(GRADIENTS))


def _backend() -> Any:
    try:
        from nfsim.models.kernels import _loop_numba
    except ImportError as error:
        message = f"kernel 'numba' cannot be loaded: {error}; {_CURES['numba']}, or pass kernel='torch'"
        raise ImportError(message) from error
    return _loop_numba


def check_structure(ranges: Tensor, indptr: Tensor, indices: Tensor, N: int) -> None:
    """Refuse ranges and edges that lead outside the nodes: kernels trust them."""
    low, high = ranges.numpy().T
    if not ((low >= 0) & (low < high) & (high <= N)).all():
        raise ValueError(
            f"cfc_loop: ranges {ranges.tolist()} are not all parts of the {N} nodes; "
            "give pairs (first, end) with 0 <= first < end <= N"
        )
    rows, source = indptr.numpy(), indices.numpy()
    E = len(source)
    if rows[0] != 0 or rows[-1] != E or (rows[1:] < rows[:-1]).any():
        raise ValueError(
            f"cfc_loop: indptr does not rise from 0 to the {E} edges; give for each node where its edges start, as "
            "in a scipy.sparse.csr_array"
        )
    if E and (source.min() < 0 or source.max() >= N):
        raise ValueError(
            f"cfc_loop: indices from {source.min()} to {source.max()} are not all within the {N} nodes; "
            f"give for each edge the node that it comes from, 0 to {N - 1}"
        )


def _loop(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Return the states, and the last one."""
    *values, keep = arguments
    a = Arguments._make(x.contiguous() if isinstance(x, Tensor) else x for x in values)
    check_structure(a.ranges, a.indptr, a.indices, a.rate.numel())
    return _backend().forward(a, keep)


def _loop_backward(dz: Tensor | None, dlast: Tensor | None, z: Tensor, wanted: list[bool], *arguments: Any) -> Any:
    """Return the gradients of the arguments named in GRADIENTS."""
    a = Arguments._make(x.contiguous() if isinstance(x, Tensor) else x for x in arguments)
    dz, dlast = _contiguous(dz, dlast)
    return _backend().backward(a, z, dz, dlast, dict(zip(COSTLY, wanted, strict=True)))


loop = torch.library.custom_op(
    "nfsim::cfc_loop", _loop, mutates_args=(), schema=f"({_SCHEMA}, bool keep) -> (Tensor, Tensor)"
)
loop_backward = torch.library.custom_op(
    "nfsim::cfc_loop_backward",
    _loop_backward,
    mutates_args=(),
    schema=f"(Tensor? dz, Tensor? dlast, Tensor z, bool[] wanted, {_SCHEMA}) -> ({_RESULTS})",
)


@loop.register_fake
def _(*arguments):
    *values, keep = arguments
    u = Arguments._make(values).u
    B, T, M = u.shape
    return u.new_empty(B, T if keep else 1, M), u.new_empty(B, M)


@loop_backward.register_fake
def _(dz, dlast, z, wanted, *arguments):
    a = Arguments._make(arguments)._asdict()
    wants = dict(zip(COSTLY, wanted, strict=True))
    (B, T, _), K = a["u"].shape, len(a["inhibition"])
    shapes = {name: () if a[name] is None else a[name].shape for name in GRADIENTS} | {"shift": (B, T, K)}
    return tuple(z.new_empty(shape if wants.get(name, True) else 0) for name, shape in shapes.items())


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *values, ctx.keep = inputs
    a = Arguments._make(values)
    ctx.exact = a.exact
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*a[:-1], output[0])


def _gradient(ctx: Any, dz: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
    if not _wants(ctx.keep, (dz, dlast)):
        return (None,) * (len(Arguments._fields) + 1)
    *values, z = ctx.saved_tensors
    a = Arguments._make([*values, ctx.exact])
    needs = dict(zip(Arguments._fields, ctx.needs_input_grad, strict=False))
    wanted = [needs[name] and getattr(a, name) is not None for name in COSTLY]
    grads = dict(zip(GRADIENTS, loop_backward(dz, dlast, z, wanted, *a), strict=True))
    return (*(grads.get(name) if needs[name] else None for name in Arguments._fields), None)


loop.register_autograd(_gradient, setup_context=_setup)
