"""What our networks are timed against: the same task by other cells, each as fast as it fairly gets in torch.

B batch, T time, N node, K nucleus, d dimension of query and key. Every peer maps x [B, T, features] to logits
[B, labels].
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nfsim


class Recurrent(nn.Module):
    """torch's own LSTM or GRU, whose input projections are hoisted out of the loop, and a linear readout."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], features: int, hidden: int, labels: int = 10):
        super().__init__()
        self.cell, self.read = cell(features, hidden, batch_first=True), nn.Linear(hidden, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the last state."""
        return self.read(self.cell(x)[0][:, -1])


class NCPs(nn.Module):
    """The closed-form cell of ncps, fully connected, and a linear readout. It loops over time in Python."""

    def __init__(self, features: int, hidden: int, labels: int = 10):
        super().__init__()
        from ncps.torch import CfC

        self.cell, self.read = CfC(features, hidden), nn.Linear(hidden, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the last state."""
        return self.read(self.cell(x)[0][:, -1])


class MinGRU(nn.Module):
    """A gated linear recurrence as a scan of logarithms in plain torch.

    ``h_t = (1 - z_t) h_{t-1} + z_t g(x_t)`` with z and g of the input alone, by cumulative sums.

    Source: Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201, appendix B (log-space scan of Heinsen 2023).
    """

    def __init__(self, features: int, hidden: int, labels: int = 10, layers: int = 2):
        super().__init__()
        widths = [features] + [hidden] * layers
        self.layers = nn.ModuleList(nn.Linear(a, 2 * b) for a, b in pairwise(widths))
        self.read = nn.Linear(hidden, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the last state."""
        for layer in self.layers:
            gate, candidate = layer(x).chunk(2, dim=-1)
            log_keep, log_take = -F.softplus(gate), -F.softplus(-gate)
            log_g = torch.where(candidate >= 0, (F.relu(candidate) + 0.5).log(), -F.softplus(-candidate))
            kept = log_keep.cumsum(1)
            x = (kept + torch.logcumsumexp(log_take + log_g - kept, dim=1)).exp()
        return self.read(x[:, -1])


class Thalamocortical(nn.Module):
    """The `thalamocortical` preset written in plain batched torch, as one would by hand: same equations, same values.

    The drive is hoisted out of the loop and the query is contracted with the keys before it meets the nodes; the
    coupling is a dense product.
    """

    def __init__(self, network: nfsim.Network):
        super().__init__()
        model = nfsim.compile(network, device="cpu")
        flat, v = network.flat, model.values
        self.sizes, self.nuclei = [p.size for p in flat.populations.values()], list(flat.nuclei)
        pops, nuclei = list(flat.populations), self.nuclei

        def learned(tensors: list[Tensor], how=torch.cat) -> nn.Parameter:
            return nn.Parameter(how([t.detach() for t in tensors]).clone())

        weights = [v[f"input->*:{p}:weight"].view(1, flat.populations[p].size, -1)[0] for p in pops]
        self.W, self.b = learned(weights), learned([v[f"{p}:drive_bias"] for p in pops])
        self.raw, self.bias = learned([v[f"{p}:rate"] for p in pops]), learned([v[f"{p}:rate_bias"] for p in pops])
        self.A = learned([v[f"{n}:query"] for n in nuclei], torch.stack)
        self.B = learned([v[f"{n}:key_state"] for n in nuclei], torch.stack)
        self.C = learned([v[f"{n}:key_position"] for n in nuclei], torch.stack)
        self.a, self.a0 = (learned([v[f"{n}:{k}"] for n in nuclei], torch.stack) for k in ("relay", "relay_bias"))
        self.T = learned([v[f"{n}:reticular"] for n in nuclei], torch.stack)
        self.c = learned([v[f"{n}:feedback"] for n in nuclei], torch.stack)
        self.scale = learned([v["*->*:scale"].view(1)])
        self.read = nn.Linear(sum(self.sizes), len(model.labels))
        self.read.weight, self.read.bias = learned([v["readout:weight"]]), learned([v["readout:bias"]])
        nodes = model.program.connectome.nodes
        self.register_buffer("p", torch.from_numpy(nodes.positions).float())
        self.register_buffer("phase", torch.cat([v[f"{p}:phase"] for p in pops]).detach())
        K = torch.from_numpy(model.program.connectome.matrices["*->*"].toarray()).float()
        self.register_buffer("K", K)
        self.register_buffer("L", K - torch.diag(K.sum(1)))
        self.register_buffer("off", ~torch.eye(len(nuclei), dtype=torch.bool))

    def gain(self, xr: Tensor, xi: Tensor) -> Tensor:
        """g [B, N] from the state."""
        rate = torch.sqrt(xr**2 + xi**2 + 1e-12)
        parts = [
            torch.stack([q.mean(-1) for q in group], -1)
            for group in zip(*(y.split(self.sizes, -1) for y in (xr, xi, rate)), strict=True)
        ]
        m = torch.cat(parts, -1)
        Q = torch.einsum("bm,kdm->bkd", m, self.A) / math.sqrt(self.A.shape[1])
        state, position = torch.einsum("bkd,kdj->bkj", Q, self.B), torch.einsum("bkd,kdj->bkj", Q, self.C)
        T = torch.zeros_like(self.off, dtype=Q.dtype).masked_scatter(self.off, F.softplus(self.T))
        shift = (rate.split(self.sizes, -1)[1] @ self.c.T) / math.sqrt(self.c.shape[1])
        shift = shift - torch.relu(m @ self.a.T + self.a0) @ T.T
        logit = state[..., 0:1] * xr[:, None] + state[..., 1:2] * xi[:, None] + position @ self.p.T + shift[..., None]
        return torch.sigmoid(logit).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the last rates times their gain."""
        u = F.linear(x, self.W, self.b)
        ur, ui = (u * self.phase.cos()).unbind(1), (u * self.phase.sin()).unbind(1)
        lam, L = F.softplus(self.raw), self.L.T * self.scale
        xr = xi = x.new_zeros(x.shape[0], sum(self.sizes))
        for k in range(x.shape[1]):
            g = self.gain(xr, xi)
            vr, vi = ur[k] + xr @ L, ui[k] + xi @ L
            n = torch.rsqrt(1 + vr**2 + vi**2)
            t = torch.sigmoid(g * lam + self.bias)
            xr, xi = xr + t * (vr * n - xr), xi + t * (vi * n - xi)
        return self.read(torch.sqrt(xr**2 + xi**2 + 1e-12) * self.gain(xr, xi))
