"""Graph measures of a connectome or of any matrix of pairs, labelled by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nfsim.analysis._labels import pair_name


def connectome(data: xr.Dataset, *, between: str = "node") -> xr.DataArray:
    """Return the edges as a matrix: rows receive (`node`), columns send (`node_j`); parallel ones add."""
    from nfsim.analysis._labels import with_pair_coords
    from nfsim.analysis._sphere import edge_matrix

    if between not in data.dims:
        raise ValueError(f"connectome: between={between!r} is not among the dims {tuple(data.dims)}")
    matrix = edge_matrix(data, between, "connectome").toarray()
    labelled = xr.DataArray(matrix, dims=(between, pair_name(between)), name="weight")
    labelled = with_pair_coords(labelled, data, between)
    return labelled.assign_attrs(units="1", long_name="coupling weight", source="edges of the recording")


def graph_measures(data: xr.DataArray | xr.Dataset, *, threshold: float | None = None, seed: int = 0) -> xr.Dataset:
    """Graph measures per node, and of the whole graph, through networkx.

    Parameters
    ----------
    data : Dataset or DataArray
        A recording with edges, or a square matrix whose rows receive: connectivity from `plv`, `wpli`, ... The diagonal
        is ignored. Weights must not be negative or NaN.
    threshold : float, optional
        Keep weights above this; by default all above 0. Without it a full matrix has one degree everywhere.
    seed : int
        Of the search for communities.

    Returns
    -------
    Dataset
        Per node `in_degree, out_degree` (edges), `in_strength, out_strength` (sum of weights), `clustering` (Fagiolo
        2007), `betweenness` and `closeness` (in hops), `community`. Of the graph: `density`, `reciprocity`,
        `efficiency` (of the undirected graph, in hops) and `modularity` of the communities.

    Notes
    -----
    Sources: Rubinov & Sporns 2010, NeuroImage 52:1059; Blondel et al. 2008 (communities, Louvain).
    """
    import networkx as nx

    matrix = connectome(data) if isinstance(data, xr.Dataset) else data
    node, weights = _square(matrix)
    np.fill_diagonal(weights, 0)
    kept = np.where(weights > (0 if threshold is None else threshold), weights, 0)
    # networkx edges go from row to column; here rows receive
    graph = nx.from_numpy_array(kept.T, create_using=nx.DiGraph)
    plain = graph.to_undirected()
    communities: list[set[int]] = sorted(nx.community.louvain_communities(graph, weight="weight", seed=seed), key=min)
    member = np.empty(len(kept), np.int64)
    for number, nodes in enumerate(communities):
        member[list(nodes)] = number
    per_node = {
        "in_degree": (np.count_nonzero(kept, axis=1), "edges that arrive"),
        "out_degree": (np.count_nonzero(kept, axis=0), "edges that leave"),
        "in_strength": (kept.sum(axis=1), "sum of weights that arrive"),
        "out_strength": (kept.sum(axis=0), "sum of weights that leave"),
        "clustering": (_by_node(nx.clustering(graph)), "clustering coefficient"),
        "betweenness": (_by_node(nx.betweenness_centrality(graph)), "betweenness centrality"),
        "closeness": (_by_node(nx.closeness_centrality(graph)), "closeness centrality"),
        "community": (member, "community"),
    }
    edges = graph.number_of_edges()
    whole = {
        "density": (nx.density(graph), "share of possible edges"),
        "reciprocity": (nx.overall_reciprocity(graph) if edges else np.nan, "share of edges that go both ways"),
        "efficiency": (nx.global_efficiency(plain), "global efficiency"),
        "modularity": (nx.community.modularity(graph, communities) if edges else np.nan, "modularity"),
    }
    source = "networkx; Rubinov & Sporns 2010"
    attrs = {"units": "1", "source": source}
    variables: dict[str, Any] = {k: (node, v, {**attrs, "long_name": text}) for k, (v, text) in per_node.items()}
    variables |= {k: ((), float(v), {**attrs, "long_name": text}) for k, (v, text) in whole.items()}
    coords = {name: coord for name, coord in matrix.coords.items() if coord.dims == (node,)}
    return xr.Dataset(variables, coords=coords)


def _square(matrix: xr.DataArray) -> tuple[str, np.ndarray]:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"graph_measures: needs one square matrix, got dims {dict(matrix.sizes)}; select a trial or average"
        )
    node = str(matrix.dims[0])
    if matrix.dims[1] != pair_name(node):
        raise ValueError(f"graph_measures: dims are {matrix.dims}; name them {(node, pair_name(node))}, rows receive")
    weights = np.array(matrix.values, np.float64)
    off = ~np.eye(len(weights), dtype=bool)
    if not np.isfinite(weights[off]).all() or (weights[off] < 0).any():
        raise ValueError("graph_measures: the matrix has negative or NaN weights; give abs(matrix), or fill them")
    return node, weights


def _by_node(values: dict[int, float]) -> np.ndarray:
    return np.array([values[i] for i in range(len(values))], np.float64)
