"""Diffusive coupling ``F_i = sum_j K_ij (z_j - z_i)`` of one projection onto the populations of one stage.

N target node, M source node, E edge.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nfsim.compiler.program import SPARSE
from nfsim.models.kernels import Pattern, pattern, sparse_product
from nfsim.models.values import Values
from nfsim.wiring import Connectome


class Weights(NamedTuple):
    """What `Coupling.diffuse` needs, assembled once for a whole sequence."""

    K: Tensor
    """(N, M), or (E,) for the sparse product."""
    degree: Tensor
    """(N,) ``sum_j K_ij``."""
    scale: Tensor | None
    """What training scales the whole of K by; apart from it, so that a scale needs no gradient of every edge."""


class Coupling:
    """One coupling projection, restricted to the rows of some populations.

    Parameters
    ----------
    targets : paths of the populations, in the order of the projection's target.
    kernel : "dense product" or "sparse product".
    """

    def __init__(self, connectome: Connectome, name: str, targets: tuple[str, ...], values: Values, kernel: str):
        flat, nodes = connectome.network.flat, connectome.nodes
        self.name, self.values, self.targets = name, values, targets
        self.projection, self.source = flat.projections[name], flat.source(name)
        self.key = f"{name}:{'+'.join(targets)}"
        self.sparse = kernel == SPARSE
        matrix = connectome.matrices[name]
        self.whole = targets == flat.target(name)
        if not self.whole:
            rows = np.isin(nodes.index(flat.target(name)), nodes.index(targets))
            edge = np.flatnonzero(np.repeat(rows, np.diff(matrix.indptr)))
            values.keep(f"{self.key}:edge", torch.from_numpy(edge))
            matrix = matrix[np.flatnonzero(rows)]
        self.shape = matrix.shape
        indptr, indices = (torch.from_numpy(x.astype(np.int64)) for x in (matrix.indptr, matrix.indices))
        if self.sparse:
            for field, value in pattern(indptr, indices, self.shape[1])._asdict().items():
                values.keep(f"{self.key}:{field}", value)
        else:
            values.keep(f"{self.key}:row", torch.repeat_interleave(torch.arange(self.shape[0]), indptr.diff()))
            values.keep(f"{self.key}:col", indices)

    def weights(self) -> Weights:
        """K of this moment's parameters."""
        w, scale = self._edges_and_scale()
        if self.sparse:
            return Weights(w, self._product(w.new_ones(1, self.shape[1]), w)[0], scale)
        K = self._dense(w)
        return Weights(K, K.sum(-1), scale)

    def diffuse(self, w: Weights, source: Tensor, target: Tensor) -> Tensor:
        """F [..., 2, N] from states (or drives) [..., 2, M] and [..., 2, N]."""
        pulled = self._product(source.flatten(0, -2), w.K).view(target.shape) if self.sparse else source @ w.K.T
        F = torch.addcmul(pulled, target, w.degree, value=-1)
        return F if w.scale is None else F * w.scale

    def pull(self, rows: Tensor) -> Tensor:
        """F of rows (2N, S) of the drive's weights, on the nodes of both parts; S columns of weight and bias."""
        both, w = rows.view(2, self.shape[0], -1), self.weights()
        if self.sparse:
            each = both.permute(2, 0, 1).contiguous()
            return self.diffuse(w, each, each).permute(1, 2, 0).reshape(rows.shape)
        pulled = torch.addcmul(torch.bmm(w.K.expand(2, -1, -1), both), both, w.degree.unsqueeze(-1), value=-1)
        pulled = pulled.view(rows.shape)
        return pulled if w.scale is None else pulled * w.scale

    def edges(self) -> Tensor:
        """Values of the edges (E,), before scale and sign."""
        edges = self.values[f"{self.name}:edges"]
        return edges if self.whole else edges[self.values[f"{self.key}:edge"]]

    def scaled_edges(self) -> Tensor:
        """K of the edges (E,), scale and sign included."""
        w, scale = self._edges_and_scale()
        return w if scale is None else w * scale

    def row(self) -> Tensor:
        """Target of each edge, counted within the targets."""
        if not self.sparse:
            return self.values[f"{self.key}:row"]
        indptr = self.values[f"{self.key}:indptr"]
        return torch.repeat_interleave(torch.arange(self.shape[0]), indptr.diff())

    def column(self) -> Tensor:
        """Source of each edge, counted within the sources."""
        return self.values[f"{self.key}:{'indices' if self.sparse else 'col'}"].long()

    def _edges_and_scale(self) -> tuple[Tensor, Tensor | None]:
        p, w = self.projection, self.edges()
        if p.learnable == "scale":
            scale = self.values[f"{self.name}:scale"]
            return w, scale if p.sign is None else scale.abs()  # the edges have their sign already
        return w if p.sign is None else p.sign * w.abs(), None

    def _product(self, rows: Tensor, w: Tensor) -> Tensor:
        return sparse_product(rows, w, Pattern(*(self.values[f"{self.key}:{field}"] for field in Pattern._fields)))

    def _dense(self, w: Tensor) -> Tensor:
        return w.new_zeros(self.shape).index_put((self.values[f"{self.key}:row"], self.values[f"{self.key}:col"]), w)
