"""Networks as networkx graphs and back: the same network, and a graph that one may work on in between."""

import networkx
import pytest
from hypothesis import given, settings

import networks
import nfsim
from nfsim import Cap, Input, Network, Nucleus, Population, Projection, Readout, Region


def hemispheres():
    """Two nested hemispheres with a thalamus each, and a callosal projection between them."""

    def side(name, lon):
        thalamus = Region(
            "thalamus", [Nucleus("lgn", "v1", "v1", trn=True), Nucleus("md", "front/pfc", "front", trn=True)]
        )
        front = Region("front", [Population("pfc", 6), Population("motor", 4)], patch=Cap(40, lon, 20))
        inner = [Projection("v1", "front"), Projection("v1", "v1", nfsim.Nearest(2))]
        return Region(name, [thalamus, Population("v1", 8), front, *inner], patch=Cap(0, lon, 80))

    net = Network("brain", seed=4, dt=0.5, ticks=2, time_unit="ms")
    net.add(Input("x", 3), side("left", -90), Population("middle", 3), side("right", 90), Readout("out", 2))
    net.connect("x", "left/v1")
    net.connect("left/v1", "right/v1", nfsim.OneToOne(), name="callosum")
    net.connect("left", "right", nfsim.Random(0.2))
    return net


@settings(networks.SETTINGS, max_examples=40)
@given(networks.networks())
def test_a_network_is_the_same_after_networkx(net):
    assert Network.from_networkx(net.to_networkx()) == net


def test_nested_regions_come_back_in_their_place_and_order():
    net = hemispheres()
    again = Network.from_networkx(net.to_networkx())
    assert again.digest() == net.digest()
    assert list(again.flat.populations) == list(net.flat.populations)
    assert list(again.flat.nuclei) == list(net.flat.nuclei)
    assert list(again.flat.projections) == list(net.flat.projections)


def test_populations_are_nodes_and_projections_are_edges_keyed_by_name():
    graph = hemispheres().to_networkx()
    assert isinstance(graph, networkx.MultiDiGraph)
    assert set(graph) == {"x", "middle"} | {
        f"{side}/{path}" for side in ("left", "right") for path in ("v1", "front/pfc", "front/motor")
    }
    assert graph.edges["left/v1", "right/v1", "callosum"]["declaration"].rule == nfsim.OneToOne()
    assert sum(key == "left->right" for _, _, key in graph.edges(keys=True)) == 9
    assert graph.nodes["left/front/pfc"]["declaration"] == Population("pfc", 6)
    assert graph.graph["regions"]["left/front"] == Cap(40, -90, 20)


def test_parallel_projections_are_all_kept():
    net = hemispheres()
    net.connect("left/v1", "right/v1", nfsim.Random(0.1), name="second")
    graph = net.to_networkx()
    assert {"callosum", "second"} <= set(graph["left/v1"]["right/v1"])
    assert Network.from_networkx(graph) == net


def test_what_is_added_to_and_removed_from_the_graph_is_added_and_removed():
    graph = hemispheres().to_networkx()
    graph.remove_edge("left/v1", "right/v1", "callosum")
    graph.remove_node("middle")
    graph.add_node("left/late", declaration=Population("late", 5))
    graph.add_edge("left/v1", "left/late", "p", declaration=Projection("v1", "late", name="p"), scope="left")
    net = Network.from_networkx(graph)
    net.check()
    assert "middle" not in net.flat.populations
    assert "callosum" not in net.flat.projections
    assert net.flat.target("left/p") == ("left/late",)
    assert [name for name in net.flat.projections if name.startswith("left/")][-1] == "left/p"


def test_a_network_can_be_built_from_a_graph_of_ones_own():
    graph = networkx.MultiDiGraph(name="mine")
    graph.add_node("x", declaration=Input("x", 2))
    graph.add_node("cortex/v1", declaration=Population("v1", 4))
    graph.add_edge("x", "cortex/v1", "in", declaration=Projection("x", "cortex/v1", name="in"))
    graph.graph["readouts"] = {"out": Readout("out", 2)}
    net = Network.from_networkx(graph)
    net.check()
    assert net.name == "mine"
    assert net.flat.regions["cortex"].parts == (Population("v1", 4),)


def test_what_a_graph_cannot_hold_is_refused_and_not_lost():
    net = hemispheres()
    net.connect("left/v1", "nowhere")
    net.add(Population("middle", 5))
    with pytest.raises(nfsim.BuildError) as raised:
        net.to_networkx()
    assert raised.value.problems == (
        "left/v1->nowhere: has no place in a graph; correct what check() reports of it",
        "middle: has no place in a graph; correct what check() reports of it",
    )


def test_a_node_or_an_edge_without_a_declaration_is_refused():
    graph = hemispheres().to_networkx()
    graph.add_node("v9")
    with pytest.raises(
        nfsim.BuildError, match=r"node 'v9': has no declaration; set its attribute declaration=Population"
    ):
        Network.from_networkx(graph)
    graph.remove_node("v9")
    graph.add_edge("x", "right/v1")
    with pytest.raises(nfsim.BuildError, match="edge 'x' -> 'right/v1': has no declaration; set its attribute"):
        Network.from_networkx(graph)
