"""Declarations as JSON: there and back without loss, one digest everywhere, and no text that does harm."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
import nfsim
from nfsim import Input, Network, Population, Projection, Readout, Region
from nfsim.serial import encode


def network(*parts, **options):
    net = Network("net", **options)
    return net.add(Input("x", 3), Population("v1", 8, 2), Projection("x", "v1"), Readout("out", 2), *parts)


@settings(networks.SETTINGS, max_examples=60)
@given(networks.networks())
def test_a_network_is_the_same_after_json(net):
    for indent in (None, 2):
        again = Network.from_json(net.to_json(indent))
        assert again == net
        assert again.to_json() == net.to_json()
        assert again.digest() == net.digest()
    # what was declared in one sequence of kinds comes back sorted by kind, each part equal to what it was
    assert sorted(map(repr, again.parts)) == sorted(map(repr, net.parts))


def test_every_kind_of_declaration_survives_json():
    import networkx

    patch = Region("r", [Population("p", 4, patch=nfsim.Band(-10.5, 20))], patch=nfsim.Cap(1, 2, 3))
    brain = Population("brain", 2, labels=["V1", "MT"], positions=[[1, 2, 3], [4, 5, 6]], region=["a", "b"])
    graph = networkx.DiGraph([("V1", "MT", {"weight": 0.1})])
    constants = nfsim.CfC(bias=nfsim.Normal(-1, 0.5), omega=(0.1, 0.2), phase="learned", gain=())
    rules = [nfsim.Nearest(3, symmetric=False), nfsim.Decay(0.1, "gaussian", 0.02), nfsim.Random(0.3, True), graph]
    projections = [Projection("brain", "brain", rule, name=f"p{i}") for i, rule in enumerate(rules)]
    nucleus = nfsim.Nucleus("n", "brain", "*", trn=True, feedback=["brain"], key=3)
    net = network(patch, brain, Population("q", 2, dynamics=constants), nucleus, *projections)
    again = Network.from_json(net.to_json())
    assert again == net
    assert again.flat.populations["brain"] == brain
    assert again.flat.populations["q"].dynamics == constants
    assert again.flat.projections["p3"].rule.names == ("V1", "MT")
    assert again.flat.regions["r"] == patch


def test_numbers_come_back_to_the_last_bit():
    value = float(np.nextafter(0.1, 1))
    again = Network.from_json(network(dt=value).to_json())
    assert again.dt == value


def test_numbers_of_numpy_are_written_as_plain_ones():
    plain = network(Population("p", 4), Projection("p", "p", nfsim.Nearest(12)), dt=0.5, seed=3, ticks=2)
    coupling = Projection("p", "p", nfsim.Nearest(np.int64(12)), weight=np.float32(0.5))
    numpy = network(Population("p", np.int64(4)), coupling, dt=np.float64(0.5), seed=np.int64(3), ticks=np.int32(2))
    assert numpy.digest() == plain.digest()


def test_fields_at_their_default_are_left_out_so_that_new_fields_keep_old_digests():
    assert encode(Population("v1", 8)) == {"type": "Population", "name": "v1", "size": 8}


def test_the_order_between_kinds_of_parts_says_nothing():
    a = Network("net").add(Input("x", 3), Population("a", 2), Projection("x", "a"), Population("b", 2), Readout("o", 2))
    b = Network("net").add(Readout("o", 2), Projection("x", "a"), Population("a", 2), Population("b", 2), Input("x", 3))
    c = Network("net").add(Readout("o", 2), Projection("x", "a"), Population("b", 2), Population("a", 2), Input("x", 3))
    assert a.digest() == b.digest() != c.digest()
    pair = [Population("a", 2), Projection("a", "a")]
    assert network(Region("r", pair)) == network(Region("r", pair[::-1]))


def test_the_digest_is_the_same_in_every_process_and_version():
    """The number stands here so that a change of it is seen before users see it in their checkpoints."""
    code = (
        "import nfsim\n"
        "net = nfsim.Network('net', seed=3).add(nfsim.Input('x', 3), nfsim.Population('v1', 8, 2))\n"
        "net.add(nfsim.Readout('out', 2), nfsim.Nucleus('n', 'v1')).connect('v1', 'v1', nfsim.Decay(0.1))\n"
        "print(net.digest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": s},
        ).stdout.strip()
        for s in ("1", "2")
    }
    assert digests == {"7bc51b89884645b1180103fde459e07769e44f4d4e76ac1cf08d89c111cc5ba0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v | {"schema": 2}, "schema 2, this version reads 1; write it again with this version"),
        (lambda v: v | {"parts": None}, "network JSON has no list of parts"),
        (lambda v: v | {"colour": "red"}, r"network JSON has unknown keys \['colour'\]; remove them"),
        (
            lambda v: v | {"parts": [{"type": "os.system"}]},
            "type 'os.system' is not a registered declaration; known are",
        ),
        (lambda v: v | {"parts": [{"type": ["Input"]}]}, r"type \['Input'\] is not a registered declaration"),
        (lambda v: v | {"parts": [{"name": "x"}]}, "type None is not a registered declaration"),
        (
            lambda v: v | {"parts": [{"type": "Input", "name": "x"}]},
            "network: Input lacks its field 'features'; add it",
        ),
        (
            lambda v: v | {"parts": [{"type": "Input", "name": "x", "features": 2, "rate": 3}]},
            "network: Input has no field 'rate'; its fields are name, features",
        ),
        (
            lambda v: v | {"parts": [{"type": "Region", "name": "r", "parts": [{"type": "Cap", "lat": 3}]}]},
            "network/r: Cap lacks its field 'lon'; add it",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_changed_file_is_refused_with_the_place(change, message):
    with pytest.raises(nfsim.BuildError, match=message):
        Network.from_json(json.dumps(change(json.loads(network().to_json()))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"network JSON does not parse \(Expecting value: line 1 column 1"),
        ("{", "network JSON does not parse"),
        ("[]", "network JSON has schema 'list'"),
        ("null", "network JSON has schema 'NoneType'"),
        ("3", "network JSON has schema 'int'"),
        ("{}", "network JSON has schema None"),
        ("__import__('os').system('true')", "network JSON does not parse"),
        (b"\xff\xfe\x00{", "network JSON does not parse"),
        (None, "network JSON does not parse"),
        ('{"schema": 1, "parts": [' + "9" * 5000 + "]}", "network JSON does not parse"),
        ("[" * 100_000, "network JSON is nested too deeply to be a network"),
        ('{"a":' * 100_000, "network JSON is nested too deeply to be a network"),
        ('{"schema": 1, "parts": ' + "[" * 900 + "]" * 900 + "}", "network JSON is nested too deeply to be a network"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_text_that_is_no_network_is_refused(text, message):
    with pytest.raises(nfsim.BuildError, match=message):
        Network.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_numbers_that_are_not_finite_are_read_and_reported(number):
    text = network().to_json().replace('"size":8', f'"dynamics":{{"type":"CfC","tau":{number}}},"size":8')
    net = Network.from_json(text)
    with pytest.raises(nfsim.BuildError, match=r"v1: tau .* is not a finite number above 0"):
        net.check()
    if not number.isdigit():
        with pytest.raises(nfsim.BuildError, match="the declaration holds a value that JSON cannot"):
            net.to_json()


# JSON values, and among them what makes declarations.
names = st.sampled_from(["x", "v1", "*", "", "out", "a/b", "__class__", "\ud800", "eval('1')"])
kinds = st.sampled_from(
    ["Input", "Population", "Region", "Nucleus", "Projection", "Readout", "CfC", "Uniform", "Cap", "Band", "Entries",
     "Explicit", "Nearest", "Decay", "Random", "Nothing", "os.system"]
)  # fmt: skip
keys = st.sampled_from(
    ["type", "name", "features", "size", "sectors", "dynamics", "labels", "positions", "region", "patch", "parts",
     "reads", "targets", "source", "target", "rule", "kind", "rank", "weight", "sign", "matrix", "shape", "rows",
     "cols", "values", "names", "k", "length", "density", "low", "high", "lat", "lon", "radius", "schema", "bias",
     "gain"]
)  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats() | names | kinds
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)


@st.composite
def declarations(draw):
    """A declaration with all of its required fields, each of any value."""
    from nfsim.serial import _types

    cls = _types[draw(st.sampled_from(sorted(_types)))]
    required = [f for f in cls.__dataclass_fields__]
    chosen = draw(st.sets(st.sampled_from(required))) if required else set()
    return {"type": cls.__name__} | {name: draw(values) for name in sorted(chosen | set(required[:2]))}


def read(value):
    """Read any JSON value as a network, and check it: nothing but a BuildError may be raised."""
    try:
        net = Network.from_json(json.dumps(value))
        net.check()
        again = Network.from_json(net.to_json())
    except nfsim.BuildError:
        return
    assert again == net


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["name", "seed", "dt", "ticks", "time_unit"]), values), st.data())
def test_any_json_is_read_or_refused(meta, data):
    parts = data.draw(st.lists(declarations() | values, max_size=4))
    valid = json.loads(network().to_json())
    read(meta | {"schema": 1, "parts": parts})
    read(valid | meta | {"parts": valid["parts"] + parts})


@settings(max_examples=150)
@given(st.data())
def test_one_changed_value_anywhere_is_read_or_refused(data):
    valid = json.loads(network(nfsim.Nucleus("n"), Projection("v1", "v1", nfsim.Explicit(np.eye(8)))).to_json())
    node = valid
    while isinstance(node, dict | list) and node:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            node[key] = data.draw(values)
            break
        node = node[key]
    read(valid)


def test_a_value_that_json_cannot_hold_is_refused_when_written():
    for bad in (math.nan, {1, 2}, b"x"):
        with pytest.raises(
            nfsim.BuildError, match=r"the declaration holds a value that JSON cannot \(.*give finite num"
        ):
            network(dt=bad).to_json()


@nfsim.declarable
@dataclass(frozen=True)
class EverySecond(nfsim.rules.AbstractRule):
    """A rule of one's own: every node to every second one."""

    step: int = 2

    def pattern(self, source, target, same, rng):
        from scipy.sparse import coo_array

        K = np.zeros((len(target.sectors), len(source.sectors)))
        K[:: self.step] = 1.0
        return coo_array(K)


def test_a_rule_of_ones_own_travels_as_json():
    net = network(Projection("v1", "v1", EverySecond(4)))
    again = Network.from_json(net.to_json())
    assert again == net
    assert nfsim.wire(again).matrices["v1->v1"].toarray().any(axis=1).tolist() == [True, False, False, False] * 2


def test_a_rule_that_is_not_registered_is_refused_when_written():
    @dataclass(frozen=True)
    class Secret(nfsim.Nearest):
        pass

    with pytest.raises(nfsim.BuildError, match="Secret: is not a registered declaration; decorate its class with"):
        network(Projection("v1", "v1", Secret(3))).to_json()


def test_a_name_that_is_taken_cannot_be_registered():
    @dataclass(frozen=True)
    class Nearest(nfsim.Nearest):
        pass

    with pytest.raises(nfsim.BuildError, match="Nearest: is not a dataclass, or its name is taken"):
        nfsim.declarable(Nearest)
    with pytest.raises(nfsim.BuildError, match="int: is not a dataclass, or its name is taken"):
        nfsim.declarable(int)
