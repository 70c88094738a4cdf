"""What `nfsim reproduce` does once its arguments are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Printed

from nfsim.arguments import UsageError
from nfsim.settings import Device
from nfsim.studies import summary
from nfsim.studies.declaration import TIERS, Study, chosen
from nfsim.studies.minutes import took
from nfsim.studies.running import Job, Places, done, jobs, perform
from nfsim.studies.table import Row


@dataclass(frozen=True)
class Request:
    """Flags of `nfsim reproduce`."""

    tier: str
    seeds: str
    only: str
    results: str
    runs: str
    device: str
    clean: bool = False

    def check(self) -> None:
        """Raise `UsageError` for a tier, a device or seeds that there are not."""
        if self.tier not in TIERS:
            raise UsageError(f"reproduce: --tier {self.tier!r} is none of {', '.join(TIERS)}; choose one")
        if self.device not in Device.__members__:
            raise UsageError(f"reproduce: --device {self.device!r} is none of {', '.join(Device.__members__)}")
        if not all(word.strip().isdecimal() for word in self.seeds.split(",") if self.seeds):
            raise UsageError(f"reproduce: --seeds {self.seeds!r} is no list of seeds; write --seeds 0,1,2")

    @property
    def places(self) -> Places:
        """Where results and runs lie."""
        return Places(Path(self.results), Path(self.runs), self.device)

    def variants(self, studies: Sequence[Study]) -> tuple[str, ...]:
        """Names of --only; raises `UsageError` for those that no study has."""
        wanted = tuple(word.strip() for word in self.only.split(",") if word.strip())
        known = list(dict.fromkeys(variant.name for study in studies for variant in study.runs_in(self.tier)))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UsageError(
                f"reproduce: --only {', '.join(unknown)}: not in tier {self.tier}; its variants are {', '.join(known)}"
            )
        return wanted

    def numbers(self, study: Study) -> list[int]:
        """Seeds to run."""
        if self.seeds:
            return sorted({int(word) for word in self.seeds.split(",")})
        return list(range(study.tiers[self.tier].seeds))


def reproduce(name: str, request: Request) -> None:
    """Run what is missing of a study, or of all, and print what its rows say."""
    request.check()
    studies = chosen(name)
    only = request.variants(studies)
    # what is wrong with any run is said before the first starts
    planned = [
        (study, jobs(study, request.tier, request.numbers(study), request.places, only))
        for study in studies
        if study.runs_in(request.tier)
    ]
    failed: list[str] = []
    for study, runs in planned:
        failed += _run(study, runs, request)
    if failed:
        raise ValueError("\n".join(failed))


def _run(study: Study, runs: Sequence[Job], request: Request) -> list[str]:
    """Run what is missing of one study; returns what went wrong."""
    console, places = Console(highlight=False), request.places
    table = places.table(study.name)
    console.print(f"{study.name}: {study.title}", soft_wrap=True)
    every = hashes(study, request.tier, runs, table.rows(), places)
    if request.clean:

        def wanted(row: Row) -> bool:
            return row["tier"] != request.tier or every.get(row["model"]) == row["config_hash"]

        before = table.rows()
        dropped = table.keep(wanted)
        places.curves(study.name).keep(wanted)
        for row in before:
            if not wanted(row):
                places.right(row).unlink(missing_ok=True)
        console.print(f"{table.path}: {dropped} rows of other settings dropped")
    rows = table.rows()
    missing = [job for job in runs if not done(job, rows)]
    console.print(f"{len(runs)} runs, {len(runs) - len(missing)} done; {_minutes(missing, rows)}", soft_wrap=True)
    failed = []
    for job in missing:
        try:
            for line in perform(job, places):
                console.print(line, soft_wrap=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted in {job.title}; the same command goes on from its last epoch"
            ) from None
        except FloatingPointError as error:
            failed.append(f"{job.title}: {error}")
            console.print(failed[-1], soft_wrap=True)
    show(study, request.tier, every, places, console)
    return failed


def hashes(study: Study, tier: str, runs: Sequence[Job], rows: Sequence[Row], places: Places) -> dict[str, str]:
    """Hash of today's settings of each variant that runs or has rows."""
    seen = {row["model"] for row in rows if row["tier"] == tier} & {variant.name for variant in study.runs_in(tier)}
    others = jobs(study, tier, [0], places, tuple(seen)) if seen else []
    return {job.variant.name: job.config_hash for job in (*runs, *others)}


def _minutes(missing: Sequence[Job], rows: Sequence[Row]) -> str:
    if not missing:
        return "nothing to run"
    minutes, unknown, where = summary.estimate(missing, rows)
    said = [f"about {minutes:.0f} minutes for {len(missing) - unknown} (measured on {'; '.join(sorted(where))})"]
    if unknown == len(missing):
        return f"minutes of the {unknown} to run: not measured yet"
    return ", ".join(said + ([f"{unknown} not measured yet"] if unknown else []))


def show(study: Study, tier: str, every: dict[str, str], places: Places, console: Console) -> None:
    """Print what the rows of a study say in a tier."""
    rows = [row for row in places.table(study.name).rows() if row["tier"] == tier]
    found = summary.lines(study, tier, rows, every)
    ignored = len(rows) - sum(len(line.rows) for line in found)
    title = f"{study.name}, tier {tier} (published: {study.source})"
    console.print(summary.printed(summary.HEADERS, [summary.cells(line) for line in found], title))
    pairs = summary.comparisons(study, found, places)
    if pairs:
        cells = [summary.pair_cells(pair) for pair in pairs]
        console.print(summary.printed(summary.PAIRS, cells, "paired 95 % t interval over seeds"))
    if ignored:
        console.print(f"{ignored} rows of other settings are in the table and in no mean; --clean drops them")


def listing(request: Request) -> None:
    """Print the studies, with the minutes that their runs take in each tier."""
    printed = Printed("study", "tier", "runs", "minutes", title="nfsim reproduce NAME --tier TIER", show_lines=True)
    where: set[str] = set()
    for study in chosen("all"):
        tiers = [tier for tier in TIERS if study.runs_in(tier)]
        rows = request.places.table(study.name).rows()
        runs, minutes = [], []
        for tier in tiers:
            variants, seeds = study.runs_in(tier), study.tiers[tier].seeds
            times = [took(study.name, tier, variant.name, rows) for variant in variants]
            known = [time for time in times if time is not None]
            where |= {place for _, place in known}
            most = f"{seeds * sum(seconds for seconds, _ in known) / 60:.0f}" if known else "not measured"
            runs.append(f"{len(variants)} variants x {seeds} seeds")
            minutes.append(most if len(known) in (0, len(times)) else f"{most} for {len(known)} of {len(times)}")
        printed.add_row(f"[bold]{study.name}[/]\n{escape(study.title)}", *map("\n".join, (tiers, runs, minutes)))
    printed.caption = f"measured on {'; '.join(sorted(where))}" if where else None
    Console(highlight=False).print(printed)
