"""Hebbian memory of a coupling: weights on its edges that follow the recent phase relations of each sample.

``W_ij <- rho W_ij + eta Re(conj(z_i) z_j)``, added to K_ij.

B batch, N target node, M source node, E edge. States are real, [..., 2, N].
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nfsim.models.coupling import Coupling


class Rule(NamedTuple):
    """How fast weights follow the phases; both are numbers."""

    retention: Tensor
    """rho, per tick."""
    gain: Tensor
    """eta."""


class FastWeights:
    """The fast weights of one coupling, on the edges that end in the populations of one stage.

    Source: Ba et al. 2016, arXiv:1610.06258, eq. 1; here on the edges that exist, and between phases.
    """

    def __init__(self, coupling: Coupling):
        self.coupling, self.values, self.name = coupling, coupling.values, coupling.name
        self.row = self.values.keep(f"{coupling.key}:fast row", coupling.row())
        self.column = self.values.keep(f"{coupling.key}:fast column", coupling.column())

    def rule(self) -> Rule:
        """rho and eta of this moment's parameters."""
        v = self.values
        retention = torch.sigmoid(v[f"{self.name}:retention"])
        return Rule(retention, v[f"{self.name}:strength"] * (1 - retention) * v[f"{self.name}:mean_size"])

    def own(self, every: Tensor) -> Tensor:
        """Those of this stage of the weights [B, E] of all edges of the projection."""
        return every if self.coupling.whole else every[:, self.values[f"{self.coupling.key}:edge"]]

    def give(self, every: Tensor, W: Tensor) -> Tensor:
        """The weights of all edges, with those of this stage put in their place."""
        return W if self.coupling.whole else every.index_copy(1, self.values[f"{self.coupling.key}:edge"], W)

    def step(self, rule: Rule, W: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Next W [B, E], and its part of F [B, 2, N], from states [B, 2, M] and [B, 2, N]."""
        row, column = self.values[self.row], self.values[self.column]
        i, j = target.index_select(-1, row), source.index_select(-1, column)
        W = rule.retention * W + rule.gain * (i * j).sum(-2)  # Re(conj(z_i) z_j) is a product of two plane vectors
        return W, torch.zeros_like(target).index_add(-1, row, W.unsqueeze(-2) * (j - i))
