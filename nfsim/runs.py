"""Run folders: made, trained into, resumed and loaded."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from torch import nn

from nfsim import checkpoints
from nfsim.assembly import KINDS, make_data, make_model, resolve
from nfsim.callbacks import BEST, LAST
from nfsim.configuration import amend, read, settle
from nfsim.data.abstract import AbstractData
from nfsim.errors import BuildError
from nfsim.evaluation import judge
from nfsim.files import replacing, write_text
from nfsim.ledgers import EnergyLedger
from nfsim.network import Network
from nfsim.settings import Settings
from nfsim.training import check_fit, fit

CONFIG, METRICS, NETWORK, EVENTS = "config.yaml", "metrics.json", "network.json", "tensorboard"
RIGHT = "right.npy"
"""Which predictions on the test split were right, packed bits: what two runs are compared by, image by image."""


@dataclass
class Run:
    """A model and a dataset that belong together, and the folder of their run."""

    settings: Settings
    data: AbstractData
    model: nn.Module
    folder: Path | None = None


def prepare(settings: Settings) -> Run:
    """Dataset and model of settings, checked against each other; the data is read, nothing is written."""
    data = make_data(settings)
    resolve(settings, data)
    model = make_model(settings, data)
    check_fit(model, data, settings.trainer)
    data.setup("fit")
    return Run(settings, data, model)


def new_folder(settings: Settings, folder: Path | None = None) -> Path:
    """Make a folder RUNS/DATE-NAME that did not exist, or take the empty `folder`; raises OSError where it cannot."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        name = settings.name or f"{settings.model.name}-{settings.data.name}"
        parent = Path(settings.runs).expanduser()
        parent.mkdir(parents=True, exist_ok=True)
        for k in count(1):
            end = f"-{k}" if k > 1 else ""
            folder = parent / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{name}{end}"
            with suppress(FileExistsError):
                folder.mkdir()
                break
        assert folder is not None
        return folder
    except OSError as error:
        raise OSError(
            f"runs={settings.runs}: cannot make a folder there ({error.strerror}); give another by runs=FOLDER"
        ) from error


def train(run: Run, *, resume: bool = False) -> dict[str, Any]:
    """Train in the folder of `run`, evaluate once on the test split, and return what metrics.json then holds."""
    folder, settings = run.folder, run.settings
    assert folder is not None
    config = OmegaConf.structured(settings)
    if resume:
        _check_resume(run, folder)
    write_text(folder / CONFIG, OmegaConf.to_yaml(config))
    network = getattr(run.model, "network", None)
    if isinstance(network, Network):
        write_text(folder / NETWORK, network.to_json(indent=1))
    result = fit(
        run.model,
        run.data,
        settings.trainer,
        seed=settings.seed,
        folder=folder,
        resume=resume,
        loggers=[_tensorboard(folder)] if settings.logger.tensorboard else [],
        callbacks=_ledger(run, folder),
        progress=settings.logger.progress,
        table=settings.logger.csv,
        config=json.dumps(OmegaConf.to_container(config, enum_to_str=True)),
    )
    test, right = judge(result.model, run.data, "test")
    metrics = result.metrics | test
    with replacing(folder / RIGHT) as temporary, open(temporary, "wb") as file:
        np.save(file, np.packbits(right))
    write_text(folder / METRICS, json.dumps(metrics, indent=1) + "\n")
    return metrics


def _check_resume(run: Run, folder: Path) -> None:
    """Raise `BuildError` where there is nothing to resume, before anything of the run is overwritten."""
    path, epochs = folder / LAST, run.settings.trainer.epochs
    if not path.is_file():
        return
    checkpoint = checkpoints.read(path)
    checkpoints.check(checkpoint, run.model, path)
    done = checkpoint["epoch"] + 1
    if done >= epochs and (folder / METRICS).is_file():
        raise BuildError(f"{folder}: all {done} epochs are done; give more by trainer.epochs={done + 10}, say")


def _tensorboard(folder: Path) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version=EVENTS)


def _ledger(run: Run, folder: Path) -> list[EnergyLedger]:
    """Free-energy ledger of a model that has one, on the first samples of the validation split."""
    count = run.settings.logger.energy
    if not count or run.settings.model.name != "network":
        return []
    x, target, lengths = run.data.samples("validation")
    x = run.data.layout(x[:count]).float()
    return [EnergyLedger(folder, (x, target[:count], None if lengths is None else lengths[:count]))]


def stored(folder: str | Path, overrides: Iterable[str] = ()) -> Settings:
    """Return the settings that a run stored, with overrides such as `data.root=/data` on top."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        what = f"holds no {CONFIG}, so it is no run" if folder.is_dir() else "there is no such run"
        raise FileNotFoundError(f"{folder}: {what}; name a folder that nfsim train made")
    return settle(amend(read(folder / CONFIG), overrides))


def reopen(folder: str | Path, overrides: Iterable[str] = (), checkpoint: str = "best") -> Run:
    """Return a run with the weights of its `checkpoint`, "best" or "last"; its dataset is not read yet."""
    folder = Path(folder)
    settings = stored(folder, overrides)
    data = make_data(settings)
    model = make_model(settings, data)
    check_fit(model, data, settings.trainer)
    path = folder / {"best": BEST, "last": LAST}[checkpoint]
    checkpoints.restore(model, checkpoints.read(path), path)
    return Run(settings, data, model.eval(), folder)


def load(path: str | Path) -> nn.Module:
    """Trained model of a run folder (its best epoch) or of one checkpoint, from what the checkpoint itself says.

    Examples
    --------
    >>> import nfsim
    >>> model = nfsim.load("runs/2026-01-31_12-00-00-network-digits")     # doctest: +SKIP
    """
    path = Path(path)
    if path.is_dir():
        path = path / BEST
    checkpoint = checkpoints.read(path)
    kind = checkpoint[checkpoints.KEY]["kind"]
    if kind not in KINDS or not checkpoint[checkpoints.KEY]["declaration"]:
        raise ValueError(
            f"{path}: holds the weights of a {kind}, which nfsim cannot build; build it and pass the weights to it"
        )
    model = KINDS[kind](checkpoint[checkpoints.KEY]["declaration"])
    checkpoints.restore(model, checkpoint, path)
    return model.eval()
