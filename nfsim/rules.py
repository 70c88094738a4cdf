"""Wiring rules: which nodes of a source connect to which nodes of a target, and how strongly.

A rule is a small frozen value; `pattern()` lowers it to a scipy.sparse matrix [target, source]. A rule of your own is a
frozen dataclass with `pattern()` that derives from `AbstractRule`; `nfsim.declarable` lets it travel as JSON.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nfsim.values import COUNT, LARGEST_NUMBER, flags, freeze, is_count, is_number, one_of, several, tuples

if TYPE_CHECKING:
    from scipy.sparse import coo_array


class Nodes(NamedTuple):
    """The nodes at one end of a projection."""

    positions: NDArray[np.float64]
    """(node, 3) unit vectors."""
    sectors: NDArray[np.int64]
    """(node,) sector within its population."""
    labels: tuple[str, ...]
    """Name of each node, empty where it has none."""


class AbstractRule(ABC):
    """A wiring rule."""

    weighted: ClassVar[bool] = False
    """Whether the pattern's values are the weights of a drive, rather than a mask to draw weights in."""
    needs_positions: ClassVar[bool] = False
    """Whether the rule asks where the nodes stand."""

    def __post_init__(self) -> None:
        freeze(self)

    def problems(self) -> Iterator[str]:
        """What is wrong with the rule's own values."""
        yield from ()

    def fits(self, source: Nodes, target: Nodes) -> Iterator[str]:
        """What is wrong with the rule between these nodes."""
        del source, target
        yield from ()

    @abstractmethod
    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        """Connections (target, source), float64, without entries on the diagonal where `same` says it is one set."""


def _coo(values: Any, rows: Any, cols: Any, shape: tuple[int, int], same: bool) -> "coo_array":
    from scipy.sparse import coo_array

    values, rows, cols = np.broadcast_arrays(np.asarray(values, float), np.asarray(rows), np.asarray(cols))
    keep = rows != cols if same else slice(None)
    return coo_array((values[keep], (rows[keep], cols[keep])), shape=shape)


@dataclass(frozen=True)
class AllToAll(AbstractRule):
    """Every node to every other."""

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        del rng
        shape = len(target.positions), len(source.positions)
        rows, cols = np.indices(shape).reshape(2, -1)
        return _coo(1.0, rows, cols, shape, same)


@dataclass(frozen=True)
class OneToOne(AbstractRule):
    """Node i to node i; both ends have as many nodes.

    Within one set of nodes that is every node to itself, the diagonal that other rules leave out: a drive then feeds
    each node back on itself, and a coupling, which pulls by differences, does exactly nothing.
    """

    def fits(self, source: Nodes, target: Nodes) -> Iterator[str]:
        if len(source.positions) != len(target.positions):
            sizes = f"{len(source.positions)} and {len(target.positions)}"
            yield f"OneToOne() between {sizes} nodes; make the ends equally large"

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        del rng
        i = np.arange(len(target.positions))
        return _coo(1.0, i, i, (len(i), len(source.positions)), same=False)


@dataclass(frozen=True)
class Topographic(AbstractRule):
    """Sector to sector: a node hears every node of the same sector; both ends have as many sectors."""

    needs_positions: ClassVar[bool] = True

    def fits(self, source: Nodes, target: Nodes) -> Iterator[str]:
        a, b = int(source.sectors.max()) + 1, int(target.sectors.max()) + 1
        if a != b:
            yield f"Topographic() between {a} and {b} sectors; declare as many sectors at both ends"

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        del rng
        rows, cols = np.nonzero(target.sectors[:, None] == source.sectors)
        return _coo(1.0, rows, cols, (len(target.sectors), len(source.sectors)), same)


@dataclass(frozen=True)
class Nearest(AbstractRule):
    """The `k` nearest nodes along the sphere; within one set of nodes a neighbour's neighbour is made mutual.

    Parameters
    ----------
    k : int, neighbours of each node.
    symmetric : whether j hears i when i hears j, within one set of nodes.
    """

    k: int = 12
    symmetric: bool = True

    needs_positions: ClassVar[bool] = True

    def problems(self) -> Iterator[str]:
        if not is_count(self.k):
            yield f"Nearest: k {self.k!r} is not {COUNT}; give the number of neighbours"
        yield from (f"Nearest: {p}" for p in flags(self, "symmetric"))

    def fits(self, source: Nodes, target: Nodes) -> Iterator[str]:
        if is_count(self.k) and self.k > len(source.positions):
            yield (
                f"Nearest({self.k}) of {len(source.positions)} nodes; "
                "ask for at most as many neighbours as there are nodes"
            )

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        del rng
        from scipy.spatial import cKDTree

        n, shape = len(target.positions), (len(target.positions), len(source.positions))
        k = min(self.k + same, shape[1])
        # chord and arc order nodes alike, so a tree in space finds the neighbours on the sphere
        _, cols = cKDTree(source.positions).query(target.positions, k=[*range(1, k + 1)], workers=-1)
        if same:  # where several nodes share a place, a node may be missing among its own nearest
            other = cols != np.arange(n)[:, None]
            other[other.all(axis=1), -1] = False
            cols = cols[other].reshape(n, k - 1)
        edges = _coo(1.0, np.repeat(np.arange(n), cols.shape[1]), cols.ravel(), shape, same)
        return edges.maximum(edges.T).tocoo() if same and self.symmetric else edges


