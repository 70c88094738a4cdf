"""Networks as networkx graphs and back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nfsim.errors import BuildError
from nfsim.network import Network
from nfsim.population import Input, Population, Region

if TYPE_CHECKING:
    import networkx

_META = ("name", "seed", "dt", "ticks", "time_unit")


def to_networkx(network: Network) -> "networkx.MultiDiGraph":
    """Populations and inputs as nodes, projections as edges keyed by name.

    Node attribute `declaration`; edge attributes `declaration`, `scope` (the region that declares it) and `order`;
    graph attributes name, seed, dt, ticks, time_unit, regions {path: patch}, nuclei and readouts {path: declaration},
    and places (the paths of regions and populations in the order declared).
    A projection between sets of populations has one edge per pair; one that ends nowhere is refused, not lost.
    """
    import networkx

    flat = network.flat
    lost = [name for name in flat.projections if not (flat.source(name) and flat.target(name))]
    lost += [path for path, _ in flat.duplicates]
    if lost:
        raise BuildError(f"{name}: has no place in a graph; correct what check() reports of it" for name in lost)
    graph = networkx.MultiDiGraph(**{k: getattr(network, k) for k in _META})
    graph.graph |= {
        "regions": {path: region.patch for path, region in flat.regions.items()},
        "nuclei": dict(flat.nuclei),
        "readouts": dict(flat.readouts),
        "places": _places(network.parts),
    }
    for path, part in [*flat.inputs.items(), *flat.populations.items()]:
        graph.add_node(path, declaration=part)
    for order, (name, projection) in enumerate(flat.projections.items()):
        for u in flat.source(name):
            for v in flat.target(name):
                graph.add_edge(u, v, key=name, declaration=projection, scope=flat.scopes[name], order=order)
    return graph


def from_networkx(graph: "networkx.MultiDiGraph") -> Network:
    """The network of such a graph; nodes and edges that were added need the attribute `declaration`."""
    meta = {k: graph.graph[k] for k in _META if k in graph.graph}
    inside: dict[str, list[Any]] = {"": []}
    patches = dict(graph.graph.get("regions", {}))

    def put(scope: str, part: Any) -> None:
        if scope not in inside:
            inside[scope] = []
            parent, _, name = scope.rpartition("/")
            put(parent, _Placeholder(scope, name))
        inside[scope].append(part)

    for path, data in graph.nodes(data=True):
        part = data.get("declaration")
        if not isinstance(part, Input | Population):
            raise BuildError(f"node {path!r}: has no declaration; set its attribute declaration=Population(...)")
        put(str(path).rpartition("/")[0], part)
    for scope in patches:
        if scope not in inside:
            inside[scope] = []
            put(scope.rpartition("/")[0], _Placeholder(scope, scope.rpartition("/")[2]))
    for path, part in graph.graph.get("nuclei", {}).items():
        put(path.rpartition("/")[0], part)
    seen = set()
    # a graph lists its edges by node: bring them back into the order declared, added ones last
    edges = sorted(graph.edges(keys=True, data=True), key=lambda edge: edge[3].get("order", len(graph.edges)))
    for u, v, key, data in edges:
        if data.get("declaration") is None:
            raise BuildError(f"edge {u!r} -> {v!r}: has no declaration; set its attribute declaration=Projection(...)")
        if key not in seen:
            seen.add(key)
            put(data.get("scope", ""), data["declaration"])
    for part in graph.graph.get("readouts", {}).values():
        put("", part)

    places = {path: i for i, path in enumerate(graph.graph.get("places", ()))}

    def build(scope: str) -> list[Any]:
        paths = [f"{scope}/{part.name}" if scope else part.name for part in inside[scope]]
        order = sorted(range(len(paths)), key=lambda i: places.get(paths[i], len(places)))
        parts = [inside[scope][i] for i in order]
        return [Region(p.name, build(p.path), patches.get(p.path)) if isinstance(p, _Placeholder) else p for p in parts]

    return Network(**meta).add(*build(""))


def _places(parts: Sequence[Any], scope: str = "") -> list[str]:
    """Paths of regions and populations in the order declared."""
    found = []
    for part in parts:
        if isinstance(part, Region | Population):
            found.append(f"{scope}/{part.name}" if scope else str(part.name))
        if isinstance(part, Region):
            found += _places(part.parts, found[-1])
    return found


class _Placeholder:
    """A region whose parts are still being collected."""

    def __init__(self, path: str, name: str):
        self.path, self.name = path, name
