"""Whatever stands in a field of a declaration is reported as a problem, or right: then the network can be wired."""

import contextlib
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nfsim
from nfsim import CfC, Input, Network, Normal, Nucleus, Population, Projection, Readout, Region, Uniform


def network(*parts, **options):
    """A small valid network, with more parts."""
    net = Network(**{"name": "net"} | options)
    return net.add(Input("x", 3), Population("v1", 8, 2), Projection("x", "v1"), Readout("out", 2), *parts)


# What nobody should give, but a hand or a file may: every plain type, nested, empty, huge and not finite.
JUNK = st.sampled_from(
    [
        *(None, True, False, -1, 0, 2, 7, 10**12, -(10**400), 10**400, 0.0, 0.5, -2.5, 1e308, math.nan, math.inf, 1j),
        *("", "x", "v1", "*", "state", "drive", "a.b", "\ud800", b"v1", object(), int, np.float32(0.5), np.int64(3)),
        *((), [], [[]], [None], ["v1", 3], [[1.0, 2.0]], [[[1]]], {}, {"v1": 1}, {"x"}, np.ones(2), np.array(["v1"])),
        *(np.eye(3), Population("j", 2), Nucleus("k"), CfC(), nfsim.Band(0, 1), nfsim.Random(0.5), Uniform(None, "a")),
    ]
)

DECLARED = [
    *(Input("y", 2), Population("p", 4), CfC(), Uniform(0.0, 1.0), Normal(0.0, 1.0)),
    *(nfsim.Cap(0, 0, 10), nfsim.Band(0, 10), Nucleus("n"), Readout("out", 2), Region("r", [Population("v2", 8)])),
    *(
        nfsim.Nearest(2),
        nfsim.Random(0.5),
        nfsim.Decay(1.0),
        nfsim.Explicit(np.eye(8)),
        nfsim.Explicit(np.eye(8)).matrix,
    ),
    *(Projection("v1", "v1"), Projection("x", "v1", name="q", rank=2)),
]


def containing(part):
    """A network that holds a declaration of any kind, where it belongs."""
    if isinstance(part, Uniform | Normal):
        part = CfC(omega=part)
    if isinstance(part, CfC):
        part = Population("p", 4, dynamics=part)
    if isinstance(part, nfsim.Cap | nfsim.Band):
        part = Population("p", 4, patch=part)
    if type(part).__name__ == "Entries":
        part = nfsim.Explicit(part)
    if hasattr(part, "pattern"):
        part = Projection("v1", "v1", part)
    net = network(part)
    if isinstance(part, Readout):
        net.parts = (*net.parts[:3], part)
    return net


def check_fields(declared, data):
    names = [f.name for f in fields(declared)]
    chosen = data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=2), label="fields")
    values = {name: getattr(declared, name) for name in names} | {name: data.draw(JUNK, label=name) for name in chosen}
    net = containing(type(declared)(**values))
    assert repr(net) in net.summary()
    if problems := net.problems():
        with contextlib.suppress(nfsim.BuildError):  # a value that JSON cannot hold
            Network.from_json(net.to_json())
        assert all(isinstance(problem, str) and problem for problem in problems)
    else:
        net.wire()
        assert Network.from_json(net.to_json()) == net


@settings(max_examples=300)
@given(declared=st.sampled_from(DECLARED), data=st.data())
def test_any_value_of_any_field_is_reported_or_can_be_wired(declared, data):
    check_fields(declared, data)


@pytest.mark.slow
@settings(max_examples=1000)
@given(declared=st.sampled_from(DECLARED), data=st.data())
def test_many_values_of_any_field_are_reported_or_can_be_wired(declared, data):
    check_fields(declared, data)


@settings(max_examples=100)
@given(name=st.sampled_from(["name", "seed", "dt", "ticks", "time_unit"]), value=JUNK)
def test_any_setting_of_a_network_is_reported_or_right(name, value):
    assert len(network(**{name: value}).problems()) <= 1
