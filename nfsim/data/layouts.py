"""Ways in which an image becomes a sequence. All are module-level, so that worker processes can load them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nfsim.data.randomness import shuffled

# B image of the batch, R row, C column, T time step, F feature

SIDE = 28
"""Rows and columns of an image of MNIST and its kin."""


def rows(x_BRC: Tensor) -> Tensor:
    """Steps (B, T=R, F=C): a row at a time."""
    return x_BRC


def pixels(x_BRC: Tensor) -> Tensor:
    """Steps (B, T=R*C, F=1): a pixel at a time, row after row."""
    return x_BRC.flatten(1)[:, :, None]


@dataclass(frozen=True)
class Permuted:
    """Steps (B, T=R*C, F=1): a pixel at a time, in one random order for all images, drawn from `seed`.

    Source: Le, Jaitly and Hinton 2015, arXiv:1504.00941.
    """

    seed: int

    def order(self, n: int) -> Tensor:
        """Which pixel is read at each step, (n,) int64."""
        return shuffled(n, self.seed)

    def __call__(self, x_BRC: Tensor) -> Tensor:
        x_BTF = pixels(x_BRC)
        return x_BTF[:, self.order(x_BTF.shape[1])]


def layout(name: str, permutation_seed: int = 0) -> tuple[Callable[[Tensor], Tensor], int, int]:
    """Layout by its name, with the steps and the features that it gives: rows, pixels or permuted."""
    known: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
        "rows": (rows, SIDE, SIDE),
        "pixels": (pixels, SIDE * SIDE, 1),
        "permuted": (Permuted(permutation_seed), SIDE * SIDE, 1),
    }
    if name not in known:
        raise ValueError(f"data: there is no layout {name!r}; choose one of {', '.join(known)}")
    return known[name]
