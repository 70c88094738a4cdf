"""Random shifts, rotations and zooms of images, a whole batch at once."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from nfsim.data.randomness import random_bits

# B image of the batch, R row, C column


def random_offsets(seed: int, epoch: int, index: Tensor, most: int) -> Tensor:
    """Whole-pixel offsets, (B, 2) int64, each uniform in [-most, most], for images `index` (B,) of one epoch."""
    bits = random_bits(seed, epoch, index.numpy()[:, None], np.arange(2))
    return torch.from_numpy((bits % np.uint64(2 * most + 1)).astype(np.int64)) - most


def shift(images_BRC: Tensor, offsets: Tensor) -> Tensor:
    """Images moved down and right by `offsets` (B, 2), in pixels; what enters at the border is 0.

    >>> shift(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[1, 0]]))
    tensor([[[0., 0.],
             [1., 2.]]])
    """
    most = int(offsets.abs().max())
    rows, columns = images_BRC.shape[1:]
    # every placement is a view of the padded images, so that the choice is a single copy
    windows = pad(images_BRC, (most, most, most, most)).unfold(1, rows, 1).unfold(2, columns, 1)
    down, right = (most - offsets).unbind(1)
    return windows[torch.arange(len(images_BRC)), down, right]


def random_shares(seed: int, epoch: int, index: Tensor, stream: int) -> Tensor:
    """Numbers (B,) float32, uniform in [-1, 1), for images `index` (B,) of one epoch; streams are independent."""
    bits = random_bits(seed, epoch, index.numpy(), stream)
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32)) / 2**23 - 1


def turn(images_BRC: Tensor, angle: Tensor, zoom: Tensor) -> Tensor:
    """Images turned by `angle` (B,), rad, counterclockwise as seen, and magnified by `zoom` (B,), about their middle.

    Values between pixels are bilinear; what enters at the border is 0.

    >>> quarter = torch.tensor([math.pi / 2])
    >>> turn(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), quarter, torch.ones(1)).round()
    tensor([[[2., 4.],
             [1., 3.]]])
    """
    rows, columns = images_BRC.shape[1:]
    cos, sin, nothing = angle.cos() / zoom, angle.sin() / zoom, torch.zeros_like(angle)
    # where each pixel comes from, in shares of half the width and height
    across, down = columns / rows, rows / columns
    source = torch.stack([cos, -sin * down, nothing, sin * across, cos, nothing], dim=-1).view(-1, 2, 3)
    grid = affine_grid(source, [len(images_BRC), 1, rows, columns], align_corners=False)
    return grid_sample(images_BRC.unsqueeze(1), grid, padding_mode="zeros", align_corners=False).squeeze(1)


@dataclass(frozen=True)
class Augmentation:
    """Random moves of training images; each draw is a function of (seed, epoch, index).

    Parameters
    ----------
    shift : largest move each way, whole pixels.
    rotate : largest turn each way, degrees.
    zoom : largest change of size, as a share: sizes are uniform in [1 - zoom, 1 + zoom].
    """

    shift: int = 0
    rotate: float = 0.0
    zoom: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.shift or self.rotate or self.zoom)

    def __call__(self, images_BRC: Tensor, seed: int, epoch: int, index: Tensor) -> Tensor:
        """Images moved as drawn for their `index` (B,)."""
        if self.rotate or self.zoom:
            angle = math.radians(self.rotate) * random_shares(seed, epoch, index, 2)
            images_BRC = turn(images_BRC, angle, 1 + self.zoom * random_shares(seed, epoch, index, 3))
        return shift(images_BRC, random_offsets(seed, epoch, index, self.shift)) if self.shift else images_BRC


STILL = Augmentation()
"""No move at all."""
