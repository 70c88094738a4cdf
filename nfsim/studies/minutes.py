"""Minutes that runs take: by the rows of one's own table, else by those that nfsim was released with."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from nfsim.files import write_text
from nfsim.studies import declaration
from nfsim.studies.declaration import chosen
from nfsim.studies.running import Places
from nfsim.studies.table import Row, Table, as_csv

FILE = "minutes.csv"
"""Beside the studies."""
COLUMNS = ("experiment", "tier", "model", "seconds", "hardware")
"""Of that file: a row a variant of a tier, with the median of the seconds that its runs took."""


def took(study: str, tier: str, variant: str, rows: Sequence[Row], config_hash: str = "") -> tuple[float, str] | None:
    """Seconds of a run and where they were measured; None where nobody has measured them.

    Of `rows`, the own table, those with the same settings count first, then those of other settings.
    """
    own = [row for row in rows if (row["model"], row["tier"]) == (variant, tier)]
    same = [row for row in own if row["config_hash"] == config_hash]
    released = Table(declaration.HERE / FILE, COLUMNS).rows()
    found = same or own or [row for row in released if [row[name] for name in COLUMNS[:3]] == [study, tier, variant]]
    if not found:
        return None
    return median(float(row["seconds"]) for row in found), "; ".join(sorted({row["hardware"] for row in found}))


def release(places: Places, folder: Path) -> None:
    """Write the file into `folder` anew, from all tables of results."""
    rows = []
    for study in chosen("all"):
        own = places.table(study.name).rows()
        for tier in study.tiers:
            for variant in study.runs_in(tier):
                here = [row for row in own if (row["model"], row["tier"]) == (variant.name, tier)]
                if here:
                    seconds = f"{median(float(row['seconds']) for row in here):.0f}"
                    values = study.name, tier, variant.name, seconds, here[-1]["hardware"]
                    rows.append(dict(zip(COLUMNS, values, strict=True)))
    write_text(folder / FILE, as_csv(rows, COLUMNS))
