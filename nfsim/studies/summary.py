"""What the rows of a study say: means with their intervals beside the published numbers, and pairs compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table as Printed

from nfsim.studies.declaration import Study, Variant
from nfsim.studies.minutes import took
from nfsim.studies.running import Job, Places, answers
from nfsim.studies.statistics import Interval, mcnemar, merged_p, paired_interval, t_interval
from nfsim.studies.table import Row


@dataclass(frozen=True)
class Line:
    """All runs of one variant in one tier."""

    variant: Variant
    rows: tuple[Row, ...]
    """Of today's settings, by seed."""

    @property
    def accuracy(self) -> Interval:
        """Test accuracy, per cent."""
        return t_interval([100 * float(row["accuracy"]) for row in self.rows])


@dataclass(frozen=True)
class Comparison:
    """Two variants over the seeds that both have."""

    first: str
    second: str
    difference: Interval
    """First minus second, points of test accuracy."""
    p: float | None
    """McNemar's test over test images, merged over seeds; none where the answers were not kept."""


def current(rows: Sequence[Row], hashes: Mapping[str, str]) -> list[Row]:
    """Rows whose settings are those of today, `hashes` by variant: no others enter a mean."""
    return [row for row in rows if hashes.get(row["model"]) == row["config_hash"]]


def lines(study: Study, tier: str, rows: Sequence[Row], hashes: Mapping[str, str]) -> list[Line]:
    """Variants of a tier that have rows, in the order of the study."""
    of_tier = [row for row in current(rows, hashes) if row["tier"] == tier]
    found = []
    for variant in study.runs_in(tier):
        own = sorted((row for row in of_tier if row["model"] == variant.name), key=lambda row: int(row["seed"]))
        if own:
            found.append(Line(variant, tuple(own)))
    return found


def comparisons(study: Study, found: Sequence[Line], places: Places) -> list[Comparison]:
    """Pairs of the study of which both have at least one seed in common."""
    by_name = {line.variant.name: {row["seed"]: row for row in line.rows} for line in found}
    out = []
    for first, second in study.comparisons:
        a, b = by_name.get(first, {}), by_name.get(second, {})
        seeds = sorted(set(a) & set(b), key=int)
        if not seeds:
            continue
        one, other = ([100 * float(rows[seed]["accuracy"]) for seed in seeds] for rows in (a, b))
        files = [(places.right(a[seed]), places.right(b[seed])) for seed in seeds]
        kept = [pair for pair in files if all(path.is_file() for path in pair)]
        tests = [mcnemar(*map(answers, pair)).p for pair in kept]
        out.append(Comparison(first, second, paired_interval(one, other), merged_p(tests) if tests else None))
    return out


def estimate(jobs: Sequence[Job], rows: Sequence[Row]) -> tuple[float, int, set[str]]:
    """Minutes that runs will take by what the same variants took before, runs without such a time, and where it was."""
    known = [took(job.study.name, job.tier, job.variant.name, rows, job.config_hash) for job in jobs]
    times = [time for time in known if time is not None]
    return sum(seconds for seconds, _ in times) / 60, len(jobs) - len(times), {where for _, where in times}


def interval_text(value: Interval, digits: int = 2) -> str:
    """Mean +- half width; a mean alone where there is one value."""
    half = "" if value.n < 2 else f" ± {value.half:.{digits}f}"
    return f"{value.mean:.{digits}f}{half}"


def cells(line: Line) -> tuple[str, ...]:
    """A line of a summary: model, parameters, published, test accuracy, seeds, seconds a run."""
    published = line.variant.published
    seconds = sum(float(row["seconds"]) for row in line.rows) / len(line.rows)
    return (
        line.variant.name,
        f"{int(line.rows[0]['parameters']):,}",
        "-" if published is None else f"{published:.2f}",
        interval_text(line.accuracy),
        str(len(line.rows)),
        f"{seconds:.0f}",
    )


HEADERS = ("model", "parameters", "published, %", "test accuracy, %", "seeds", "seconds")
PAIRS = ("first - second", "points of accuracy", "seeds", "McNemar p")


def pair_cells(pair: Comparison) -> tuple[str, ...]:
    """A line of compared pairs."""
    p = "-" if pair.p is None else f"{pair.p:.2g}"
    return (f"{pair.first} - {pair.second}", interval_text(pair.difference), str(pair.difference.n), p)


def printed(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Printed:
    """Return a table for the terminal."""
    table = Printed(*headers, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table
