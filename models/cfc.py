"""The published closed-form continuous-time network, as the package ncps has it: a peer to compare with."""

import json
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nfsim.models.calls import answer, check_sizes, checked, last_valid
from nfsim.models.model import Output

# B sample, T time step, F feature, H hidden unit, L label


class CfC(nn.Module):
    """Input (B, T, F) -> ncps CfC(H) -> logits (B, L) = Linear(dropout(h)) of each sample's last valid step.

    Its cell has a hidden layer of 128 units and `h <- f (1 - t) + t g`, `t = sigmoid(a dt + b)`, with f, g, a and b
    read from that layer; dt is 1 a step. It has no phase, space or gain. The package runs it step by step in Python.

    Source: Hasani et al. 2022, Nat. Mach. Intell. 4:992; ncps, Lechner and Hasani.

    Parameters
    ----------
    features : int
        Input features per step.
    labels : sequence of str
        Names of the classes.
    hidden : int, units
    dropout : float
        Share of hidden units dropped before the readout in training, in [0, 1).
    """

    def __init__(self, features: int, labels: Sequence[str], hidden: int = 64, dropout: float = 0.0):
        super().__init__()
        check_sizes("CfC", features=features, labels=len(labels), hidden=hidden)
        try:
            from ncps.torch import CfC as Layer
        except ImportError:
            raise ModuleNotFoundError(
                "CfC: the package ncps is not installed; it comes with the extra peers, as neuralfield-sim[peers]"
            ) from None
        self.features, self.labels = features, tuple(labels)
        self.hidden, self.dropout = hidden, dropout
        self.layer = Layer(features, hidden, batch_first=True)
        self.readout = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, len(labels)))

    def forward(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        *,
        dt: Any = None,
        lengths: Tensor | None = None,
        record: Sequence[str] = (),
    ) -> Output:
        """Logits of inputs x (B, T, F); `state` holds h (B, H). A step lasts 1, whatever `dt` says."""
        del dt
        x, lengths = checked(self, x, self.features, None, lengths, record)
        if state is not None and set(state) != {"h"}:
            raise ValueError(f"CfC: state has {', '.join(state)}; pass an earlier output.state, of 'h'")
        steps, _ = self.layer(x, None if state is None else state["h"])
        h = last_valid(steps, lengths)
        return answer(self.readout(h), {"h": h}, record)

    def to_json(self) -> str:
        """Return everything that the constructor was given, as canonical JSON."""
        return json.dumps(
            {
                "dropout": self.dropout,
                "features": self.features,
                "hidden": self.hidden,
                "labels": list(self.labels),
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "CfC":
        """Model of what `to_json` wrote, with new weights."""
        return cls(**json.loads(text))
