"""Training: its schedule, what it keeps and refuses, and that an interrupted run goes on as if nothing had been."""

import csv
import io
import warnings

import pytest
import torch
from rich.console import Console

import nfsim
from nfsim import checkpoints
from nfsim.callbacks import HISTORY, LAST, as_csv
from nfsim.evaluation import evaluate
from nfsim.models.mlp import MLP
from nfsim.optimization import optimizer, rate
from nfsim.progress import LINES, Progress
from nfsim.settings import Device, Schedule, Select, TrainerSettings
from nfsim.training import fit
from trainings import Interrupt, same, some_data, some_model, some_network


@pytest.mark.parametrize("schedule", Schedule)
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_the_rate_reaches_its_highest_once_and_ends_where_it_should(schedule, warmup):
    rates = [rate(step, 101, schedule, warmup) for step in range(101)]
    assert max(rates) == pytest.approx(1)
    if schedule is Schedule.constant:
        assert set(rates) == {1.0}
        return
    top = rates.index(max(rates))
    assert top == pytest.approx(100 * warmup, abs=1)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_constants_of_nodes_and_biases_do_not_decay():
    model = some_model()
    settings = TrainerSettings(lr=1.0, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    adamw = optimizer(model, settings)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    adamw.step()
    for name, p in model.named_parameters():
        share = 0.5 if name.endswith("weight") else 1.0
        torch.testing.assert_close(p, share * before[name])


def test_training_learns_what_there_is_to_learn():
    result = fit(some_model(dropout=0.0), some_data(), epochs=15, lr=0.03, progress=False)
    assert result.metrics["val/accuracy"] > 0.9
    assert result.metrics["epochs"] == len(result.history) == 15
    assert result.metrics["parameters"] == 16 * 8 + 9 * 2
    assert result.metrics["seconds"] > 0
    assert result.metrics["samples_per_second"] > 0


@pytest.mark.parametrize("when", ["last", "each"])
def test_a_network_trains_on_samples_of_unlike_lengths(when):
    data = some_data(lengths=True)
    result = nfsim.fit(some_network(when), data, epochs=12, lr=0.05, progress=False)
    assert result.metrics["val/accuracy"] > 0.8
    valid = sum(data.samples("test").lengths) if when == "each" else 30
    right = evaluate(result.model, data, "test")["test/accuracy"] * float(valid)
    assert right == pytest.approx(round(right), abs=1e-6)


def test_the_same_seed_trains_the_same_model_and_another_does_not():
    runs = [fit(some_model(), some_data(seed), seed=seed, epochs=2, progress=False).model for seed in (0, 0, 1)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_the_epoch_that_is_kept_is_the_best_on_validation():
    data = some_data()
    kept = fit(some_model(), data, epochs=6, lr=0.05, progress=False)
    best = max(kept.history, key=lambda row: (row["val/accuracy"], -row["val/loss"]))
    assert kept.metrics["epoch"] == best["epoch"]
    assert evaluate(kept.model, data, "validation")["validation/accuracy"] == pytest.approx(best["val/accuracy"])
    last = fit(some_model(), data, epochs=6, lr=0.05, select=Select.last, progress=False)
    assert last.metrics["epoch"] == 6


def test_patience_stops_a_training_that_no_longer_improves():
    result = fit(some_model(), some_data(), epochs=50, lr=1e-12, patience=3, progress=False)
    best = max(result.history, key=lambda row: row["val/accuracy"])
    assert result.metrics["epochs"] == best["epoch"] + 3


def test_a_loss_that_is_lost_stops_training_and_leaves_what_was_there(tmp_path):
    data = some_data()
    fit(some_model(), data, epochs=1, folder=tmp_path, progress=False)
    before = (tmp_path / LAST).read_bytes()
    data.samples("train").x[:] = 1e38  # finite, and their products with weights are not
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) in epoch 2; lower trainer.lr"):
        fit(some_model(), data, epochs=3, clip=0.0, folder=tmp_path, resume=True, progress=False)
    assert (tmp_path / LAST).read_bytes() == before


def test_lightning_says_nothing(recwarn, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        fit(some_model(), some_data(), epochs=1, progress=False)
    assert [str(w.message) for w in recwarn if "lightning" in str(w.filename)] == []
    out, err = capsys.readouterr()
    assert out == err == ""


@pytest.mark.parametrize("stop", [0, 2])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, stop):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = {"epochs": 4, "progress": False, "select": Select.last}
    for folder in (whole, parts):
        folder.mkdir()
    expected = fit(some_model(), some_data(), folder=whole, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(some_model(), some_data(), folder=parts, callbacks=[Interrupt(stop)], **options)
    resumed = fit(some_model(), some_data(), folder=parts, resume=True, **options)
    assert same(expected.model, resumed.model)
    timeless = [[{k: v for k, v in row.items() if "second" not in k} for row in r.history] for r in (expected, resumed)]
    assert timeless[0] == timeless[1]
    a, b = (checkpoints.read(folder / LAST) for folder in (whole, parts))
    for x, y in zip(
        a["optimizer_states"][0]["state"].values(), b["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert all(torch.equal(x[key], y[key]) for key in x)


def test_four_epochs_are_two_and_two_more(tmp_path):
    options = {"schedule": Schedule.constant, "select": Select.last, "progress": False}
    network = some_network()
    expected = nfsim.fit(network, some_data(), epochs=4, **options)
    nfsim.fit(network, some_data(), epochs=2, folder=tmp_path, **options)
    resumed = nfsim.fit(network, some_data(), epochs=4, folder=tmp_path, resume=True, **options)
    assert same(expected.model, resumed.model)


@pytest.mark.slow
def test_a_run_with_two_workers_trains_and_resumes_to_the_same_bits(tmp_path):
    network, options = some_network(), {"schedule": Schedule.constant, "select": Select.last, "progress": False}
    expected = nfsim.fit(network, some_data(), epochs=2, **options)
    nfsim.fit(network, some_data(workers=2), epochs=1, folder=tmp_path, **options)
    resumed = nfsim.fit(network, some_data(workers=2), epochs=2, folder=tmp_path, resume=True, **options)
    assert same(expected.model, resumed.model)


def test_the_history_is_a_table_with_a_row_for_each_epoch(tmp_path):
    result = fit(some_model(), some_data(), epochs=2, folder=tmp_path, progress=False)
    rows = list(csv.DictReader((tmp_path / HISTORY).open()))
    assert [float(row["val/accuracy"]) for row in rows] == [row["val/accuracy"] for row in result.history]
    assert as_csv([{"a": 1.0}, {"a": 2.0, "b": 3.0}]) == "a,b\n1.0,\n2.0,3.0\n"


def test_progress_is_a_bar_on_a_terminal_and_some_lines_elsewhere():
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        fit(some_model(), some_data(), epochs=25, progress=False, callbacks=[Progress(console)])
        text = console.file.getvalue()
        assert ("epoch 25/25" in text) is True
        assert ("━" in text) is terminal
        assert terminal or len(text.splitlines()) <= LINES


def test_model_and_data_that_do_not_fit_are_refused_with_all_reasons():
    model = MLP(4, ["a", "b", "c"], 2)
    with pytest.raises(nfsim.BuildError) as caught:
        fit(model, some_data(), energy_weight=1.0)
    assert len(caught.value.problems) == 4
    for part in (
        "has 5 features a step, the model takes 4",
        "the 2 labels 0, 1, the model the 3 a, b, c",
        "takes 2;",
        "energy",
    ):
        assert part in str(caught.value)


def test_a_network_with_another_step_than_the_data_is_refused():
    with pytest.raises(nfsim.BuildError, match=r"a step every 0.5, the network every 1.0; declare Network\(dt=0.5\)"):
        fit(some_network(), some_data(dt=0.5))


def test_a_model_without_labels_is_refused():
    with pytest.raises(nfsim.BuildError, match="Linear: says no labels"):
        fit(torch.nn.Linear(5, 2), some_data())


def test_unknown_settings_and_datasets_name_the_known_ones():
    with pytest.raises(TypeError, match="unknown epoch; settings are epochs, lr"):
        fit(some_model(), some_data(), epoch=3)
    with pytest.raises(ValueError, match="no dataset 'digit'; choose one of digits, mnist"):
        fit(some_model(), "digit")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device=mps: this machine has none"):
        fit(some_model(), some_data(), device=Device.mps)


def test_a_guarded_training_names_the_node_and_step_where_it_diverges():
    model = nfsim.compile(some_network(), device="cpu")
    with torch.no_grad():
        model.values["x->a:a:weight"][0, 0, 0] = 1e38  # finite, and times an input of 4 no longer so
    data = some_data()
    with pytest.raises(FloatingPointError, match=r"a: node 0 is not finite after step \d"):
        fit(model, data, epochs=1, guard=True, progress=False)
    with pytest.raises(ValueError, match="guard: MLP is no network, and has no states to look at; leave guard off"):
        fit(some_model(), data, guard=True)


def test_fit_takes_options_by_name_and_refuses_what_the_command_line_refuses(tmp_path):
    by_name = fit(some_model(), some_data(), epochs=2, schedule="constant", select="last", device="cpu", progress=False)
    same = fit(some_model(), some_data(), epochs=2, schedule=Schedule.constant, select=Select.last, progress=False)
    assert by_name.metrics["val/loss"] == same.metrics["val/loss"]
    for changes, message in (
        ({"schedule": "bananas"}, "fit: schedule='bananas': Invalid value 'bananas', expected one of"),
        ({"epochs": 1.5}, r"fit: epochs=1.5: Value '1.5' of type 'float' could not be converted to Integer"),
        ({"epochs": 0}, "fit: trainer.epochs=0: must be >= 1; change it"),
        ({"clip": -1.0}, "fit: trainer.clip=-1.0: must be >= 0; change it"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(some_model(), some_data(), **changes)
    with pytest.raises(TypeError, match="fit: data is a Tensor; give a dataset"):
        fit(some_model(), torch.zeros(3))


def test_fit_makes_the_folder_it_is_given(tmp_path):
    fit(some_model(), some_data(), epochs=1, folder=tmp_path / "new" / "run", progress=False)
    assert (tmp_path / "new" / "run" / LAST).is_file()
