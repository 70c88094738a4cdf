"""MNIST, read row by row."""

from pathlib import Path
from typing import Any

import torch

from nfsim.data.abstract import AbstractData
from nfsim.data.batches import Batch
from nfsim.data.randomness import shuffled
from nfsim.data.roots import data_root

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class MNIST(AbstractData):
    """70,000 digits of 28 x 28 pixels, a row at a time: 28 steps of 28 features in [0, 1] (grey levels over 255).

    The validation split is drawn from the 60,000 training images by `split_seed`; the 10,000 test images stay apart.

    Source: LeCun, Bottou, Bengio and Haffner 1998, Proc. IEEE 86:2278.

    Parameters
    ----------
    root : path
        Data root that holds `MNIST/raw`; by default `NFSIM_DATA`, else `~/.cache/nfsim`.
    download : bool
        Let torchvision download what is missing.
    validation : int, images
        Training images set apart for validation.
    limit : int, images
        Training images to use, 0 for all that validation leaves.
    split_seed : int
        Of the draw of validation images.
    **loading
        `batch`, `evaluation_batch`, `workers`, `shift` and `seed` of `AbstractData`.
    """

    features = 28
    labels = tuple("0123456789")
    steps = 28

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        download: bool = False,
        validation: int = 5000,
        limit: int = 0,
        split_seed: int = 0,
        **loading: Any,
    ):
        super().__init__(**loading)
        if not 1 <= validation < 60_000:
            raise ValueError(f"MNIST: validation {validation} is not in [1, 59999]; leave images on both sides")
        if not 0 <= limit <= 60_000 - validation:
            raise ValueError(f"MNIST: limit {limit} is not in [0, {60_000 - validation}]; 0 uses all training images")
        self.root, self.download = data_root(root), download
        self.validation, self.limit, self.split_seed = validation, limit, split_seed

    def read(self, split: str) -> Batch:
        """Samples of a split, as images."""
        pixels, target = self._images(train=split != "test")
        if split == "test":
            return Batch(pixels.to(torch.float32) / 255, target)
        order = shuffled(len(pixels), self.split_seed)
        end = self.validation + self.limit if self.limit else len(pixels)
        chosen = order[: self.validation] if split == "validation" else order[self.validation : end]
        return Batch(pixels[chosen].to(torch.float32) / 255, target[chosen])

    def _images(self, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (sample, 28, 28) uint8 and targets; torchvision finds, downloads and parses, no more."""
        from torchvision import datasets

        folder = self.root / "MNIST" / "raw"
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing and not self.download:
            raise FileNotFoundError(
                f"MNIST: {folder} lacks {', '.join(missing)}; put them there uncompressed, let "
                "data.download=true fetch them, or name another data root by NFSIM_DATA or data.root"
            )
        try:
            images = datasets.MNIST(str(self.root), train=train, download=self.download)
        except OSError as error:
            raise OSError(f"MNIST: {folder} cannot be filled or read ({error}); fill it by hand") from error
        except (RuntimeError, ValueError, EOFError, AssertionError) as error:
            raise ValueError(f"MNIST: the files in {folder} are damaged ({error}); fetch them again") from error
        if images.data.shape[1:] != (28, 28) or len(images.data) != len(images.targets):
            raise ValueError(f"MNIST: {folder} holds images of shape {tuple(images.data.shape)}; fetch MNIST again")
        return images.data, images.targets
