"""Tables of results: one CSV file a study, a row a finished run, never half written and never overwritten unseen."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from nfsim.files import write_text

COLUMNS = (
    "experiment", "model", "parameters", "seed", "accuracy", "val_accuracy", "epochs", "seconds", "hardware",
    "revision", "config_hash", "tier",
)  # fmt: skip
"""Of a table of results; accuracies are shares, the test split's and the validation split's."""
MEASURES = ("experiment", "measure", "model", "seed", "tier", "config_hash", "at", "value")
"""Of a table of measurements."""

CURVES = ("experiment", "model", "seed", "tier", "config_hash", "epoch", "train_loss", "val_accuracy", "seconds")
"""Of a table of learning curves: a row an epoch, and the seconds that it took."""

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """A CSV file that several processes may add rows to.

    Parameters
    ----------
    path : Path
        The file; its folder is made where it is missing.
    columns : tuple of str
        Names of all columns.
    key : tuple of str
        Columns that tell rows apart: a row whose key is there already is not added again.
    """

    path: Path
    columns: tuple[str, ...] = COLUMNS
    key: tuple[str, ...] = ("experiment", "model", "seed", "tier", "config_hash")

    def rows(self) -> list[Row]:
        """Rows of the file, none where there is no file."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except UnicodeDecodeError:
            raise ValueError(f"{self.path}: not a text file; move it away") from None
        rows = list(csv.reader(io.StringIO(text)))
        if not rows or tuple(rows[0]) != self.columns:
            raise ValueError(
                f"{self.path}: its first line is not {','.join(self.columns)}; it is no table of results of this "
                "version: move it away"
            )
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(self.columns):
                raise ValueError(f"{self.path}: line {number} has {len(row)} values, not {len(self.columns)}; mend it")
        return [dict(zip(self.columns, row, strict=True)) for row in rows[1:]]

    def add(self, *new: Row) -> None:
        """Add rows, each once; the file is replaced as a whole, so that a killed process leaves the old or the new."""

        def more(rows: list[Row]) -> list[Row]:
            known = {self._key(row) for row in rows}
            return rows + [row for row in new if self._key(row) not in known]

        self._change(more)

    def keep(self, wanted: Callable[[Row], bool]) -> int:
        """Drop the rows that are not wanted, and return how many those were."""
        dropped = 0

        def fewer(rows: list[Row]) -> list[Row]:
            nonlocal dropped
            kept = [row for row in rows if wanted(row)]
            dropped = len(rows) - len(kept)
            return kept

        if self.path.is_file():
            self._change(fewer)
        return dropped

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in self.key)

    def _change(self, change: Callable[[list[Row]], list[Row]]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # between reading and replacing, another process must not add a row: it would be lost
            with FileLock(self.path.parent / f".{self.path.name}.lock"):
                before = self.rows()
                after = change(before)
                if after != before:
                    write_text(self.path, as_csv(after, self.columns))
        except OSError as error:
            raise OSError(
                f"{self.path}: cannot be written ({error.strerror or error}), and is as it was; make room there and "
                "give the same command again, which repeats nothing that is finished"
            ) from error


def as_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return rows as comma-separated text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Whether this process alone works in `folder`, from here to the end of the block; a killed process lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
