"""Gated memory of a population: a complex c per node that z moves towards in the place of the steady state.

``c <- f c + i s``, with f and i of every node a sigmoid of an affine function of its own |z| and |u|.

B batch, N node of the stage. States are real, [..., 2, N].
"""

import torch
from torch import Tensor

from nfsim.models.cell import modulus
from nfsim.models.values import Values
from nfsim.network import Flat


class GatedMemory:
    """The memory of the populations of a stage that declare one.

    Parameters
    ----------
    paths : populations of the stage, in node order.
    """

    def __init__(self, flat: Flat, paths: tuple[str, ...], values: Values):
        self.values, self.paths = values, paths
        self.sizes = {p: flat.populations[p].size for p in paths}
        self.remembers = {p: flat.populations[p].dynamics.memory == "gated" for p in paths}
        has = [torch.full((n,), self.remembers[p]) for p, n in self.sizes.items()]
        self.has = values.keep(f"{'+'.join(paths)}:remembers", torch.cat(has))

    def gates(self) -> tuple[Tensor, Tensor]:
        """Weights (2, 2, N), of |z| and |u| for f and for i, and constants (2, N); 0 for nodes without memory."""
        return torch.stack([self._all(g) for g in ("forget", "admit")]), torch.stack(
            [self._all(f"{g}_bias") for g in ("forget", "admit")]
        )

    def _all(self, name: str) -> Tensor:
        like = self.values[f"{self.paths[0]}:rate"]
        lead = () if name.endswith("bias") else (2,)
        return torch.cat(
            [
                self.values[f"{p}:{name}"] if self.remembers[p] else like.new_zeros(*lead, n)
                for p, n in self.sizes.items()
            ],
            dim=-1,
        )

    def update(self, gates: tuple[Tensor, Tensor], c: Tensor, z: Tensor, u: Tensor, s: Tensor) -> Tensor:
        """Next c [B, 2, N] of the nodes with memory, 0 elsewhere, from the last state z, the drive u and s."""
        weight, bias = gates
        gate = weight[:, 0] * modulus(z).unsqueeze(-2) + weight[:, 1] * modulus(u).unsqueeze(-2) + bias  # [B, 2, N]
        forget, admit = torch.sigmoid(gate).split(1, dim=-2)
        return torch.where(self.values[self.has], forget * c + admit * s, 0.0)

    def target(self, c: Tensor, v: Tensor) -> Tensor:
        """What the limiter of the update acts on: c where there is memory, v elsewhere."""
        return c if all(self.remembers.values()) else torch.where(self.values[self.has], c, v)
