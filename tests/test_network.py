"""The builder: names and where they lead, equality, snapshots, pickles, and the table that it prints."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest
from hypothesis import given, settings

import networks
import nfsim
from nfsim import CfC, Input, Network, Nucleus, Population, Projection, Readout, Region

NESTED = Region(
    "left",
    [
        Population("v1", 6),
        Region("frontal", [Population("pfc", 4), Population("v1", 4)]),
        Projection("v1", "frontal"),
        Nucleus("lgn", reads="v1", targets=["frontal/pfc", "frontal"]),
    ],
)


def network(*parts, **options):
    net = Network("net", **options)
    return net.add(Input("x", 3), Population("v1", 8, 2), Projection("x", "v1"), Readout("out", 2), *parts)


def test_a_name_is_looked_up_in_its_region_first_and_then_outwards():
    flat = network(NESTED).flat
    assert flat.resolve("v1") == ("v1",)
    assert flat.resolve("v1", "left") == ("left/v1",)
    assert flat.resolve("v1", "left/frontal") == ("left/frontal/v1",)
    assert flat.resolve("pfc", "left/frontal") == ("left/frontal/pfc",)
    assert flat.resolve("x", "left/frontal") == ("x",)
    assert flat.resolve("left/frontal/pfc", "left") == ("left/frontal/pfc",)


def test_a_region_means_all_of_its_populations_and_a_star_means_all():
    flat = network(NESTED).flat
    assert flat.resolve("left") == ("left/v1", "left/frontal/pfc", "left/frontal/v1")
    assert flat.resolve("frontal", "left") == ("left/frontal/pfc", "left/frontal/v1")
    assert flat.resolve("frontal") == ()
    assert flat.resolve("*", "left") == tuple(flat.populations)
    assert network(NESTED, Population("leftover", 2)).flat.resolve("left") == flat.resolve("left")


def test_a_projection_of_a_region_has_its_name_and_its_scope():
    flat = network(NESTED).flat
    assert flat.source("left/v1->frontal") == ("left/v1",)
    assert flat.target("left/v1->frontal") == ("left/frontal/pfc", "left/frontal/v1")


def test_several_names_of_one_population_mean_it_once():
    flat = network(NESTED).flat
    assert flat.populations_of(("frontal/pfc", "frontal"), "left") == ("left/frontal/pfc", "left/frontal/v1")


def test_projections_of_the_same_ends_are_numbered():
    net = network(Projection("v1", "v1", nfsim.Nearest(2)), Projection("v1", "v1", nfsim.Nearest(3)))
    net.check()
    assert list(net.flat.projections) == ["x->v1", "v1->v1", "v1->v1#2"]


def test_a_projection_is_a_coupling_within_one_set_and_a_drive_elsewhere():
    assert (Projection("a", "a").kind, Projection("a", "a").learnable, Projection("a", "a").weight) == (
        "coupling", "scale", 0.5,
    )  # fmt: skip
    assert (Projection("a", "b").kind, Projection("a", "b").learnable, Projection("a", "b").weight) == (
        "drive", "edges", 1.0,
    )  # fmt: skip
    assert Projection("a", "a", kind="drive").learnable == "edges"


def test_connect_adds_the_projection_that_it_returns():
    net = network()
    p = net.connect("v1", "v1", nfsim.Nearest(2), weight=0.3)
    assert p is net.parts[-1]
    assert (p.rule, p.weight) == (nfsim.Nearest(2), 0.3)


def test_labels_of_a_readout_may_be_counted_or_named():
    assert Readout("out", 3).labels == ("0", "1", "2")
    assert Readout("out", np.array(["cat", "dog"])).labels == ("cat", "dog")
    assert Readout("out", range(1, 3)).labels == ("1", "2")


@dataclass(frozen=True, eq=False)
class Macaque(Population):
    """A population that is declared by a class of its own."""

    size: int = 8


class Pair(Region):
    def __init__(self, name="pair"):
        super().__init__(name, (Population("a", 2), Population("b", 2)))


def test_what_a_subclass_declares_equals_the_plain_declaration_of_it():
    assert Macaque("v1") == Population("v1", 8)
    assert Population("v1", 8) == Macaque("v1")
    assert Pair() == Region("pair", [Population("a", 2), Population("b", 2)])
    assert hash(Macaque("v1")) == hash(Population("v1", 8))
    assert hash(Pair()) == hash(Region("pair", [Population("a", 2), Population("b", 2)]))
    assert network(Macaque("m")) == network(Population("m", 8))
    assert network(Pair()).digest() == network(Region("pair", Pair().parts)).digest()


@pytest.mark.parametrize("other", [Population("v1", 9), Population("v2", 8), Input("v1", 8), "v1", None])
def test_declarations_that_differ_are_not_equal(other):
    assert Population("v1", 8) != other


def test_lists_and_arrays_become_values():
    a = Population("p", 2, positions=np.eye(3)[:2], labels=["a", "b"], dynamics=CfC(bias=np.array([1.0, 2.0])))
    b = Population("p", 2, positions=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), labels=("a", "b"), dynamics=CfC(bias=[1, 2]))
    assert a == b
    assert hash(a) == hash(b)
    assert a.dynamics.bias == (1.0, 2.0)


def test_declarations_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Population("p", 2).size = 3


def test_a_network_changes_and_so_has_no_hash():
    with pytest.raises(TypeError, match="unhashable type: 'Network'"):
        {network()}


def test_a_change_is_seen_at_once():
    net = network()
    assert list(net.flat.populations) == ["v1"]
    net.add(Population("v2", 4))
    assert list(net.flat.populations) == ["v1", "v2"]
    before = net.digest()
    net.dt = 0.5
    assert net.digest() != before


def test_a_snapshot_cannot_change_and_its_copy_can():
    net = network()
    snapshot = net.freeze()
    net.add(Population("v2", 4))
    assert "v2" not in snapshot.flat.populations
    for change in (lambda: snapshot.add(Population("v2", 4)), lambda: setattr(snapshot, "dt", 2.0)):
        with pytest.raises(nfsim.BuildError, match=r"net: is the snapshot of a compiled network and cannot change"):
            change()
    with pytest.raises(nfsim.BuildError, match="cannot change"):
        pickle.loads(pickle.dumps(snapshot)).seed = 3
    thawed = snapshot.copy()
    thawed.add(Population("v2", 4))
    assert thawed == net


def test_the_snapshot_of_a_model_is_the_network_that_it_was_compiled_from():
    net = network()
    model = nfsim.compile(net, device="cpu")
    assert model.network == net
    net.seed = 5
    assert model.network != net
    assert model.network.digest() == network().digest()


@settings(networks.SETTINGS, max_examples=30)
@given(networks.networks())
def test_networks_and_their_parts_pickle_and_copy(net):
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), net.copy()):
        assert again == net
        assert again.digest() == net.digest()
    for part in net.parts:
        assert pickle.loads(pickle.dumps(part)) == part


def test_the_error_of_a_declaration_pickles_with_its_problems():
    error = nfsim.BuildError(["a: one", "b: two"])
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems == ("a: one", "b: two")
    assert str(again) == "a: one\nb: two"
    assert nfsim.BuildError("a: one").problems == ("a: one",)


def test_a_network_prints_what_it_holds():
    assert repr(network(NESTED)) == "Network('net': 1 input, 4 populations, 22 nodes, 2 projections, 1 nucleus)"
    summary = network(NESTED).summary()
    for row in (
        "input       x                        3 features",
        "population  v1                       8 nodes, 2 sectors, region v1",
        "population  left/frontal/pfc         4 nodes, region left/frontal",
        "nucleus     left/lgn                 state, reads v1, targets frontal/pfc, frontal",
        "projection  left/v1->frontal         drive, AllToAll, learns edges",
        "readout     out                      rate of *, 2 labels, last",
    ):
        assert row in summary