@dataclass(frozen=True)
class Decay(AbstractRule):
    """Every node within reach, weaker with distance d along the sphere.

    Parameters
    ----------
    length : float, rad, in (0, pi]; the scale of the decay.
    kind : "exponential": ``exp(-d / length)``; "gaussian": ``exp(-d^2 / (2 length^2))``.
    cutoff : float, edges weaker than this are left out.

    Source: Ercsey-Ravasz et al. 2013, Neuron 80:184 (exponential distance rule of cortical projections).
    """

    length: float
    kind: str = "exponential"
    cutoff: float = 1e-3

    needs_positions: ClassVar[bool] = True

    def problems(self) -> Iterator[str]:
        if not (is_number(self.length) and 0 < self.length <= np.pi):
            yield f"Decay: length {self.length!r} is not in (0, pi]; give rad along the sphere"
        yield from (f"Decay: {p}" for p in one_of("kind", self.kind, ("exponential", "gaussian")))
        if not (is_number(self.cutoff) and 0 < self.cutoff < 1):
            yield f"Decay: cutoff {self.cutoff!r} is not in (0, 1); give the weakest weight to keep"

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        del rng
        from scipy.spatial import cKDTree

        reach = self.length * (
            -np.log(self.cutoff) if self.kind == "exponential" else np.sqrt(-2 * np.log(self.cutoff))
        )
        chord = 2 * np.sin(min(reach, np.pi) / 2)
        near = cKDTree(target.positions).sparse_distance_matrix(
            cKDTree(source.positions), chord * (1 + 1e-12), output_type="ndarray"
        )
        d = 2 * np.arcsin(np.clip(near["v"] / 2, 0, 1))
        weight = np.exp(-d / self.length) if self.kind == "exponential" else np.exp(-((d / self.length) ** 2) / 2)
        return _coo(weight, near["i"], near["j"], (len(target.positions), len(source.positions)), same)


@dataclass(frozen=True)
class Random(AbstractRule):
    """A fixed share of all possible edges, chosen evenly with the projection's seed.

    Parameters
    ----------
    density : float in [0, 1], edges over possible edges.
    symmetric : whether j hears i when i hears j, within one set of nodes.

    Source: Erdos & Renyi 1959, model G(n, M).
    """

    density: float
    symmetric: bool = False

    def problems(self) -> Iterator[str]:
        if not (is_number(self.density) and 0 <= self.density <= 1):
            yield f"density {self.density!r} is not in [0, 1]; give a fraction of possible edges"
        yield from (f"Random: {p}" for p in flags(self, "symmetric"))

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        shape = rows_n, cols_n = len(target.positions), len(source.positions)
        if same and self.symmetric:
            pairs = rows_n * (rows_n - 1) // 2
            chosen = rng.choice(pairs, round(self.density * pairs), replace=False)
            i, j = _triangle(chosen)
            return _coo(1.0, np.concatenate([i, j]), np.concatenate([j, i]), shape, same)
        per_row = cols_n - same  # the diagonal is skipped, so that the density is exact
        chosen = rng.choice(rows_n * per_row, round(self.density * rows_n * per_row), replace=False)
        i, j = np.divmod(chosen, max(per_row, 1))
        return _coo(1.0, i, j + (same & (j >= i)), shape, same)


