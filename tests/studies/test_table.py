"""A table of results is whole at every moment: after a kill, on a full disk, and with two processes at it."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from nfsim.studies import table
from nfsim.studies.table import COLUMNS, Table, claimed

ROW = dict.fromkeys(COLUMNS, "1")


def row(seed: int, **other: str) -> dict[str, str]:
    return ROW | {"seed": str(seed)} | other


@pytest.fixture
def results(tmp_path):
    return Table(tmp_path / "results" / "rows.csv")


def test_rows_come_back_as_they_were_given(results):
    odd = row(0, hardware='Xeon "gold", 2 cores', model="bias_-5")
    results.add(odd, row(1))
    assert results.rows() == [odd, row(1)]
    assert results.path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_row_is_added_once_and_never_changed(results):
    results.add(row(0, accuracy="0.9"))
    results.add(row(0, accuracy="0.8"), row(1))
    assert [one["accuracy"] for one in results.rows()] == ["0.9", "1"]


def test_rows_of_other_settings_stand_beside_each_other_until_they_are_dropped(results):
    results.add(row(0, config_hash="a"), row(0, config_hash="b"))
    assert len(results.rows()) == 2
    assert results.keep(lambda one: one["config_hash"] == "b") == 1
    assert results.rows() == [row(0, config_hash="b")]


def test_a_table_that_is_not_ours_is_refused_and_left_alone(results):
    results.path.parent.mkdir()
    results.path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is no table of results of this version: move it away"):
        results.add(row(0))
    assert results.path.read_text() == "a,b\n1,2\n"
    results.path.write_text(",".join(COLUMNS) + "\n1,2\n")
    with pytest.raises(ValueError, match="line 2 has 2 values, not 12; mend it"):
        results.rows()


def test_a_full_disk_leaves_the_table_readable(results, monkeypatch):
    results.add(row(0))

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(table, "write_text", full)
    with pytest.raises(
        OSError, match=r"rows.csv: cannot be written \(No space left on device\), and is as it was; make"
    ):
        results.add(row(1))
    monkeypatch.undo()
    assert results.rows() == [row(0)]
    results.add(row(1))
    assert results.rows() == [row(0), row(1)]


ADD = """
import sys
from pathlib import Path
from nfsim.studies.table import COLUMNS, Table
table, first, last = Table(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for k in range(first, last):
    table.add(dict.fromkeys(COLUMNS, "1") | {"seed": str(k)})
"""


def adding(results: Table, first: int, last: int, **options) -> subprocess.Popen:
    command = [sys.executable, "-P", "-c", ADD, str(results.path), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_file_that_cannot_grow_leaves_the_table_readable(results):
    """The system itself refuses the write: the limit on the size of a file stands for a full disk."""
    results.add(row(0))
    size = results.path.stat().st_size

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, size + 5))

    process = adding(results, 1, 2, preexec_fn=limited)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot be written (File too large), and is as it was" in err
    assert results.rows() == [row(0)]
    assert [path.name for path in results.path.parent.iterdir() if path.suffix != ".lock"] == ["rows.csv"]


def test_two_processes_lose_none_of_each_others_rows(results):
    both = [adding(results, 0, 40), adding(results, 40, 80)]
    for process in both:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert sorted(int(one["seed"]) for one in results.rows()) == list(range(80))


def test_a_killed_process_leaves_whole_rows_and_no_lock(results):
    process = adding(results, 0, 100_000)
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while not results.path.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    process.communicate(timeout=60)
    seeds = [int(one["seed"]) for one in results.rows()]
    assert seeds == list(range(len(seeds)))
    assert seeds
    results.add(row(-1))
    assert len(results.rows()) == len(seeds) + 1


def test_a_folder_is_claimed_by_one_at_a_time(tmp_path):
    with claimed(tmp_path) as mine:
        assert mine
        with claimed(tmp_path) as other:
            assert not other
    with claimed(tmp_path) as again:
        assert again
