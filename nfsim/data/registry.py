"""Datasets by the name that the command line uses."""

from nfsim.data.abstract import AbstractData
from nfsim.data.digits import Digits
from nfsim.data.mnist import MNIST

DATASETS: dict[str, type[AbstractData]] = {"digits": Digits, "mnist": MNIST}
