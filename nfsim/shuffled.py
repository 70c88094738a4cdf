"""The ablation of geometry: wiring of nodes that have swapped their places."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nfsim.rules import AbstractRule, Nodes, as_rule

if TYPE_CHECKING:
    from scipy.sparse import coo_array


@dataclass(frozen=True)
class Shuffled(AbstractRule):
    """The pattern of another rule between nodes whose places are shuffled, with the seed of the projection.

    The graph is that of the other rule and only its nodes have changed names, ``P K P^T`` within one set of nodes:
    degrees, weights and eigenvalues stay, and with them the stability of a coupling. What is lost is that neighbours
    in the graph share an area, a sector, a preferred phase or a place in the thalamic keys, which stay where they are.

    To shuffle the `positions` of a population is no such ablation: everything that knows of a node's place moves with
    it, and what remains is the same network with its nodes listed in another order.

    Parameters
    ----------
    rule : a rule by positions or sectors: Nearest, Decay or Topographic.
    """

    rule: AbstractRule

    needs_positions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", as_rule(self.rule))
        super().__post_init__()

    def problems(self) -> Iterator[str]:
        if not isinstance(self.rule, AbstractRule) or not self.rule.needs_positions or isinstance(self.rule, Shuffled):
            yield f"Shuffled: rule {self.rule!r} has no places to shuffle; give one of Nearest, Decay and Topographic"
        else:
            yield from self.rule.problems()

    def fits(self, source: Nodes, target: Nodes) -> Iterator[str]:
        yield from self.rule.fits(source, target)

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        order = rng.permutation(len(source.positions))
        other = order if same else rng.permutation(len(target.positions))
        return self.rule.pattern(_reordered(source, order), _reordered(target, other), same, rng)


def _reordered(nodes: Nodes, order: Any) -> Nodes:
    return Nodes(nodes.positions[order], nodes.sectors[order], tuple(nodes.labels[k] for k in order))
