"""Training a compiled network, or any model with the same call, on a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError
from torch import nn

from nfsim import checkpoints
from nfsim.callbacks import BEST, LAST, Keeper, Speed
from nfsim.classifier import Classifier
from nfsim.consistency import ranges
from nfsim.data.abstract import AbstractData
from nfsim.errors import BuildError
from nfsim.models.kernels.memory import keep_freed_memory
from nfsim.progress import Progress
from nfsim.quiet import interruptible, quiet
from nfsim.settings import Device, TrainerSettings

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from nfsim.network import Network


@dataclass
class FitResult:
    """What training gave."""

    model: nn.Module
    """The trained model, with the weights of the epoch that was selected."""
    metrics: dict[str, float]
    """`val/accuracy`, `val/loss`, `parameters`, `seconds`, `samples_per_second`, `epoch` (selected) and `epochs`."""
    history: list[dict[str, float]] = field(repr=False)
    """A row per epoch."""


def fit(
    model: "nn.Module | Network",
    data: "AbstractData | str" = "digits",
    settings: TrainerSettings | None = None,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    resume: bool = False,
    loggers: Sequence["Logger"] = (),
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    table: bool = True,
    config: str = "",
    **changes: Any,
) -> FitResult:
    """Model trained on a dataset, with its metrics; every choice is made on the validation split.

    Parameters
    ----------
    model : Module or Network
        A network is compiled first; its initial values come from its own seed.
    data : AbstractData or str
        A dataset, or its name in `nfsim.data.DATASETS`.
    settings : TrainerSettings, optional
        How to train.
    seed : int
        Of dropout, and of the order of a dataset given by name.
    folder : path, optional
        Holds checkpoints and history; without one, nothing is written.
    resume : bool
        Go on from the last epoch in `folder`, where there is one.
    loggers, callbacks : sequences
        Lightning's, in addition.
    progress : bool
        Whether to show progress on the terminal.
    table : bool
        Whether to write history.csv.
    config : str
        JSON text of the run's settings, kept in the checkpoints.
    **changes
        Fields of `settings` to change, such as `epochs=5` or `lr=1e-3`.

    Examples
    --------
    >>> import nfsim
    >>> result = nfsim.fit(network, "digits", epochs=20)     # doctest: +SKIP
    >>> result.metrics["val/accuracy"]                       # doctest: +SKIP
    0.98
    """
    settings = _changed(settings or TrainerSettings(), changes)
    if isinstance(data, str):
        data = _dataset(data, seed)
    if not isinstance(model, nn.Module):
        from nfsim.compiler import compile

        model = compile(model, device="cpu")
    if not isinstance(data, AbstractData):
        raise TypeError(f"fit: data is a {type(data).__name__}; give a dataset, such as nfsim.data.Arrays, or its name")
    check_fit(model, data, settings)
    data.setup("fit")
    folder = None if folder is None else Path(folder)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    keeper = Keeper(settings, folder, table)
    last = _last(model, folder, keeper) if resume and folder is not None else None
    data.next_epoch = len(keeper.history)
    if len(keeper.history) < settings.epochs and not keeper.exhausted:
        _run(Classifier(model, settings, seed, config), data, keeper, last, loggers, callbacks, progress)
    _select(model, keeper)
    return FitResult(model, _metrics(model, keeper), keeper.history)


def check_fit(model: nn.Module, data: AbstractData, settings: TrainerSettings) -> None:
    """Raise `BuildError` with everything in which a model and a dataset do not fit together."""
    features, labels = getattr(model, "features", None), getattr(model, "labels", None)
    name, found = type(data).__name__, []
    if features is not None and features != data.features:
        found.append(
            f"{name}: has {data.features} features a step, the model takes {features}; declare an Input of "
            f"{data.features} features"
        )
    if labels is None:
        found.append(f"{type(model).__name__}: says no labels; give it an attribute `labels`, a tuple of names")
    elif tuple(labels) != tuple(data.labels):
        found.append(
            f"{name}: has the {len(data.labels)} labels {_few(data.labels)}, the model the {len(labels)} "
            f"{_few(labels)}; declare the Readout with the dataset's"
        )
    steps, dt = getattr(model, "steps", data.steps), getattr(getattr(model, "network", None), "dt", data.dt)
    if steps != data.steps:
        found.append(f"{name}: has {data.steps} steps, the model takes {steps}; build the model for {data.steps}")
    if not isclose(dt, data.dt):
        found.append(f"{name}: has a step every {data.dt}, the network every {dt}; declare Network(dt={data.dt})")
    if settings.energy_weight and not hasattr(model, "network"):
        found.append(
            f"energy_weight {settings.energy_weight}: {type(model).__name__} has no free energy; set the weight to 0"
        )
    if settings.guard and not hasattr(model, "guard"):
        found.append(f"guard: {type(model).__name__} is no network, and has no states to look at; leave guard off")
    if settings.device is not Device.auto and not _at_hand()[settings.device.name]:
        found.append(f"device={settings.device.name}: this machine has none that torch can use; choose auto or cpu")
    if found:
        raise BuildError(found)


def _few(labels: Sequence[str]) -> str:
    return ", ".join(map(str, labels[:4])) + (", ..." if len(labels) > 4 else "")


def _changed(settings: TrainerSettings, changes: dict[str, Any]) -> TrainerSettings:
    known = [item.name for item in fields(settings)]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise TypeError(f"fit: unknown {', '.join(unknown)}; settings are {', '.join(known)}")
    try:  # as Hydra would: the name of an option stands for it, and a value of another type is refused
        changed: TrainerSettings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(settings), changes))  # type: ignore[assignment]
    except ValidationError as error:
        name = str(error.full_key)
        raise ValueError(f"fit: {name}={changes[name]!r}: {str(error).splitlines()[0]}") from None
    if wrong := list(ranges(changed, "trainer.")):
        raise ValueError("\n".join(f"fit: {problem}" for problem in wrong))
    return changed


def _dataset(name: str, seed: int) -> AbstractData:
    from nfsim.data.registry import DATASETS

    if name not in DATASETS:
        raise ValueError(f"data: there is no dataset {name!r}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name](seed=seed)


def _last(model: nn.Module, folder: Path, keeper: Keeper) -> Path | None:
    """Checkpoint to go on from; its history goes to `keeper`."""
    path = folder / LAST
    if not path.is_file():
        return None  # interrupted before the first epoch ended: the same seeds start it again
    checkpoint = checkpoints.read(path)
    checkpoints.check(checkpoint, model, path)
    keeper.load_state_dict(checkpoint["callbacks"][keeper.state_key])
    return path


def _run(
    module: Classifier,
    data: AbstractData,
    keeper: Keeper,
    last: Path | None,
    loggers: Sequence["Logger"],
    callbacks: Sequence[Callback],
    progress: bool,
) -> None:
    device = module.settings.device
    keep_freed_memory()  # for the whole process: it halves the time of a step on long sequences
    with quiet(), interruptible() as interrupted:
        trainer = lightning.Trainer(
            accelerator=device.name if device is not Device.auto else next(k for k, v in _at_hand().items() if v),
            devices=1,
            max_epochs=module.settings.epochs,
            gradient_clip_val=module.settings.clip or None,
            callbacks=[Speed(), *([Progress()] if progress else []), *callbacks, interrupted, keeper],
            logger=list(loggers) or False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10**9,  # epochs are logged, steps are not: logging costs more than a step
            default_root_dir=keeper.folder,
        )
        module.train()
        if module.settings.guard:
            module.model.guard = True  # type: ignore[assignment]  # a module takes any attribute
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)


def _at_hand() -> dict[str, bool]:
    """Which devices torch can use, the fastest first."""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}


def _select(model: nn.Module, keeper: Keeper) -> None:
    """Give the model the weights of the chosen epoch."""
    if keeper.folder is not None:
        path = keeper.folder / BEST
        checkpoints.restore(model, checkpoints.read(path), path)
    else:
        model.load_state_dict(checkpoints.weights(keeper.weights))
    model.eval()


def _metrics(model: nn.Module, keeper: Keeper) -> dict[str, float]:
    chosen, history = keeper.chosen, keeper.history
    speeds = sorted(row["samples_per_second"] for row in history)
    return {
        "val/accuracy": chosen["val/accuracy"],
        "val/loss": chosen["val/loss"],
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "seconds": sum(row["seconds"] for row in history),
        "samples_per_second": speeds[len(speeds) // 2],
        "epoch": int(chosen["epoch"]),
        "epochs": int(history[-1]["epoch"]),
    }
