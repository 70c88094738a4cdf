"""Order parameters, metastability and chimera index."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from oracles import order_parameter as oracle
from oracles import states

from nfsim import analysis
from nfsim.analysis import _kernels, order_parameter


def phases(angles, dims=("time", "node"), **coords):
    return xr.DataArray(np.exp(1j * np.asarray(angles)), dims=dims, coords=coords)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("nodes", [2, 5, 300, 649])
def test_r_equals_the_mean_of_unit_phases(dtype, nodes):
    z = states(nodes=nodes, trials=2, samples=20, dtype=dtype)
    got = order_parameter(xr.DataArray(z, dims=("trial", "node", "time")), over="node")
    np.testing.assert_allclose(got.r, oracle(z), atol=2e-7 if dtype == np.complex64 else 1e-12)
    np.testing.assert_allclose(got.r * np.exp(1j * got.psi), (z / abs(z)).mean(-2), atol=2e-7)
    assert (got.n_valid == nodes).all()


@pytest.mark.parametrize("over", ["node", "time", "trial", ("trial", "time"), ("node", "trial")])
def test_any_dims_are_averaged_over(over):
    z = xr.DataArray(states(), dims=("trial", "node", "time"))
    np.testing.assert_allclose(order_parameter(z, over=over).r, abs((z / abs(z)).mean(over)), atol=1e-12)


def test_locked_phases_have_r_1_and_their_phase():
    got = order_parameter(phases(np.full((3, 7), 0.4)), over="node")
    np.testing.assert_allclose(got.r, 1)
    np.testing.assert_allclose(got.psi, 0.4)


@pytest.mark.parametrize("n", [2, 3, 12, 1000])
def test_a_splay_state_has_r_0(n):
    splay = phases(2 * np.pi * np.arange(n)[None] / n)
    assert float(order_parameter(splay, over="node").r[0]) == pytest.approx(0, abs=1e-12)


def test_random_phases_have_r_around_one_over_root_n():
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, (4000, 100))
    # |mean| of n random unit vectors is Rayleigh: mean sqrt(pi/n)/2; 4000 steps pin it to 1 %
    assert float(order_parameter(phases(angles), over="node").r.mean()) == pytest.approx(
        np.sqrt(np.pi / 100) / 2, rel=0.04
    )


def test_two_clusters_are_seen_by_the_second_order():
    clusters = phases([[0, np.pi, 0, np.pi]])
    assert float(order_parameter(clusters, over="node").r[0]) == pytest.approx(0, abs=1e-12)
    assert float(order_parameter(clusters, over="node", order=2).r[0]) == pytest.approx(1)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_higher_orders_take_powers_of_unit_phases(order):
    z = xr.DataArray(states(), dims=("trial", "node", "time"))
    want = abs(((z / abs(z)) ** order).mean("node"))
    np.testing.assert_allclose(order_parameter(z, over="node", order=order).r, want, atol=1e-12)


@settings(max_examples=40)
@given(
    arrays.arrays(np.float64, (3, 6), elements=st.floats(-10, 10)),
    st.floats(-np.pi, np.pi),
    st.permutations(range(6)),
    st.floats(1e-30, 1e30),
)
def test_r_ignores_global_phase_node_order_and_unit(angles, turn, order, scale):
    z = phases(angles)
    r = order_parameter(z, over="node").r
    other = order_parameter((z * scale * np.exp(1j * turn)).isel(node=list(order)), over="node").r
    np.testing.assert_allclose(other, r, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-12, 1e12, 1e20, 1e30])
def test_tiny_and_huge_single_precision_states_keep_their_phase(scale):
    z = xr.DataArray(states(nodes=9)[0], dims=("node", "time"))
    scaled = (z * scale).astype(np.complex64)
    np.testing.assert_allclose(order_parameter(scaled, over="node").r, order_parameter(z, over="node").r, atol=1e-6)


@pytest.mark.parametrize("bad", [0, np.nan, complex(np.nan, 0), complex(0, np.inf)])
def test_states_without_a_phase_are_left_out_and_counted(bad):
    z = xr.DataArray(states(nodes=600, trials=1)[0], dims=("node", "time"))
    z[[3, 500], 5] = bad
    got = order_parameter(z, over="node")
    assert got.n_valid.values[5] == 598
    kept = np.delete(z.values[:, 5], [3, 500])
    assert float(got.r[5]) == pytest.approx(abs((kept / abs(kept)).mean()), abs=1e-12)
    assert got.n_valid.values[4] == 600


def test_fewer_than_two_phases_have_no_order():
    z = phases(np.zeros((2, 3)))
    z[0, 1:] = 0
    got = order_parameter(z, over="node")
    assert np.isnan(got.r[0])
    assert np.isnan(got.psi[0])
    assert got.n_valid.values.tolist() == [1, 3]


def test_groups_are_those_of_a_coordinate_in_order_of_appearance():
    ds = analysis.example()
    by_region = order_parameter(ds, over="node", by="region")
    assert by_region.region.values.tolist() == ["pfc", "motor", "sensory"]
    for region in by_region.region.values:
        alone = order_parameter(ds.z[..., ds.region.values == region], over="node").r
        np.testing.assert_allclose(by_region.r.sel(region=region), alone, atol=1e-6)
    interleaved = ds.isel(node=[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
    again = order_parameter(interleaved, over="node", by="region").sel(region=by_region.region)
    np.testing.assert_allclose(again.r, by_region.r, atol=1e-6)


def test_the_example_is_locked_split_and_incoherent():
    mean = order_parameter(analysis.example(), over="node", by="region").r.mean(("trial", "time"))
    assert mean.sel(region="pfc") > 0.999
    assert mean.sel(region="motor") < 0.001
    assert 0.2 < mean.sel(region="sensory") < 0.7


def test_local_order_averages_over_nodes_within_an_angle():
    ds = analysis.example()
    points = np.stack([ds.pos_x, ds.pos_y, ds.pos_z], axis=-1)
    near = np.arccos(np.clip(points @ points.T, -1, 1)) <= 1.2
    u = (ds.z / abs(ds.z)).values
    got = order_parameter(ds, over="node", within=1.2)
    np.testing.assert_allclose(got.r, abs(u @ near.T / near.sum(1)), atol=1e-6)
    assert (got.n_valid.values == near.sum(1)).all()
    whole = order_parameter(ds, over="node", within=np.pi).r
    np.testing.assert_allclose(
        whole, order_parameter(ds, over="node").r.expand_dims(node=12).transpose(*whole.dims), atol=1e-6
    )


def test_weighted_order_follows_the_connectome():
    ds = analysis.example()
    w = analysis.connectome(ds).values
    u = (ds.z / abs(ds.z)).values
    want = abs(u @ w.T / w.sum(1))
    np.testing.assert_allclose(order_parameter(ds, over="node", weights="edges").r, want, atol=1e-6)
    np.testing.assert_allclose(order_parameter(ds.z, over="node", weights=w).r, want, atol=1e-6)
    equal = order_parameter(ds.z, over="node", weights=np.ones((12, 12))).r
    np.testing.assert_allclose(equal[..., 0], order_parameter(ds, over="node").r, atol=1e-6)


def test_metastability_is_the_deviation_of_r_and_0_for_rigid_rotation():
    ds = analysis.example()
    r = order_parameter(ds, over="node").r
    np.testing.assert_allclose(analysis.metastability(ds, over="node"), r.std("time"), atol=1e-12)
    rotating = phases(np.arange(50)[:, None] * 0.3 + np.arange(4) * 0.1)
    assert float(analysis.metastability(rotating, over="node")) == pytest.approx(0, abs=1e-7)


def test_chimera_index_of_half_locked_half_splay():
    splay = 2 * np.pi * np.arange(4) / 4
    z = phases(np.tile(np.concatenate([np.zeros(4), splay]), (10, 1)), region=("node", ["a"] * 4 + ["b"] * 4))
    # r is 1 and 0: the variance with M - 1 = 1 is 1/2
    assert float(analysis.chimera_index(z, over="node")) == pytest.approx(0.5)
    assert (
        float(
            analysis.chimera_index(z.isel(node=[0, 1, 2, 3]).assign_coords(region=("node", list("aabb"))), over="node")
        )
        == 0
    )


def test_one_node_is_refused_since_its_order_is_always_1():
    with pytest.raises(
        ValueError, match=r"over='node' has 1 sample, needs 2; the order parameter of one is 1 by definition"
    ):
        order_parameter(phases(np.zeros((3, 1))), over="node")


def test_a_group_of_one_is_refused_by_name():
    z = phases(np.zeros((3, 3)), region=("node", ["v1", "v1", "pfc"]))
    with pytest.raises(ValueError, match=r"region pfc has one node: its r is 1 by definition; leave it out"):
        order_parameter(z, over="node", by="region")


def test_wrong_arguments_are_named():
    z = phases(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"no coordinate 'region' to group by"):
        order_parameter(z, over="node", by="region")
    with pytest.raises(ValueError, match=r"within=4 is not in \(0, pi\]"):
        order_parameter(z, over="node", within=4)
    with pytest.raises(ValueError, match=r"no coordinate pos_x, pos_y, pos_z along 'node'"):
        order_parameter(z, over="node", within=1)
    with pytest.raises(ValueError, match=r"leaves 12 of 12 nodes alone"):
        order_parameter(analysis.example(), over="node", within=0.01)
    with pytest.raises(ValueError, match="order is 0; give a whole number"):
        order_parameter(z, over="node", order=0)
    with pytest.raises(ValueError, match="exclude each other"):
        order_parameter(analysis.example(), over="node", within=1, by="region")
    with pytest.raises(ValueError, match="negative or non-finite"):
        order_parameter(z, over="node", weights=-np.ones((3, 3)))
    with pytest.raises(ValueError, match="has one step, so r cannot vary"):
        analysis.metastability(z.isel(time=[0]), over="node")
    with pytest.raises(TypeError, match="ndarray has no labels; make a recording of it"):
        order_parameter(np.zeros((3, 3), complex), over="node")


def test_kernels_run_the_same_as_plain_python():
    z = states(trials=1, nodes=6, samples=4)[0].T.copy()
    z[1, 2] = 0
    x = _kernels.parts(z)
    runs = np.array([0, 3]), np.array([3, 6]), np.array([0, 1])
    results = []
    for run in (_kernels._order_sums, _kernels._order_sums.py_func):
        out = [np.zeros((4, 2)), np.zeros((4, 2)), np.zeros((4, 2), np.int64)]
        with np.errstate(all="ignore"):
            run(x.reshape(4, 12), *runs, x.dtype.type(1), x.dtype.type(1e15), *out, 0, 4)
        results.append(out)
    for compiled, plain in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-12)
    flat, one = x.reshape(4, 12), x.dtype.type(1)
    units = [np.zeros_like(flat) for _ in range(2)]
    _kernels._unit(flat, one, one * 1e15, units[0], 0, 4)
    with np.errstate(all="ignore"):
        _kernels._unit.py_func(flat, one, one * 1e15, units[1], 0, 4)
    np.testing.assert_allclose(*units)
