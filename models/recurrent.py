"""The recurrent baselines: one layer of LSTM or GRU, and a linear readout of its last step."""

import json
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from nfsim.models.calls import answer, check_sizes, checked
from nfsim.models.model import Output

# B sample, T time step, F feature, H hidden unit, L label

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """Input (B, T, F) -> LSTM or GRU -> logits (B, L) = Linear(dropout(h)) of each sample's last valid step.

    Source: Hochreiter and Schmidhuber 1997, Neural Comput. 9:1735; Cho et al. 2014, arXiv:1406.1078; as torch has them,
    with two biases a gate.

    Parameters
    ----------
    features : int
        Input features per step.
    labels : sequence of str
        Names of the classes.
    cell : str
        "lstm" or "gru".
    hidden : int, units
    dropout : float
        Share of hidden units dropped before the readout in training, in [0, 1).

    Examples
    --------
    >>> [sum(p.numel() for p in Recurrent(28, "0123456789", cell).parameters()) for cell in ("lstm", "gru")]
    [82186, 61962]
    """

    def __init__(
        self, features: int, labels: Sequence[str], cell: str = "lstm", hidden: int = 128, dropout: float = 0.0
    ):
        super().__init__()
        check_sizes("Recurrent", features=features, labels=len(labels), hidden=hidden)
        if cell not in CELLS:
            raise ValueError(f"Recurrent: there is no cell {cell!r}; choose one of {', '.join(CELLS)}")
        self.features, self.labels = features, tuple(labels)
        self.cell, self.hidden, self.dropout = cell, hidden, dropout
        self.layer = CELLS[cell](features, hidden, batch_first=True)
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
        """Logits of inputs x (B, T, F); `state` holds h, and for an LSTM c, each (B, H). There is no step size here."""
        del dt
        x, lengths = checked(self, x, self.features, None, lengths, record)
        sequence: Any = x
        if lengths is not None:  # packed, the state that comes back is that of each sample's last valid step
            sequence = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, after = self.layer(sequence, self._start(state))
        parts = after if self.cell == "lstm" else (after,)
        h, *_ = final = [part[0] for part in parts]
        return answer(self.readout(h), dict(zip("hc", final, strict=False)), record)

    def _start(self, state: dict[str, Tensor] | None) -> Any:
        if state is None:
            return None
        names = "hc" if self.cell == "lstm" else "h"
        if set(state) != set(names):
            raise ValueError(f"Recurrent: state has {', '.join(state)}; pass an earlier output.state, of {names!r}")
        parts = tuple(state[name][None] for name in names)
        return parts if self.cell == "lstm" else parts[0]

    def to_json(self) -> str:
        """Return everything that the constructor was given, as canonical JSON."""
        return json.dumps(
            {
                "cell": self.cell,
                "dropout": self.dropout,
                "features": self.features,
                "hidden": self.hidden,
                "labels": list(self.labels),
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "Recurrent":
        """Model of what `to_json` wrote, with new weights."""
        return cls(**json.loads(text))
