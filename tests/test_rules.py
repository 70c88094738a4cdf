"""Each wiring rule against a dense oracle that looks at every pair of nodes."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array

import nfsim
from nfsim.rules import Entries, Explicit, Nodes
from nfsim.sphere import fibonacci_sphere, geodesic


def nodes(n, sectors=1, turn=0.0, labels=None):
    """Nodes of a population that covers the sphere, turned about its axis so that two populations do not coincide."""
    c, s = np.cos(turn), np.sin(turn)
    positions = fibonacci_sphere(n) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return Nodes(positions, np.arange(n) * sectors // n, labels or ("",) * n)


def wired(rule, source, target=None, seed=0):
    """The pattern of a rule as a dense array [target, source]; one end is a projection of a set onto itself."""
    same = target is None
    return rule.pattern(source, source if same else target, same, np.random.default_rng(seed)).toarray()


def distances(source, target):
    return geodesic(target.positions[:, None], source.positions[None])


A, B = nodes(40, 4), nodes(24, 4, turn=0.3)


def nearest_oracle(rule, source, target, same):
    d = distances(source, target)
    if same:
        np.fill_diagonal(d, np.inf)
    farthest = np.sort(d, axis=1)[:, [rule.k - 1]]
    K = np.where(d > farthest, 0.0, 1.0)
    return np.maximum(K, K.T) if same and rule.symmetric else K


def decay_oracle(rule, source, target, same):
    d = distances(source, target)
    scale = d / rule.length if rule.kind == "exponential" else (d / rule.length) ** 2 / 2
    weight = np.exp(-scale)
    return np.where(weight >= rule.cutoff, weight, 0)


ORACLES = {
    nfsim.AllToAll(): lambda rule, source, target, same: np.ones((len(target.sectors), len(source.sectors))),
    nfsim.Topographic(): lambda rule, source, target, same: 1.0 * (target.sectors[:, None] == source.sectors),
    nfsim.Nearest(1): nearest_oracle,
    nfsim.Nearest(6): nearest_oracle,
    nfsim.Nearest(6, symmetric=False): nearest_oracle,
    nfsim.Decay(0.4): decay_oracle,
    nfsim.Decay(0.3, "gaussian", cutoff=0.02): decay_oracle,
    nfsim.Decay(np.pi, cutoff=0.01): decay_oracle,
}


@pytest.mark.parametrize("rule", ORACLES, ids=repr)
@pytest.mark.parametrize("target", [None, B], ids=["to itself", "to others"])
def test_a_rule_connects_exactly_the_nodes_that_its_definition_says(rule, target):
    expected = ORACLES[rule](rule, A, A if target is None else target, target is None)
    if target is None:
        np.fill_diagonal(expected, 0)
    # distances by chord and by atan2 agree to rounding, so the weights do too
    np.testing.assert_allclose(wired(rule, A, target), expected, rtol=1e-9, atol=0)


def test_one_to_one_connects_each_node_with_its_namesake():
    np.testing.assert_array_equal(wired(nfsim.OneToOne(), A, nodes(40, turn=1)), np.eye(40))


@pytest.mark.parametrize("rule", [*ORACLES, nfsim.Random(0.7), nfsim.Explicit(np.ones((40, 40)))], ids=repr)
def test_no_node_of_a_set_connects_to_itself(rule):
    K = wired(rule, A)
    assert K.any()
    np.testing.assert_array_equal(np.diag(K), 0)


@pytest.mark.parametrize("rule", [nfsim.Nearest(5), nfsim.Random(0.3, symmetric=True), nfsim.Decay(0.5)], ids=repr)
def test_neighbourhood_within_a_set_is_mutual(rule):
    K = wired(rule, A)
    np.testing.assert_allclose(K, K.T, rtol=1e-12)


def test_a_neighbourhood_can_be_one_sided():
    K = wired(nfsim.Nearest(5, symmetric=False), A)
    assert (K != K.T).any()
    np.testing.assert_array_equal(K.sum(axis=1), 5)


def test_nodes_at_one_place_are_neighbours_like_any_other():
    here = Nodes(np.repeat(fibonacci_sphere(5), 4, axis=0), np.zeros(20, int), ("",) * 20)
    K = wired(nfsim.Nearest(3, symmetric=False), here)
    np.testing.assert_array_equal(K, np.kron(np.eye(5), 1 - np.eye(4)))
    np.testing.assert_array_equal(wired(nfsim.Nearest(2, symmetric=False), here).sum(axis=1), 2)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 5))
def test_a_random_pattern_has_exactly_its_share_of_the_possible_edges(rows, cols, density, seed):
    K = wired(nfsim.Random(density), nodes(cols), nodes(rows, turn=1), seed)
    assert K.sum() == round(density * rows * cols)
    within = wired(nfsim.Random(density), nodes(rows), seed=seed)
    assert within.sum() == round(density * rows * (rows - 1))
    mutual = wired(nfsim.Random(density, symmetric=True), nodes(rows), seed=seed)
    assert mutual.sum() == 2 * round(density * (rows * (rows - 1) // 2))
    for pattern in (K, within, mutual):
        assert set(np.unique(pattern)) <= {0.0, 1.0}


def test_a_random_pattern_chooses_all_edges_alike():
    """Over 400 draws of half of the edges each is chosen 200 +- 10 times; five deviations in any of 90: chance 5e-5."""
    counts = sum(wired(nfsim.Random(0.5), nodes(10), seed=s) for s in range(400))
    off = counts[~np.eye(10, dtype=bool)]
    assert abs(off - 200).max() < 50


@settings(max_examples=30)
@given(st.integers(2, 60), st.floats(0.02, 1))
def test_mutual_random_pairs_cover_the_whole_triangle(n, density):
    """The pair of every flat index lies above the diagonal: all pairs at density one, none twice below it."""
    K = wired(nfsim.Random(1.0, symmetric=True), nodes(n))
    np.testing.assert_array_equal(K, 1 - np.eye(n))
    assert wired(nfsim.Random(density, symmetric=True), nodes(n)).max() <= 1


def test_the_same_seed_draws_the_same_pattern_and_another_seed_another():
    rule = nfsim.Random(0.3)
    np.testing.assert_array_equal(wired(rule, A, seed=3), wired(rule, A, seed=3))
    assert (wired(rule, A, seed=3) != wired(rule, A, seed=4)).any()


M = np.array([[0.0, 2.0, 0.0], [-1.5, 3.0, 0.5]])


@pytest.mark.parametrize(
    "given",
    [M, M.tolist(), csr_array(M), coo_array(([1.0, 1.0, -1.5, 3.0, 0.5], ([0, 0, 1, 1, 1], [1, 1, 0, 1, 2])))],
    ids=["array", "lists", "csr", "coo with an edge in two parts"],
)
def test_a_given_matrix_is_the_pattern(given):
    rule = Explicit(given)
    assert list(rule.problems()) == []
    np.testing.assert_array_equal(wired(rule, nodes(3), nodes(2, turn=1)), M)


def test_zeros_of_a_given_matrix_are_no_edges_however_they_are_stored():
    stored = coo_array(([1.0, 0.0], ([0, 1], [1, 0])), shape=(2, 2))
    assert Entries.of(stored) == Entries.of(stored.toarray()) == Entries((2, 2), (0,), (1,), (1.0,))


def test_a_directed_graph_sends_along_its_arrows_with_its_weights():
    graph = networkx.DiGraph()
    graph.add_weighted_edges_from([(0, 1, 2.0), (1, 2, -0.5)])
    graph.add_edge(2, 0)
    np.testing.assert_array_equal(wired(Explicit(graph), nodes(3)), [[0, 0, 1], [2, 0, 0], [0, -0.5, 0]])


def test_an_undirected_graph_connects_both_ways_and_parallel_edges_add():
    graph = networkx.MultiGraph([(0, 1), (0, 1), (1, 2)])
    np.testing.assert_array_equal(wired(Explicit(graph), nodes(3)), [[0, 2, 0], [2, 0, 1], [0, 1, 0]])


def test_nodes_of_a_graph_that_are_numbers_mean_the_nodes_of_these_numbers():
    """networkx holds nodes in the order in which edges name them, which says nothing."""
    graph = networkx.DiGraph([(2, 0), (0, 1)])
    assert list(graph) == [2, 0, 1]
    np.testing.assert_array_equal(wired(Explicit(graph), nodes(3)), [[0, 0, 1], [1, 0, 0], [0, 0, 0]])


def test_nodes_of_a_graph_are_matched_with_labels_by_name():
    graph = networkx.DiGraph([("V4", "MT"), ("V1", "V4")])
    K = wired(Explicit(graph), nodes(3, labels=("V1", "MT", "V4")))
    assert [(int(i), int(j)) for i, j in np.argwhere(K)] == [(1, 2), (2, 0)]


def test_labels_win_over_the_order_of_numbered_names():
    graph = networkx.DiGraph([(0, 1)])
    K = wired(Explicit(graph), nodes(2, labels=("1", "0")))
    np.testing.assert_array_equal(K, [[0, 1], [0, 0]])


def test_names_match_the_labels_of_each_end():
    rule = Explicit(np.diag([1.0, 2.0]), ("a", "b"))
    K = wired(rule, nodes(2, labels=("b", "a")), nodes(2, turn=1))
    np.testing.assert_array_equal(K, [[0, 1], [2, 0]])


@pytest.mark.parametrize("graph", [networkx.DiGraph(), networkx.DiGraph([("a", "b", {"weight": "heavy"})])])
def test_a_graph_without_numbers_is_reported_as_one(graph):
    assert [p.split(";")[0] for p in Explicit(graph).problems()] == [
        "Explicit: the matrix is not an array of numbers [target, source]"
    ]


@pytest.mark.parametrize("scale", [2.0, 1e-3])
def test_a_decay_is_the_same_weight_at_the_same_multiple_of_its_length(scale):
    d = np.array([0.0, 0.1, 0.2])
    positions = np.stack([np.sin(d * scale), 0 * d, np.cos(d * scale)], axis=1)
    line = Nodes(positions, np.zeros(3, int), ("",) * 3)
    K = wired(nfsim.Decay(0.1 * scale, cutoff=0.01), line)
    np.testing.assert_allclose(K[0], [0, np.exp(-1), np.exp(-2)], rtol=1e-9)


@pytest.mark.parametrize("rule", [nfsim.Nearest(6), nfsim.Decay(0.4), nfsim.Topographic()], ids=repr)
def test_shuffled_wiring_is_the_same_graph_with_its_nodes_renamed(rule):
    """P K P^T for one P: eigenvalues stay, the pattern does not, and the seed decides."""
    K, shuffled = wired(rule, A), wired(nfsim.Shuffled(rule), A, seed=3)
    np.testing.assert_allclose(np.linalg.eigvalsh(shuffled), np.linalg.eigvalsh(K), atol=1e-12)
    assert (shuffled != K).any()
    np.testing.assert_array_equal(shuffled, wired(nfsim.Shuffled(rule), A, seed=3))
    assert (shuffled != wired(nfsim.Shuffled(rule), A, seed=4)).any()


def test_shuffled_neighbours_are_no_neighbours():
    """Of 39 other nodes the six or so nearest stand within a fifth of the way around; a random one stands anywhere."""
    d = distances(A, A)
    near, far = (d[wired(rule, A) > 0].mean() for rule in (nfsim.Nearest(6), nfsim.Shuffled(nfsim.Nearest(6))))
    assert near < 0.7
    assert far == pytest.approx(np.pi / 2, abs=0.2)


def test_shuffled_wiring_between_two_sets_keeps_every_degree():
    K, shuffled = (wired(rule, A, B) for rule in (nfsim.Nearest(3), nfsim.Shuffled(nfsim.Nearest(3))))
    for axis in (0, 1):
        np.testing.assert_array_equal(np.sort(K.sum(axis)), np.sort(shuffled.sum(axis)))
    assert (shuffled != K).any()
