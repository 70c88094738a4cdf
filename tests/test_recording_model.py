"""Recording a compiled model: labelled, equal to the model's own output, whole or in pieces, in memory or on disk."""

import numpy as np
import pytest
import torch
import xarray as xr

import nfsim
from nfsim import analysis, recording
from nfsim._record import record
from nfsim.regions import presets

VARIABLES = ("z", "gain", "logits", "steady", "drive", "nucleus_gain", "energy_accuracy", "energy_complexity")
SMALL = {"sensory": 8, "prefrontal": 6, "motor": 6, "rank": 4, "nuclei": 1, "neighbours": 2}
LENGTHS = torch.tensor([7, 3, 5, 7, 1, 7])


@pytest.fixture(scope="module")
def model():
    return nfsim.compile(presets.hierarchy(5, list("abc"), seed=0, ticks=2, dt=0.5, **SMALL))


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(0)
    return torch.randn(6, 7, 5), torch.arange(6) % 3


@pytest.fixture(scope="module")
def whole(model, data):
    return record(model, data, variables=VARIABLES)


def test_variables_are_those_of_the_model(model, data, whole):
    out = model(data[0], record=VARIABLES)
    for name in VARIABLES:
        np.testing.assert_allclose(whole[name], out.record[name].detach(), atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(whole.prediction, out.logits.argmax(-1))
    np.testing.assert_array_equal(whole.target, data[1])


def test_names_of_the_declaration_are_coordinates(model, whole):
    assert set(whole.dims) == {"trial", "time", "node", "label", "nucleus", "edge"}
    assert set(recording.COORDINATES) - set(whole.coords) == {"steps"}
    assert list(dict.fromkeys(whole.region.values.tolist())) == ["sensory", "pfc", "motor"]
    np.testing.assert_allclose(whole.time, 0.25 * np.arange(1, 15))
    assert whole.label.values.tolist() == list("abc")
    assert whole.attrs["network"] == model.network.to_json()
    assert whole.attrs["seed"] == 0
    assert all("long_name" in var.attrs for var in whole.variables.values())
    assert set(whole.edge_kind.values) == {"coupling", "drive"}
    recording.validate(whole)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["one length", "mixed lengths"])
@pytest.mark.parametrize(
    "cut",
    [{"batch": 4, "steps": 2}, *(pytest.param(x, marks=pytest.mark.slow) for x in ({"batch": 4}, {"steps": 3}))],
    ids=str,
)
def test_batches_and_blocks_change_nothing(model, data, cut, lengths):
    data = (*data, lengths)
    one, other = (record(model, data, variables=VARIABLES, **options) for options in ({}, cut))
    for name in (*VARIABLES, "prediction", "target", "sample"):
        np.testing.assert_allclose(other[name], one[name], atol=2e-6, err_msg=name)


@pytest.mark.parametrize("cut", [pytest.param({"steps": 3}, marks=pytest.mark.slow), {"batch": 4, "steps": 2}], ids=str)
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_store_equals_the_recording_in_memory(model, data, tmp_path, cut, every):
    online = ("metastability", "plv", "free_energy")
    options = {"variables": ("z", "logits"), "every": every, "online": online, **cut}
    stored = record(model, data, to=tmp_path / "a.zarr", **options)
    held = record(model, data, **options)
    assert stored.attrs["closed"] == 1
    assert set(stored.variables) == set(held.variables)
    for name in held.variables:
        np.testing.assert_array_equal(stored[name], held[name], err_msg=name)


def test_samples_end_where_they_end(model, data):
    ds = record(model, (*data, LENGTHS))
    out = model(data[0], lengths=LENGTHS)
    np.testing.assert_array_equal(ds.prediction, out.logits.argmax(-1))
    np.testing.assert_array_equal(ds.steps, LENGTHS)
    np.testing.assert_array_equal(np.isfinite(ds.z).all("node").sum("time"), 2 * LENGTHS)
    assert analysis.plv(ds, over="time").n_valid[:, 0, 1].values.tolist() == (2 * LENGTHS).tolist()


@pytest.mark.parametrize("when", ["last", "mean", "each"])
def test_predictions_are_those_of_the_readout(data, when):
    network = presets.hierarchy(5, list("abc"), seed=0, when=when, **SMALL)
    model = nfsim.compile(network)
    want = model(data[0], lengths=LENGTHS).logits.argmax(-1)
    for steps in (7, 2):
        ds = record(model, (data[0], None, LENGTHS), variables=("z",), steps=steps)
        if when != "each":
            np.testing.assert_array_equal(ds.prediction, want)
            continue
        assert ds.prediction.dims == ("trial", "time")
        for k, length in enumerate(LENGTHS):
            np.testing.assert_array_equal(ds.prediction[k, :length], want[k, :length])
            assert (ds.prediction[k, length:] == -1).all()


def test_free_energy_of_the_recording_is_the_models_own(whole):
    energy = analysis.free_energy(whole)
    np.testing.assert_allclose(energy.accuracy, whole.energy_accuracy, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(energy.complexity, whole.energy_complexity, rtol=1e-4, atol=1e-5)


def test_online_measures_equal_the_offline_ones_without_keeping_states(model, data, whole):
    online = ("order_parameter", "metastability", "plv", "functional_connectivity", "gain", "free_energy")
    ds = record(model, data, variables=("logits",), online=online, batch=4, steps=2)
    assert "z" not in ds
    samples = ("trial", "time")
    np.testing.assert_allclose(ds.metastability, analysis.metastability(whole, over="node"), atol=1e-5)
    np.testing.assert_allclose(ds.r_mean, analysis.order_parameter(whole, over="node").r.mean("time"), atol=1e-5)
    np.testing.assert_allclose(ds.plv, analysis.plv(whole, over=samples), atol=1e-5)
    want = analysis.functional_connectivity(abs(whole.z), over=samples)
    np.testing.assert_allclose(ds.functional_connectivity, want, atol=1e-4)
    np.testing.assert_allclose(ds.gain_mean, whole.gain.mean(("time", "node")), rtol=1e-5)
    np.testing.assert_allclose(ds.energy_accuracy_mean, whole.energy_accuracy.mean(("time", "node")), rtol=1e-4)


class Interrupted(torch.nn.Module):
    """A model that fails in its n-th call."""

    def __init__(self, model, calls):
        super().__init__()
        self.model, self.calls = model, calls

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)

    def forward(self, *args, **options):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return self.model(*args, **options)


