"""Free energy over training, next to accuracy: a table in the run folder that grows by one epoch at a time."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback

from nfsim.callbacks import as_csv
from nfsim.files import write_text
from nfsim.losses import ENERGIES, valid_steps

if TYPE_CHECKING:
    import xarray as xr

LEDGER = "ledger.csv"
"""Name within a run folder."""

_PARTS = ("accuracy", "complexity", "free_energy")
_VALUES = 2**21
"""Most values of one variable in a forward pass: a model holds some twenty such arrays of 8 MB."""


class EnergyLedger(Callback):
    """Free energy of a model after each epoch, by region, beside its accuracy on the validation split.

    The same few samples are looked at after every epoch, without gradients and without random numbers, so training is
    the same with and without it. A row of `ledger.csv` holds epoch, region, accuracy and complexity (the parts of the
    free energy, nat, means over samples, valid ticks and nodes), their sum, and the share of correct predictions.

    Parameters
    ----------
    folder : path
        Where to write.
    data : tuple
        `(x, target)` or `(x, target, lengths)`, x (trial, time, feature).
    """

    def __init__(self, folder: str | Path, data: tuple[Any, ...]) -> None:
        self.path = Path(folder) / LEDGER
        self.x, self.lengths = data[0], data[2] if len(data) > 2 else None
        self.rows: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Add the energies of this epoch, and write the ledger so far."""
        epoch, correct = trainer.current_epoch + 1, trainer.callback_metrics.get("val/accuracy")
        self.rows = [row for row in self.rows if row["epoch"] < epoch]
        for region, parts in energies(module.model, self.x, self.lengths).items():
            row = {"epoch": epoch, "region": region, **dict(zip(_PARTS, (*parts, sum(parts)), strict=True))}
            self.rows.append(row | ({} if correct is None else {"correct": float(correct)}))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, as_csv(self.rows))

    def state_dict(self) -> dict[str, Any]:
        """Rows so far, in plain types."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the run that is resumed."""
        self.rows = list(state_dict["rows"])


def energies(model: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> dict[str, tuple[float, float]]:
    """Mean accuracy and complexity (nat) of each region's nodes over samples and valid ticks; in order of appearance.

    Parameters
    ----------
    model : compiled model
    x : (trial, time, feature)
    lengths : (trial,), steps; optional
        Ticks of later steps are left out.
    """
    region = model.node_coords()["region"].tolist()
    steps, ticks = x.shape[1], int(model.network.ticks)
    device = next(model.parameters()).device
    each = max(1, _VALUES // (steps * ticks * len(region)))
    total, count, training = torch.zeros(2, len(region), dtype=torch.float64), 0, model.training
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(x), each):
                part = x[start : start + each].to(device)
                ends = None if lengths is None else lengths[start : start + each].to(device)
                record = model(part, lengths=ends, record=ENERGIES).record
                valid = valid_steps(steps * ticks, None if ends is None else ends * ticks, len(part))
                total += torch.stack([record[name].cpu()[valid.cpu()].sum(0, dtype=torch.float64) for name in ENERGIES])
                count += int(valid.sum())
    finally:
        model.train(training)
    mean = (total / count).numpy()
    nodes = {name: [k for k, other in enumerate(region) if other == name] for name in dict.fromkeys(region)}
    return {str(name): (float(mean[0, at].mean()), float(mean[1, at].mean())) for name, at in nodes.items()}


def read_ledger(path: str | Path) -> xr.Dataset:
    """Return the ledger of a run (its folder, or the file), as `nfsim.analysis.energy_ledger` gives one.

    Returns
    -------
    Dataset
        `accuracy`, `complexity`, `free_energy` (nat) on `epoch` and `region`, and `correct` (share) on `epoch`.
    """
    import numpy as np
    import xarray as xr

    path = Path(path)
    path = path / LEDGER if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such ledger; nfsim train writes one where logger.energy is above 0")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"epoch", "region", *_PARTS} <= set(rows[0]):
        raise ValueError(f"{path}: not a free-energy ledger; it needs columns epoch, region, {', '.join(_PARTS)}")
    regions = list(dict.fromkeys(row["region"] for row in rows))
    first = rows[:: len(regions)]
    units = {"units": "nat", "source": "Feldman & Friston 2010"}
    ledger = xr.Dataset(coords={"epoch": [int(row["epoch"]) for row in first], "region": regions})
    for name in _PARTS:
        values = np.array([float(row[name]) for row in rows]).reshape(len(first), len(regions))
        ledger[name] = (("epoch", "region"), values, {**units, "long_name": name.replace("_", " ")})
    if "correct" in rows[0]:
        attrs = {"units": "1", "long_name": "share of correct predictions"}
        ledger["correct"] = ("epoch", [float(row["correct"]) for row in first], attrs)
    return ledger
