"""A call is checked at the border: what was given, the rule, and the cure."""

import math
import subprocess
import sys

import pytest
import torch

import nfsim
from nfsim import Input, Network, Population, Projection, Readout


@pytest.fixture(scope="module", params=["torch", "reference"])
def model(request):
    net = Network("net").add(Input("x", 2), Input("y", 1), Population("a", 4), Readout("out", 2), Projection("x", "a"))
    net.add(Projection("y", "a"), Projection("a", "a", nfsim.Nearest(2), on="drive"))
    return nfsim.compile(net, backend=request.param, device="cpu")


def sequence(*shape):
    return torch.zeros(shape or (2, 5, 3))


def infected(value):
    x = sequence()
    x[1, 3, 2] = value
    return x


BAD_X = {
    "a list": ([[1.0]], TypeError, r"x is a list; give a torch tensor \[batch, time, feature\]"),
    "one frame": (sequence(2, 3), ValueError, r"x has shape \(2, 3\); give \[batch, time, 3\] \(x: 2, y: 1\), with at"),
    "an image": (sequence(2, 5, 3, 1), ValueError, r"x has shape \(2, 5, 3, 1\); give \[batch, time, 3\]"),
    "too many features": (sequence(2, 5, 4), ValueError, r"x has shape \(2, 5, 4\); give \[batch, time, 3\] \(x: 2,"),
    "an empty batch": (sequence(0, 5, 3), ValueError, r"x has shape \(0, 5, 3\).*with at least one sample and step"),
    "no steps": (sequence(2, 0, 3), ValueError, r"x has shape \(2, 0, 3\).*with at least one sample and step"),
    "whole numbers": (sequence().long(), TypeError, "x has dtype torch.int64; give torch.float"),
    "complex numbers": (sequence().to(torch.complex64), TypeError, "x has dtype torch.complex64; give torch.float"),
    "NaN": (infected(math.nan), ValueError, r"x is not finite at \[batch, time, feature\] = \[1, 3, 2\]; clean or imp"),
    "infinity": (infected(-math.inf), ValueError, r"x is not finite at \[batch, time, feature\] = \[1, 3, 2\]"),
    "another device": (sequence().to("meta"), ValueError, "x is on meta and the model on cpu; move one of them"),
}  # fmt: skip

STATE = {"xr": torch.zeros(2, 4), "xi": torch.zeros(2, 4)}
BAD_OPTIONS = {
    "a state that is a tensor": ({"state": torch.zeros(2, 4)}, "state is not the state of an earlier Output; pass"),
    "a state with one part": ({"state": {"xr": torch.zeros(2, 4)}}, "state is not the state of an earlier Output"),
    "a state of lists": ({"state": {"xr": [0.0], "xi": [0.0]}}, "state is not the state of an earlier Output"),
    "a state of another batch": (
        {"state": {k: torch.zeros(3, 4) for k in STATE}},
        r"state x[ri] has shape \(3, 4\); give \(batch, node\) = \(2, 4\)",
    ),
    "a state with NaN": ({"state": STATE | {"xi": torch.full((2, 4), math.nan)}}, "state xi holds a value that is not"),
    "a step of zero": ({"dt": 0}, "dt 0 is not a finite number above 0; give the duration of a step"),
    "a negative step": ({"dt": -0.1}, "dt -0.1 is not a finite number above 0"),
    "an infinite step": ({"dt": math.inf}, "dt inf is not a finite number above 0"),
    "a step that is text": ({"dt": "fast"}, "dt 'fast' is not a finite number above 0"),
    "a step NaN": ({"dt": torch.tensor(math.nan)}, "dt nan is not a finite number above 0"),
    "a step of zero among steps": ({"dt": torch.tensor([1, 1, 0, 1, 1.0])}, "dt holds a value that is not finite and"),
    "too few steps": ({"dt": torch.ones(4)}, r"dt has shape \(4,\); give one number, \[time\] or \[batch, time\] of x"),
    "a length of zero": ({"lengths": torch.tensor([0, 5])}, r"lengths lie outside of \[1, 5\], the steps of x;"),
    "a length beyond the end": ({"lengths": [2, 6]}, r"lengths lie outside of \[1, 5\]"),
    "lengths for another batch": ({"lengths": [2]}, r"lengths \(1,\) of torch.int64 are not one whole number per"),
    "fractional lengths": ({"lengths": torch.tensor([2.0, 5.0])}, r"lengths \(2,\) of torch.float32 are not one whole"),
    "lengths that are flags": ({"lengths": [True, True]}, r"lengths \(2,\) of torch.bool are not one whole number"),
    "an unknown variable": ({"record": ["z", "rate"]}, "record 'rate' is unknown; choose from z, gain, steady, drive"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_X)
def test_a_bad_sequence_is_refused(model, bad):
    x, error, message = BAD_X[bad]
    with pytest.raises(error, match=message):
        model(x)


def test_a_number_that_float32_cannot_hold_is_refused_by_a_model_that_computes_in_it(model):
    x = sequence().double()
    x[0, 1, 2] = 1e300
    if model.values.dtype == torch.float64:
        assert torch.isfinite(model(x).logits).all()
    else:
        with pytest.raises(ValueError, match=r"x is not finite at \[batch, time, feature\] = \[0, 1, 2\]"):
            model(x)


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_argument_is_refused(model, bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        model(sequence(), **options)


def test_a_step_takes_one_frame(model):
    with pytest.raises(
        ValueError, match=r"x has shape \(2, 5, 3\); a step takes \[batch, feature\], a sequence goes to"
    ):
        model.step(sequence())
    assert model.step(torch.zeros(2, 3), STATE, dt=torch.tensor([0.1, 0.2])).logits.shape == (2, 2)


def test_good_arguments_of_every_form_are_taken(model):
    for options in (
        {"state": STATE, "dt": 0.5, "lengths": [1, 5], "record": "z"},
        {"dt": torch.tensor(1), "lengths": torch.tensor([5, 5], dtype=torch.int32), "record": ()},
        {"dt": torch.ones(2, 5), "record": iter(["z", "gain"])},
    ):
        out = model(sequence(), **options)
        assert out.logits.shape == (2, 2)
        assert torch.isfinite(out.logits).all()


def test_the_record_holds_what_was_asked_for_in_its_order_and_nothing_else(model):
    assert list(model(sequence(), record=["logits", "z"]).record) == ["logits", "z"]
    assert model(sequence()).record == {}


def test_a_model_of_half_precision_is_refused_with_the_cure():
    net = Network("net").add(Input("x", 3), Population("a", 4), Readout("out", 2), Projection("x", "a"))
    half = nfsim.compile(net, device="cpu").half()
    with pytest.raises(
        TypeError, match=r"the model is in torch.float16; states need float32 or float64: call model.fl"
    ):
        half(sequence().half())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_without_numba_the_cure_is_named_and_the_reference_runs(backend):
    code = """
import sys
sys.modules["numba"] = None
import torch, nfsim
net = nfsim.Network("net").add(nfsim.Input("x", 3), nfsim.Population("a", 4), nfsim.Readout("out", 2))
model = nfsim.compile(net.add(nfsim.Projection("x", "a")), device="cpu", backend=sys.argv[1])
model(torch.zeros(2, 5, 3, dtype=model.values.dtype))
"""
    command = [sys.executable, "-P", "-c", code, backend]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if backend == "reference":
        assert done.returncode == 0, done.stderr
    else:
        assert "kernel 'numba' cannot be loaded" in done.stderr
        assert "install numba, which nfsim requires" in done.stderr
