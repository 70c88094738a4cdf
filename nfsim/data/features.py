"""MNIST as a frozen backbone sees it: 49 features an image, whole or in chunks."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nfsim.backbones import read_backbone
from nfsim.data.abstract import AbstractData
from nfsim.data.batches import Batch
from nfsim.data.mnist import MNIST
from nfsim.files import replacing
from nfsim.models.cnn import CNN

SIDE = 7
"""Rows and columns of the last maps of the backbone, for images of 28 x 28 pixels."""


class MNISTFeatures(AbstractData):
    """Mean over channels of the last 7 x 7 maps of a frozen CNN: one step of 49 features, or 7 steps of 7, row by row.

    Each feature is standardised by its mean and standard deviation over the training images that are not for
    validation, all of them whatever `limit` says. The features of all images are computed once and kept beside the
    backbone, in `features-MNIST-train.pt` and `features-MNIST-test.pt` of its run, and computed anew where backbone or
    images have changed. With augmentation, those of the training split are computed batch by batch instead, from the
    images as they were changed.

    Parameters
    ----------
    backbone : path
        Run folder of a CNN. It must have set apart the same validation images: a backbone that has seen them in
        training would make every head look better there than it is.
    steps : int
        1, or 7 for a row of the map a step.
    root, download, validation, limit, split_seed
        Of `MNIST`.
    **loading
        Parameters of `AbstractData`.
    """

    labels = MNIST.labels

    def __init__(
        self,
        *,
        backbone: str | Path | None = None,
        steps: int = 1,
        root: str | Path | None = None,
        download: bool = False,
        validation: int = 5000,
        limit: int = 0,
        split_seed: int = 0,
        **loading: Any,
    ):
        super().__init__(**loading)
        if steps not in (1, SIDE):
            raise ValueError(f"MNISTFeatures: steps {steps} is neither 1 nor {SIDE}; choose one")
        self.backbone, self.steps, self.features = backbone, steps, SIDE * SIDE // steps
        self.images = MNIST(
            root=root, download=download, validation=validation, limit=limit, split_seed=split_seed, **loading
        )
        self._standard: Standard | None = None

    @property
    def layout(self) -> "Standard":
        """Inputs (B, T, F) of samples as `read` stores them, and of images."""
        return self.standard()

    def read(self, split: str) -> Batch:
        """Samples of a split: standardised features (sample, 49), or images where training changes them."""
        standard = self.standard()
        if self.augmentation and split == "train":
            return self.images.read(split)
        raw, target = self._raw(standard.backbone, train=split != "test")
        chosen = self.images.chosen(split, len(raw))
        return Batch(standard.of(raw[chosen]), target[chosen])

    def standard(self) -> "Standard":
        """Backbone and standardisation, read once."""
        if self._standard is None:
            backbone, config = read_backbone(self.backbone, "data.backbone")
            self._check_split(config.get("data", {}))
            raw, _ = self._raw(backbone, train=True)
            ours = torch.ones(len(raw), dtype=torch.bool)
            ours[self.images.chosen("validation", len(raw))] = False
            self._standard = Standard(backbone, raw[ours].mean(0), raw[ours].std(0), self.steps)
        return self._standard

    def _check_split(self, there: dict[str, Any]) -> None:
        here = {"split_seed": self.images.split_seed, "validation": self.images.validation}
        for key, value in here.items():
            if there.get(key, value) != value:
                raise ValueError(
                    f"data.{key}={value}: the backbone {self.backbone} was trained with data.{key}={there[key]}, on "
                    "images that are for validation here; give both the same"
                )

    def _raw(self, backbone: CNN, train: bool) -> tuple[Tensor, Tensor]:
        """Features (sample, 49) of all images of a file as the backbone gives them, and targets."""
        pixels, target = self.images.images(train)
        assert self.backbone is not None  # a backbone was read
        path = Path(self.backbone).expanduser() / f"features-{self.images.source}-{'train' if train else 'test'}.pt"
        digest = _digest(backbone, pixels)
        kept = _kept(path, digest)
        if kept is None:
            kept = backbone.channel_mean(pixels.to(torch.float32) / 255)
            try:
                with replacing(path) as temporary:
                    torch.save({"digest": digest, "features": kept}, temporary)
            except OSError as error:
                warnings.warn(
                    f"{path}: cannot be written ({error.strerror}), so the features are computed again at each start; "
                    "make the folder writable",
                    stacklevel=2,
                )
        return kept, target


class Standard:
    """Layout of what `MNISTFeatures` stores: images or standardised features -> steps (B, T, F).

    Parameters
    ----------
    backbone : CNN
    mean, scale : (49,)
        And standard deviation, of each feature.
    steps : T
    """

    def __init__(self, backbone: CNN, mean: Tensor, scale: Tensor, steps: int):
        self.backbone, self.mean, self.scale, self.steps = backbone, mean, scale, steps

    def of(self, raw: Tensor) -> Tensor:
        """Features (B, 49) with mean 0 and standard deviation 1."""
        return (raw - self.mean) / self.scale

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            x = self.of(self.backbone.channel_mean(x))
        return x.view(len(x), self.steps, -1)


def _digest(backbone: CNN, pixels: Tensor) -> str:
    """SHA-256 of the weights of a backbone and of the images that it reads."""
    found = hashlib.sha256(pixels.contiguous().numpy().data)
    for name, value in sorted(backbone.backbone.state_dict().items()):
        found.update(name.encode())
        found.update(value.contiguous().numpy().data)
    return found.hexdigest()


def _kept(path: Path, digest: str) -> Tensor | None:
    """Features that were kept for this backbone and these images; None where there are none."""
    if not path.is_file():
        return None
    try:
        stored = torch.load(path, weights_only=True)
        return stored["features"] if stored["digest"] == digest else None
    except Exception:  # whatever else lies there, the features can be computed anew
        return None
