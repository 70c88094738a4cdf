"""Drive: what inputs and other populations add to a population's input u.

N node of the target, S value of the source. A drive is real, [..., 2N]: both parts come out of one product.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.models.cell import modulus
from nfsim.models.parameters import drive_width
from nfsim.models.values import Values
from nfsim.wiring import Connectome

NORMALISE_EPS = 1e-5
"""Semi-saturation of the divisive normalisation, in squared rate."""

ACTIVATION: dict[str | None, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "tanh": torch.tanh,
    None: lambda x: x,
}


def divisive(y: Tensor, parts: int = 1) -> Tensor:
    """``y / sqrt(mean_j |y_j|^2 + eps)`` over the last axis, which holds `parts` values per node.

    Source: Carandini & Heeger 2012, Nat. Rev. Neurosci. 13:51, eq. 1 with exponent 2.
    """
    return y * _inverse_norm(y, parts)


def _inverse_norm(y: Tensor, parts: int) -> Tensor:
    power = torch.linalg.vector_norm(y, dim=-1, keepdim=True).square() * (parts / y.shape[-1])
    return torch.rsqrt(power + NORMALISE_EPS)


class _NormalisedLinear(torch.autograd.Function):
    """``divisive(y) V^T + b`` for fewer rows of V than columns: the norm is a factor of the few products, not of y.

    Autograd's own way writes [..., S] seven times, this one twice.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, V: Tensor, b: Tensor | None, parts: int) -> Tensor:
        inverse, products = _inverse_norm(y, parts), F.linear(y, V)
        ctx.save_for_backward(y, V, products, inverse)
        ctx.parts = parts
        return products * inverse if b is None else torch.addcmul(b, products, inverse)

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        saved = ctx.saved_tensors  # once: checkpointing unpacks them once
        y, V, products, inverse = (t.flatten(0, -2) for t in saved)
        dh = dh.flatten(0, -2)
        # d inverse / dy = -inverse^3 (parts / S) y
        along = (dh * products).sum(-1, keepdim=True) * inverse.pow(3) * (-ctx.parts / y.shape[-1])
        scaled = dh * inverse
        dy = (y * along).addmm_(scaled, V)
        return dy.view(saved[0].shape), scaled.T @ y, dh.sum(0) if ctx.needs_input_grad[2] else None, None


class Drive:
    """One drive projection onto one population: ``W y``, or low-rank ``U act(V y)``.

    A real weight is turned by the target's preferred phase phi: ``u = (W y) exp(i phi)``.
    """

    def __init__(self, connectome: Connectome, name: str, target: str, values: Values):
        flat = connectome.network.flat
        self.name, self.target, self.values = name, target, values
        self.projection = p = flat.projections[name]
        self.source = flat.source(name)
        self.from_input = self.source[0] in flat.inputs
        self.size, self.width = flat.populations[target].size, drive_width(flat, name)
        self.parts = 1 if self.from_input or p.signal == "rate" else 2
        self.full = True
        if p.rank is None:
            before = flat.target(name)[: flat.target(name).index(target)]
            start = sum(flat.populations[path].size for path in before)
            block = connectome.matrices[name][start : start + self.size].tocoo()
            self.full = block.nnz == block.shape[0] * block.shape[1]
            if not self.full:
                for axis, index in (("row", block.row), ("col", block.col)):
                    values.keep(f"{name}:{target}:{axis}", torch.from_numpy(index.astype("int64")))

    def read(self, z: Tensor) -> Tensor:
        """What the projection reads [..., S] of the state [..., 2, M] of its source."""
        return modulus(z) if self.projection.signal == "rate" else z.flatten(-2)

    def weight(self) -> Tensor:
        """W (2N, S), or U (2N, rank)."""
        p, w = self.projection, self.values[f"{self.name}:{self.target}:weight"]
        if p.learnable == "scale":
            w = w * self.values[f"{self.name}:scale"]
        if p.rank is None:
            w = self._dense(p.sign * w.abs() if p.sign else w)
        phase = f"{self.target}:phase"
        return turn_rows(w, self.values[phase]) if phase in self.values else w

    def _dense(self, w: Tensor) -> Tensor:
        """(out * N, S) from one value per edge (out, in, edge)."""
        out, parts, _ = w.shape
        if self.full:
            dense = w.view(out, parts, self.size, -1).transpose(1, 2)
        else:
            edge = f"{self.name}:{self.target}:row", f"{self.name}:{self.target}:col"
            row, col = (self.values[k] for k in edge)
            dense = w.new_zeros(out, parts, self.size, self.width // parts).index_put(
                (
                    torch.arange(out, device=w.device)[:, None, None],
                    torch.arange(parts, device=w.device)[:, None],
                    row,
                    col,
                ),
                w,
            )
            dense = dense.transpose(1, 2)
        return dense.reshape(out * self.size, self.width)

    def hidden(self, y: Tensor) -> Tensor:
        """What the last weight acts on: y [..., S], normalised where declared, through its hidden units if any."""
        p = self.projection
        if p.rank is None:
            return self._dropped(divisive(y, self.parts) if p.normalise else y)
        V, b = self.values[f"{self.name}:hidden"], self.values[f"{self.name}:hidden_bias"] if p.activation else None
        h = _NormalisedLinear.apply(y, V, b, self.parts) if p.normalise else F.linear(y, V, b)
        return self._dropped(ACTIVATION[p.activation](h))

    def _dropped(self, y: Tensor) -> Tensor:
        p = self.projection.dropout
        return F.dropout(y, p) if p and self.values.training else y


def turn_rows(w: Tensor, phase: Tensor) -> Tensor:
    """``w exp(i phi)`` as (2N, ...), for real rows w (N, ...) and a phase per row."""
    shape = (-1, *([1] * (w.dim() - 1)))
    return torch.cat([w * phase.cos().view(shape), w * phase.sin().view(shape)])
