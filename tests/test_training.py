"""Training: its losses, its schedule, its checkpoints, and that an interrupted run goes on as if nothing had been."""

import csv
import io
import math
import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console

import nfsim
from nfsim import checkpoints
from nfsim.callbacks import BEST, HISTORY, LAST, as_csv
from nfsim.data import Arrays
from nfsim.evaluation import evaluate
from nfsim.files import replacing, write_text
from nfsim.losses import aligned, confidence, free_energy, valid_steps
from nfsim.models.mlp import MLP
from nfsim.optimization import optimizer, rate
from nfsim.progress import LINES, Progress
from nfsim.runs import load
from nfsim.settings import Device, Schedule, Select, TrainerSettings
from nfsim.training import fit


def some_data(seed=0, steps=3, lengths=False, **options):
    """Two classes of noise around two means."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 120)
    x = rng.normal(size=(120, steps, 5)) + 1.5 * target[:, None, None]
    parts = [x, target] + ([rng.integers(1, steps + 1, 120)] if lengths else [])
    train, validation, test = ([part[a:b] for part in parts] for a, b in ((0, 60), (60, 90), (90, 120)))
    return Arrays(train=train, validation=validation, test=test, seed=seed, batch=16, **options)


def some_model(dropout=0.3, hidden=(8,)):
    torch.manual_seed(7)
    return MLP(5, "01", 3, hidden=hidden, dropout=dropout)


def some_network(when="last", seed=0):
    net = nfsim.Network("small", seed=seed)
    net.add(nfsim.Input("x", 5), nfsim.Population("a", 6), nfsim.Readout("class", ["0", "1"], when=when))
    net.connect("x", "a")
    return net


class Interrupt(Callback):
    """Stops training as Ctrl-C would, in the middle of an epoch (from 0)."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.current_epoch == self.epoch and trainer.global_step % 4 == 2:
            raise KeyboardInterrupt


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# What is minimised


def test_a_label_of_the_whole_sample_holds_at_each_valid_step():
    logits = torch.randn(3, 4, 2)
    flat, target = aligned(logits, torch.tensor([0, 1, 1]), lengths=torch.tensor([1, 4, 2]))
    assert target.tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert torch.equal(flat, torch.cat([logits[0, :1], logits[1], logits[2, :2]]))


def test_what_lies_beyond_the_length_changes_no_loss():
    lengths = torch.tensor([1, 3])
    logits, energy = torch.randn(2, 3, 2), torch.randn(2, 6, 5)
    after = ~valid_steps(3, lengths, 2)
    other_logits, other_energy = logits.clone(), energy.clone()
    other_logits[after] = 9.0
    other_energy[after.repeat_interleave(2, 1)] = 9.0
    target = torch.tensor([[0, 1, 1], [1, 0, 1]])
    for a, b in zip(aligned(logits, target, lengths), aligned(other_logits, target, lengths), strict=True):
        assert torch.equal(a, b)
    record, other = ({"energy_accuracy": e, "energy_complexity": e} for e in (energy, other_energy))
    assert free_energy(record, lengths, 3) == free_energy(other, lengths, 3)
    assert free_energy(record, torch.tensor([3, 3]), 3) == pytest.approx(float(free_energy(record)), rel=1e-6)


def test_targets_of_each_step_need_predictions_of_each_step():
    with pytest.raises(ValueError, match='give the readout when="each"'):
        aligned(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="give a target for every step"):
        aligned(torch.zeros(2, 5, 3), torch.zeros(2, 4, dtype=torch.long))


def test_confidence_is_the_entropy_of_the_prediction():
    assert confidence(torch.zeros(4, 10)) == pytest.approx(math.log(10))
    assert confidence(torch.eye(3) * 100) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weight", ["energy_weight", "confidence_weight"])
def test_a_weight_on_a_term_makes_that_term_smaller(weight):
    data, results = some_data(), []
    for value in (0.0, 0.3):
        model = nfsim.compile(some_network(), device="cpu")
        fit(model, data, epochs=4, schedule=Schedule.constant, select=Select.last, progress=False, **{weight: value})
        with torch.no_grad():
            out = model(data.samples("train").x, record=("energy_accuracy", "energy_complexity"))
        results.append(float(free_energy(out.record) if weight == "energy_weight" else confidence(out.logits)))
    assert results[1] < results[0]


