"""Random shifts of images, a whole batch at once."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

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
