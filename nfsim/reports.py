"""What happens after training: the recording of a run, and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nfsim._record import record
from nfsim.ledgers import LEDGER, read_ledger
from nfsim.recording import open

RECORDING, PLOTS = "recording.zarr", "plots"
"""Names within a run folder."""


def record_run(
    run: str | Path,
    *,
    split: str = "validation",
    samples: int = 64,
    variables: Sequence[str] = ("z", "gain", "nucleus_gain", "logits", "steady"),
    every: int = 1,
    online: Sequence[str] = (),
    to: str | Path | None = None,
    resume: bool = False,
) -> xr.Dataset:
    """Record the trained model of a run on samples of its own data, into the run folder, and return the recording.

    Parameters
    ----------
    run : path
        Folder that `nfsim train` made; its best epoch is recorded.
    split : str
        "train", "validation" or "test".
    samples : int
        How many samples, from the first on.
    variables, every, online, resume
        As in `nfsim.record`.
    to : path, optional
        Store to write; by default `recording.zarr` in the run folder.
    """
    from nfsim.runs import load, reopen

    folder = Path(run)
    opened = reopen(folder)
    model = load(folder)
    x, target, lengths = opened.data.samples(split)
    if samples < 1:
        raise ValueError(f"samples={samples}: give a number from 1 to {len(x)}, the {split} split's size")
    config = (folder / "config.yaml").read_text()
    rest = [None if part is None else part[:samples] for part in (target, lengths)]
    data = (opened.data.layout(x[:samples]).float(), *rest)
    store = folder / RECORDING if to is None else Path(to)
    return record(model, data, variables=variables, every=every, to=store, online=online, resume=resume, config=config)


def plot_run(run: str | Path, *, trial: int = 0, to: str | Path | None = None, dpi: int = 120) -> list[Path]:
    """Draw the standard pictures of a recording into PNG files, and return their paths.

    Rates, phases, thalamic gain, regions, motor sectors and readout with the correct class marked, order parameters,
    the phase-locking matrix by region, and the free-energy ledger: each where the recording holds what it needs.

    Parameters
    ----------
    run : path
        A run folder with a recording in it, a zarr store, or a netCDF file.
    trial : int
        Which sample to draw.
    to : path, optional
        Folder for the pictures; by default `plots` in the run folder, or beside the store.
    dpi : int
        Dots per inch.
    """
    run = Path(run)
    store = run / RECORDING if run.is_dir() and not (run / "zarr.json").exists() else run
    if not store.exists():
        raise FileNotFoundError(f"{run}: holds no {RECORDING}; make it with nfsim record {run}")
    ds = open(store)
    folder = Path(to) if to is not None else store.parent / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    if "trial" in ds.dims and not -ds.sizes["trial"] <= trial < ds.sizes["trial"]:
        raise ValueError(f"trial={trial}: the recording has trials 0 to {ds.sizes['trial'] - 1}")
    ledger = store.parent / LEDGER
    return _draw(ds, trial, read_ledger(ledger) if ledger.is_file() else None, folder, dpi)


def _draw(ds: xr.Dataset, trial: int, ledger: xr.Dataset | None, folder: Path, dpi: int) -> list[Path]:
    import matplotlib

    # a picture file needs no display
    matplotlib.use("agg", force=False)
    from matplotlib import pyplot

    from nfsim import analysis

    drawn: list[Path] = []

    def picture(name: str, function: Any, *args: Any, **arguments: Any) -> None:
        ax = function(*args, **arguments)
        ax.figure.savefig(folder / f"{name}.png", dpi=dpi, bbox_inches="tight")
        pyplot.close(ax.figure)
        drawn.append(folder / f"{name}.png")

    if "z" in ds:
        picture("rate", analysis.plot_rate, ds, trial=trial)
        picture("phase", analysis.plot_phase, ds, trial=trial)
        picture("regions", analysis.plot_regions, ds, trial=None if "trial" in ds.dims else 0)
        picture("order", analysis.plot_order, ds, trial=trial)
        if _motor_sectors(ds):
            picture("motor", analysis.plot_motor, ds, trial=trial)
        samples = tuple(dim for dim in ("trial", "time") if dim in ds["z"].dims)
        if np.prod([ds.sizes[dim] for dim in samples]) > 1:
            picture("plv", analysis.plot_matrix, analysis.plv(ds, over=samples).compute())
    if "logits" in ds:
        picture("readout", analysis.plot_readout, ds, trial=trial)
    if "gain" in ds or "nucleus_gain" in ds:
        picture("gain", analysis.plot_gain, ds, trial=trial)
    if ledger is not None:
        picture("ledger", analysis.plot_ledger, ledger)
    return drawn


def _motor_sectors(ds: xr.Dataset) -> bool:
    """Return whether there is a region `motor` with several sectors."""
    if not {"region", "sector"} <= set(ds.coords):
        return False
    return np.unique(ds["sector"].values[ds["region"].values == "motor"]).size > 1
