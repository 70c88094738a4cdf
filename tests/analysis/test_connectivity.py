"""Pair measures: equal to numpy, exact where the answer is known, and honest where there is none."""

import numpy as np
import pytest
import xarray as xr
from oracles import PAIR_MEASURES, functional_connectivity, labelled, states

from nfsim import analysis
from nfsim.analysis import _kernels_pairs

PHASE_MEASURES = ["plv", "ppc", "pli", "dpli", "wpli", "wpli2_debiased"]


@pytest.mark.parametrize("name", PAIR_MEASURES)
@pytest.mark.parametrize("dtype", [np.complex64, pytest.param(np.complex128, marks=pytest.mark.slow)])
def test_measure_equals_its_numpy_oracle(name, dtype):
    ours, oracle = PAIR_MEASURES[name]
    z = states(dtype=dtype)
    got = ours(labelled(z), over="time").transpose("trial", "node", "node_j")
    # single precision keeps 24 bits of each state; their sums run in double
    tolerance = 2e-6 if dtype == np.complex64 else 1e-12
    np.testing.assert_allclose(got, oracle(z.astype(np.complex128)), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", PAIR_MEASURES)
def test_several_dims_of_samples_are_pooled(name):
    ours, oracle = PAIR_MEASURES[name]
    z = states()
    got = ours(labelled(z), over=("trial", "time"))
    np.testing.assert_allclose(got, oracle(np.concatenate(list(z), axis=-1)), atol=1e-12)


def test_functional_connectivity_equals_corrcoef():
    x = abs(states())
    got = analysis.functional_connectivity(labelled(x), over="time").transpose("trial", "node", "node_j")
    np.testing.assert_allclose(got, [np.corrcoef(row) for row in x], atol=1e-12)
    np.testing.assert_allclose(got, functional_connectivity(x), atol=1e-12)


def test_a_large_mean_does_not_eat_the_correlation():
    x = abs(states()) * 1e-3 + 1e6
    got = analysis.functional_connectivity(labelled(x), over="time").transpose("trial", "node", "node_j")
    # of 1e6 +- 1e-3, double precision keeps 1e-10, a part in 1e7 of the deviation
    np.testing.assert_allclose(got, [np.corrcoef(row) for row in x], atol=1e-5)


def test_locked_nodes_have_plv_1():
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (1, 500))
    z = xr.DataArray(np.exp(1j * (phase + np.arange(4)[:, None])), dims=("node", "time"))
    np.testing.assert_allclose(analysis.plv(z, over="time"), 1, atol=1e-12)


def test_independent_nodes_have_plv_around_one_over_root_n():
    n = 2000
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (40, n))
    z = xr.DataArray(np.exp(1j * phase), dims=("node", "time"))
    off = analysis.plv(z, over="time").values[np.triu_indices(40, 1)]
    # |mean| of n random unit vectors is Rayleigh: mean sqrt(pi/n)/2; 780 pairs pin it to 2 %
    assert np.mean(off) == pytest.approx(np.sqrt(np.pi / n) / 2, rel=0.06)
    # and pairwise phase consistency takes that bias away
    assert abs(analysis.ppc(z, over="time").values[np.triu_indices(40, 1)].mean()) < 1e-4


def test_a_leading_node_has_directed_lag_above_one_half():
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, 300)
    z = xr.DataArray(np.exp(1j * (phase + np.array([[0.3], [0.0]]))), dims=("node", "time"))
    matrix = analysis.dpli(z, over="time")
    assert matrix.values.tolist() == [[0.5, 1.0], [0.0, 0.5]]


@pytest.mark.parametrize("name", ["pli", "wpli", "aec_orthogonalised"])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_instantaneous_mixing_has_no_lag(name, dtype):
    source = states(nodes=1)[:, 0].astype(dtype)
    z = np.stack([source, dtype(0.3) * source, dtype(-1.7) * source], axis=1)
    np.testing.assert_array_equal(PAIR_MEASURES[name][0](labelled(z), over="time"), 0)


@pytest.mark.parametrize("name", PAIR_MEASURES)
def test_no_measure_changes_with_the_global_phase_or_the_unit(name):
    ours, _ = PAIR_MEASURES[name]
    z = labelled(states())
    turned = ours(z * np.exp(0.7j) * 1e-13, over="time")  # the size of magnetic fields of the brain, in tesla
    np.testing.assert_allclose(turned, ours(z, over="time"), atol=1e-11)


@pytest.mark.parametrize("name", PAIR_MEASURES)
def test_order_of_nodes_only_reorders_the_matrix(name):
    ours, _ = PAIR_MEASURES[name]
    z, order = labelled(states()), [3, 0, 4, 1, 2]
    shuffled = ours(z.isel(node=order), over="time")
    np.testing.assert_allclose(shuffled, ours(z, over="time").isel(node=order, node_j=order), atol=1e-13)


