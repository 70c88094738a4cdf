"""The README's tables of results, written anew from the tables in `results/`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from nfsim.files import write_text
from nfsim.studies import summary
from nfsim.studies.command import Request, hashes
from nfsim.studies.declaration import TIERS, Study, chosen
from nfsim.studies.running import Places

START, END = "<!-- results:start -->", "<!-- results:end -->"
"""Marks in the README; what is between them is written anew."""


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
    tables = "\n".join(report(request.places))
    write_text(readme, f"{before}{START}\n\n{tables}\n{END}{after}")
    Console(highlight=False).print(f"{readme}: tables of {request.places.results} written", soft_wrap=True)


def report(places: Places) -> Iterator[str]:
    """Lines of Markdown: for each study and tier that has rows, a table, and one of the pairs."""
    for study in chosen("all"):
        rows = places.table(study.name).rows()
        for tier in TIERS:
            if any(row["tier"] == tier for row in rows):
                yield from _section(study, tier, rows, places)


def _section(study: Study, tier: str, rows: Sequence[summary.Row], places: Places) -> Iterator[str]:
    found = summary.lines(study, tier, rows, hashes(study, tier, (), rows, places))
    if not found:
        return
    where = sorted({row["hardware"] for line in found for row in line.rows})
    yield f"**{study.name}**, tier {tier}: {study.title}. Published: {study.source}. On {'; '.join(where)}."
    yield ""
    yield from _markdown(summary.HEADERS, [summary.cells(line) for line in found])
    pairs = [summary.pair_cells(pair) for pair in summary.comparisons(study, found, places)]
    if pairs:
        yield from _markdown(summary.PAIRS, pairs)


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(headers) + " |"
    yield "|" + "---|" * len(headers)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
