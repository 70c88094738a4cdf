"""Ambassador gating, the older form: one node speaks for each sector.

``g_i = sigmoid(w_s . [xr_a, xi_a] + c_s)`` for the nodes i of sector s of a population, with a its first node.

K nucleus, N node of the targets. States are real, [..., 2, N].
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from nfsim.models.router import Router
from nfsim.models.values import Values
from nfsim.wiring import Connectome


class AbstractRouter(Protocol):
    """What turns states and input into the gain of some populations: `Router`, or `MixedRouter`."""

    listens: tuple[str, ...]
    """Populations whose states it hears, beside those of its targets."""
    hears_targets_alone: bool

    def assemble(self) -> Any:
        """Weights, once for a whole sequence."""

    def relay(self, w: Any, x: Tensor) -> Tensor:
        """What the input adds, which depends on no state."""

    def route(
        self, w: Any, relayed: Tensor, states: dict[str, Tensor], whole: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Query and shift of each nucleus."""

    def gain(self, query: Tensor, shift: Tensor, z: Tensor | None) -> Tensor:
        """Gain of each node [..., N]."""

    def nucleus_gain(self, w: Any, relayed: Tensor, states: dict[str, Tensor], z: Tensor) -> Tensor:
        """Gain of each nucleus on each node [..., K, N]."""

    def mean(self, nucleus_gain: Tensor) -> Tensor:
        """Gain of each node from that of each nucleus."""

    def mean_over_targets(self, nucleus_gain: Tensor) -> Tensor:
        """Mean of [..., K, N] over the nodes that each nucleus targets [..., K]."""


def make_router(
    connectome: Connectome, targets: tuple[str, ...], nuclei: tuple[str, ...], values: Values
) -> AbstractRouter | None:
    """The router of some nuclei; None where none of them sets a gain."""
    gatings = {connectome.network.flat.nuclei[n].gating for n in nuclei}
    if gatings <= {"attention"}:
        return None
    if gatings <= {"state", "feedforward"}:
        return Router(connectome, targets, nuclei, values)
    return MixedRouter(connectome, targets, nuclei, values)


class Ambassador:
    """One nucleus of ambassador gating, and what it targets among some populations.

    Parameters
    ----------
    targets : paths of the populations, in node order.
    """

    def __init__(self, connectome: Connectome, targets: tuple[str, ...], nucleus: str, values: Values):
        flat, nodes = connectome.network.flat, connectome.nodes
        self.nucleus, self.values = nucleus, values
        aims = flat.populations_of(flat.nuclei[nucleus].targets, nucleus.rpartition("/")[0])
        self.parts: list[tuple[str, int]] = []
        for path in targets:
            population = flat.populations[path]
            if path in aims:
                sector = torch.from_numpy(nodes.sectors[nodes.slices[path]])
                first = [int(torch.nonzero(sector == s)[0]) for s in range(population.sectors)]
                values.keep(f"{path}:sector", sector)
                values.keep(f"{path}:ambassadors", torch.tensor(first))
            self.parts.append((path if path in aims else "", population.size))

    def gain(self, z: Tensor) -> Tensor:
        """Gain of the nodes that it targets, 1 elsewhere [..., N], from their previous state z."""
        gains = []
        for (path, _), own in zip(self.parts, z.split([n for _, n in self.parts], dim=-1), strict=True):
            if not path:
                gains.append(torch.ones_like(own[..., 0, :]))
                continue
            spoken = own[..., self.values[f"{path}:ambassadors"]].transpose(-1, -2)  # [..., sector, 2]
            logit = (spoken * self.values[f"{self.nucleus}:{path}:weight"]).sum(-1)
            by_sector = torch.sigmoid(logit + self.values[f"{self.nucleus}:{path}:bias"])
            gains.append(by_sector[..., self.values[f"{path}:sector"]])
        return torch.cat(gains, dim=-1)


