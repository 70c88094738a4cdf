"""MNIST and the datasets that share its format, each image read as a sequence."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nfsim.data import layouts
from nfsim.data.abstract import AbstractData
from nfsim.data.batches import Batch
from nfsim.data.layouts import SIDE
from nfsim.data.randomness import shuffled
from nfsim.data.roots import data_root

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TRAINING = 60_000
"""Training images of each of these datasets; 10,000 more are for testing."""


class AbstractImages(AbstractData):
    """70,000 grey images of 28 x 28 pixels in 10 classes, as steps of features in [0, 1] (grey levels over 255).

    The validation split is drawn from the 60,000 training images by `split_seed`; the 10,000 test images stay apart.
    Random shifts move the image itself, before it is laid out as steps.

    Parameters
    ----------
    layout : str
        "rows" (28 steps of 28 features), "pixels" (784 steps of one), or "permuted" (the same in a random order).
    permutation_seed : int
        Of the order of "permuted".
    root : path
        Data root that holds `SOURCE/raw`; by default `NFSIM_DATA`, else `~/.cache/nfsim`.
    download : bool
        Let torchvision download what is missing.
    validation : int, images
        Training images set apart for validation.
    limit : int, images
        Training images to use, 0 for all that validation leaves.
    split_seed : int
        Of the draw of validation images.
    **loading
        `batch`, `evaluation_batch`, `workers`, `shift`, `rotate`, `zoom` and `seed` of `AbstractData`.
    """

    source: str
    """Name of the class in torchvision, and of the folder under the data root."""

    def __init__(
        self,
        *,
        layout: str = "rows",
        permutation_seed: int = 0,
        root: str | Path | None = None,
        download: bool = False,
        validation: int = 5000,
        limit: int = 0,
        split_seed: int = 0,
        **loading: Any,
    ):
        super().__init__(**loading)
        if not 1 <= validation < TRAINING:
            raise ValueError(
                f"{self.source}: validation {validation} is not in [1, {TRAINING - 1}]; leave images on both sides"
            )
        if not 0 <= limit <= TRAINING - validation:
            raise ValueError(
                f"{self.source}: limit {limit} is not in [0, {TRAINING - validation}]; 0 uses all training images"
            )
        arrange, self.steps, self.features = layouts.layout(layout, permutation_seed)
        self.layout = arrange  # type: ignore[method-assign,assignment]
        self.root, self.download = data_root(root), download
        self.validation, self.limit, self.split_seed = validation, limit, split_seed

    def read(self, split: str) -> Batch:
        """Samples of a split, as images."""
        pixels, target = self.images(train=split != "test")
        chosen = self.chosen(split, len(pixels))
        return Batch(pixels[chosen].to(torch.float32) / 255, target[chosen])

    def chosen(self, split: str, n: int) -> Tensor:
        """Which of the `n` images of its file belong to a split, in the split's order, int64."""
        if split == "test":
            return torch.arange(n)
        order = shuffled(n, self.split_seed)
        end = self.validation + self.limit if self.limit else n
        return order[: self.validation] if split == "validation" else order[self.validation : end]

    def images(self, train: bool) -> tuple[Tensor, Tensor]:
        """Images of a whole file, (sample, 28, 28) uint8, and targets; torchvision finds, downloads and parses them."""
        from torchvision import datasets

        folder = self.root / self.source / "raw"
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing and not self.download:
            raise FileNotFoundError(
                f"{self.source}: {folder} lacks {', '.join(missing)}; put them there uncompressed, let "
                "data.download=true fetch them, or name another data root by NFSIM_DATA or data.root"
            )
        try:
            found = getattr(datasets, self.source)(str(self.root), train=train, download=self.download)
        except OSError as error:
            raise OSError(f"{self.source}: {folder} cannot be filled or read ({error}); fill it by hand") from error
        except (RuntimeError, ValueError, EOFError, AssertionError) as error:
            raise ValueError(f"{self.source}: the files in {folder} are damaged ({error}); fetch them again") from error
        if found.data.shape[1:] != (SIDE, SIDE) or len(found.data) != len(found.targets):
            raise ValueError(
                f"{self.source}: {folder} holds images of shape {tuple(found.data.shape)}; fetch {self.source} again"
            )
        return found.data, found.targets
