"""Files in the format of MNIST, small and random."""

import struct
from pathlib import Path

import numpy as np

from nfsim.data.images import FILES


def write_images(root: Path, train: int = 200, test: int = 30, size: int = 28, source: str = "MNIST") -> np.ndarray:
    """Write random images as those of `source` would lie under a data root, and return those of training."""
    folder = root / source / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = []
    for n, (images, labels) in zip((train, test), (FILES[:2], FILES[2:]), strict=True):
        pixels = rng.integers(0, 256, (n, size, size), dtype=np.uint8)
        (folder / images).write_bytes(struct.pack(">IIII", 2051, n, size, size) + pixels.tobytes())
        (folder / labels).write_bytes(struct.pack(">II", 2049, n) + (np.arange(n) % 10).astype(np.uint8).tobytes())
        written.append(pixels)
    return written[0]