def _triangle(flat: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column, row > column, of the flat indices of a strict lower triangle."""
    i = np.floor((1 + np.sqrt(1 + 8 * flat.astype(float))) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > flat  # the square root may round up
    return i, flat - i * (i - 1) // 2


@dataclass(frozen=True)
class Entries:
    """The entries of a matrix as a value: shape, and row, column and value of each."""

    shape: tuple[int, ...]
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def of(cls, matrix: Any) -> "Entries":
        """The entries of an array, a scipy.sparse array or a nested sequence; zeros are no entries."""
        if np.iscomplexobj(matrix):
            raise TypeError("weights are real")
        if hasattr(matrix, "tocoo"):
            coo = matrix.tocoo()
            keep = coo.data != 0
            rows, cols, values, shape = coo.row[keep], coo.col[keep], coo.data[keep], coo.shape
        else:
            dense = np.asarray(matrix, float)
            rows, cols = np.nonzero(dense) if dense.ndim == 2 else (np.empty(0, int), np.empty(0, int))
            values, shape = dense[rows, cols] if dense.ndim == 2 else rows, dense.shape
        return cls(*map(tuples, (np.asarray(shape, int), rows, cols, values)))

    def problems(self) -> Iterator[str]:
        shape, rows, cols = (_vector(x, "iu") for x in (self.shape, self.rows, self.cols))
        values = _vector(self.values, "iuf")
        if shape is None or rows is None or cols is None or values is None or len(shape) != 2:
            yield "the matrix is not an array of numbers [target, source]; give two dimensions"
        elif not len(rows) == len(cols) == len(values):
            sizes = f"{len(rows)} rows, {len(cols)} columns and {len(values)} values"
            yield f"{sizes} are not one each; correct the entries"
        elif not (abs(values) <= LARGEST_NUMBER).all():
            yield "the matrix holds a value that is not finite; give finite weights"
        elif not (((rows >= 0) & (rows < shape[0])).all() and ((cols >= 0) & (cols < shape[1])).all()):
            yield f"an entry lies outside of the shape {self.shape}; correct rows and columns"


def _vector(values: Any, kinds: str) -> NDArray[Any] | None:
    """Values as a one-dimensional array of one of these kinds of number, if that is what they are."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array if array.ndim == 1 and (not array.size or array.dtype.kind in kinds) else None


@dataclass(frozen=True)
class Explicit(AbstractRule):
    """A given matrix [target, source], or the adjacency of a networkx graph; zeros are no edges.

    Parameters
    ----------
    matrix : array, scipy.sparse array or nested sequence [target, source]; a networkx graph's edge u -> v is [v, u].
    names : node names of the matrix, in its order; where the populations carry labels they are matched by name.
    """

    matrix: Any
    names: tuple[str, ...] = ()
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        matrix = self.matrix
        if hasattr(matrix, "adjacency") and hasattr(matrix, "is_directed"):
            matrix, names = _of_graph(matrix)
            object.__setattr__(self, "names", names)
        if not isinstance(matrix, Entries):
            try:
                matrix = Entries.of(matrix)
            except (TypeError, ValueError, AttributeError, OverflowError):
                matrix = None
            object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "names", several(self.names))
        freeze(self)

    def problems(self) -> Iterator[str]:
        if isinstance(self.matrix, Entries):
            yield from (f"Explicit: {p}" for p in self.matrix.problems())
        else:
            yield "Explicit: the matrix is not an array of numbers [target, source]; give two dimensions"
        if not all(isinstance(name, str) for name in self.names) or len(set(self.names)) != len(self.names):
            yield "Explicit: names are not text, or the same twice; name every node differently"
        elif self.names and self.matrix and self.matrix.shape and len(self.names) not in several(self.matrix.shape):
            yield (
                f"Explicit: {len(self.names)} names for a matrix of shape {self.matrix.shape}; name each row or column"
            )

    def fits(self, source: Nodes, target: Nodes) -> Iterator[str]:
        shape = len(target.positions), len(source.positions)
        if self.matrix is not None and tuple(self.matrix.shape) != shape:
            yield (
                f"Explicit: a matrix of shape {self.matrix.shape} between nodes (target, source) {shape}; "
                "make them agree"
            )
        for end in (source, target):
            if self.names and any(end.labels) and not self._by_order() and set(self.names) != set(end.labels):
                unknown = sorted(set(self.names) - set(end.labels))[:3]
                yield f"Explicit: names {unknown} are no labels of the population; name the same nodes in both"

    def _by_order(self) -> bool:
        return self.names == tuple(str(i) for i in range(len(self.names)))

    def _order(self, labels: tuple[str, ...]) -> NDArray[np.int64]:
        """Node of each row of the matrix."""
        if sorted(self.names) != sorted(labels):
            return np.arange(len(labels))
        node = {name: i for i, name in enumerate(labels)}
        return np.array([node[name] for name in self.names])

    def pattern(self, source: Nodes, target: Nodes, same: bool, rng: np.random.Generator) -> "coo_array":
        del rng
        rows = self._order(target.labels)[np.asarray(self.matrix.rows, int)]
        cols = self._order(source.labels)[np.asarray(self.matrix.cols, int)]
        return _coo(self.matrix.values, rows, cols, tuple(self.matrix.shape), same)


def _of_graph(graph: Any) -> tuple[Any, tuple[str, ...]]:
    """The matrix [target, source] of a networkx graph, None if it has none, and its node names.

    Nodes 0 to n-1 are in that order.
    """
    import networkx

    order = sorted(graph) if set(graph) == set(range(len(graph))) else list(graph)
    try:
        matrix = networkx.to_scipy_sparse_array(graph, order, dtype=float).T
    except (networkx.NetworkXException, TypeError, ValueError):
        matrix = None
    return matrix, tuple(str(v) for v in order)


def as_rule(rule: Any) -> Any:
    """A wiring rule from a rule, a networkx graph or a matrix; anything else is returned for the check to name."""
    if isinstance(rule, AbstractRule | type):
        return rule
    return Explicit(rule) if hasattr(rule, "adjacency") or hasattr(rule, "shape") or isinstance(rule, list) else rule
