"""Readout: a population rate code, ``rate_i * gain_i`` to logits.

N node of the populations read. States are real, [..., 2, N].
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.models.ambassador import make_router
from nfsim.models.cell import modulus
from nfsim.models.drive import divisive
from nfsim.models.values import Values
from nfsim.wiring import Connectome


class Readout:
    """The readout of a network, with the gain of the state that is read."""

    def __init__(self, connectome: Connectome, values: Values):
        flat, self.values = connectome.network.flat, values
        ((self.path, self.readout),) = flat.readouts.items()
        self.reads = flat.populations_of(self.readout.reads)
        gated = tuple(p for p in self.reads if "readout" in flat.populations[p].dynamics.gain)
        nuclei = tuple(
            n for n, d in flat.nuclei.items() if set(gated) & set(flat.populations_of(d.targets, n.rpartition("/")[0]))
        )
        self.router = make_router(connectome, gated, nuclei, values)
        self.gated = gated
        if self.readout.kind == "sector":
            sectors = torch.from_numpy(connectome.nodes.sectors[connectome.nodes.slices[self.reads[0]]])
            share = F.one_hot(sectors).T.to(values.dtype)
            self.share = values.keep(f"{self.path}:share", share / share.sum(-1, keepdim=True))

    def features(self, states: dict[str, Tensor], x: Tensor, route: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """What the classifier sees [..., width].

        From states path -> [..., 2, n] and the input [..., F] of the same moment. `route`: query [..., K, Q] and shift
        [..., K] of its nuclei, where they are known already.
        """
        z = [states[p] for p in self.reads]
        gain: dict[str, Tensor] = {}
        if self.router:
            if route is None:
                w = self.router.assemble()
                route = self.router.route(w, self.router.relay(w, x), states)
            g = self.router.gain(*route, torch.cat([states[p] for p in self.gated], dim=-1))
            gain = dict(zip(self.gated, g.split([states[p].shape[-1] for p in self.gated], dim=-1), strict=True))
        rates = [modulus(s) * gain.get(p, 1.0) for p, s in zip(self.reads, z, strict=True)]
        parts = [torch.cat(rates, dim=-1)]
        if self.readout.kind == "state":
            gated = [s * gain[p].unsqueeze(-2) if p in gain else s for p, s in zip(self.reads, z, strict=True)]
            parts = [*torch.cat(gated, dim=-1).unbind(-2), *parts]
        if self.readout.normalise:
            parts = [divisive(p) for p in parts]
        return torch.cat(parts, dim=-1)

    def logits(self, features: Tensor) -> Tensor:
        """Logits [..., label]."""
        v, p = self.values, self.readout.dropout
        if p and v.training:
            features = F.dropout(features, p)
        if self.readout.kind == "sector":
            return F.linear(features, v[self.share]) * v[f"{self.path}:scale"]
        return F.linear(features, v[f"{self.path}:weight"], v[f"{self.path}:bias"])
