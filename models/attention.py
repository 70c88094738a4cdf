"""Attention in the place of gain: nuclei that mix information of the nodes they target into their drive.

``a_jk = softmax_j(Q_k . K_jk / sqrt(d))``, ``r_k = gelu(sum_j a_jk V_jk)``, ``u_i += mean_k (O_k + P_k . p_i) r_k``,
over the nodes j and i that nucleus k targets, and the nuclei k that target i. Query and key are those of the gain, so
that the two forms differ in what they pass on alone. Keys and values are linear in (xr_j, xi_j, p_j), five numbers: the
weighted sum is taken of these, and no array [batch, node, nucleus, d] is ever made.

K nucleus, N node of the stage. States are real, [..., 2, N].
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.models.cell import modulus
from nfsim.models.values import Values
from nfsim.wiring import Connectome


class Weights(NamedTuple):
    """What `Attention.message` needs, assembled once for a whole sequence; one entry per nucleus."""

    query: list[Tensor]
    """(5, 3 per population read): query and key, contracted over d."""
    value: list[Tensor]
    """(value, 5)."""
    out: list[Tensor]
    """(4 * 2, value): the constant and the three of the position, each for both parts."""


class Attention:
    """The nuclei of gating "attention" that act on some populations.

    Parameters
    ----------
    targets : paths of the populations, in node order.
    nuclei : paths of the nuclei; all that they target is among the targets.
    """

    def __init__(self, connectome: Connectome, targets: tuple[str, ...], nuclei: tuple[str, ...], values: Values):
        flat, nodes = connectome.network.flat, connectome.nodes
        self.nuclei, self.values = nuclei, values
        home = {n: n.rpartition("/")[0] for n in nuclei}
        self.reads = {n: flat.populations_of(flat.nuclei[n].reads, home[n]) for n in nuclei}
        self.listens = tuple(p for p in flat.populations if any(p in paths for paths in self.reads.values()))
        index = nodes.index(targets)
        p = torch.from_numpy(nodes.positions[index].T.copy()).to(values.dtype)
        targeted = torch.zeros(len(nuclei), len(index), dtype=torch.bool)
        sizes = [flat.populations[p].size for p in targets]
        for k, n in enumerate(nuclei):
            aims = flat.populations_of(flat.nuclei[n].targets, home[n])
            targeted[k] = torch.cat([torch.full((s,), t in aims) for t, s in zip(targets, sizes, strict=True)])
        key = "+".join(nuclei) + "@" + "+".join(targets)
        share = targeted.to(values.dtype) / targeted.sum(0).clamp(min=1)
        self.positions = values.keep(f"{'+'.join(targets)}:positions", p)
        self.elsewhere = values.keep(f"{key}:elsewhere", ~targeted)
        # the share of each nucleus in a node's mean, times 1 and the position, for the output
        self.spread = values.keep(f"{key}:spread", share.unsqueeze(1) * torch.cat([torch.ones_like(p[:1]), p]))

    def assemble(self) -> Weights:
        """The weights of all nuclei, from the parameters of this moment."""
        v = self.values
        keys = [torch.cat([v[f"{n}:key_state"], v[f"{n}:key_position"]], dim=1) for n in self.nuclei]
        queries = [v[f"{n}:query"] for n in self.nuclei]
        return Weights(
            [key.T @ query / math.sqrt(len(query)) for key, query in zip(keys, queries, strict=True)],
            [v[f"{n}:value"] for n in self.nuclei],
            [v[f"{n}:out"].flatten(0, 1) for n in self.nuclei],
        )

    def message(self, w: Weights, states: dict[str, Tensor], z: Tensor) -> Tensor:
        """What is added to the drive [B, 2, N], from path -> [B, 2, n], the previous states, and the targets' z."""
        positions = self.values[self.positions]
        means = {p: torch.cat([states[p].mean(-1), modulus(states[p]).mean(-1, True)], dim=-1) for p in self.listens}
        query = torch.stack(
            [
                F.linear(torch.cat([means[p] for p in self.reads[n]], dim=-1), q)
                for n, q in zip(self.nuclei, w.query, strict=True)
            ],
            dim=-2,
        )  # [B, K, 5]
        logit = query[..., :2] @ z + query[..., 2:] @ positions
        a = logit.masked_fill(self.values[self.elsewhere], -math.inf).softmax(-1)  # [B, K, N]
        pooled = torch.cat([a @ z.transpose(-1, -2), a @ positions.T], dim=-1)
        sent = [
            F.linear(F.gelu(F.linear(y, value)), out)
            for y, value, out in zip(pooled.unbind(-2), w.value, w.out, strict=True)
        ]
        parts = torch.stack(sent, dim=-2).unflatten(-1, (4, 2))  # [B, K, 4, 2]
        return torch.einsum("bkqr,kqn->brn", parts, self.values[self.spread])
