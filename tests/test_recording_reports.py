"""From a trained run to its recording, its pictures and its free-energy ledger."""

import numpy as np
import pytest
import torch
import xarray as xr
from lightning.pytorch.callbacks import Callback

import nfsim
from nfsim import analysis, ledgers, recording, reports
from nfsim.analysis import example
from nfsim.configuration import compose, settle
from nfsim.regions import presets
from nfsim.runs import load, new_folder, prepare, train
from nfsim.settings import Select

SMALL = {"sensory": 8, "prefrontal": 6, "motor": 6, "rank": 4, "nuclei": 1, "neighbours": 2}
STATES = {"rate", "phase", "regions", "order", "plv"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sizes = [f"network.{name}={value}" for name, value in SMALL.items()]
    words = ["trainer.epochs=1", "logger.progress=false", "logger.tensorboard=false", *sizes]
    prepared = prepare(settle(compose([*words, f"runs={tmp_path_factory.mktemp('runs')}"])))
    prepared.folder = new_folder(prepared.settings)
    train(prepared)
    return prepared


@pytest.mark.slow
def test_a_run_is_recorded_and_drawn(run):
    ds = reports.record_run(run.folder, samples=5)
    x, target, _ = run.data.samples("validation")
    out = load(run.folder)(run.data.layout(x[:5]).float(), record=("z",))
    np.testing.assert_allclose(ds.z, out.record["z"].detach(), atol=1e-6)
    np.testing.assert_array_equal(ds.target, target[:5])
    assert "epochs: 1" in ds.attrs["config"]
    assert ds.attrs["closed"] == 1
    pictures = reports.plot_run(run.folder, trial=2)
    assert {path.stem for path in pictures} == {*STATES, "readout", "gain", "ledger"}
    assert all(path.stat().st_size > 5000 and path.parent == run.folder / "plots" for path in pictures)
    with pytest.raises(FileExistsError, match="exists already; resume it, or give a new path"):
        reports.record_run(run.folder)
    assert reports.record_run(run.folder, samples=5, resume=True).sizes["trial"] == 5


def test_what_is_not_there_is_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no recording\.zarr; make it with nfsim record"):
        reports.plot_run(tmp_path)
    with pytest.raises(ValueError, match="there is no split 'test_'"):
        reports.record_run(run.folder, split="test_")
    with pytest.raises(ValueError, match="samples=0: give a number from 1 to"):
        reports.record_run(run.folder, samples=0)
    with pytest.raises(FileNotFoundError, match="there is no such run"):
        reports.record_run(tmp_path / "absent")


@pytest.mark.slow
def test_foreign_recordings_are_drawn_too(tmp_path):
    ds = example(trials=2, steps=20, nodes=6)
    recording.save(ds, tmp_path / "foreign.nc")
    pictures = reports.plot_run(tmp_path / "foreign.nc", to=tmp_path / "pictures")
    assert {path.stem for path in pictures} == {*STATES, "motor"}
    with pytest.raises(ValueError, match="trial=2: the recording has trials 0 to 1"):
        reports.plot_run(tmp_path / "foreign.nc", trial=2)


def data(lengths=None):
    torch.manual_seed(0)
    return torch.rand(20, 3, 64), torch.arange(20) % 10, lengths


@pytest.mark.parametrize("lengths", [None, torch.arange(20) % 3 + 1], ids=["one length", "mixed lengths"])
def test_the_energies_of_an_epoch_are_those_of_its_recording(monkeypatch, lengths):
    network = presets.hierarchy(64, 10, seed=0, ticks=2, **SMALL)
    model = nfsim.compile(network)
    ds = nfsim.record(model, data(lengths), variables=("z", "gain", "steady"), batch=20)
    want = analysis.free_energy(ds, by="region").mean("time")
    weight = 1 if lengths is None else xr.DataArray(lengths.numpy(), dims="trial")
    for most in (2**21, 3 * 6 * 20):  # whole, and in parts of three samples
        monkeypatch.setattr(ledgers, "_VALUES", most)
        found = ledgers.energies(model, data()[0], lengths)
        for region, parts in found.items():
            for name, value in zip(("accuracy", "complexity"), parts, strict=True):
                here = want[name].sel(region=region).weighted(weight * xr.ones_like(want[name][:, 0])).mean("trial")
                np.testing.assert_allclose(value, here, rtol=1e-4, err_msg=f"{region} {name}")


class Stop(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def fit(folder, *callbacks, resume=False, ledger=True):
    folder.mkdir(exist_ok=True)
    network = presets.hierarchy(64, 10, seed=0, **SMALL)
    kept = [ledgers.EnergyLedger(folder, data())] if ledger else []
    options = {"epochs": 3, "progress": False, "select": Select.last}
    return nfsim.fit(network, "digits", folder=folder, resume=resume, callbacks=[*kept, *callbacks], **options).model


@pytest.mark.slow
def test_training_is_the_same_to_the_bit_with_a_ledger_and_when_resumed(tmp_path):
    plain, whole = fit(tmp_path / "plain", ledger=False), fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", Stop())
    assert ledgers.read_ledger(tmp_path / "parts").epoch.values.tolist() == [1]
    resumed = fit(tmp_path / "parts", resume=True)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert (tmp_path / "whole/ledger.csv").read_text() == (tmp_path / "parts/ledger.csv").read_text()
    ledger = ledgers.read_ledger(tmp_path / "parts")
    assert ledger.epoch.values.tolist() == [1, 2, 3]
    assert ledger.region.values.tolist() == ["sensory", "pfc", "motor"]
    np.testing.assert_allclose(ledger.free_energy, ledger.accuracy + ledger.complexity)
    history = np.genfromtxt(tmp_path / "parts/history.csv", delimiter=",", names=True, deletechars="")
    np.testing.assert_allclose(ledger.correct, history["val/accuracy"])


def test_what_is_no_ledger_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no such ledger; nfsim train writes one where logger\.energy is above"
    ):
        ledgers.read_ledger(tmp_path)
    (tmp_path / "ledger.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a free-energy ledger; it needs columns epoch, region, accuracy"):
        ledgers.read_ledger(tmp_path)
