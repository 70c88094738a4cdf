"""The tables of results for readers, written anew from those in `results/`.

The README has the tiers that answer a study at full length; `results/README.md` has the ablations of tier quick, and
what was measured beside accuracy; in the repository of nfsim, `nfsim/studies/minutes.csv` has how long runs took.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from nfsim.files import write_text
from nfsim.studies import summary
from nfsim.studies.command import Request, hashes
from nfsim.studies.declaration import TIERS, Study, chosen
from nfsim.studies.measures import MEASURES
from nfsim.studies.minutes import release
from nfsim.studies.running import Places
from nfsim.studies.table import CURVES

START, END = "<!-- results:start -->", "<!-- results:end -->"
"""Marks in the README; what is between them is written anew."""
ABLATIONS = """# Ablations

Tier quick: 10,000 training images and 5 epochs where nothing else is said, which leaves every model short of what it
can do; what counts is the difference between the lines of a table. Mean and 95 % t interval over seeds; the test split
was met once a run.
`nfsim reproduce --report` wrote this from the tables beside it.
"""
"""How `results/README.md` begins."""
POINTS = 6
"""Columns of a table of measurements."""


def write(request: Request, readme: Path = Path("README.md")) -> None:
    """Replace the tables in the README, and say which rows they leave out."""
    try:
        text = readme.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"{readme.absolute()}: there is no such file; run this in the repository") from None
    if START not in text or END not in text.partition(START)[2]:
        raise ValueError(f"{readme}: has no line {START} and after it {END}; put both where the tables belong")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    places = request.places
    tables = "\n".join(report(places, [tier for tier in TIERS if tier != "quick"]))
    write_text(readme, f"{before}{START}\n\n{tables}\n{END}{after}")
    ablations = places.results / "README.md"
    lines = [
        ABLATIONS,
        *report(places, ["quick"]),
        *(line for study in chosen("all") for line in _measured(study, places)),
    ]
    write_text(ablations, "\n".join(lines).rstrip() + "\n")
    studies = readme.parent / "nfsim" / "studies"
    if studies.is_dir():
        release(places, studies)
    Console(highlight=False).print(f"{readme} and {ablations}: tables of {places.results} written", soft_wrap=True)


def report(places: Places, tiers: Sequence[str]) -> Iterator[str]:
    """Lines of Markdown: for each study and tier that has rows, a table, and one of the pairs."""
    for study in chosen("all"):
        rows = places.table(study.name).rows()
        for tier in tiers:
            if any(row["tier"] == tier for row in rows):
                yield from _section(study, tier, rows, places)


def _measured(study: Study, places: Places) -> Iterator[str]:
    """What a study measured beside accuracy: means over seeds, at some of the points."""
    rows = places.measures(study.name).rows()
    for name, tier in dict.fromkeys((row["measure"], row["tier"]) for row in rows):
        values: dict[str, dict[float, list[float]]] = {}
        for row in rows:
            if (row["measure"], row["tier"]) == (name, tier):
                values.setdefault(row["model"], {}).setdefault(float(row["at"]), []).append(float(row["value"]))
        at = sorted({point for found in values.values() for point in found})
        shown = [at[round(i)] for i in np.linspace(0, len(at) - 1, min(POINTS, len(at)))]
        what = (MEASURES[name].__doc__ or "").splitlines()[0]
        yield f"**{study.name}**, tier {tier}: {name}, mean over seeds. {what}"
        yield ""
        cells = [[m, *(f"{np.mean(found[p]):.3g}" if p in found else "" for p in shown)] for m, found in values.items()]
        yield from _markdown(["model", *(f"at {point:g}" for point in shown)], cells)


def _section(study: Study, tier: str, rows: Sequence[summary.Row], places: Places) -> Iterator[str]:
    found = summary.lines(study, tier, rows, hashes(study, tier, (), rows, places))
    if not found:
        return
    where = sorted({row["hardware"] for line in found for row in line.rows})
    changes = ", ".join(study.tiers[tier].overrides)
    yield f"**{study.name}**, tier {tier}{changes and f' ({changes})'}: {study.title}. Published: {study.source}."
    yield f"On {'; '.join(where)}."
    yield ""
    yield from _markdown(summary.HEADERS, [summary.cells(line) for line in found])
    if tier == "long":
        yield from _curves(found, study, places)
    pairs = [summary.pair_cells(pair) for pair in summary.comparisons(study, found, places)]
    if pairs:
        yield from _markdown(summary.PAIRS, pairs)


def _curves(found: Sequence[summary.Line], study: Study, places: Places) -> Iterator[str]:
    """Validation accuracy and seconds by epoch of the first run of each line."""
    rows = places.curves(study.name).rows()
    for line in found:
        first = line.rows[0]
        own = [row for row in rows if all(row[name] == first[name] for name in CURVES[:5])]
        if own:
            accuracy = ", ".join(f"{100 * float(row['val_accuracy']):.1f}" for row in own)
            seconds = np.median([float(row["seconds"]) for row in own])
            yield f"{line.variant.name}: validation accuracy by epoch {accuracy} %; {seconds:.0f} seconds an epoch."
            yield ""


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(headers) + " |"
    yield "|" + "---|" * len(headers)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
