"""What the commands do once their arguments are read."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nfsim.arguments import UsageError
from nfsim.errors import BuildError


def train(words: Sequence[str]) -> None:
    """Train one run in a new folder."""
    from nfsim.configuration import compose, settle

    _train(settle(compose(words)))


def resume(folder: str, words: Sequence[str]) -> None:
    """Go on with a run where it stopped."""
    from nfsim.runs import prepare, stored

    run = prepare(stored(folder, words))
    run.folder = Path(folder)
    _finish(run, resume=True)


def _train(settings: Any, folder: Path | None = None) -> None:
    from nfsim.runs import new_folder, prepare

    run = prepare(settings)
    run.folder = new_folder(settings, folder)
    _finish(run)


def _finish(run: Any, resume: bool = False) -> None:
    from nfsim.runs import train

    console = Console(highlight=False)
    name = run.settings.network.name if hasattr(run.model, "network") else run.settings.model.name
    console.print(f"{name} on {run.settings.data.name}, seed {run.settings.seed}, in {run.folder}", soft_wrap=True)
    try:
        metrics = train(run, resume=resume)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; nfsim train resume={run.folder} goes on from the last epoch") from None
    console.print(_table([(f"{name}, {run.settings.data.name}", metrics)]))


def sweep(words: Sequence[str]) -> None:
    """Train every combination, through Hydra, so that its sweepers and launchers can be used."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, open_dict

    from nfsim.configuration import compose, expand, settle

    lines, jobs = expand(words)
    settings, found = None, dict[str, None]()
    for job in jobs or [[]]:  # what is wrong with any run is said before the first starts
        try:
            settings = settle(compose(job))
        except BuildError as error:
            found |= dict.fromkeys(error.problems)
    if found or settings is None:
        raise BuildError(found)
    folder = Path(settings.runs).expanduser() / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-sweep"

    def run(config: DictConfig) -> None:
        with open_dict(config):
            config.pop("hydra", None)
        _train(settle(config), Path(HydraConfig.get().runtime.output_dir))

    arguments, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["nfsim train", "-m", *lines]
    if not any(line.startswith("hydra.sweep.dir=") for line in lines):
        sys.argv.append(f'hydra.sweep.dir="{folder}"')
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here as they are, instead of as a printed traceback
    try:
        hydra.main(version_base="1.3", config_path="pkg://nfsim.conf", config_name="config")(run)()
    finally:
        sys.argv = arguments
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
    done = [(i, folder / str(i) / "metrics.json") for i in range(len(jobs))]
    same = set.intersection(*map(set, jobs)) if jobs else set()
    rows = [
        (" ".join(word for word in jobs[i] if word not in same), json.loads(path.read_text()))
        for i, path in done
        if path.is_file()
    ]
    if rows:
        Console(highlight=False).print(_table(rows))


def evaluate(folder: str, words: Iterable[str], split: str, checkpoint: str) -> None:
    """Print accuracy and loss of a run's model on a split."""
    for name, value, choices in (
        ("split", split, ("train", "validation", "test")),
        ("checkpoint", checkpoint, ("best", "last")),
    ):
        if value not in choices:
            raise UsageError(f"evaluate: --{name} {value!r} is none of {', '.join(choices)}; choose one")
    from nfsim.evaluation import evaluate
    from nfsim.runs import reopen

    run = reopen(folder, words, checkpoint)
    metrics = evaluate(run.model, run.data, split)
    console = Console(highlight=False)
    console.print(f"{checkpoint} checkpoint of {folder}", soft_wrap=True)
    table = Table("split", "samples", "accuracy", "loss")
    table.add_row(
        split,
        f"{len(run.data.samples(split).x):,}",
        f"{100 * metrics[f'{split}/accuracy']:.2f} %",
        f"{metrics[f'{split}/loss']:.4f}",
    )
    console.print(table)


def record(folder: str, split: str, samples: int, every: int, resume: bool) -> None:
    """Record a run and say what was kept."""
    from nfsim.reports import RECORDING, record_run

    ds = record_run(folder, split=split, samples=samples, every=every, resume=resume)
    sizes = ", ".join(f"{n} {dim}" for dim, n in ds.sizes.items())
    console = Console(highlight=False)
    console.print(f"{Path(folder) / RECORDING}: {', '.join(map(str, ds.data_vars))} of {sizes}", soft_wrap=True)


def plot(store: str, trial: int, dpi: int) -> None:
    """Draw a recording and say where the pictures are."""
    from nfsim.reports import plot_run

    console = Console(highlight=False)
    for path in plot_run(store, trial=trial, dpi=dpi):
        console.print(str(path), soft_wrap=True)


def explain(words: Iterable[str]) -> None:
    """Print the program of the declared network."""
    from nfsim.assembly import make_data, make_network
    from nfsim.compiler import lower
    from nfsim.configuration import compose, settle

    settings = settle(compose(words))
    if settings.model.name != "network":
        raise BuildError(f"model={settings.model.name}: has no program; explain model=network")
    sys.stdout.write(lower(make_network(settings, make_data(settings))).explain().rstrip() + "\n")


def _table(rows: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """Table of finished runs."""
    table = Table("run", "parameters", "validation", "test", "seconds", "samples/s")
    for name, metrics in rows:
        table.add_row(
            name,
            f"{metrics['parameters']:,}",
            f"{100 * metrics['val/accuracy']:.2f} %",
            f"{100 * metrics['test/accuracy']:.2f} %",
            f"{metrics['seconds']:.1f}",
            f"{metrics['samples_per_second']:,.0f}",
        )
    return table
