"""Free energy, coupling energy and ledgers, from recordings alone."""

import numpy as np
import pytest
import xarray as xr

from nfsim import analysis
from nfsim.analysis import _kernels_energy


def recording(seed=0, **attrs):
    rng = np.random.default_rng(seed)
    ds = analysis.example(trials=2, steps=6, nodes=6)
    for name in ("z", "steady"):
        ds[name] = (ds.z.dims, (rng.standard_normal(ds.z.shape) + 1j * rng.standard_normal(ds.z.shape)).astype("c8"))
    ds["gain"] = (ds.z.dims, rng.uniform(0, 1, ds.z.shape).astype("f4"))
    ds["initial"] = ("node", rng.standard_normal(6).astype("c8"))
    return ds.assign_coords(prior_variance=("node", rng.uniform(0.5, 2, 6))).assign_attrs(attrs)


def oracle(ds):
    before = np.concatenate([np.broadcast_to(ds.initial.values, ds.z[:, :1].shape), ds.z.values[:, :-1]], axis=1)
    pi, v0 = np.maximum(ds.gain.values, 1e-3), ds.prior_variance.values
    accuracy = pi * abs(ds.steady.values - before) ** 2 / 2 - np.log(pi)
    return accuracy, abs(ds.z.values) ** 2 / (2 * v0) + 1 / (pi * v0) - 1 + np.log(pi * v0)


def test_free_energy_equals_its_equation():
    ds = recording()
    ds["gain"][0, 0, 0] = 0.0  # precision has a floor
    got = analysis.free_energy(ds)
    for ours, want in zip((got.accuracy, got.complexity), oracle(ds), strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-5)
    np.testing.assert_allclose(got.free_energy, sum(oracle(ds)), rtol=1e-5)
    assert got.accuracy.attrs["units"] == "nat"


def test_free_energy_by_region_is_the_mean_over_its_nodes():
    ds = recording()
    whole, split = analysis.free_energy(ds), analysis.free_energy(ds, by="region")
    for region in ("pfc", "motor", "sensory"):
        nodes = ds.region.values == region
        np.testing.assert_allclose(
            split.free_energy.sel(region=region), whole.free_energy[..., nodes].mean("node"), rtol=1e-12
        )


def test_complexity_is_0_where_belief_and_prior_agree():
    ds = recording()
    ds["z"] = ds.z * 0
    ds["gain"] = ds.gain * 0 + 0.5
    got = analysis.free_energy(ds, prior_variance=2.0)
    # the divergence of a Gaussian of variance 1/pi = v0 and mean 0 from the prior
    np.testing.assert_allclose(got.complexity, 0, atol=1e-6)


def test_one_update_brings_the_state_closer_by_one_minus_t():
    rng = np.random.default_rng(0)
    steady, z, t = rng.standard_normal((3, 8)) + 1j * rng.standard_normal((3, 8))
    t = rng.uniform(0, 1, 8)
    after = (1 - t) * z + t * steady
    ds = xr.Dataset({
        "z": (("time", "node"), np.stack([after, after])), "steady": (("time", "node"), np.stack([steady, steady])),
        "gain": (("time", "node"), np.ones((2, 8))), "initial": ("node", z),
    })  # fmt: skip
    accuracy = analysis.free_energy(ds).accuracy
    np.testing.assert_allclose(accuracy[1], (1 - t) ** 2 * accuracy[0], rtol=1e-12)


def test_missing_states_give_missing_energies_and_nothing_else():
    ds = recording()
    ds["z"][0, 2, 1] = np.nan
    got = analysis.free_energy(ds)
    assert np.isnan(got.complexity.values).sum() == 1
    assert np.isnan(got.accuracy.values).sum() == 1
    assert np.isnan(got.accuracy[0, 3, 1])


