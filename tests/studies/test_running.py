"""Studies go on where they were stopped: nothing finished is repeated, nothing of other settings is mixed in."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nfsim import runs
from nfsim.cli import main
from nfsim.studies import declaration, running, table
from nfsim.studies.running import Places, answers, config_hash, done, jobs, perform
from nfsim.studies.summary import comparisons, lines


@pytest.fixture
def counted(monkeypatch):
    """How often training started, and how often a split was judged."""
    calls: Counter = Counter()
    judge, fit = runs.judge, runs.fit

    def counting_judge(model, data, split="test"):
        calls[split] += 1
        return judge(model, data, split)

    def counting_fit(*args, **options):
        calls["fit"] += 1
        return fit(*args, **options)

    monkeypatch.setattr(runs, "judge", counting_judge)
    monkeypatch.setattr(runs, "fit", counting_fit)
    return calls


def planned(places: Places, tier: str = "quick", seeds=(0, 1)) -> list[running.Job]:
    return jobs(declaration.load("tiny"), tier, seeds, places)


def test_a_study_runs_each_variant_and_seed_once_and_meets_the_test_split_once_a_run(places, counted, capsys):
    assert main(["reproduce", "tiny"]) == 0
    out = capsys.readouterr().out
    assert "4 runs, 0 done; minutes of the 4 to run: not measured yet" in out
    assert "95.50" in out
    rows = places.table("tiny").rows()
    assert [(row["model"], row["seed"]) for row in rows] == [
        ("wide", "0"),
        ("narrow", "0"),
        ("wide", "1"),
        ("narrow", "1"),
    ]
    assert [row["epochs"] for row in rows] == ["2", "1", "2", "1"]
    assert counted == {"fit": 4, "test": 4}
    assert main(["reproduce", "tiny"]) == 0
    assert "4 runs, 4 done; nothing to run" in capsys.readouterr().out
    assert counted == {"fit": 4, "test": 4}
    assert places.table("tiny").rows() == rows


def test_what_is_kept_of_the_answers_is_the_accuracy_of_the_row(places):
    main(["reproduce", "tiny", "--seeds", "1"])
    for row in places.table("tiny").rows():
        right = answers(places.right(row))
        assert right.sum() / 360 == pytest.approx(float(row["accuracy"]), abs=1e-6)
    study = declaration.load("tiny")
    rows = places.table("tiny").rows()
    found = lines(study, "quick", rows, {row["model"]: row["config_hash"] for row in rows})
    (pair,) = comparisons(study, found, places)
    assert pair.difference.mean == pytest.approx(100 * np.diff([float(row["accuracy"]) for row in rows[::-1]])[0])
    assert 0 <= pair.p <= 1


@pytest.mark.slow
def test_two_calls_share_a_study(places):
    main(["reproduce", "tiny", "--seeds", "1", "--only", "narrow"])
    main(["reproduce", "tiny", "--only", "wide"])
    main(["reproduce", "tiny"])
    rows = places.table("tiny").rows()
    assert len(rows) == 4
    assert rows[0]["seed"] == "1"


def test_a_run_that_another_process_holds_is_left_to_it(places, counted):
    job = planned(places)[0]
    with table.claimed(job.folder):
        assert list(perform(job, places)) == [f"{job.title}: another process is at it"]
    assert not counted


def test_a_full_disk_after_training_costs_no_second_training_and_no_second_test(places, counted, monkeypatch, capsys):
    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(table, "write_text", full)
    assert main(["reproduce", "tiny", "--only", "wide", "--seeds", "0"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert places.table("tiny").rows() == []
    monkeypatch.setattr(table, "write_text", runs.write_text)
    assert main(["reproduce", "tiny", "--only", "wide", "--seeds", "0"]) == 0
    assert len(places.table("tiny").rows()) == 1
    assert counted == {"fit": 1, "test": 1}


KILLED = """
import sys
from pathlib import Path
from nfsim.studies import declaration
declaration.HERE = Path(sys.argv[1])
from nfsim.cli import main
sys.exit(main(["reproduce", "tiny", "--only", "wide", "--seeds", "0"]))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_epoch_to_the_same_result(studies, places):
    text = (studies / "tiny.yaml").read_text()
    (studies / "tiny.yaml").write_text(text.replace("trainer.epochs=2", "trainer.epochs=40"))
    config_hash.cache_clear()
    (job, *_) = planned(places)
    process = subprocess.Popen([sys.executable, "-P", "-c", KILLED, str(studies)], stdout=subprocess.DEVNULL)
    history = job.folder / "history.csv"
    deadline = time.monotonic() + 120
    while not (history.is_file() and len(history.read_text().splitlines()) > 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert places.table("tiny").rows() == []
    before = history.read_text().splitlines()
    assert 3 < len(before) < 41
    for _ in perform(job, places):
        pass
    (row,) = places.table("tiny").rows()
    assert row["epochs"] == "40"
    assert history.read_text().splitlines()[: len(before)] == before
    other = Places(Path("elsewhere"), Path("elsewhere/runs"))
    for _ in perform(planned(other)[0], other):
        pass
    (again,) = other.table("tiny").rows()
    assert (again["accuracy"], again["config_hash"]) == (row["accuracy"], row["config_hash"])


@pytest.mark.slow
def test_rows_of_other_settings_enter_no_mean(studies, places, capsys):
    main(["reproduce", "tiny", "--only", "narrow"])
    text = (studies / "tiny.yaml").read_text()
    (studies / "tiny.yaml").write_text(text.replace("hidden=[4]", "hidden=[5]"))
    config_hash.cache_clear()
    capsys.readouterr()
    main(["reproduce", "tiny", "--only", "narrow", "--seeds", "0"])
    out = capsys.readouterr().out
    assert "2 rows of other settings are in the table and in no mean" in out
    rows = places.table("tiny").rows()
    assert len(rows) == 3
    study = declaration.load("tiny")
    (line,) = lines(study, "quick", rows, {job.variant.name: job.config_hash for job in planned(places)})
    assert [row["parameters"] for row in line.rows] == [str(64 * 5 + 5 + 5 * 10 + 10)]
    main(["reproduce", "tiny", "--only", "narrow", "--seeds", "0", "--clean"])
    assert len(places.table("tiny").rows()) == 1


def test_the_hash_says_what_is_computed_and_not_where():
    base = ("data=mnist_rows", "network=thalamocortical", "trainer.epochs=3")
    same = [(*base, more) for more in ("seed=3", "data.root=/elsewhere", "runs=there", "logger=none", "data.workers=2")]
    # the default of the network, said aloud; an option that is off
    same += [(*base, "network.prefrontal=500"), (*base, "data.shift=0"), (*base, "trainer.device=cpu")]
    other = [(*base, more) for more in ("trainer.lr=1e-3", "network.bias=-4", "data.limit=100", "network.trn=false")]
    hashes = {config_hash(words) for words in same}
    assert hashes == {config_hash(base)}
    assert len({config_hash(base), config_hash(base, "of a backbone"), *map(config_hash, other)}) == 2 + len(other)


FACTORY = """
import nfsim
def build(features, labels, dt, seed, backbone):
    net = nfsim.Network("small", seed=seed, dt=dt)
    net.add(nfsim.Input("in", features), nfsim.Population("area", 4), nfsim.Readout("out", labels))
    net.connect("in", "area")
    return net
"""


@pytest.mark.slow
def test_a_missing_backbone_is_trained_first(studies, places):
    Path("small.py").write_text(FACTORY)
    (studies / "tiny.yaml").write_text(
        """
title: a head on what another run left
source: nobody
backbone: tiny/first
variants:
  second:
    overrides: [data=digits, network=factory, network.target=small.py:build, "network.options.backbone='{backbone}'"]
    tiers: {quick: [trainer.epochs=1], full: []}
  first:
    overrides: [data=digits, model=mlp, "model.hidden=[8]"]
    tiers: {quick: [trainer.epochs=1], full: []}
tiers: {quick: {overrides: []}}
"""
    )
    config_hash.cache_clear()
    second, _ = jobs(declaration.load("tiny"), "quick", [1], places)
    assert second.backbone.seed == 1
    assert second.settings().network.options == {"backbone": str(second.backbone.folder)}
    said = list(perform(second, places))
    assert any("needs tiny first, tier quick, seed 1 first" in line for line in said)
    assert [row["model"] for row in places.table("tiny").rows()] == ["first", "second"]
    assert done(second.backbone, places.table("tiny").rows())


def test_a_diverging_run_is_said_and_the_others_go_on(studies, places, capsys):
    text = (studies / "tiny.yaml").read_text()
    (studies / "tiny.yaml").write_text(text.replace("[trainer.epochs=1]", "[trainer.lr=1e30, trainer.clip=0]"))
    config_hash.cache_clear()
    assert main(["reproduce", "tiny", "--seeds", "0"]) == 1
    assert "tiny narrow, tier quick, seed 0: training: the loss is nan" in capsys.readouterr().err
    assert [row["model"] for row in places.table("tiny").rows()] == ["wide"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tin"], "'tin': there is no study of that name; the studies are tiny, or all of them: all"),
        ([], "which study? nfsim reproduce --list names them"),
        (["tiny", "--tier", "huge"], "--tier 'huge' is none of quick, full, long; choose one"),
        (["tiny", "--seeds", "1,b"], "--seeds '1,b' is no list of seeds; write --seeds 0,1,2"),
        (["tiny", "--only", "narow"], "--only narow: not in tier quick; its variants are wide, narrow"),
        (["tiny", "--device", "abacus"], "--device 'abacus' is none of auto, cpu, cuda, mps"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(places, capsys, words, message):
    assert main(["reproduce", *words]) == 2
    assert message in capsys.readouterr().err
    assert not places.results.exists()


def test_what_is_wrong_with_any_variant_is_said_before_the_first_runs(studies, places, counted, capsys):
    text = (studies / "tiny.yaml").read_text()
    (studies / "tiny.yaml").write_text(text.replace("model.hidden=[4]", "model.hiden=[4]"))
    assert main(["reproduce", "tiny"]) == 2
    assert "tiny narrow: model.hiden: unknown; keys of model:" in capsys.readouterr().err
    assert not counted


@pytest.mark.slow
def test_the_list_says_the_minutes_that_were_measured(places, capsys):
    main(["reproduce", "tiny", "--only", "wide", "--seeds", "0"])
    rows = places.table("tiny").rows()
    places.table("tiny").keep(lambda row: False)
    places.table("tiny").add(rows[0] | {"seconds": "600"})
    capsys.readouterr()
    main(["reproduce", "--list"])
    # two seeds of ten minutes, and a variant not measured yet
    assert re.search(r"quick\s+. 2 variants x 2 seeds\s+. 20 for 1 of 2", capsys.readouterr().out)
    main(["reproduce", "tiny", "--only", "wide"])
    assert "about 10 minutes for 1 (measured on " in capsys.readouterr().out


def test_the_curve_of_a_run_is_kept_beside_its_row(places):
    main(["reproduce", "tiny", "--seeds", "0"])
    curves = places.curves("tiny").rows()
    assert [(row["model"], row["epoch"]) for row in curves] == [("wide", "1"), ("wide", "2"), ("narrow", "1")]
    (wide,) = (row for row in places.table("tiny").rows() if row["model"] == "wide")
    own = [row for row in curves if row["model"] == "wide"]
    assert wide["val_accuracy"] == max(row["val_accuracy"] for row in own)
    assert float(wide["seconds"]) == pytest.approx(sum(float(row["seconds"]) for row in own), abs=0.2)


def test_a_newcomer_is_told_the_minutes_that_runs_took_where_nfsim_was_released(places, studies, capsys):
    main(["reproduce", "tiny", "--seeds", "0"])
    rows = places.table("tiny").rows()
    places.table("tiny").keep(lambda row: False)
    places.table("tiny").add(*(row | {"seconds": "90", "hardware": "a lake"} for row in rows))
    Path("README.md").write_text("<!-- results:start -->\n<!-- results:end -->\n")
    assert main(["reproduce", "--report"]) == 0
    assert not (studies / "minutes.csv").exists(), "written in a repository of nfsim only"
    Path("nfsim/studies").mkdir(parents=True)
    main(["reproduce", "--report"])
    Path("nfsim/studies/minutes.csv").rename(studies / "minutes.csv")
    shutil.rmtree(places.results)
    capsys.readouterr()
    main(["reproduce", "--list"])
    out = capsys.readouterr().out
    assert re.search(r"quick\s+. 2 variants x 2 seeds\s+. 6 ", out), out
    assert "measured on a lake" in out
    main(["reproduce", "tiny", "--only", "narrow", "--seeds", "1"])
    assert "1 runs, 0 done; about 2 minutes for 1 (measured on a lake)" in capsys.readouterr().out


def test_cleaning_drops_all_that_was_kept_of_other_settings(places, studies):
    main(["reproduce", "tiny", "--seeds", "0", "--only", "narrow"])
    (row,) = places.table("tiny").rows()
    assert places.right(row).is_file()
    text = (studies / "tiny.yaml").read_text()
    (studies / "tiny.yaml").write_text(text.replace("model.hidden=[4]", "model.hidden=[5]"))
    assert main(["reproduce", "tiny", "--seeds", "0", "--only", "narrow", "--clean"]) == 0
    assert not places.right(row).exists()
    hashes = {row["config_hash"] for table in (places.table("tiny"), places.curves("tiny")) for row in table.rows()}
    assert len(hashes) == 1
    assert row["config_hash"] not in hashes


def test_the_report_writes_what_is_between_the_marks_and_nothing_else(places, capsys):
    main(["reproduce", "tiny", "--seeds", "0"])
    readme = Path("README.md")
    readme.write_text("# before\n<!-- results:start -->\nold\n<!-- results:end -->\nafter\n")
    assert main(["reproduce", "--report"]) == 0
    text = readme.read_text()
    assert text.startswith("# before\n<!-- results:start -->\n")
    assert text.endswith("<!-- results:end -->\nafter\n")
    assert "old" not in text
    (row,) = (row for row in places.table("tiny").rows() if row["model"] == "wide")
    line = f"| wide | {int(row['parameters']):,} | 95.50 | {100 * float(row['accuracy']):.2f} | 1 |"
    ablations = places.results / "README.md"
    assert line not in text, "tier quick has a page of its own"
    assert line in ablations.read_text()
    main(["reproduce", "--report"])
    assert readme.read_text() == text
    main(["reproduce", "tiny", "--tier", "full", "--seeds", "0"])
    main(["reproduce", "--report"])
    assert "**tiny**, tier full" in readme.read_text()
    readme.write_text("no marks\n")
    assert main(["reproduce", "--report"]) == 1
    assert "has no line <!-- results:start -->" in capsys.readouterr().err


def test_metrics_of_a_finished_run_are_read_and_not_made_again(places, counted):
    job = planned(places)[0]
    for _ in perform(job, places):
        pass
    metrics = json.loads((job.folder / "metrics.json").read_text())
    places.table("tiny").keep(lambda row: False)
    for _ in perform(job, places):
        pass
    (row,) = places.table("tiny").rows()
    assert float(row["accuracy"]) == pytest.approx(metrics["test/accuracy"], abs=1e-6)
    assert counted["test"] == 1
