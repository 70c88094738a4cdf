"""Handwritten digits, 8 x 8 pixels, as they come with scikit-learn."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfsim.data.abstract import AbstractData
from nfsim.data.batches import Batch

# samples of the test and of the validation split; the rest, 1257, is for training
TEST, VALIDATION = 360, 180


class Digits(AbstractData):
    """1797 digits by 43 writers, each one frame of 64 features in [0, 1] (grey levels 0 to 16, divided by 16).

    The split, 1257 / 180 / 360, keeps the share of every class and is the same for every seed. Nothing is downloaded.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.

    Parameters
    ----------
    **loading
        `batch`, `evaluation_batch`, `workers`, `shift`, `rotate`, `zoom` and `seed` of `AbstractData`.
    """

    features = 64
    labels = tuple("0123456789")
    steps = 1

    def __init__(self, **loading: Any):
        super().__init__(**loading)

    @staticmethod
    def layout(x: Tensor) -> Tensor:
        """One step of 64 features, from images of 8 x 8."""
        return x.flatten(1)[:, None, :]

    def read(self, split: str) -> Batch:
        """Samples of a split, as images."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        images, target = load_digits(return_X_y=True)
        rest, test = train_test_split(np.arange(len(images)), test_size=TEST, stratify=target, random_state=0)
        train, validation = train_test_split(rest, test_size=VALIDATION, stratify=target[rest], random_state=0)
        chosen = {"train": train, "validation": validation, "test": test}[split]
        pixels = torch.from_numpy(images[chosen]).to(torch.float32).view(-1, 8, 8) / 16
        return Batch(pixels, torch.from_numpy(target[chosen]))
