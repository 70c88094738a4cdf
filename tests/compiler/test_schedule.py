"""From the declaration alone: what runs the whole sequence at once, what must step through time, and why."""

import re

import networkx
import pytest
from hypothesis import given, settings

import networks
import nfsim
from nfsim import CfC, Input, Network, Nucleus, Population, Projection, Readout, Region
from nfsim.compiler import lower
from nfsim.ties import ties

CHAIN = [Projection("v1", "v2"), Projection("v2", "pfc")]


def network(*parts, dynamics=None, **other):
    """An input to v1, three populations, and more parts; `other` names the dynamics of single populations."""
    net = Network("net")
    cells = (Population(name, 4, 2, other.get(name, dynamics or CfC())) for name in ("v1", "v2", "pfc"))
    return net.add(Input("x", 3), *cells, Readout("out", 2), Projection("x", "v1"), *parts)


def stages(net):
    """(schedule, populations) of every stage."""
    return [(stage.schedule, stage.populations) for stage in lower(net).stages]


def reasons(net, population):
    program = lower(net)
    return program.stages[program.stage_of(population)].reasons


def feedforward(targets, **options):
    return Nucleus("n", "x", targets, "feedforward", **options)


SCANS = [("scan", ("v1",)), ("scan", ("v2",)), ("scan", ("pfc",))]


def test_a_feed_forward_chain_scans_every_population_in_order():
    assert stages(network(*CHAIN)) == SCANS
    assert reasons(network(*CHAIN), "v2") == ("neither steady state nor rate depends on its own state",)


def test_stages_run_in_the_order_of_the_drives_and_not_of_the_declaration():
    back = [Projection("x", "pfc"), Projection("pfc", "v2"), Projection("v2", "v1", name="up")]
    assert stages(network(*back)) == [("scan", ("pfc",)), ("scan", ("v2",)), ("scan", ("v1",))]


def test_populations_that_do_not_hear_each_other_run_in_the_order_declared():
    assert stages(network(Projection("x", "*", name="all"))) == SCANS


# What keeps a scan, and is all there is to it.
STILL_SCANS = {
    "coupling on the drive": [*CHAIN, Projection("v1", "v1", nfsim.Nearest(1), on="drive")],
    "gain driven by the input": [*CHAIN, feedforward("*", trn=True), Nucleus("m", "x", "*", "feedforward", trn=True)],
    "feedback from an earlier population": [*CHAIN, feedforward("v2", feedback="v1")],
    "a sparse drive with a sign": [*CHAIN, Projection("x", "v2", nfsim.Random(0.5), sign=1)],
    "a low-rank normalised drive": [*CHAIN, Projection("v1", "pfc", rank=2, activation="gelu", normalise=True)],
}


@pytest.mark.parametrize("what", STILL_SCANS)
def test_what_hears_no_state_of_its_own_stays_a_scan(what):
    assert stages(network(*STILL_SCANS[what])) == SCANS


@pytest.mark.parametrize(
    "nucleus", [Nucleus("n"), Nucleus("n", feedback="pfc", trn=True)], ids=["plain", "with feedback"]
)
def test_a_gain_that_acts_at_the_readout_alone_leaves_every_scan(nucleus):
    assert stages(network(*CHAIN, nucleus, dynamics=CfC(gain="readout"))) == SCANS
    assert stages(network(*CHAIN, nucleus, dynamics=CfC(gain=()))) == SCANS


# What ties v1 to its own state: the parts, the dynamics of v1, and the reason as it is named.
LOOPS = {
    "coupling to itself": ([Projection("v1", "v1", nfsim.Nearest(1))], "coupling on the state.*own state: v1->v1"),
    "coupling to another": ([Projection("pfc", "v1", kind="coupling")], "coupling on the state.*own state: pfc->v1"),
    "a drive onto itself": ([Projection("v1", "v1", kind="drive")], "drive between its populations: v1->v1"),
    "state gating": ([Nucleus("n", "pfc", "v1")], "keys read each node's own state: n"),
    "state gating of the drive": ([Nucleus("n", "pfc", "v1")], "keys read each node's own state: n", "drive"),
    "state gating of the coupling": ([Nucleus("n", "pfc", "v1")], "keys read each node's own state: n", "coupling"),
    "ambassadors": ([Nucleus("n", targets="v1", gating="ambassador")], "ambassadors read their sector's own state: n"),
    "attention": ([Nucleus("n", "v2", "v1", "attention")], "attention mixes states of all that it targets: n"),
    "attention whatever the gain": ([Nucleus("n", "v2", "v1", "attention")], "attention mixes states", "readout"),
    "queries of its own means": ([Nucleus("n", "v1", "v1")], "queries read regional means: n"),
    "feedback from itself": ([feedforward("v1", feedback="v1")], "cortico-thalamic feedback: n"),
    "reticular inhibition by a nucleus that hears it": (
        [feedforward("v1", trn=True), Nucleus("m", "v1", "pfc", trn=True)],
        "reticular inhibition relays regional means: n",
    ),
}


