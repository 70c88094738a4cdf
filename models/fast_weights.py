"""Hebbian memory of a coupling: weights on its edges that follow the recent phase relations of each sample.

``W_ij <- rho W_ij + eta Re(conj(z_i) z_j)``, added to K_ij.

B batch, N target node, M source node, E edge. States are real, [..., 2, N].
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.models.coupling import Coupling
from nfsim.models.kernels import hebbian_step


class FastWeights:
    """The fast weights of one coupling, on the edges that end in the populations of one stage.

    Source: Ba et al. 2016, arXiv:1610.06258, eq. 1; here on the edges that exist, and between phases.
    """

    def __init__(self, coupling: Coupling):
        self.coupling, self.values, self.name = coupling, coupling.values, coupling.name
        degrees = torch.bincount(coupling.row(), minlength=coupling.shape[0])
        self.indptr = self.values.keep(f"{coupling.key}:fast indptr", F.pad(degrees.cumsum(0), (1, 0)))
        self.indices = self.values.keep(f"{coupling.key}:fast indices", coupling.column())

    def rule(self) -> Tensor:
        """rho, the retention per tick, and eta, the gain, of this moment's parameters [2]."""
        v = self.values
        retention = torch.sigmoid(v[f"{self.name}:retention"])
        return torch.stack([retention, v[f"{self.name}:strength"] * (1 - retention) * v[f"{self.name}:mean_size"]])

    def own(self, every: Tensor) -> Tensor:
        """Those of this stage of the weights [B, E] of all edges of the projection."""
        return every if self.coupling.whole else every[:, self.values[f"{self.coupling.key}:edge"]]

    def give(self, every: Tensor, W: Tensor) -> Tensor:
        """The weights of all edges, with those of this stage put in their place."""
        return W if self.coupling.whole else every.index_copy(1, self.values[f"{self.coupling.key}:edge"], W)

    def step(self, rule: Tensor, W: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Next W [B, E], and its part of F [B, 2, N], from states [B, 2, M] and [B, 2, N]."""
        return hebbian_step(W, source, target, rule, self.values[self.indptr], self.values[self.indices])
