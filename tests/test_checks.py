"""Each bad input of a declaration is reported with its object, value, rule and cure, and all of them at once."""

import math
import re

import numpy as np
import pytest

import nfsim
from nfsim import CfC, Input, Network, Normal, Nucleus, Population, Projection, Readout, Region, Uniform


def network(*parts, **options):
    """A small valid network, with more parts."""
    net = Network(**{"name": "net"} | options)
    return net.add(Input("x", 3), Population("v1", 8, 2), Projection("x", "v1"), Readout("out", 2), *parts)


def explicit(value):
    return Projection("v1", "v1", nfsim.Explicit(value))


def decay(**options):
    return Projection("v1", "v1", nfsim.Decay(**{"length": 1.0} | options))


def coupling(**options):
    return Projection("v1", "v1", nfsim.Nearest(3), **options)


EYE = np.eye(8)
V2 = Population("v2", 8)

# What is added to the valid network, and how the message reads.
BAD_PARTS = {
    "a size of zero": (Population("p", 0), r"p: size 0 is not a whole number in \[1, \d+\]; give the number of nodes"),
    "a negative size": (Population("p", -4), "p: size -4 is not a whole number"),
    "a fractional size": (Population("p", 2.5), "p: size 2.5 is not a whole number"),
    "a size that is true": (Population("p", True), "p: size True is not a whole number"),
    "a size beyond memory": (Population("p", 10**12), "p: size 1000000000000 is not a whole number"),
    "no sectors": (Population("p", 4, sectors=0), "p: sectors 0 is not a whole number"),
    "sectors that do not divide": (Population("p", 10, 3), "p: 3 sectors do not divide 10 nodes; make size a multiple"),
    "no features": (Input("y", 0), "y: features 0 is not a whole number .* give the features per time step"),
    "fractional features": (Input("y", 1.5), "y: features 1.5 is not a whole number"),
    "a duplicate population": (Population("v1", 8), "v1: is declared twice; name every part of a region differently"),
    "a population named like an input": (Population("x", 8), "x: is declared twice"),
    "a nucleus named like a population": (Nucleus("v1"), "v1: is declared twice"),
    "a projection named like a population": (coupling(name="v1"), "v1: is declared twice"),
    "a name that is no text": (Population(None, 4), "name None of a Population is not letters.*; rename it"),
    "a name with a slash": (Population("a/b", 4), "name 'a/b' of a Population is not letters"),
    "a name with a dot": (Population("a.b", 4), r"name 'a\.b' of a Population is not letters"),
    "an empty name": (Region("", [V2]), "name '' of a Region is not letters"),
    "a projection's name with a colon": (coupling(name="a:b"), "name 'a:b' of a projection is not printable text"),
    "a projection's name that cannot be printed": (coupling(name="a\ud800"), "of a projection is not printable text"),
    "a part that is none": ("v1", "'v1': is no part of a network; add inputs, populations"),
    "a class instead of a part": (Population, "Population.*: is no part of a network"),
    "dynamics of another kind": (Population("p", 4, dynamics="lif"), "dynamics 'lif' is not known.*give CfC"),
    "too few labels of nodes": (Population("p", 3, labels=["a", "b"]), "labels has 2 entries for 3 nodes; give one"),
    "labels of nodes that repeat": (Population("p", 2, labels=["a", "a"]), "labels hold the same name twice"),
    "labels of nodes that are no text": (Population("p", 2, labels=[1, 2]), r"labels \(1, 2\) are not one text per"),
    "one text for all labels of nodes": (Population("p", 2, labels="ab"), "labels 'ab' are not one text per node"),
    "a region that is no text": (Population("p", 2, region=5), "region 5 is not a text"),
    "too few positions": (Population("p", 2, positions=[(1, 0, 0)]), "positions has 1 entries for 2 nodes"),
    "positions in the plane": (Population("p", 1, positions=[(1, 0)]), r"positions are not one \(x, y, z\) per node"),
    "a position that is not finite": (Population("p", 1, positions=[(1, math.nan, 0)]), "positions hold a value that"),
    "a node at the origin": (Population("p", 1, positions=[(0, 0, 0)]), "a node at the origin; give directions"),
    "positions beside a patch": (
        Population("p", 1, positions=[(1, 0, 0)], patch=nfsim.Band(0, 10)),
        "positions and patch are both given",
    ),
    "a patch that is none": (Population("p", 2, patch="north"), r"patch 'north' is no patch.*Cap\(lat, lon, radius\)"),
    "a cap past the pole": (Population("p", 2, patch=nfsim.Cap(91, 0, 5)), r"lat 91 is not in \[-90, 90\]"),
    "a cap of no radius": (Region("r", [V2], patch=nfsim.Cap(0, 0, 0)), r"r: radius 0 is not in \(0, 180\]"),
    "a cap of longitude NaN": (Population("p", 2, patch=nfsim.Cap(0, math.nan, 5)), "lon nan is not finite"),
    "a band upside down": (Population("p", 2, patch=nfsim.Band(30, 10)), r"latitudes \(30, 10\) break"),
    "an empty region": (Region("r"), "r: holds no parts; add a population or leave the region out"),
    "an unknown rate": (Population("p", 4, dynamics=CfC(rate="fast")), "p: rate 'fast' is unknown; choose one of 'sig"),
    "an unknown limiter": (Population("p", 4, dynamics=CfC(limiter=3)), "p: limiter 3 is unknown"),
    "an unknown drive": (Population("p", 4, dynamics=CfC(drive="real")), "p: drive 'real' is unknown"),
    "an unknown initial state": (Population("p", 4, dynamics=CfC(initial="one")), "p: initial 'one' is unknown"),
    "an unknown gain place": (Population("p", 4, dynamics=CfC(gain="output")), "gain place 'output' is unknown"),
    "an unknown phase": (Population("p", 4, dynamics=CfC(phase="latitude")), "phase 'latitude' is unknown"),
    "an infinite phase": (Population("p", 4, dynamics=CfC(phase=math.inf)), "phase inf is not a finite number; give"),
    "a flag that is text": (Population("p", 4, dynamics=CfC(learn_bias="no")), "learn_bias 'no' is not True or False"),
    "a time constant of zero": (Population("p", 4, dynamics=CfC(tau=0)), "tau 0 is not a finite number above 0"),
    "an infinite amplitude": (Population("p", 4, dynamics=CfC(amplitude=math.inf)), "amplitude inf is not a finite"),
    "a prior variance NaN": (Population("p", 4, dynamics=CfC(prior_variance=math.nan)), "prior_variance nan is not"),
    "a bias NaN": (Population("p", 4, dynamics=CfC(bias=math.nan)), "bias nan is not a finite number; give a number"),
    "a bias per node too few": (Population("p", 4, dynamics=CfC(bias=[1, 2])), "bias has 2 values for 4 nodes"),
    "a bias per node NaN": (Population("p", 2, dynamics=CfC(bias=[1, math.nan])), "bias holds a value that is not a"),
    "an omega beyond float32": (Population("p", 4, dynamics=CfC(omega=1e39)), r"omega 1e\+39 is not a finite number"),
    "a range upside down": (Population("p", 4, dynamics=CfC(omega=Uniform(2, 1))), r"omega: Uniform\(2, 1\) breaks"),
    "a range of text": (Population("p", 4, dynamics=CfC(omega=Uniform("a", 1))), r"omega: Uniform\('a', 1\) breaks"),
    "a negative deviation": (Population("p", 4, dynamics=CfC(bias=Normal(0, -1))), r"bias: Normal\(0, -1\) breaks sd"),
    "an unknown source": (Projection("v3", "v1"), "v3->v1: source 'v3' is no population, region or input here; known:"),
    "an unknown target": (Projection("v1", "pfc"), "v1->pfc: target 'pfc' is no population, region or input here"),
    "a source that is no text": (Projection(["v1"], "v1"), r"source \('v1',\) is no population"),
    "a projection onto an input": (Projection("v1", "x"), "v1->x: target 'x' is an input, which nothing drives"),
    "a coupling to an input": (Projection("x", "v1", kind="coupling"), "source 'x' is an input, which has no state to"),
    "the rate of an input": (Projection("x", "v1", signal="rate"), "source 'x' is an input, which has no rate"),
    "ends that overlap": ([V2, Projection("*", "v1")], r"\*->v1: source and target overlap but differ"),
    "an unknown kind": (coupling(kind="gap"), "kind 'gap' is unknown; choose one of 'coupling', 'drive'"),
    "an unknown place of coupling": (coupling(on="rate"), "on 'rate' is unknown"),
    "an unknown signal": (Projection("v1", "v1", kind="drive", signal="spikes"), "signal 'spikes' is unknown"),
    "an unknown scaling": (coupling(scaling="cols"), "scaling 'cols' is unknown"),
    "an unknown way to learn": (coupling(learnable=True), "learnable True is unknown"),
    "an unknown activation": (Projection("x", "v1", name="q", rank=2, activation="elu"), "activation 'elu' is unknown"),
    "a sign of two": (coupling(sign=2), "sign 2 is unknown; choose one of None, 1, -1"),
    "a weight NaN": (coupling(weight=math.nan), "weight nan is not a finite number"),
    "a coupling below zero": (coupling(weight=-1), "weight -1 of a coupling is below 0; give its size and sign=-1"),
    "a negative delay": (coupling(delay=-1), "delay -1 is not a finite number >= 0"),
    "an infinite length": (coupling(length=math.inf), "length inf is not a finite number >= 0"),
    "a speed of text": (coupling(speed="fast"), "speed 'fast' is not a finite number >= 0"),
    "a rank of zero": (Projection("x", "v1", name="q", rank=0), "rank 0 is not a whole number"),
    "a rank of a coupling": (coupling(rank=2), "rank, activation, normalise, dropout and signal belong to a dr"),
    "a drive on the drive": (Projection("x", "v1", name="q", on="drive"), "on='drive' belongs to a coupling"),
    "an activation without a rank": (Projection("x", "v1", name="q", activation="relu"), "has no hidden units to act"),
    "a rank within a mask": (Projection("x", "v1", nfsim.Random(0.5), name="q", rank=2), "rank 2 has no mask to learn"),
    "a rank that keeps a sign": (Projection("x", "v1", name="q", rank=2, sign=1), "rank 2 cannot keep sign 1"),
    "a rule that is a class": (Projection("v1", "v1", nfsim.Nearest), "rule .*Nearest.* is not a wiring rule"),
    "a rule that is text": (Projection("v1", "v1", "nearest"), "rule 'nearest' is not a wiring rule; give one of"),
    "no neighbours": (Projection("v1", "v1", nfsim.Nearest(0)), "Nearest: k 0 is not a whole number"),
    "more neighbours than nodes": (Projection("v1", "v1", nfsim.Nearest(9)), r"Nearest\(9\) of 8 nodes; ask for at"),
    "neighbours among features": (Projection("x", "v1", nfsim.Nearest(2), name="q"), "an input stands nowhere; use"),
    "a density above one": (Projection("v1", "v1", nfsim.Random(1.3)), r"v1->v1: density 1.3 is not in \[0, 1\]; give"),
    "a density below zero": (Projection("v1", "v1", nfsim.Random(-0.1)), r"density -0.1 is not in \[0, 1\]"),
    "a density NaN": (Projection("v1", "v1", nfsim.Random(math.nan)), r"density nan is not in \[0, 1\]"),
    "a decay longer than the sphere": (decay(length=4), r"Decay: length 4 is not in \(0, pi\]; give rad along the"),
    "a decay of another kind": (decay(kind="power"), "Decay: kind 'power' is unknown"),
    "a decay without end": (decay(cutoff=0), r"Decay: cutoff 0 is not in \(0, 1\)"),
    "one to one of unequal ends": (Projection("x", "v1", nfsim.OneToOne(), name="q"), r"OneToOne\(\) between 3 and 8"),
    "unequal sectors": ([V2, Projection("v1", "v2", nfsim.Topographic())], r"Topographic\(\) between 2 and 1 sectors"),
    "a matrix of another shape": (explicit(np.eye(7)), r"Explicit: a matrix of shape \(7, 7\) between nodes.*\(8, 8\)"),
    "a matrix of one dimension": (explicit(np.ones(8)), r"Explicit: the matrix is not an array of numbers \[target,"),
    "a matrix of text": (explicit([["a"] * 8] * 8), "Explicit: the matrix is not an array of numbers"),
    "a complex matrix": (explicit(1j * EYE), "Explicit: the matrix is not an array of numbers"),
    "a matrix with NaN": (explicit(np.full((8, 8), np.nan)), "Explicit: the matrix holds a value that is not finite"),
    "a matrix with infinity": (explicit(np.full((8, 8), np.inf)), "Explicit: the matrix holds a value that is not"),
    "names that repeat": (Projection("v1", "v1", nfsim.Explicit(EYE, ["a"] * 8)), "Explicit: names are not text, or"),
    "too few names": (Projection("v1", "v1", nfsim.Explicit(EYE, ["a"])), r"Explicit: 1 names for a matrix of shape"),
    "names of no node": (
        [
            Population("p", 2, labels=["a", "b"]),
            Projection("p", "p", nfsim.Explicit(np.eye(2), ["a", "c"])),
        ],
        r"Explicit: names \['c'\] are no labels of the population; name the same nodes in both",
    ),
    "a readout in a region": (Region("r", [V2, Readout("own", 2)]), "r/own: stands in a region, and a readout belongs"),
    "an unknown gating": (Nucleus("n", gating="feedback"), "n: gating 'feedback' is unknown"),
    "a value of no dimension": (Nucleus("n", value=0), "n: value 0 is not a whole number.*the dimension of the value"),
    "ambassadors that read": (Nucleus("n", "v1", gating="ambassador"), "n: an ambassador reads the first node of each"),
    "ambassadors with inhibition": (Nucleus("n", gating="ambassador", trn=True), "trn True of gating 'ambassador': an"),
    "attention with inhibition": (Nucleus("n", gating="attention", trn=True), "a softmax over nodes cancels what sh"),
    "attention with feedback": (Nucleus("n", gating="attention", feedback="v1"), "feedback .* of gating 'attention'"),
    "attention to an input": (Nucleus("n", "x", gating="attention"), "n: reads 'x' is an input, which has no state"),
    "an unknown memory of a node": (Population("p", 4, dynamics=CfC(memory="lstm")), "p: memory 'lstm' is unknown"),
    "an unknown memory of a coupling": (coupling(memory="gated"), "v1->v1: memory 'gated' is unknown; choose one of"),
    "a memory of a drive": (Projection("x", "v1", name="q", memory="hebbian"), "memory 'hebbian' belongs to a coupl"),
    "a memory on the drive": (coupling(memory="hebbian", on="drive"), "memory 'hebbian' is of phases of the state,"),
    "a memory that keeps a sign": (coupling(memory="hebbian", sign=1), "memory 'hebbian' cannot keep sign 1: phases"),
    "shuffled without places": (Projection("v1", "v1", nfsim.Shuffled(nfsim.AllToAll())), "no places to shuffle; give"),
    "shuffled neighbours of none": (Projection("v1", "v1", nfsim.Shuffled(nfsim.Nearest(0))), "Nearest: k 0 is not a"),
    "too many shuffled neighbours": (Projection("v1", "v1", nfsim.Shuffled(nfsim.Nearest(9))), r"Nearest\(9\) of"),
    "a key of no dimension": (Nucleus("n", key=0), "n: key 0 is not a whole number"),
    "a nucleus that reads nothing": (Nucleus("n", reads=()), "n: reads is empty; name populations or regions"),
    "a nucleus without targets": (Nucleus("n", targets=()), "n: targets is empty"),
    "a nucleus that reads an unknown": (Nucleus("n", reads="v9"), "n: reads 'v9' is no population, region or input"),
    "a nucleus with an unknown target": (Nucleus("n", targets="v9"), "n: targets 'v9' is no population"),
    "feedback from an unknown": (Nucleus("n", feedback="v9"), "n: feedback 'v9' is no population"),
    "feedback from an input": (Nucleus("n", feedback="x"), "n: feedback 'x' is an input, which has no state; name a"),
    "state gating by an input": (Nucleus("n", reads="x"), "n: reads 'x' is an input.*or set gating='feedforward'"),
    "an input as target": (Nucleus("n", targets="x"), "n: targets 'x' is an input, which has no state"),
    "feed-forward gating by a state": (Nucleus("n", reads="v1", gating="feedforward"), "a feedforward nucleus relays"),
    "a second readout": (Readout("out2", 2), "net.*: holds 2 readouts, and a model has exactly one"),
    "an input that reaches nothing": (Input("y", 2), "y: reaches nothing; connect it to a population or remove it"),
    "different signs of one population": (
        [V2, Projection("v1", "v2", sign=1), coupling(sign=-1)],
        r"v1: sends projections of different sign \(v1->v2: 1, v1->v1: -1\); give all of them one sign",
    ),
    "a sign beside a free drive": (
        [V2, Projection("v1", "v2"), coupling(sign=-1)],
        r"v1: sends projections of different sign \(v1->v2: None, v1->v1: -1\)",
    ),
}  # fmt: skip

