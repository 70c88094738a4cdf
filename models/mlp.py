"""The baseline that bypasses the network: a multilayer perceptron on all steps side by side."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nfsim.models.calls import answer, checked
from nfsim.models.model import Output

# B sample, T time step, F feature, L label

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class MLP(nn.Module):
    """Input (B, T, F) flattened over time -> hidden layers -> logits (B, L), with the call of a compiled network.

    Parameters
    ----------
    features : int
        Input features per step.
    labels : sequence of str
        Names of the classes.
    steps : int
        Time steps of an input; steps beyond a sample's length count as 0.
    hidden : sequence of int, units
        Hidden layers; none makes it a linear classifier.
    activation : str
        "relu" or "gelu".
    dropout : float
        Share of hidden units dropped in training, in [0, 1).

    Examples
    --------
    >>> model = MLP(64, [*"0123456789"], hidden=[100])
    >>> sum(p.numel() for p in model.parameters())
    7510
    """

    def __init__(
        self,
        features: int,
        labels: Sequence[str],
        steps: int = 1,
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        super().__init__()
        if min(features, steps, len(labels), *hidden, 1) < 1:
            raise ValueError(
                f"MLP: {features} features, {steps} steps, {len(labels)} labels and hidden {list(hidden)} must all be "
                ">= 1; raise the others"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"MLP: there is no activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        self.features, self.labels, self.steps = features, tuple(labels), steps
        self.hidden, self.activation, self.dropout = tuple(hidden), activation, dropout
        layers: list[nn.Module] = []
        sizes = [features * steps, *hidden]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), ACTIVATIONS[activation](), nn.Dropout(dropout)]
        self.layers = nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], len(labels)))

    def forward(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        *,
        dt: Any = None,
        lengths: Tensor | None = None,
        record: Sequence[str] = (),
    ) -> Output:
        """Logits of inputs x (B, T, F); there is neither a state nor a step size here."""
        del state, dt
        x, lengths = checked(self, x, self.features, self.steps, lengths, record)
        if lengths is not None:
            x = x * (torch.arange(self.steps, device=x.device) < lengths[:, None])[:, :, None]
        return answer(self.layers(x), {}, record)

    def to_json(self) -> str:
        """Return everything that the constructor was given, as canonical JSON."""
        return json.dumps(
            {
                "activation": self.activation,
                "dropout": self.dropout,
                "features": self.features,
                "hidden": list(self.hidden),
                "labels": list(self.labels),
                "steps": self.steps,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "MLP":
        """MLP of what `to_json` wrote, with new weights."""
        return cls(**json.loads(text))
