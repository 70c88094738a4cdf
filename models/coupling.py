"""Diffusive coupling ``F_i = sum_j K_ij (z_j - z_i)`` of one projection onto the populations of one stage."""

import numpy as np
import torch
from torch import Tensor

from nfsim.models.values import Values
from nfsim.wiring import Connectome


class Coupling:
    """One coupling projection, restricted to the rows of some populations.

    Parameters
    ----------
    targets : paths of the populations, in the order of the projection's target.
    """

    def __init__(self, connectome: Connectome, name: str, targets: tuple[str, ...], values: Values):
        flat, nodes = connectome.network.flat, connectome.nodes
        self.name, self.values, self.targets = name, values, targets
        self.projection, self.source = flat.projections[name], flat.source(name)
        matrix = connectome.matrices[name]
        ends = nodes.index(flat.target(name))
        rows = np.flatnonzero(np.isin(ends, nodes.index(targets)))
        edge = np.concatenate([np.arange(matrix.indptr[r], matrix.indptr[r + 1]) for r in rows])
        self.shape = len(rows), matrix.shape[1]
        row = np.repeat(np.arange(len(rows)), np.diff(matrix.indptr)[rows])
        self.key = key = f"{name}:{'+'.join(targets)}"
        self.fixed: str | None = None
        self.edge = values.keep(f"{key}:edge", torch.from_numpy(edge.astype(np.int64)))
        self.row = values.keep(f"{key}:row", torch.from_numpy(row.astype(np.int64)))
        self.col = values.keep(f"{key}:col", torch.from_numpy(matrix.indices[edge].astype(np.int64)))

    def keep_laplacian(self) -> None:
        """Hold ``K - D`` of the coupling of a population to itself, where training only scales it."""
        if self.projection.learnable != "edges":
            with torch.no_grad():
                K = self._dense(self.values[f"{self.name}:edges"][self.values[self.edge]])
            self.fixed = self.values.keep(f"{self.key}:laplacian", K - torch.diag(K.sum(-1)))

    def pull(self, rows: Tensor) -> Tensor:
        """F = (K - D) of rows (2N, S) of the drive's weights, on both parts' nodes; S columns of weight and bias."""
        both = rows.view(2, self.shape[0], -1)
        if self.fixed is None:
            K = self.matrix()
            return (K @ both - K.sum(-1, keepdim=True) * both).view(rows.shape)
        pulled = (self.values[self.fixed] @ both).view(rows.shape)
        if self.projection.learnable == "none":
            return pulled
        scale = self.values[f"{self.name}:scale"]
        return pulled * (scale if self.projection.sign is None else scale.abs())  # the edges have their sign already

    def matrix(self) -> Tensor:
        """K (target, source), dense."""
        p, K = self.projection, self.values[f"{self.name}:edges"][self.values[self.edge]]
        if p.learnable == "scale":
            K = K * self.values[f"{self.name}:scale"]
        if p.sign is not None:  # a learned scale may pass zero as well
            K = p.sign * K.abs()
        return self._dense(K)

    def _dense(self, K: Tensor) -> Tensor:
        return K.new_zeros(self.shape).index_put((self.values[self.row], self.values[self.col]), K)


def diffuse(K: Tensor, z_source: Tensor, z_target: Tensor) -> Tensor:
    """``sum_j K_ij z_j - z_i sum_j K_ij`` [..., 2, target] from states [..., 2, source] and [..., 2, target]."""
    return z_source @ K.T - z_target * K.sum(-1)
