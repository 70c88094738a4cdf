"""From a trained run to its recording, its pictures and its free-energy ledger."""

import numpy as np
import pytest
import torch
import xarray as xr

import nfsim
from nfsim import recording, reports
from nfsim.analysis import example
from nfsim.configuration import compose, settle
from nfsim.regions import presets
from nfsim.runs import load, new_folder, prepare, train

SMALL = {"sensory": 8, "prefrontal": 6, "motor": 6, "rank": 4, "nuclei": 1, "neighbours": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sizes = [f"network.{name}={value}" for name, value in SMALL.items()]
    words = ["trainer.epochs=1", "logger.progress=false", "logger.tensorboard=false", *sizes]
    prepared = prepare(settle(compose([*words, f"runs={tmp_path_factory.mktemp('runs')}"])))
    prepared.folder = new_folder(prepared.settings)
    train(prepared)
    return prepared


def test_a_run_is_recorded_and_drawn(run):
    ds = reports.record_run(run.folder, samples=5)
    x, target, _ = run.data.samples("validation")
    out = load(run.folder)(run.data.layout(x[:5]).float(), record=("z",))
    np.testing.assert_allclose(ds.z, out.record["z"].detach(), atol=1e-6)
    np.testing.assert_array_equal(ds.target, target[:5])
    assert "epochs: 1" in ds.attrs["config"]
    assert ds.attrs["closed"] == 1
    pictures = reports.plot_run(run.folder, trial=2)
    assert {path.stem for path in pictures} == {"rate", "phase", "regions", "order", "plv", "readout", "gain"}
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
    assert {path.stem for path in pictures} == {"rate", "phase", "regions", "order", "plv", "motor"}
    with pytest.raises(ValueError, match="trial=2: the recording has trials 0 to 1"):
        reports.plot_run(tmp_path / "foreign.nc", trial=2)


def test_a_ledger_follows_training_and_is_taken_up_again(tmp_path):
    network = presets.hierarchy(64, 10, seed=0, **SMALL)
    torch.manual_seed(0)
    samples = torch.rand(20, 1, 64), torch.arange(20) % 10

    def fit(folder, epochs, resume=False):
        ledger = reports.EnergyLedger(folder, samples)
        nfsim.fit(
            network,
            "digits",
            epochs=epochs,
            folder=folder,
            resume=resume,
            callbacks=[ledger],
            progress=False,
            table=False,
        )
        return xr.load_dataset(folder / "ledger.nc", engine="h5netcdf")

    begun = fit(tmp_path / "run", 1)
    whole = fit(tmp_path / "run", 2, resume=True)
    assert whole.epoch.values.tolist() == [0, 1]
    assert set(whole.data_vars) == {"accuracy", "complexity", "free_energy", "correct"}
    assert whole.region.values.tolist() == ["sensory", "pfc", "motor"]
    assert np.isfinite(whole.free_energy).all()
    xr.testing.assert_allclose(whole.isel(epoch=[0]), begun)
