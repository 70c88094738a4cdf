"""Ready-made parts are plain declarations: they compose, nest, take new names, and can be replaced or subclassed."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

import nfsim
from nfsim import CfC, Input, Network, Nucleus, Population, Projection, Readout, Region
from nfsim.regions import PFC, Motor, Sensory, Thalamus


def network(*parts):
    return Network("net").add(Input("x", 3), *parts, Readout("out", 2))


def test_regions_are_populations_of_the_published_sizes():
    assert Sensory() == Population("sensory", 49)
    assert PFC() == Population("pfc", 500)
    assert Motor() == Population("motor", 100, sectors=10)


def test_a_thalamus_is_a_region_of_equal_nuclei():
    nuclei = [Nucleus(f"n{i}", trn=True, feedback="pfc") for i in range(8)]
    assert Thalamus() == Region("thalamus", nuclei)
    relays = Thalamus(["lgn", "mgn"], trn=False, feedback=False, gating="feedforward", reads="x", targets="v1", key=4)
    assert relays.parts == tuple(Nucleus(n, "x", "v1", "feedforward", key=4) for n in ("lgn", "mgn"))
    assert Thalamus(1, feedback="motor").parts[0].feedback == ("motor",)


@pytest.mark.parametrize("part", [Sensory(7), PFC(8, "dlpfc"), Motor(6, 3), Thalamus(2, name="left thalamus")])
def test_a_part_pickles_as_the_value_that_it_is(part):
    assert pickle.loads(pickle.dumps(part)) == part


@pytest.mark.parametrize(
    "part", [Sensory(7, patch=nfsim.Cap(0, 0, 30)), Motor(6, 3), PFC(8), Thalamus(["lgn", "mgn"], trn=False, key=4)]
)
def test_a_part_takes_a_new_name_and_stays_what_it_is(part):
    renamed = dataclasses.replace(part, name="other")
    assert type(renamed) is type(part)
    assert renamed.name == "other"
    assert dataclasses.replace(renamed, name=part.name) == part


def test_the_nuclei_of_a_thalamus_can_be_replaced():
    patch = nfsim.Cap(0, 0, 30)
    fewer = dataclasses.replace(Thalamus(4, patch=patch), parts=Thalamus(2).parts)
    assert fewer == Region("thalamus", Thalamus(2).parts, patch)


def test_a_part_takes_every_option_of_its_declaration():
    patch, cell = nfsim.Cap(0, 0, 30), CfC(tau=2.0)
    assert PFC(20, dynamics=cell, patch=patch) == Population("pfc", 20, dynamics=cell, patch=patch)


def two_hemispheres():
    """Each with its own areas and its own thalamus, joined by a callosal projection."""

    def side(name, lon):
        parts = [Sensory(12), PFC(16), Thalamus(2, reads=("sensory", "pfc"), targets=("sensory", "pfc"))]
        return Region(name, [*parts, Projection("sensory", "pfc")], patch=nfsim.Cap(0, lon, 80))

    net = network(side("left", -90), side("right", 90))
    net.connect("x", "left/sensory")
    net.connect("x", "right/sensory")
    net.connect("left/sensory", "right/sensory", nfsim.OneToOne(), name="callosum")
    return net


def test_two_thalami_in_two_hemispheres_each_gate_their_own():
    net = two_hemispheres()
    net.check()
    flat = net.flat
    assert list(flat.nuclei) == [f"{side}/thalamus/n{i}" for side in ("left", "right") for i in range(2)]
    for path, nucleus in flat.nuclei.items():
        side = path.split("/")[0]
        assert flat.populations_of(nucleus.targets, f"{side}/thalamus") == (f"{side}/sensory", f"{side}/pfc")
        assert flat.populations_of(nucleus.feedback, f"{side}/thalamus") == (f"{side}/pfc",)
    model = nfsim.compile(net, backend="reference")
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    gain = model(x, record="gain").record["gain"]
    of_left = [p for name, p in model.values.learned.items() if name.startswith("left/thalamus")]
    right = torch.from_numpy(np.char.startswith(model.node_coords()["region"], "right"))
    # the only way from the left to the right is the callosum, from one sensory area to the other
    grads = torch.autograd.grad(gain[:, 0, right].sum(), of_left, allow_unused=True, retain_graph=True)
    assert all(g is None or not g.any() for g in grads)
    grads = torch.autograd.grad(gain[:, 0, ~right].sum(), of_left, allow_unused=True)
    assert any(g is not None and g.any() for g in grads)


def test_hemispheres_stand_apart_on_the_sphere():
    nodes = nfsim.wire(two_hemispheres()).nodes
    y = {side: nodes.positions[nodes.index((f"{side}/sensory", f"{side}/pfc"))][:, 1] for side in ("left", "right")}
    assert y["left"].max() < 0 < y["right"].min()


def test_a_subclass_is_a_part_like_any_other_and_compiles():
    class V1(Sensory):
        """Primary visual cortex, with its retinotopic neighbourhood beside it."""

        def __init__(self, size=24):
            super().__init__(size, name="v1", dynamics=CfC(omega=0.5), patch=nfsim.Cap(-10, 180, 25))

    class VisualCortex(Region):
        def __init__(self):
            super().__init__("visual", (V1(), Population("v2", 12), Projection("v1", "v2"), Projection("v1", "v1")))

    net = network(VisualCortex(), Projection("x", "visual/v1"))
    assert Network.from_json(net.to_json()) == net
    assert nfsim.compile(net, device="cpu")(torch.zeros(1, 2, 3)).logits.shape == (1, 2)


def test_a_part_of_a_network_can_be_replaced_by_another_of_its_name():
    net = network(Sensory(12), Motor(10, 2), Projection("x", "sensory"), Projection("sensory", "motor"))
    smaller = net.copy()
    smaller.parts = tuple(Population("sensory", 6) if p == Sensory(12) else p for p in net.parts)
    smaller.check()
    assert smaller.flat.populations["sensory"].size == 6
    assert net.flat.populations["sensory"].size == 12


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Sensory(0)], "sensory: size 0 is not a whole number"),
        ([Motor(10, 3)], "motor: 3 sectors do not divide 10 nodes"),
        ([Thalamus(0)], "thalamus: holds no parts; add a population or leave the region out"),
        ([Thalamus(2.5)], "name 2.5 of a Nucleus is not letters"),
        ([Thalamus(None)], "name None of a Nucleus is not letters"),
        ([PFC(8), Thalamus(1, gating="both")], "thalamus/n0: gating 'both' is unknown"),
        ([Sensory(8), Thalamus(1)], r"thalamus/n0: feedback 'pfc' is no population.*from region 'thalamus' outwards"),
        ([Sensory(8), Sensory(8)], "sensory: is declared twice"),
    ],
    ids=str,
)
def test_bad_settings_of_a_part_are_reported_by_the_network(parts, message):
    with pytest.raises(nfsim.BuildError, match=message):
        network(*parts).check()