@pytest.mark.parametrize("what", LOOPS)
def test_what_ties_a_population_to_its_own_state_makes_a_loop_and_is_named(what):
    parts, reason, *place = LOOPS[what]
    net = network(*parts, v1=CfC(gain=place or ("time", "readout")))
    assert ("loop", ("v1",)) in stages(net)
    assert any(re.search(reason, found) for found in reasons(net, "v1")), reasons(net, "v1")


def test_gated_memory_makes_a_loop():
    net = network(*CHAIN, v2=CfC(memory="gated"))
    assert stages(net) == [("scan", ("v1",)), ("loop", ("v2",)), ("scan", ("pfc",))]
    assert reasons(net, "v2") == ("gates of the memory read each node's own state: v2",)


def test_attention_over_several_populations_is_one_loop():
    net = network(*CHAIN, Nucleus("n", "v1", ["v1", "pfc"], "attention"))
    assert stages(net) == [("loop", ("v1", "v2", "pfc"))]


def test_ambassadors_gate_each_population_by_its_own():
    net = network(*CHAIN, Nucleus("n", gating="ambassador"))
    assert stages(net) == [("loop", ("v1",)), ("loop", ("v2",)), ("loop", ("pfc",))]


def test_a_clamp_makes_a_loop():
    net = network(*CHAIN, v2=CfC(limiter="clamp"))
    assert stages(net) == [("scan", ("v1",)), ("loop", ("v2",)), ("scan", ("pfc",))]
    assert reasons(net, "v2") == ("limiter 'clamp' acts on the updated state: v2",)


def test_only_what_is_tied_steps_through_time():
    net = network(*CHAIN, Projection("v2", "v2", nfsim.Nearest(1)))
    assert stages(net) == [("scan", ("v1",)), ("loop", ("v2",)), ("scan", ("pfc",))]


def test_a_cycle_over_populations_is_one_loop():
    net = network(*CHAIN, Projection("pfc", "v2", name="back"))
    assert stages(net) == [("scan", ("v1",)), ("loop", ("v2", "pfc"))]
    assert reasons(net, "pfc") == ("drive between its populations: v2->pfc, back",)


def test_a_cycle_over_the_thalamus_is_one_loop():
    """v1 drives v2 drives pfc, which feeds back to a nucleus that gates v1."""
    net = network(*CHAIN, feedforward("v1", feedback="pfc"))
    assert stages(net) == [("loop", ("v1", "v2", "pfc"))]
    assert any(reason == "cortico-thalamic feedback: n" for reason in reasons(net, "v1"))


def test_feedback_to_a_nucleus_whose_gain_acts_at_the_readout_closes_no_cycle():
    net = network(*CHAIN, feedforward("v1", feedback="pfc"), v1=CfC(gain="readout"))
    assert stages(net) == SCANS


def test_nuclei_of_another_region_relay_no_state_to_this_one():
    here = Region("here", [feedforward("v1", trn=True)])
    there = Region("there", [Nucleus("m", "v1", "pfc", trn=True)])
    assert ("scan", ("v1",)) in stages(network(here, there))


def test_a_stage_names_its_drives_couplings_and_nuclei():
    parts = [*CHAIN, Projection("v2", "v2", nfsim.Nearest(1)), feedforward("v2"), Nucleus("late", "v1", "pfc")]
    program = lower(network(*parts, pfc=CfC(gain="readout")))
    stage = program.stages[program.stage_of("v2")]
    assert (stage.drives, stage.couplings, stage.nuclei) == (("v1->v2",), ("v2->v2",), ("n",))
    assert program.stages[program.stage_of("pfc")].nuclei == ()


@settings(networks.SETTINGS, max_examples=30)
@given(networks.networks())
def test_every_stage_hears_only_itself_and_earlier_ones_and_scans_hear_no_self(net):
    program = lower(net)
    assert sorted(p for stage in program.stages for p in stage.populations) == sorted(net.flat.populations)
    for tie in ties(net.flat):
        assert program.stage_of(tie.source) <= program.stage_of(tie.target), tie
        if program.stages[program.stage_of(tie.target)].schedule == "scan":
            assert tie.source != tie.target, tie
    graph = networkx.DiGraph((tie.source, tie.target) for tie in ties(net.flat))
    for stage in program.stages:  # and no stage is larger than it must be
        for a in stage.populations:
            for b in stage.populations:
                assert a == b or networkx.has_path(graph, a, b)