# Readouts, and how the message reads.
BAD_READOUTS = {
    "no labels": (Readout("out", 0), r"out: labels 0 are not names or a number in \[1, 100000\]; give the classes"),
    "labels of text": (Readout("out", "cat"), "out: labels 'cat' are not names"),
    "a fractional number of labels": (Readout("out", 2.5), "out: labels 2.5 are not names"),
    "labels beyond memory": (Readout("out", 10**12), "out: labels 1000000000000 are not names"),
    "labels that repeat": (Readout("out", ["a", "a"]), "out: labels hold the same name twice; name every class"),
    "an unknown kind": (Readout("out", 2, kind="spike"), "out: kind 'spike' is unknown; choose one of 'rate', 'state'"),
    "an unknown moment": (Readout("out", 2, when="first"), "out: when 'first' is unknown"),
    "nothing to read": (Readout("out", 2, reads=()), "out: reads is empty"),
    "an unknown population": (Readout("out", 2, reads="v3"), "out: reads 'v3' is no population"),
    "an input": (Readout("out", 2, reads="x"), "out: reads 'x' is no population"),
    "sectors of several populations": (Readout("out", 2, "sector"), "out: kind 'sector' reads 2 populations"),
    "other sectors than labels": (Readout("out", 3, "sector", reads="v1"), "out: 3 labels for 2 sectors of v1;"),
    "a population that no input reaches": (Readout("out", 2, reads="v2"), "out: reads v2, which no input reaches;"),
}  # fmt: skip

