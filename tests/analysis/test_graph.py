"""Graph measures, on graphs whose measures are known."""

import numpy as np
import pytest
import xarray as xr

from nfsim import analysis


def matrix(weights):
    return xr.DataArray(np.asarray(weights, float), dims=("node", "node_j"))


def test_the_connectome_puts_receivers_on_rows_and_adds_parallel_edges():
    ds = analysis.example(nodes=6).isel(edge=[0, 1, 1])
    ds = ds.assign_coords(edge_weight=("edge", [0.1, 0.2, 0.3]))
    w = analysis.connectome(ds)
    assert w.values[1, 0] == pytest.approx(0.1)
    assert w.values[2, 0] == pytest.approx(0.5)
    assert np.count_nonzero(w) == 2
    assert w.region_j.values.tolist() == ds.region.values.tolist()


def test_a_directed_ring_has_degree_1_and_no_reciprocity():
    ring = analysis.graph_measures(matrix(np.roll(np.eye(5), 1, axis=0)))
    assert ring.in_degree.values.tolist() == [1] * 5
    assert ring.out_strength.values.tolist() == [1.0] * 5
    assert float(ring.density) == pytest.approx(5 / 20)
    assert float(ring.reciprocity) == 0
    assert float(ring.clustering.sum()) == 0


def test_a_hub_sends_and_others_receive():
    star = np.zeros((5, 5))
    star[1:, 0] = [1, 2, 3, 4]
    got = analysis.graph_measures(matrix(star))
    assert got.out_degree.values.tolist() == [4, 0, 0, 0, 0]
    assert got.out_strength.values.tolist() == [10.0, 0, 0, 0, 0]
    assert got.in_strength.values.tolist() == [0.0, 1, 2, 3, 4]


def test_two_cliques_are_two_communities():
    w = np.kron(np.eye(2), np.ones((4, 4)))
    w[0, 4] = w[4, 0] = 0.1
    got = analysis.graph_measures(matrix(w))
    assert got.community.values.tolist() == [0] * 4 + [1] * 4
    assert float(got.modularity) > 0.4
    assert got.betweenness.values.argmax() in (0, 4)
    assert float(got.clustering.max()) == pytest.approx(1)


def test_connectivity_is_a_graph_after_a_threshold():
    plv = analysis.plv(analysis.example(), over=("trial", "time"))
    got = analysis.graph_measures(plv, threshold=0.8)
    assert got.in_degree.values[:8].tolist() == [7] * 8  # pfc and motor are locked, with a phase of 0 or pi
    assert got.region.values.tolist() == plv.region.values.tolist()


def test_an_empty_graph_has_no_modularity():
    got = analysis.graph_measures(matrix(np.zeros((3, 3))))
    assert np.isnan(got.modularity)
    assert float(got.density) == 0


def test_what_graphs_refuse():
    with pytest.raises(ValueError, match="negative or NaN weights"):
        analysis.graph_measures(matrix(-np.ones((3, 3))))
    with pytest.raises(ValueError, match="needs one square matrix"):
        analysis.graph_measures(analysis.plv(analysis.example(), over="time"))
    with pytest.raises(ValueError, match=r"name them \('node', 'node_j'\)"):
        analysis.graph_measures(xr.DataArray(np.ones((3, 3)), dims=("node", "other")))
    with pytest.raises(ValueError, match="edges name nodes up to 11, the data have 4"):
        analysis.connectome(analysis.example().isel(node=slice(4)))