# How it is minimised


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
    data.samples("train").x[0] = math.inf
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


# Resuming


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


# Checkpoints


def test_a_file_whose_writing_fails_stays_what_it_was(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")

    def stop_half_way():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        stop_half_way()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_holds_plain_values_the_declaration_and_the_labels(tmp_path):
    network = some_network()
    result = nfsim.fit(network, some_data(), epochs=1, folder=tmp_path, config="{}", progress=False)
    for name in (LAST, BEST):
        checkpoint = torch.load(tmp_path / name, weights_only=True)
        stamp = checkpoint[checkpoints.KEY]
        assert stamp["digest"] == network.digest()
        assert nfsim.Network.from_json(stamp["declaration"]).digest() == network.digest()
        assert stamp["labels"] == ["0", "1"]
        assert stamp["config"] == "{}"
    loaded = load(tmp_path)
    assert same(result.model, loaded)
    assert not loaded.training
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, HISTORY, LAST]


def test_an_mlp_is_loaded_from_its_checkpoint_alone(tmp_path):
    result = fit(some_model(), some_data(), epochs=1, folder=tmp_path, progress=False)
    assert same(result.model, load(tmp_path / BEST))


def test_a_mismatching_network_is_refused_and_the_difference_named(tmp_path):
    nfsim.fit(some_network(), some_data(), epochs=1, folder=tmp_path, progress=False)
    other = some_network()
    other.ticks = 2
    other.parts = tuple(nfsim.Population("a", 7) if part.name == "a" else part for part in other.parts)
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(nfsim.BuildError, match=r"parts.a.size: 6 there, 7 here; ticks: 1 there, 2 here"):
        nfsim.fit(other, some_data(), epochs=2, folder=tmp_path, resume=True, progress=False)
    with pytest.raises(nfsim.BuildError, match="a network there, a MLP here"):
        fit(some_model(), some_data(), epochs=2, folder=tmp_path, resume=True, progress=False)
    assert (tmp_path / LAST).read_bytes() == before


def test_many_differences_are_counted():
    there = {"parts": [{"name": f"p{i}", "size": i} for i in range(9)]}
    assert len(list(checkpoints.differences(there, {"parts": []}))) == 9
    assert list(checkpoints.differences(there, there)) == []


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "foreign"])
def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / BEST
    fit(some_model(), some_data(), epochs=1, folder=tmp_path, progress=False)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("no checkpoint")
    elif damage == "pickle":
        torch.save({"model": Arrays}, path)
    else:
        torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="not of nfsim" if damage == "foreign" else "not a readable checkpoint"):
        load(tmp_path)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such checkpoint"):
        load(tmp_path / "nothing")


# What does not fit


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


def test_a_device_that_is_not_there_is_refused():
    if torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ValueError, match="device=mps: this machine has none"):
        fit(some_model(), some_data(), device=Device.mps)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 4), (2, 2, 5), (2, 15)])
def test_the_mlp_refuses_inputs_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"is not \[batch, 3, 5\]"):
        some_model()(torch.zeros(shape))


def test_the_mlp_refuses_what_it_cannot_be():
    with pytest.raises(ValueError, match="must all be >= 1"):
        MLP(5, "01", hidden=[0])
    with pytest.raises(ValueError, match="no activation 'tanh'; choose one of relu, gelu"):
        MLP(5, "01", activation="tanh")
    with pytest.raises(ValueError, match="cannot record gain"):
        some_model()(torch.zeros(1, 3, 5), record=["gain"])


def test_the_mlp_ignores_what_lies_beyond_the_length():
    x = torch.randn(2, 3, 5)
    lengths = torch.tensor([1, 3])
    other = x.clone()
    other[0, 1:] = 9.0
    model = some_model().eval()
    assert torch.equal(model(x, lengths=lengths).logits, model(other, lengths=lengths).logits)