@pytest.mark.parametrize(
    "options", [{"batch": 2, "steps": 4}, pytest.param({"steps": 3}, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize(
    "online", [pytest.param((), marks=pytest.mark.slow), ("metastability", "plv")], ids=["", "online"]
)
def test_a_resumed_recording_equals_an_uninterrupted_one(model, data, tmp_path, options, online):
    options = {**options, "online": online, "variables": ("z", "gain")}
    with pytest.raises(KeyboardInterrupt):
        record(Interrupted(model, 2), data, to=tmp_path / "a.zarr", **options)
    assert recording.open(tmp_path / "a.zarr").attrs["valid_length"] > 0
    resumed = record(model, data, to=tmp_path / "a.zarr", resume=True, **options)
    whole = record(model, data, to=tmp_path / "b.zarr", **options)
    xr.testing.assert_identical(resumed.load(), whole.load())
    again = record(model, data, to=tmp_path / "a.zarr", resume=True, **options)
    xr.testing.assert_identical(again.load(), whole)


def test_loaders_and_iterators_are_recorded_too(model, data, whole):
    batches = [(data[0][:4], data[1][:4], None), (data[0][4:], data[1][4:], None)]
    for source in (batches, iter(batches)):
        ds = record(model, source, variables=VARIABLES)
        np.testing.assert_allclose(ds.z, whole.z, atol=1e-6)
        assert ds.sample.values.tolist() == list(range(6))
    few = record(model, batches, samples=5)
    assert few.sizes["trial"] == 5
    np.testing.assert_allclose(few.z, whole.z[:5], atol=1e-6)


def test_seeds_and_sweeps_become_dimensions(data, tmp_path):
    models = {seed: nfsim.compile(presets.hierarchy(5, list("abc"), seed=seed, **SMALL)) for seed in (0, 1)}
    ds = record(models, data)
    assert ds.z.dims == ("seed", "trial", "time", "node")
    assert ds.seed.values.tolist() == [0, 1]
    assert not np.allclose(ds.z[0], ds.z[1])
    np.testing.assert_allclose(ds.z[1], record(models[1], data).z)
    stored = record(models, data, to=tmp_path)
    np.testing.assert_array_equal(stored.z, ds.z)
    assert analysis.order_parameter(ds, over="node", by="region").r.dims == ("seed", "trial", "time", "region")


def test_the_model_comes_back_as_it_was(model, data):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record(model, data)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_steps_of_uneven_duration_have_uneven_times(model, data):
    dt = np.array([0.5, 1.0, 0.5, 0.5, 2.0, 0.5, 0.5])
    ds = record(model, data, dt=dt)
    np.testing.assert_allclose(ds.time, np.cumsum(np.repeat(dt / 2, 2)))
    cut = record(model, data, dt=dt, steps=3)
    np.testing.assert_allclose(cut.z, ds.z, atol=1e-6)
    with pytest.raises(ValueError, match="resample to uniform time"):
        analysis.coherence(ds.z.real, segment=2.0)


def test_a_state_that_stays_real_is_warned_about(data):
    still = nfsim.CfC(omega=0.0, phase=0.0)
    network = nfsim.Network(seed=0)
    network.add(nfsim.Input("x", 5), nfsim.Population("p", 6, dynamics=still), nfsim.Readout("y", list("abc")))
    network.connect("x", "p")
    with pytest.warns(UserWarning, match="the state stays real .* declare omega > 0 or preferred phases"):
        record(nfsim.compile(network), data)


def test_what_cannot_be_recorded_is_refused(model, data):
    x, target = data
    with pytest.raises(ValueError, match="no variable y; there are drive, energy_accuracy"):
        record(model, data, variables=("y",))
    with pytest.raises(ValueError, match="nothing to record"):
        record(model, data, variables=())
    with pytest.raises(TypeError, match="Linear is no compiled network"):
        record(torch.nn.Linear(5, 3), data)
    with pytest.raises(ValueError, match="every is 0; give a whole number from 1 on"):
        record(model, data, every=0)
    with pytest.raises(ValueError, match=r"x has 6 samples, its companions \[5\]"):
        record(model, (x, target[:5]))
    with pytest.raises(ValueError, match=r"x has shape \(6, 7\); give \(trial, time, feature\)"):
        record(model, x[..., 0])
    with pytest.raises(ValueError, match="sample 3 has 6 steps, those before it 7; pad to one length and give lengths"):
        record(model, [(x[:3],), (x[3:, :6],)])
    with pytest.raises(ValueError, match="the data hold no sample"):
        record(model, [])
    with pytest.raises(TypeError, match="cannot run over a int"):
        record(model, 5)
    with pytest.raises(ValueError, match="resume=True needs the store"):
        record(model, data, resume=True)
    with pytest.raises(ValueError, match=r"dt has shape \(6, 7\); give one number, or one per input step \(7\)"):
        record(model, data, dt=np.ones((6, 7)))
    with pytest.raises(ValueError, match="no measure synchrony"):
        record(model, data, online=("synchrony",))
