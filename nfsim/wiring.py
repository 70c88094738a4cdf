"""Wiring: where every node stands, and one sparse matrix per projection."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nfsim.network import Network
from nfsim.population import Projection
from nfsim.rules import Nodes
from nfsim.sphere import Band, fibonacci_sphere, geodesic, sectors_of, to_lat_lon

if TYPE_CHECKING:
    import networkx
    from scipy.sparse import csr_array


def random(seed: int, path: str) -> np.random.Generator:
    """The stream of random numbers of one part: it depends on the root seed and on the part's full name only."""
    key = hashlib.sha256(path.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(key, dtype=np.uint32).tolist()])


@dataclass(frozen=True, eq=False)
class Placement:
    """The nodes of all populations, in the order declared.

    Attributes
    ----------
    slices : path -> slice of the node axis.
    positions : (node, 3) unit vectors.
    sectors : (node,) sector within the population.
    labels, regions : (node,) names.
    """

    slices: dict[str, slice]
    positions: NDArray[np.float64]
    sectors: NDArray[np.int64]
    labels: tuple[str, ...]
    regions: tuple[str, ...]

    def index(self, paths: tuple[str, ...]) -> NDArray[np.int64]:
        """Nodes of several populations, in order."""
        return np.concatenate([np.arange(self.slices[p].start, self.slices[p].stop) for p in paths])

    def select(self, paths: tuple[str, ...]) -> Nodes:
        """The nodes of several populations."""
        i = self.index(paths)
        return Nodes(self.positions[i], self.sectors[i], tuple(self.labels[k] for k in i))

    @staticmethod
    def features(n: int) -> Nodes:
        """The features of an input: they are counted, but stand nowhere."""
        return Nodes(np.full((n, 3), np.nan), np.zeros(n, np.int64), ("",) * n)


def place(network: Network) -> Placement:
    """Stand every node on the sphere.

    1. explicit positions keep their direction  2. a patch, of the population or of a region around it, holds an even
    lattice of the populations that share it  3. all others share one lattice over the whole sphere.
    """
    flat = network.flat
    slices, start = {}, 0
    for path, p in flat.populations.items():
        slices[path] = slice(start, start := start + p.size)
    xyz = np.empty((start, 3))
    axes: dict[str, NDArray[np.float64]] = {}
    shared: dict[str, tuple[Any, list[str]]] = {}
    for path, p in flat.populations.items():
        if p.positions is not None:
            given = np.asarray(p.positions, float)
            given /= abs(given).max(axis=-1, keepdims=True)  # squares of very large or small numbers leave the range
            xyz[slices[path]] = given / np.linalg.norm(given, axis=-1, keepdims=True)
            centre = xyz[slices[path]].mean(0)
            axes[path] = centre / np.linalg.norm(centre) if np.linalg.norm(centre) > 1e-6 else np.array([0.0, 0, 1])
        else:
            owner, patch = flat.patch(path) or ("", Band(-90, 90))
            shared.setdefault(owner, (patch, []))[1].append(path)
    for patch, paths in shared.values():
        sizes = [flat.populations[p].size for p in paths]
        lattice = fibonacci_sphere(sum(sizes)) if patch == Band(-90, 90) else patch.place(sum(sizes))
        for path, part in zip(paths, np.split(lattice, np.cumsum(sizes)[:-1]), strict=True):
            xyz[slices[path]], axes[path] = part, patch.axis
    sectors = np.zeros(start, np.int64)
    labels: list[str] = []
    regions: list[str] = []
    for path, p in flat.populations.items():
        sectors[slices[path]] = sectors_of(xyz[slices[path]], p.sectors, axes[path])
        labels += p.labels or [""] * p.size
        regions += p.region if isinstance(p.region, tuple) else [flat.region(path)] * p.size
    return Placement(slices, xyz, sectors, tuple(labels), tuple(regions))


