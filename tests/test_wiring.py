"""A wired network: where its nodes stand, what each projection weighs, and that no part disturbs another."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
import nfsim
from nfsim import Input, Network, Nucleus, Population, Projection, Readout, Region, wiring
from nfsim.sphere import Band, Cap, fibonacci_sphere, from_lat_lon, geodesic


def network(*parts, seed=0):
    """A valid network of two areas, and more parts."""
    net = Network("net", seed=seed)
    net.add(Input("x", 3), Population("v1", 30, 3), Population("v2", 20, 2), Readout("out", 2), Projection("x", "v1"))
    return net.add(*parts)


def coupled(rule=None, *, on="v1", **options):
    """The one coupling of a network, as K [target, source]."""
    rule = rule or nfsim.Nearest(4)
    return nfsim.wire(network(Projection(on, on, rule, **options))).matrices[f"{on}->{on}"].toarray()


RULES = [
    nfsim.Nearest(4),
    nfsim.Nearest(5, symmetric=False),
    nfsim.Decay(0.5),
    nfsim.Random(0.3),
    nfsim.Random(0.3, symmetric=True),
    nfsim.AllToAll(),
    nfsim.Topographic(),
    nfsim.Explicit(np.random.default_rng(0).normal(size=(30, 30))),
]
MUTUAL = [nfsim.Nearest(4), nfsim.Decay(0.5), nfsim.Random(0.3, symmetric=True), nfsim.AllToAll(), nfsim.Topographic()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_the_rows_of_a_coupling_sum_to_its_weight(rule):
    sums = abs(coupled(rule, weight=0.7)).sum(axis=1)
    np.testing.assert_allclose(sums[sums > 0], 0.7, rtol=1e-12)
    assert (sums > 0).mean() > 0.9


@pytest.mark.parametrize("rule", MUTUAL, ids=lambda rule: type(rule).__name__)
def test_a_symmetric_pattern_stays_symmetric_when_scaled_by_its_largest_row(rule):
    K = coupled(rule, weight=0.7, scaling="max")
    np.testing.assert_allclose(K, K.T, rtol=1e-12)
    np.testing.assert_allclose(K.sum(axis=1).max(), 0.7, rtol=1e-12)


def test_unscaled_weights_are_the_rules_own_times_the_weight():
    M = np.random.default_rng(0).normal(size=(30, 30))
    K = coupled(nfsim.Explicit(M), weight=2.0, scaling="none")
    np.testing.assert_allclose(K, 2 * (M - np.diag(np.diag(M))), rtol=1e-15)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scaling", ["rows", "max", "none"])
def test_a_signed_coupling_has_one_sign(sign, scaling):
    M = np.random.default_rng(0).normal(size=(30, 30))
    free, K = (coupled(nfsim.Explicit(M), scaling=scaling, sign=s) for s in (None, sign))
    assert free.min() < 0 < free.max()
    np.testing.assert_allclose(K, sign * abs(free), rtol=1e-15)


def test_a_row_without_edges_stays_empty():
    M = np.zeros((30, 30))
    M[0, 1] = 3.0
    K = coupled(nfsim.Explicit(M))
    assert K[0, 1] == 0.5
    assert np.count_nonzero(K) == 1


@pytest.mark.parametrize("rule", [r for r in RULES if not isinstance(r, nfsim.Explicit)], ids=repr)
def test_no_coupling_of_a_region_with_itself_has_self_edges(rule):
    net = Network("net").add(Input("x", 3), Region("cortex", [Population("a", 12, 3), Population("b", 6, 3)]))
    net.add(Projection("x", "cortex"), Projection("cortex", "cortex", rule), Readout("out", 2))
    K = nfsim.wire(net).matrices["cortex->cortex"].toarray()
    assert K.shape == (18, 18)
    assert K[:12, 12:].any()
    np.testing.assert_array_equal(np.diag(K), 0)


def test_a_projection_between_regions_is_one_matrix_over_all_of_their_nodes():
    parts = [Region("left", [Population("v1", 6), Population("v2", 4)]), Region("right", [Population("v1", 6)])]
    net = network(*parts, Projection("left", "right", nfsim.Nearest(2)))
    wired = nfsim.wire(net)
    assert wired.ends("left->right") == (("left/v1", "left/v2"), ("right/v1",))
    K = wired.matrices["left->right"].toarray()
    p = wired.nodes.positions
    d = geodesic(p[wired.nodes.slices["right/v1"]][:, None], p[wired.nodes.index(("left/v1", "left/v2"))][None])
    np.testing.assert_array_equal(K > 0, d <= np.sort(d, axis=1)[:, [1]])


def test_a_graph_of_named_areas_wires_the_areas_of_these_names():
    areas = ("V1", "V2", "MT", "PFC")
    graph = networkx.DiGraph([("MT", "PFC", {"weight": 3.0}), ("V1", "MT", {"weight": 1.0})])
    graph.add_nodes_from(areas)
    net = network(Population("brain", 4, labels=areas), Projection("brain", "brain", graph, scaling="none", weight=1))
    wired = nfsim.wire(net)
    edges = wired.edges()
    assert {(wired.nodes.labels[i], wired.nodes.labels[j], w) for i, j, w in zip(
        edges["edge_source"], edges["edge_target"], edges["edge_weight"], strict=True)
    } == {("MT", "PFC", 3.0), ("V1", "MT", 1.0)}  # fmt: skip


def test_edges_carry_their_ends_weight_length_and_projection():
    net = network(Projection("v1", "v1", nfsim.Nearest(4)), Projection("v1", "v2", nfsim.Random(0.2), length=40.0))
    wired = nfsim.wire(net)
    edges = wired.edges()
    local = edges["edge_projection"] == "v1->v1"
    i, j = edges["edge_source"], edges["edge_target"]
    assert local.sum() == wired.matrices["v1->v1"].nnz
    np.testing.assert_allclose(wired.matrices["v1->v1"].toarray()[j[local], i[local]], edges["edge_weight"][local])
    p = wired.nodes.positions
    np.testing.assert_allclose(edges["edge_length"][local], geodesic(p[i[local]], p[j[local]]))
    np.testing.assert_array_equal(edges["edge_length"][~local], 40.0)
    assert (i[~local] < 30).all()
    assert (j[~local] >= 30).all()


# Parts that one may add: none of them may change what was there before.
NEWCOMERS = [
    Population("late", 10),
    Population("late", 10, patch=Cap(0, 90, 20)),
    Region("mt", [Population("late", 10), Projection("late", "late", nfsim.Random(0.5))]),
    Input("y", 4),
    Nucleus("n"),
    Projection("v2", "v1", nfsim.Random(0.4)),
]
HERE = Region("here", [Population("v1", 30, 3), Population("v2", 20, 2)], patch=Cap(10, 20, 50))
DRAWN = [Projection("v1", "v1", nfsim.Random(0.3)), Projection("v1", "v2", nfsim.Random(0.3))]


def fixed_place(*parts):
    net = Network("net", seed=3)
    region = Region("here", [*HERE.parts, *DRAWN], patch=HERE.patch)
    return net.add(Input("x", 3), region, Readout("out", 2), Projection("x", "here/v1"), *parts)


@pytest.mark.parametrize("newcomer", NEWCOMERS[:5], ids=lambda part: type(part).__name__)
def test_adding_a_part_changes_neither_draws_nor_the_positions_in_a_patch(newcomer):
    more = Projection("y", "*") if isinstance(newcomer, Input) else Projection("x", "here/v2")
    before, after = nfsim.wire(fixed_place()), nfsim.wire(fixed_place(newcomer, more))
    for path in ("here/v1", "here/v2"):
        np.testing.assert_array_equal(*(w.nodes.positions[w.nodes.slices[path]] for w in (before, after)), err_msg=path)
    for name, matrix in before.matrices.items():
        np.testing.assert_array_equal(matrix.toarray(), after.matrices[name].toarray(), err_msg=name)


@pytest.mark.parametrize("newcomer", NEWCOMERS, ids=lambda part: type(part).__name__)
def test_adding_a_part_changes_no_initial_value_of_another(newcomer):
    from nfsim.models.parameters import draw

    more = [newcomer, Projection("y", "v1")] if isinstance(newcomer, Input) else [newcomer]
    old = [nfsim.Projection("v1", "v2", rank=2), Nucleus("old", reads="v1", targets="v1", feedback="v1")]
    before, after = (draw(nfsim.wire(network(*old, *extra))) for extra in ([], more))
    for earlier, later in zip(before, after, strict=True):
        for name, value in earlier.items():
            if name.startswith("out:") or name.endswith(":phase"):  # the readout grows; global positions move
                continue
            np.testing.assert_array_equal(value, later[name], err_msg=name)


def test_the_stream_of_a_part_is_the_same_in_every_version():
    """PCG64 of numpy keeps its raw numbers for good; these stand here so that trained networks can be wired again."""
    raw = [wiring.random(3, path).bit_generator.random_raw() for path in ("v1:bias", "left/v1:bias", "é:bias")]
    assert raw == [15363206991306823186, 3729020027354796838, 12275150284444466885]


def test_another_seed_draws_other_patterns_and_leaves_the_positions():
    a, b = (nfsim.wire(network(*DRAWN, seed=s)) for s in (1, 2))
    np.testing.assert_array_equal(a.nodes.positions, b.nodes.positions)
    assert all((a.matrices[n] != b.matrices[n]).nnz for n in ("v1->v1", "v1->v2"))


def test_two_projections_of_one_rule_draw_different_patterns():
    rule = nfsim.Random(0.5)
    wired = nfsim.wire(network(Projection("v1", "v2", rule), Projection("v1", "v2", rule)))
    assert (wired.matrices["v1->v2"] != wired.matrices["v1->v2#2"]).nnz


def test_populations_without_a_patch_share_one_even_lattice():
    nodes = nfsim.wire(network()).nodes
    np.testing.assert_array_equal(nodes.positions, fibonacci_sphere(50))


def test_populations_of_a_region_share_its_patch_and_one_of_their_own_comes_first():
    cap, band = Cap(40, 10, 30), Band(-60, -40)
    region = Region("r", [Population("a", 10), Population("b", 20), Population("c", 6, patch=band)], patch=cap)
    nodes = nfsim.wire(network(region)).nodes
    both = np.concatenate([nodes.positions[nodes.slices[p]] for p in ("r/a", "r/b")])
    np.testing.assert_array_equal(both, cap.place(30))
    np.testing.assert_array_equal(nodes.positions[nodes.slices["r/c"]], band.place(6))


def test_the_innermost_patch_wins():
    inner = Region("inner", [Population("a", 8)], patch=Cap(0, 0, 10))
    nodes = nfsim.wire(network(Region("outer", [inner, Population("b", 5)], patch=Cap(0, 180, 10)))).nodes
    assert geodesic(nodes.positions[nodes.slices["outer/inner/a"]], from_lat_lon(0, 0)).max() < 0.2
    assert geodesic(nodes.positions[nodes.slices["outer/b"]], from_lat_lon(0, 180)).max() < 0.2


@pytest.mark.parametrize("unit", [1.0, 65.0, 1e-200, 1e200])
def test_given_positions_keep_their_direction_in_any_unit(unit):
    directions = fibonacci_sphere(6)
    positions = (directions * unit * np.arange(1, 7)[:, None]).tolist()
    nodes = nfsim.wire(network(Population("p", 6, positions=positions))).nodes
    np.testing.assert_allclose(nodes.positions[nodes.slices["p"]], directions, rtol=0, atol=1e-14)


def test_nodes_carry_the_names_of_their_regions_sectors_and_labels():
    parts = [
        Region("left", [Population("v1", 4, 2)]),
        Population("brain", 2, labels=["V1", "MT"], region=["occipital", "temporal"]),
        Population("pfc", 2, region="frontal"),
    ]
    nodes = nfsim.wire(network(*parts)).nodes
    assert nodes.regions[50:] == ("left",) * 4 + ("occipital", "temporal") + ("frontal",) * 2
    assert nodes.labels[54:] == ("V1", "MT", "", "")
    assert sorted(nodes.sectors[50:54]) == [0, 0, 1, 1]
    assert nodes.regions[:30] == ("v1",) * 30


def test_a_connectome_counts_its_edges_in_print_and_in_its_graph():
    wired = nfsim.wire(network(Population("v3", 30), Projection("v1", "v3", nfsim.OneToOne())))
    assert "v1->v3                   drive, OneToOne, 30 edges, density 0.0333" in repr(wired)
    assert wired.graph.edges["v1", "v3", "v1->v3"]["edges"] == 30


@settings(networks.SETTINGS, max_examples=25)
@given(networks.networks())
def test_wiring_twice_gives_the_same_and_leaves_the_network_as_it_was(net):
    digest = net.digest()
    a, b = nfsim.wire(net), nfsim.wire(net)
    assert net.digest() == digest
    np.testing.assert_array_equal(a.nodes.positions, b.nodes.positions)
    for name in a.matrices:
        np.testing.assert_array_equal(a.matrices[name].toarray(), b.matrices[name].toarray())


@settings(networks.SETTINGS, max_examples=25)
@given(networks.networks(), st.integers(0, 3))
def test_a_connectome_keeps_a_snapshot_that_later_changes_do_not_reach(net, seed):
    wired = nfsim.wire(net)
    net.seed, net.name = seed + 100, "changed"
    assert wired.network.name == "random"
    with pytest.raises(nfsim.BuildError, match=r"random: is the snapshot of a compiled network.*change a copy\(\)"):
        wired.network.add(Population("more", 3))
