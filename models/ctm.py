"""A readout of the kind that continuous thought machines have: which pairs of nodes were active together, and when."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfsim.models.calls import answer, check_sizes
from nfsim.models.model import AbstractModel, Output
from nfsim.models.parameters import group

# B sample, K tick, N node, P pair, L label

START = -3.0
"""Of the raw decay: softplus(-3) = 0.05 per tick, a memory of 20 ticks."""


class CTM(nn.Module):
    r"""A declared network read by the synchrony of pairs of its nodes instead of by their rates.

    ``S_ij = sum_k exp(-r_ij (K - k)) Re(conj(z_i) z_j) / sqrt(sum_k exp(-r_ij (K - k)))`` over ticks k up to the last
    valid one, K, with a learned decay r_ij >= 0 for each of P pairs drawn at random, and logits = Linear(S). It is
    computed tick by tick, as numerator and denominator that decay. The readout of the network itself is left out.

    Source: Darlow et al. 2025, Continuous Thought Machines, arXiv:2505.05522, for pairs, decay and normalisation. Here
    the states are those of the declared network instead of learned models of each neuron, products are real parts of
    complex ones, so that phases count, and only the last tick is read.

    Parameters
    ----------
    core : AbstractModel
        The compiled network; its internal ticks are `Network(ticks=...)`.
    pairs : int
        P.
    population : str
        Path of the population whose nodes are paired; by default any node is.
    """

    def __init__(self, core: AbstractModel, pairs: int = 256, population: str | None = None):
        super().__init__()
        check_sizes("CTM", pairs=pairs)
        flat = core.network.flat
        if population is not None and population not in flat.populations:
            raise ValueError(
                f"CTM: there is no population {population!r}; the network has {', '.join(flat.populations)}"
            )
        self.core, self.pairs, self.population = core, pairs, population
        self.features, self.labels = core.features, core.labels
        for name, parameter in core.values.learned.items():
            parameter.requires_grad_(group(flat, name) != "readout")
        nodes = torch.cat(
            [torch.full((p.size,), population in (None, path)) for path, p in flat.populations.items()]
        ).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(core.network.seed)
        drawn = torch.randint(len(nodes), (2, pairs), generator=generator)
        self.register_buffer("ends", nodes[drawn])
        self.decay = nn.Parameter(torch.full((pairs,), START))
        self.readout = nn.Linear(pairs, len(self.labels))

    def forward(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        *,
        dt: Any = None,
        lengths: Tensor | None = None,
        record: Sequence[str] = (),
    ) -> Output:
        """Logits (B, L) of x (B, T, F) and the state of the network; the synchrony starts anew with each call."""
        if unknown := set(record) - {"logits"}:
            raise ValueError(f"CTM: cannot record {', '.join(sorted(unknown))}; only logits")
        out = self.core(x, state, dt=dt, lengths=lengths, record=("z",))
        ticks = None if lengths is None else torch.as_tensor(lengths) * self.core.network.ticks
        return answer(self.readout(self.synchrony(out.record["z"], ticks)), out.state, record)

    def synchrony(self, z_BKN: Tensor, ticks: Tensor | None = None) -> Tensor:
        """S (B, P) of complex states after the last tick, or after the first `ticks` (B,) of each sample."""
        i, j = self.get_buffer("ends")
        product_BKP = torch.view_as_real(z_BKN[..., i]).mul(torch.view_as_real(z_BKN[..., j])).sum(-1)
        keep = torch.exp(-F.softplus(self.decay))
        above = torch.zeros_like(product_BKP[:, 0])
        below = torch.zeros_like(above)
        for k, product in enumerate(product_BKP.unbind(1)):
            if ticks is None:
                above, below = keep * above + product, keep * below + 1
            else:
                runs = (k < ticks)[:, None]
                above = torch.where(runs, keep * above + product, above)
                below = torch.where(runs, keep * below + 1, below)
        return above / below.sqrt()

    def to_json(self) -> str:
        """Return the declaration and the options, as canonical JSON."""
        network = json.loads(self.core.network.to_json())
        return json.dumps(
            {"network": network, "pairs": self.pairs, "population": self.population},
            sort_keys=True,
        )
