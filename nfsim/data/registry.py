"""Datasets by the name that the command line uses."""

from collections.abc import Callable
from functools import partial

from nfsim.data.abstract import AbstractData
from nfsim.data.digits import Digits
from nfsim.data.features import MNISTFeatures
from nfsim.data.mnist import KMNIST, MNIST, FashionMNIST

DATASETS: dict[str, Callable[..., AbstractData]] = {
    "digits": Digits,
    "mnist": MNIST,
    "mnist_rows": MNIST,
    "mnist_pixels": partial(MNIST, layout="pixels"),
    "mnist_permuted": partial(MNIST, layout="permuted"),
    "mnist_frame": MNISTFeatures,
    "mnist_chunks": partial(MNISTFeatures, steps=7),
    "fashion_mnist": FashionMNIST,
    "kmnist": KMNIST,
}
