"""What settings may hold: the range of each, and the rules between them."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from math import inf, isfinite
from typing import Any

from nfsim.settings import ImagesSettings, Settings

DECLARED = ("network", "ctm", "ode")
"""Models of a declared network."""


def problems(settings: Settings) -> list[str]:
    """Return every rule that a run's settings break, each as key, value, rule, cure."""
    return [*ranges(settings, ""), *_combinations(settings)]


# key: (least, most, whether the least itself is allowed); most is never allowed
_RANGES: dict[str, tuple[float, float, bool]] = {
    "seed": (0, 2**63, True),
    "data.batch": (1, inf, True),
    "data.evaluation_batch": (1, inf, True),
    "data.workers": (0, inf, True),
    "data.shift": (0, inf, True),
    "data.rotate": (0, 180, True),
    "data.zoom": (0, 1, True),
    "data.validation": (1, 60_000, True),
    "data.limit": (0, 60_000, True),
    "data.split_seed": (0, 2**63, True),
    "data.permutation_seed": (0, 2**63, True),
    "network.ticks": (1, inf, True),
    "network.sensory": (1, inf, True),
    "network.prefrontal": (1, inf, True),
    "network.motor": (0, inf, True),
    "network.dropout": (0, 1, True),
    "network.rank": (1, inf, True),
    "network.nuclei": (0, inf, True),
    "network.key": (1, inf, True),
    "network.neighbours": (0, inf, True),
    "network.coupling": (0, inf, True),
    "network.amplitude": (0, inf, False),
    "network.tau": (0, inf, False),
    "model.dropout": (0, 1, True),
    "model.pairs": (1, inf, True),
    "model.rtol": (0, inf, False),
    "model.atol": (0, inf, False),
    "trainer.epochs": (1, inf, True),
    "trainer.lr": (0, inf, False),
    "trainer.warmup": (0, 1, True),
    "trainer.weight_decay": (0, inf, True),
    "trainer.clip": (0, inf, True),
    "trainer.label_smoothing": (0, 1, True),
    "trainer.energy_weight": (0, inf, True),
    "trainer.confidence_weight": (0, inf, True),
    "trainer.patience": (0, inf, True),
    "logger.energy": (0, inf, True),
}


def ranges(settings: Any, prefix: str) -> Iterator[str]:
    """Every value out of its range, of settings whose keys begin with `prefix`."""
    for item in fields(settings):
        key, value = f"{prefix}{item.name}", getattr(settings, item.name)
        if is_dataclass(value):
            yield from ranges(value, f"{key}.")
        elif isinstance(value, float) and not isfinite(value):
            yield f"{key}={value}: not a finite number; give one"
        elif value is not None and key in _RANGES:
            least, most, closed = _RANGES[key]
            if not (least <= value if closed else least < value) or value >= most:
                span = f"{'>=' if closed else '>'} {least}" + (f" and < {most}" if most < inf else "")
                yield f"{key}={value}: must be {span}; change it"


def _units(settings: Settings) -> Iterator[str]:
    """Sizes of layers, of which a model has one or a list."""
    for key in ("hidden", "channels"):
        value = getattr(settings.model, key, None)
        if any(units < 1 for units in (value if isinstance(value, list) else [1 if value is None else value])):
            yield f"model.{key}={value}: every layer needs at least one unit; remove or raise the others"


def _combinations(settings: Settings) -> Iterator[str]:
    network, model, trainer = settings.network.name, settings.model.name, settings.trainer
    if model in DECLARED and network == "none":
        yield f"model={model} needs a declaration; choose network=hierarchy or another"
    if model not in DECLARED and network != "none":
        yield f"network={network}: model={model} takes no network; leave network out"
    if model != "network" and trainer.energy_weight:
        yield (
            f"trainer.energy_weight={trainer.energy_weight}: model={model} has no free energy; "
            "set it to 0 or train model=network"
        )
    yield from _units(settings)
    if 0 < trainer.epochs <= trainer.patience:
        yield (
            f"trainer.patience={trainer.patience}: never runs out in {trainer.epochs} epochs; "
            "give fewer, or 0 to train them all"
        )
    if isinstance(settings.data, ImagesSettings) and settings.data.validation + settings.data.limit > 60_000:
        yield (
            f"data.limit={settings.data.limit}: only {60_000 - settings.data.validation} training images are left "
            "beside validation; lower one of them"
        )
    if "/" in settings.name or "\\" in settings.name or settings.name.startswith("."):
        yield f"name={settings.name}: not the name of a folder; leave out slashes and the leading dot"
