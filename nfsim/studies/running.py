"""Running studies: which runs there are, which are done, and one run from its settings to its row."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfsim.assembly import make_data, make_network, resolve
from nfsim.callbacks import HISTORY
from nfsim.configuration import compose, settle
from nfsim.errors import BuildError
from nfsim.files import replacing
from nfsim.runs import METRICS, RIGHT, prepare, train
from nfsim.settings import Settings
from nfsim.studies import machine
from nfsim.studies.declaration import Study, Variant, load
from nfsim.studies.measures import MEASURES as KNOWN
from nfsim.studies.table import CURVES, MEASURES, Row, Table, claimed

BACKBONE = "{backbone}"
"""Stands in overrides for the run folder of the backbone."""
_ELSEWHERE = {"data": ("root", "download", "workers", "evaluation_batch"), "trainer": ("device", "guard")}
"""Settings that say where and how fast, not what."""


@dataclass(frozen=True)
class Places:
    """Folders that a study reads and writes, and the device it computes on."""

    results: Path = Path("results")
    runs: Path = Path("runs/reproduce")
    device: str = "auto"

    def table(self, study: str) -> Table:
        """Table of the results of a study."""
        return Table(self.results / f"{study}.csv")

    def measures(self, study: str) -> Table:
        """Table of what was measured beside accuracy."""
        key = ("experiment", "measure", "model", "seed", "tier", "config_hash", "at")
        return Table(self.results / f"{study}_measures.csv", MEASURES, key)

    def curves(self, study: str) -> Table:
        """Table of learning curves."""
        return Table(self.results / f"{study}_curves.csv", CURVES, CURVES[:6])

    def right(self, row: Mapping[str, str]) -> Path:
        """File of which test images a run got right, packed bits."""
        name = "-".join((row["tier"], row["model"], row["config_hash"][:8], row["seed"]))
        return self.results / "predictions" / row["experiment"] / f"{name}.npy"


@dataclass(frozen=True)
class Job:
    """One run of a study: a variant in a tier, with one seed."""

    study: Study
    variant: Variant
    tier: str
    seed: int
    config_hash: str
    folder: Path
    """Its run folder, which has the hash in its name: other settings never resume from it."""
    words: tuple[str, ...]
    """As typed after `nfsim train`."""
    backbone: "Job | None" = None
    """The run that has to be there first."""

    @property
    def title(self) -> str:
        """Study, variant and seed."""
        return f"{self.study.name} {self.variant.name}, tier {self.tier}, seed {self.seed}"

    def settings(self) -> Settings:
        """Settings of the run."""
        return settle(compose(self.words))


def jobs(study: Study, tier: str, seeds: Sequence[int], places: Places, only: Sequence[str] = ()) -> list[Job]:
    """Runs of a study, seed by seed so that every variant is seen early; raises `BuildError` with all that is wrong."""
    variants = [variant for variant in study.runs_in(tier) if not only or variant.name in only]
    found: dict[str, None] = {}
    made = []
    for seed in seeds:
        for variant in variants:
            try:
                made.append(job(study, variant, tier, seed, places))
            except BuildError as error:
                found |= dict.fromkeys(f"{study.name} {variant.name}: {problem}" for problem in error.problems)
    if found:
        raise BuildError(found)
    return made


def job(study: Study, variant: Variant, tier: str, seed: int, places: Places) -> Job:
    """Return one run; nothing is read but settings."""
    words, backbone = study.words(variant, tier), None
    if any(BACKBONE in word for word in words):
        where, _, name = study.backbone.rpartition("/")
        owner = load(where) if where != study.name else study
        backbone = job(owner, owner.variant(name), tier, seed, places)
    digest = config_hash(words, backbone.config_hash if backbone else "")
    folder = places.runs / study.name / tier / variant.name / f"seed-{seed}-{digest[:8]}"
    filled = tuple(word.replace(BACKBONE, str(backbone.folder)) if backbone else word for word in words)
    more = (f"seed={seed}", "logger=csv", f"runs={json.dumps(str(places.runs))}", f"trainer.device={places.device}")
    return Job(study, variant, tier, seed, digest, folder, (*filled, *more), backbone)


@cache
def config_hash(words: tuple[str, ...], backbone: str = "") -> str:
    """SHA-256 of what a run computes: its settings as canonical JSON, without its seed and without paths.

    A declared network counts by its declaration, whatever settings it came from. A setting that is off (none, false, 0
    or empty) is left out, as are fields of a declaration at their default, so that an option that is added later keeps
    the rows that were there before it.

    Parameters
    ----------
    words : tuple of str
        As typed after `nfsim train`; where they name a backbone, it is the same word for every seed.
    backbone : str
        Hash of the backbone's own settings.
    """
    settings = settle(compose([*words, "seed=0"]))
    data = make_data(settings)
    resolve(settings, data)
    said: dict[str, Any] = {
        group: {
            key: value
            for key, value in asdict(getattr(settings, group)).items()
            if key not in _ELSEWHERE.get(group, ()) and value
        }
        for group in ("data", "trainer", "model")
    }
    if settings.network.name != "none":
        declared = json.loads(make_network(settings, data).to_json())
        said["network"] = {key: value for key, value in declared.items() if key != "seed"}
    if backbone:
        said["backbone"] = backbone
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Enum) else str(value)


def done(job: Job, rows: Sequence[Row]) -> bool:
    """Whether the row of a run is in the table."""
    return any(_same(job, row) and row["seed"] == str(job.seed) for row in rows)


def _same(job: Job, row: Row) -> bool:
    here = (job.study.name, job.variant.name, job.tier, job.config_hash)
    return here == (row["experiment"], row["model"], row["tier"], row["config_hash"])


def perform(job: Job, places: Places) -> Iterator[str]:
    """Train, test once, measure, and add the row; yields what happens, in words.

    What was finished before is not repeated: an interrupted training goes on from its last epoch, and a finished one
    whose row is missing only adds it.
    """
    if job.backbone and not done(job.backbone, places.table(job.backbone.study.name).rows()):
        yield f"{job.title} needs {job.backbone.title} first"
        yield from perform(job.backbone, places)
    with claimed(job.folder) as mine:
        if not mine:
            yield f"{job.title}: another process is at it"
            return
        if done(job, places.table(job.study.name).rows()):
            return
        machine.revision()
        settings = job.settings()
        if (job.folder / METRICS).is_file():
            yield f"{job.title}: was finished in {job.folder}"
            metrics = json.loads((job.folder / METRICS).read_text(encoding="utf-8"))
        else:
            yield f"{job.title}, in {job.folder}"
            run = prepare(settings)
            run.folder = job.folder
            metrics = train(run, resume=True)
        row = {
            "experiment": job.study.name,
            "model": job.variant.name,
            "parameters": str(metrics["parameters"]),
            "seed": str(job.seed),
            "accuracy": f"{metrics['test/accuracy']:.6f}",
            "val_accuracy": f"{metrics['val/accuracy']:.6f}",
            "epochs": str(metrics["epochs"]),
            "seconds": f"{metrics['seconds']:.1f}",
            "hardware": machine.hardware(settings.trainer.device),
            "revision": machine.revision(),
            "config_hash": job.config_hash,
            "tier": job.tier,
        }
        _measure(job, row, places)
        places.curves(job.study.name).add(*curve(job.folder, row))
        _keep_right(job.folder / RIGHT, places.right(row))
        places.table(job.study.name).add(row)


def curve(folder: Path, row: Row) -> list[Row]:
    """Learning curve of a finished run, by what its folder holds and the row of its result."""
    shared = {name: row[name] for name in ("experiment", "model", "seed", "tier", "config_hash")}
    with open(folder / HISTORY, encoding="utf-8", newline="") as file:
        return [
            shared
            | {
                "epoch": f"{float(epoch['epoch']):.0f}",
                "train_loss": f"{float(epoch['train/loss']):.6g}",
                "val_accuracy": f"{float(epoch['val/accuracy']):.6f}",
                "seconds": f"{float(epoch['seconds']):.1f}",
            }
            for epoch in csv.DictReader(file)
        ]


def _measure(job: Job, row: Row, places: Places) -> None:
    """Take the measurements of a trained model, on validation data, before its row says that it is finished."""
    from nfsim.runs import reopen

    if not job.variant.measures:
        return
    run = reopen(job.folder)
    shared = {name: row[name] for name in ("experiment", "model", "seed", "tier", "config_hash")}
    for name in job.variant.measures:
        points = KNOWN[name](run.model, run.data)
        new = [shared | {"measure": name, "at": f"{at:g}", "value": f"{value:.6g}"} for at, value in points]
        places.measures(job.study.name).add(*new)


def _keep_right(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def answers(path: Path) -> NDArray[np.bool_]:
    """Which test images a run got right, (image,) bool."""
    bits: NDArray[np.bool_] = np.unpackbits(np.load(path)).astype(bool)
    return bits