class MixedRouter:
    """Nuclei of any gating; those of attention set no gain, and leave the volume at 1.

    Parameters
    ----------
    targets : paths of the populations, in node order.
    nuclei : paths of the nuclei that target any of them.
    """

    def __init__(self, connectome: Connectome, targets: tuple[str, ...], nuclei: tuple[str, ...], values: Values):
        flat, self.values, self.nuclei = connectome.network.flat, values, nuclei
        gating = {n: flat.nuclei[n].gating for n in nuclei}
        routed = tuple(n for n in nuclei if gating[n] in ("state", "feedforward"))
        self.inner = Router(connectome, targets, routed, values) if routed else None
        self.ambassadors = {n: Ambassador(connectome, targets, n, values) for n in nuclei if gating[n] == "ambassador"}
        self.listens = self.inner.listens if self.inner else ()
        self.hears_targets_alone = self.inner.hears_targets_alone if self.inner else False
        sizes = [flat.populations[p].size for p in targets]
        targeted = torch.zeros(len(nuclei), sum(sizes), dtype=values.dtype)
        for k, n in enumerate(nuclei):
            aims = flat.populations_of(flat.nuclei[n].targets, n.rpartition("/")[0])
            targeted[k] = torch.cat([torch.full((s,), float(t in aims)) for t, s in zip(targets, sizes, strict=True)])
        key = "+".join(nuclei) + "@" + "+".join(targets)
        self.targeted = values.keep(f"{key}:targeted", targeted)
        sets = targeted * torch.tensor([[float(gating[n] != "attention")] for n in nuclei])
        count = sets.sum(0)
        self.share = values.keep(f"{key}:mixed share", sets / count.clamp(min=1))
        self.ungated = values.keep(f"{key}:mixed ungated", (count == 0).to(values.dtype))
        routed_share = self.values[self.share][[k for k, n in enumerate(nuclei) if n in routed]].sum(0)
        self.routed_share = values.keep(f"{key}:routed share", routed_share)

    def assemble(self) -> Any:
        """Weights of the inner router."""
        return self.inner.assemble() if self.inner else ()

    def relay(self, w: Any, x: Tensor) -> Tensor:
        """What the input adds to the inner router; ambassadors hear no input."""
        return self.inner.relay(w, x) if self.inner else x[..., :0]

    def route(
        self, w: Any, relayed: Tensor, states: dict[str, Tensor], whole: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Query and shift of the inner router; empty without one."""
        return self.inner.route(w, relayed, states, whole) if self.inner else (relayed, relayed)

    def gain(self, query: Tensor, shift: Tensor, z: Tensor | None) -> Tensor:
        """Gain g of each node [..., N]: the mean over the nuclei that target it; z is the targets' previous state."""
        assert z is not None  # ambassadors read it, so no stage that has them scans
        g = self.values[self.ungated].expand_as(z[..., 0, :])
        if self.inner:
            g = g + self.inner.gain(query, shift, z) * self.values[self.routed_share]
        for k, n in enumerate(self.nuclei):
            if n in self.ambassadors:
                g = g + self.ambassadors[n].gain(z) * self.values[self.share][k]
        return g

    def nucleus_gain(self, w: Any, relayed: Tensor, states: dict[str, Tensor], z: Tensor) -> Tensor:
        """Gain of each nucleus on each node [..., K, N], for a recording; 1 for attention."""
        gains = {n: a.gain(z) for n, a in self.ambassadors.items()}
        if self.inner:
            routed = self.inner.nucleus_gain(w, relayed, states, z)
            gains |= dict(zip(self.inner.nuclei, routed.unbind(-2), strict=True))
        volume = torch.ones_like(z[..., 0, :])
        return torch.stack([gains.get(n, volume) for n in self.nuclei], dim=-2)

    def mean(self, nucleus_gain: Tensor) -> Tensor:
        """g [..., N] of the gain of each nucleus [..., K, N]."""
        return (nucleus_gain * self.values[self.share]).sum(-2) + self.values[self.ungated]

    def mean_over_targets(self, nucleus_gain: Tensor) -> Tensor:
        """Mean of [..., K, N] over the nodes that each nucleus targets [..., K]."""
        targeted = self.values[self.targeted]
        return (nucleus_gain * targeted).sum(-1) / targeted.sum(-1)
