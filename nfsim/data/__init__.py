"""Datasets as LightningDataModules that say their `features`, `labels`, `steps` and `dt` before anything is read.

`DATASETS` maps the name given to `nfsim train data=NAME` to its class. A dataset of one's own is `Arrays`, or a class
that derives from `AbstractData`. Names load on first use, so that a loader's worker process imports no Lightning.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "AbstractData": "nfsim.data.abstract",
    "Arrays": "nfsim.data.arrays",
    "Batch": "nfsim.data.batches",
    "DATASETS": "nfsim.data.registry",
    "Digits": "nfsim.data.digits",
    "FashionMNIST": "nfsim.data.mnist",
    "KMNIST": "nfsim.data.mnist",
    "MNIST": "nfsim.data.mnist",
    "MNISTFeatures": "nfsim.data.features",
    "data_root": "nfsim.data.roots",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"nfsim.data has no {name!r}; it has {', '.join(_WHERE)}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
