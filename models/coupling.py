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
        key = f"{name}:{'+'.join(targets)}"
        self.edge = values.keep(f"{key}:edge", torch.from_numpy(edge.astype(np.int64)))
        self.row = values.keep(f"{key}:row", torch.from_numpy(row.astype(np.int64)))
        self.col = values.keep(f"{key}:col", torch.from_numpy(matrix.indices[edge].astype(np.int64)))

    def matrix(self) -> Tensor:
        """K (target, source), dense."""
        p, K = self.projection, self.values[f"{self.name}:edges"][self.values[self.edge]]
        if p.learnable == "scale":
            K = K * self.values[f"{self.name}:scale"]
        if p.sign is not None:  # a learned scale may pass zero as well
            K = p.sign * K.abs()
        return K.new_zeros(self.shape).index_put((self.values[self.row], self.values[self.col]), K)


def diffuse(K: Tensor, z_source: Tensor, z_target: Tensor) -> Tensor:
    """``sum_j K_ij z_j - z_i sum_j K_ij`` [..., 2, target] from states [..., 2, source] and [..., 2, target]."""
    return z_source @ K.T - z_target * K.sum(-1)