BAD_NETWORKS = {
    "a step of zero": ({"dt": 0}, "network 'net': dt 0 is not a finite number above 0; give the duration of a step"),
    "a negative step": ({"dt": -0.1}, "dt -0.1 is not a finite number above 0"),
    "a step NaN": ({"dt": math.nan}, "dt nan is not a finite number above 0"),
    "an infinite step": ({"dt": math.inf}, "dt inf is not a finite number above 0"),
    "no ticks": ({"ticks": 0}, "ticks 0 is not a whole number"),
    "half a tick": ({"ticks": 0.5}, "ticks 0.5 is not a whole number"),
    "a negative seed": ({"seed": -1}, "seed -1 is not a whole number >= 0; give a seed"),
    "a fractional seed": ({"seed": 1.5}, "seed 1.5 is not a whole number"),
    "a unit that is no text": ({"time_unit": 3}, "name and time_unit are not both text"),
}


@pytest.mark.parametrize("bad", BAD_PARTS)
def test_a_bad_part_is_reported(bad):
    part, message = BAD_PARTS[bad]
    with pytest.raises(nfsim.BuildError, match=message):
        network(*(part if isinstance(part, list) else [part])).check()


@pytest.mark.parametrize("bad", BAD_READOUTS)
def test_a_bad_readout_is_reported(bad):
    readout, message = BAD_READOUTS[bad]
    net = Network("net").add(Input("x", 3), Population("v1", 8, 2), Population("v2", 8), Projection("x", "v1"), readout)
    with pytest.raises(nfsim.BuildError, match=message):
        net.check()