@dataclass(frozen=True, eq=False)
class Connectome:
    """A wired network.

    Attributes
    ----------
    network : the frozen declaration.
    nodes : `Placement`.
    matrices : projection name -> scipy.sparse matrix (target, source) over the nodes (or features) of its two ends:
        the scaled, signed K of a coupling; the mask, or the given weights, of a drive.
    """

    network: Network
    nodes: Placement
    matrices: "dict[str, csr_array]" = field(repr=False)

    @cached_property
    def graph(self) -> "networkx.MultiDiGraph":
        """Populations as nodes, projections as edges keyed by name, with their number of edges."""
        graph = self.network.to_networkx()
        for _, _, key, data in graph.edges(keys=True, data=True):
            data["edges"] = int(self.matrices[key].nnz)
        return graph

    def ends(self, projection: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Paths at the source and at the target of a projection."""
        return self.network.flat.source(projection), self.network.flat.target(projection)

    def edges(self) -> dict[str, NDArray[Any]]:
        """Every edge between nodes.

        edge_source, edge_target, edge_weight, edge_length (mm, else rad) and edge_projection, each (edge,).
        """
        parts: dict[str, list[Any]] = {
            k: [] for k in ("edge_source", "edge_target", "edge_weight", "edge_length", "edge_projection")
        }
        for name, matrix in self.matrices.items():
            source, target = self.ends(name)
            if source[0] in self.network.flat.inputs:
                continue
            coo = matrix.tocoo()
            i, j = self.nodes.index(target)[coo.row], self.nodes.index(source)[coo.col]
            length = self.network.flat.projections[name].length
            arc = (
                geodesic(self.nodes.positions[i], self.nodes.positions[j])
                if length is None
                else np.full(len(i), length)
            )
            columns = (j, i, coo.data, arc, np.full(len(i), name, dtype=object))
            for column, values in zip(parts.values(), columns, strict=True):
                column.append(values)
        return {k: np.concatenate(v) if v else np.empty(0) for k, v in parts.items()}

    def lat_lon(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Latitude and longitude of every node, degrees."""
        return to_lat_lon(self.nodes.positions)

    def __repr__(self) -> str:
        flat = self.network.flat
        rows = [f"Connectome of {self.network!r}"]
        for path, s in self.nodes.slices.items():
            lat, lon = to_lat_lon(self.nodes.positions[s].mean(0))
            rows.append(f"  {path:<24} nodes {s.start}..{s.stop - 1}, around {lat:.0f} N {lon:.0f} E")
        for name, m in self.matrices.items():
            p = flat.projections[name]
            density = m.nnz / max(m.shape[0] * m.shape[1], 1)
            rows.append(f"  {name:<24} {p.kind}, {type(p.rule).__name__}, {m.nnz} edges, density {density:.3g}")
        return "\n".join(rows)


def scale(pattern: "csr_array", projection: Projection) -> "csr_array":
    """K of a coupling: the pattern with its sign, scaled so that row sums of |K| are `weight` (or at most, or not)."""
    weight = projection.weight
    assert weight is not None  # a projection fills it in
    K = pattern.copy()
    sums = np.asarray(abs(K).sum(axis=1)).ravel()
    if projection.scaling == "rows":
        factor = np.divide(weight, sums, out=np.zeros_like(sums), where=sums > 0)
    else:
        largest = sums.max(initial=0.0)
        factor = np.full_like(sums, weight / (largest if projection.scaling == "max" and largest > 0 else 1.0))
    K.data *= np.repeat(factor, np.diff(K.indptr))
    if projection.sign is not None:
        K.data = projection.sign * abs(K.data)
    return K


def wire(network: Network) -> Connectome:
    """The connectome of a network; raises `BuildError` with all of its problems.

    1. check  2. stand the nodes on the sphere  3. draw each projection's pattern from its own seed  4. scale couplings.
    """
    network.check()
    snapshot = network.freeze()
    flat, nodes = snapshot.flat, place(snapshot)
    matrices = {}
    for name, p in flat.projections.items():
        source, target = flat.source(name), flat.target(name)
        sends = (
            nodes.select(source) if source[0] in flat.populations else nodes.features(flat.inputs[source[0]].features)
        )
        pattern = p.rule.pattern(
            sends, nodes.select(target), source == target, random(snapshot.seed, f"{name}:pattern")
        )
        matrix = pattern.tocsr()
        matrix.sum_duplicates()
        matrices[name] = scale(matrix, p) if p.kind == "coupling" else matrix
    return Connectome(snapshot, nodes, matrices)
