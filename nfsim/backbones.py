"""The frozen backbone of the two-stage recipe: a trained CNN, read from its run folder."""

import json
from pathlib import Path
from typing import Any

from nfsim import checkpoints
from nfsim.callbacks import BEST
from nfsim.models.cnn import CNN

RECIPE = "nfsim train model=cnn data=mnist_rows data.shift=1 trainer.epochs=8"
"""Trains a backbone."""


def read_backbone(run: str | Path | None, key: str) -> tuple[CNN, dict[str, Any]]:
    """Trained CNN of a run folder, and the settings that the run had; `key` is the setting that names the run.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no such run, or it holds another model, with the command that trains one.
    """
    if not run:
        raise ValueError(f"{key}: not given; name the run folder of a CNN, which this makes: {RECIPE}")
    path = Path(run).expanduser() / BEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{key}={run}: there is no {BEST} in it; name the run folder of a CNN, which this makes: {RECIPE}"
        )
    checkpoint = checkpoints.read(path)
    stamp = checkpoint[checkpoints.KEY]
    if stamp["kind"] != CNN.__name__:
        raise ValueError(
            f"{key}={run}: holds a {stamp['kind']}, not a CNN; name the run of one, which this makes: {RECIPE}"
        )
    model = CNN.from_json(stamp["declaration"])
    checkpoints.restore(model, checkpoint, path)
    return model.eval(), json.loads(stamp["config"] or "{}")