@pytest.mark.parametrize("name", PAIR_MEASURES)
def test_missing_samples_are_left_out_of_their_pairs_and_counted(name):
    ours, oracle = PAIR_MEASURES[name]
    z = states(trials=1)
    z[0, 1, :7] = np.nan
    z[0, 2, 7:10] = np.inf
    got = ours(labelled(z), over="time").isel(trial=0)
    both = z[:, [1, 2], 10:]
    assert float(got[1, 2]) == pytest.approx(float(oracle(both)[0, 0, 1]), abs=1e-12)
    assert got.n_valid.values[1, 2] == 50
    assert got.n_valid.values[0, 0] == 60


@pytest.mark.parametrize("name", PHASE_MEASURES)
def test_zero_amplitude_has_no_phase_and_does_not_count(name):
    z = states(trials=1)
    z[0, 0, :20] = 0
    got = PAIR_MEASURES[name][0](labelled(z), over="time").isel(trial=0)
    kept = PAIR_MEASURES[name][1](z[..., 20:])[0]
    np.testing.assert_allclose(got[0, 1:], kept[0, 1:], atol=1e-12)
    assert got.n_valid.values[0].tolist() == [40] * 5
    assert got.n_valid.values[1, 2] == 60


@pytest.mark.parametrize("name", PHASE_MEASURES)
def test_a_pair_without_two_valid_samples_has_no_value(name):
    z = states(trials=1)
    z[0, 0, 1:] = 0
    got = PAIR_MEASURES[name][0](labelled(z), over="time").isel(trial=0)
    assert np.isnan(got[0, 1])
    assert got.n_valid.values[0, 1] == 1


@pytest.mark.parametrize("name", PAIR_MEASURES)
def test_one_sample_is_refused_since_it_would_always_be_1(name):
    with pytest.raises(ValueError, match=r"over='trial' has 1 sample, needs 2; over a single sample it is 1"):
        PAIR_MEASURES[name][0](labelled(states(trials=1)), over="trial")


@pytest.mark.parametrize("name", PAIR_MEASURES)
def test_one_node_is_refused_since_it_is_locked_to_itself(name):
    with pytest.raises(ValueError, match="a node is always locked to itself"):
        PAIR_MEASURES[name][0](labelled(states(nodes=1)), over="time")


def test_real_signals_are_refused_with_the_way_to_a_phase():
    with pytest.raises(TypeError, match=r"plv: z is float64, not complex; get phases with \.nfsim\.analytic"):
        analysis.plv(labelled(abs(states())), over="time")


def test_complex_states_are_refused_where_a_signal_is_meant():
    with pytest.raises(TypeError, match=r"give the signal you mean, abs\(z\) or z\.real"):
        analysis.functional_connectivity(labelled(states()), over="time")


def test_unknown_dims_are_named():
    with pytest.raises(ValueError, match=r"over='epoch' is not among the dims \('time', 'trial', 'node'\) of z"):
        analysis.plv(labelled(states()), over="epoch")
    with pytest.raises(ValueError, match="between='channel' is not among the dims"):
        analysis.plv(labelled(states()), over="time", between="channel")
    with pytest.raises(ValueError, match="is also in over"):
        analysis.plv(labelled(states()), over=("time", "node"))


def test_a_constant_signal_is_refused_by_name():
    x = labelled(abs(states()))
    x[..., 2] = 7.0
    with pytest.raises(ValueError, match=r"the signal is constant \(or missing\) at node 2"):
        analysis.functional_connectivity(x, over="time")


def test_labels_of_nodes_stand_on_both_dims():
    z = analysis.example().z
    matrix = analysis.plv(z, over="time")
    assert matrix.dims == ("trial", "node", "node_j")
    assert matrix.region_j.values.tolist() == z.region.values.tolist()
    assert matrix.attrs == {"units": "1", "long_name": "phase-locking value", "source": "Lachaux et al. 1999"}


def test_pairs_of_any_other_dim():
    z = analysis.example().z.rename(node="channel")
    assert analysis.wpli(z, over="time", between="channel").dims == ("trial", "channel", "channel_j")


@pytest.mark.parametrize("kernel", ["_lag_sums", "_orthogonal_sums"])
def test_kernel_runs_the_same_as_plain_python(kernel):
    compiled = getattr(_kernels_pairs, kernel)
    z = states(trials=1, nodes=3, samples=11)
    size = abs(z)
    extra = (1e-15,) if kernel == "_lag_sums" else ()
    outs = [np.zeros((6, 1, 3, 3)) for _ in range(2)]
    for run, out in zip((compiled, compiled.py_func), outs, strict=True):
        run(np.ascontiguousarray(z.real), np.ascontiguousarray(z.imag), size, *extra, out, 0, 3)
    np.testing.assert_allclose(*outs, rtol=1e-12, atol=1e-14)
