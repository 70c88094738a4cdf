"""Checkpoints: tensors, plain values and JSON text, tied to the declaration whose weights they hold."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import nfsim
from nfsim.errors import BuildError

KEY = "nfsim"
"""Entry of a checkpoint that is ours; the others are Lightning's."""
SHOWN = 5
"""Differences that a message names before it counts the rest."""


def declaration(model: nn.Module) -> str:
    """JSON text that a model can be built from again: its network's, else what its own `to_json` gives; else ""."""
    declared: Any = getattr(model, "network", model)
    return declared.to_json() if hasattr(declared, "to_json") else ""


def digest(text: str) -> str:
    """SHA-256 of a declaration, the same as `Network.digest`."""
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(model: nn.Module, config: str = "") -> dict[str, Any]:
    """What a checkpoint says of the model it holds, in plain types.

    `declaration` (JSON text) and its `digest`, `kind` ("network", or the name of the class), `labels`, `features`,
    `config` (JSON text of the run's settings, where there was a run) and the `version` of nfsim.
    """
    text = declaration(model)
    return {
        "version": nfsim.__version__,
        "kind": "network" if hasattr(model, "network") else type(model).__name__,
        "declaration": text,
        "digest": digest(text),
        "labels": [str(label) for label in getattr(model, "labels", ())],
        "features": int(getattr(model, "features", 0)),
        "config": config,
    }


def read(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint, on the CPU; nothing but tensors and plain values is ever unpickled."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such checkpoint; name a run folder or a .ckpt file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises many types for files that are cut short, foreign or unsafe
        raise ValueError(
            f"{path}: not a readable checkpoint ({type(error).__name__}): damaged, or not of tensors and plain values; "
            "use another, or train again"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(KEY), dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path}: a checkpoint, but not of nfsim; use one that nfsim train wrote")
    return checkpoint


def check(checkpoint: dict[str, Any], model: nn.Module, path: str | Path) -> None:
    """Raise `BuildError` with the differences, where the weights belong to another declaration than the model's."""
    stored, here = checkpoint[KEY], stamp(model)
    if stored["digest"] == here["digest"] and stored["kind"] == here["kind"]:
        return
    if stored["kind"] != here["kind"]:
        found = [f"a {stored['kind']} there, a {here['kind']} here"]
    else:
        found = list(differences(json.loads(stored["declaration"] or "{}"), json.loads(here["declaration"] or "{}")))
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    raise BuildError(
        f"{path}: its weights belong to another network than the one declared here: "
        f"{'; '.join([*found[:SHOWN], *more])}; declare the same, or train anew"
    )


def restore(model: nn.Module, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Load a checkpoint's weights into a model of the same declaration."""
    check(checkpoint, model, path)
    try:
        model.load_state_dict(weights(checkpoint["state_dict"]))
    except RuntimeError as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{path}: its weights do not fit the model ({line}); train again with this version") from error


def weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the part of a training state that belongs to the model itself."""
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def differences(there: Any, here: Any, where: str = "") -> Iterator[str]:
    """Each place where two JSON values differ, as "place: value there, value here"; parts of a list go by name."""
    if isinstance(there, list) and isinstance(here, list):
        there, here = _by_name(there), _by_name(here)
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*there, *here]):
            yield from differences(there.get(key), here.get(key), f"{where}.{key}" if where else key)
    elif there != here:
        yield f"{where}: {_short(there)} there, {_short(here)} here"


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {
        str(item["name"]) if isinstance(item, dict) and "name" in item else str(i): item for i, item in enumerate(items)
    }


def _short(value: Any) -> str:
    if value is None:
        return "default or absent"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