@pytest.mark.parametrize("bad", BAD_NETWORKS)
def test_a_bad_setting_of_the_network_is_reported(bad):
    options, message = BAD_NETWORKS[bad]
    with pytest.raises(nfsim.BuildError, match=message):
        network(**options).check()


def test_an_empty_network_lacks_a_population_an_input_and_a_readout():
    assert [p.split("; ")[0] for p in Network("net").problems()] == [
        "network 'net': holds no population",
        "network 'net': holds no input",
        "network 'net': holds 0 readouts, and a model has exactly one",
    ]


def test_more_nodes_than_can_be_placed_are_refused_before_they_are_placed():
    halves = [Population(name, 2**23) for name in ("a", "b")]
    with pytest.raises(nfsim.BuildError, match=f"holds {2**24 + 8} nodes, and at most {2**24} are placed"):
        network(*halves).check()


def test_the_networks_that_the_bad_parts_are_added_to_are_valid():
    assert network().problems() == []
    assert network(V2, coupling(), decay(), explicit(EYE), Nucleus("n")).problems() == []


def test_all_problems_of_a_declaration_are_reported_together_each_once():
    net = network(
        Population("v1", 8),
        Population("v2", 10, 3, CfC(tau=-1, rate="fast")),
        Region("thalamus", [Nucleus("n", reads="v9", key=0)]),
        Projection("v1", "nowhere", nfsim.Random(1.3)),
        dt=0,
        seed=-1,
    )
    wanted = [
        "dt 0 is not", "seed -1 is not", "v1: is declared twice", "v2: 3 sectors do not divide 10", "v2: rate 'fast'",
        "v2: tau -1", "thalamus/n: key 0", "v1->nowhere: density 1.3", "target 'nowhere' is no population",
        r"thalamus/n: reads 'v9' is no population, region or input here \(looked up from region 'thalamus' outwards\)",
    ]  # fmt: skip
    with pytest.raises(nfsim.BuildError) as raised:
        net.check()
    problems = raised.value.problems
    assert len(problems) == len(wanted) == len(set(problems))
    assert all(any(re.search(rule, problem) for problem in problems) for rule in wanted)
    assert str(raised.value) == "\n".join(problems)


def test_an_unknown_name_is_answered_with_the_nearest_known_one():
    with pytest.raises(nfsim.BuildError, match=r"source 'prefrontl' is no population, .* known: prefrontal$"):
        network(Population("prefrontal", 4), Projection("prefrontl", "v1")).check()