def test_what_free_energy_needs_is_named():
    with pytest.raises(ValueError, match=r"has no steady, gain; record them: nfsim\.record"):
        analysis.free_energy(analysis.example())
    with pytest.raises(ValueError, match=r"every 2th tick was recorded"):
        analysis.free_energy(recording(every=2))
    with pytest.raises(TypeError, match="got a DataArray"):
        analysis.free_energy(recording().z)
    with pytest.raises(ValueError, match="by='sector_' is no coordinate along 'node'"):
        analysis.free_energy(recording(), by="sector_")
    with pytest.raises(ValueError, match=r"prior_variance 0\.0 is not above 0"):
        analysis.free_energy(recording(), prior_variance=0.0)


def test_coupling_energy_equals_its_double_sum():
    ds = analysis.example()
    k, z = analysis.connectome(ds).values, ds.z.values.astype(complex)
    want = -0.5 * np.einsum("ij,...i,...j->...", k, z.conj(), z).real
    np.testing.assert_allclose(analysis.coupling_energy(ds), want, rtol=1e-6, atol=1e-9)


def test_coupling_energy_never_rises_along_the_flow_of_symmetric_phases():
    rng = np.random.default_rng(0)
    k = rng.uniform(0, 0.2, (8, 8))
    k, theta, states = k + k.T, rng.uniform(0, 2 * np.pi, 8), []
    for _ in range(100):
        states.append(np.exp(1j * theta))
        theta = theta + 0.05 * (k * np.sin(theta[None] - theta[:, None])).sum(1)
    source, target = np.nonzero(~np.eye(8, dtype=bool))
    ds = xr.Dataset({"z": (("time", "node"), np.stack(states))}).assign_coords(
        edge_source=("edge", source), edge_target=("edge", target), edge_weight=("edge", k[target, source])
    )
    assert (analysis.coupling_energy(ds).diff("time") <= 1e-12).all()


def test_only_coupling_edges_count_as_coupling():
    ds = analysis.example()
    kind = np.where(np.arange(ds.sizes["edge"]) % 2, "coupling", "drive")
    part = ds.isel(edge=np.flatnonzero(kind == "coupling"))
    np.testing.assert_allclose(
        analysis.coupling_energy(ds.assign_coords(edge_kind=("edge", kind))), analysis.coupling_energy(part)
    )


def test_coupling_energy_without_edges_is_refused():
    with pytest.raises(
        ValueError, match="no edge_source, edge_target, edge_weight in a DataArray, which cannot carry edges"
    ):
        analysis.coupling_energy(analysis.example().z)


def test_a_ledger_has_one_row_per_epoch_and_the_share_of_correct_answers():
    epochs = {}
    for epoch in range(3):
        ds = recording(epoch)
        epochs[epoch] = ds.assign_coords(target=("trial", [0, 1]), prediction=("trial", [0, 1 if epoch else 0]))
    ledger = analysis.energy_ledger(epochs)
    assert ledger.correct.values.tolist() == [0.5, 1.0, 1.0]
    np.testing.assert_allclose(
        ledger.free_energy[2], analysis.free_energy(epochs[2], by="region").free_energy.mean(("trial", "time"))
    )
    np.testing.assert_allclose(ledger.free_energy, ledger.accuracy + ledger.complexity)


def test_kernels_run_the_same_as_plain_python():
    ds = recording()
    z, steady, gain = (np.ascontiguousarray(ds[name].values) for name in ("z", "steady", "gain"))
    initial = np.broadcast_to(ds.initial.values, (2, 6)).copy()
    inputs = [a.view("f4").reshape(*a.shape, 2) for a in (z, steady)]
    results = []
    for run in (_kernels_energy._free_energy, _kernels_energy._free_energy.py_func):
        out = [np.empty(z.shape) for _ in range(2)]
        run(*inputs, gain, initial.view("f4").reshape(2, 6, 2), ds.prior_variance.values, *out, 0, 2)
        results.append(out)
    np.testing.assert_allclose(*results, rtol=1e-6)
