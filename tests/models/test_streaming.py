"""A step that is played from a tape has the numbers of the sequence, follows every change, refuses what a call does."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
import nfsim
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.regions import presets

F64 = torch.float64
SAME = {"rtol": 1e-8, "atol": 1e-9}


def small(**options):
    """A model in which nearly every instruction occurs."""
    net = presets.hierarchy(4, 3, sensory=8, prefrontal=7, motor=6, rank=5, nuclei=3, key=3, **options)
    return nfsim.compile(net, device="cpu").eval()


def steps(model, x, state=None):
    """Logits of each step [batch, time, label], and the last state."""
    logits = []
    for one in x.unbind(1):
        out = model.step(one, state)
        logits.append(out.logits)
        state = out.state
    return torch.stack(logits, 1), state


@settings(networks.SETTINGS, max_examples=60)
@given(networks.networks(), st.data())
def test_a_played_step_has_the_numbers_of_the_sequence(net, data):
    call = data.draw(networks.calls(net)) | {"lengths": None}
    dt = call["dt"] if call["dt"] is None or isinstance(call["dt"], float) else None
    model = CompiledModel(lower(net), F64)
    networks.perturb(model, 0)
    with torch.no_grad():
        whole = model(call["x"], call["state"], dt=dt, record="logits")
        state = call["state"]
        for k, x in enumerate(call["x"].unbind(1)):
            out = model.step(x, state, dt=dt)
            state = out.state
            if model.streams:
                torch.testing.assert_close(out.logits, whole.record["logits"][:, (k + 1) * net.ticks - 1], **SAME)
    assert (model._tape is not None) == (not model.program.against_streaming)
    for name in whole.state:
        torch.testing.assert_close(state[name], whole.state[name], **SAME)


@pytest.mark.parametrize("make", [small, lambda: nfsim.compile(presets.thalamocortical(28), device="cpu").eval()])
def test_float32_is_close_to_the_sequence(make):
    model = make()
    x = torch.randn(2, 9, model.features)
    with torch.no_grad():
        whole, (logits, state) = model(x), steps(model, x)
    torch.testing.assert_close(logits[:, -1], whole.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, whole.state, rtol=1e-5, atol=1e-6)


def every_change():
    yield "in place", lambda m: [p.mul_(1.3) for p in m.parameters()]
    yield "an optimizer", lambda m: take_a_step(m)
    yield "a fused optimizer", lambda m: take_a_step(m, torch.optim.AdamW, fused=True)
    yield "a state dict", lambda m: m.load_state_dict(changed(m).state_dict())
    yield "a state dict that replaces", lambda m: m.load_state_dict(changed(m).state_dict(), assign=True)
    yield "a cast", lambda m: m.double()


def take_a_step(model, kind=torch.optim.SGD, **options):
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    kind(model.parameters(), lr=0.1, **options).step()


def changed(model):
    other = copy.deepcopy(model)
    for p in other.parameters():
        p.data.mul_(0.7)
    return other


@pytest.mark.parametrize("name", dict(every_change()))
def test_the_tape_follows_a_change(name):
    change = dict(every_change())[name]
    model, x = small(), torch.randn(2, 4)
    with torch.no_grad():
        before = model.step(x)
        change(model)
        x = x.to(next(model.parameters()).dtype)
        after = model.step(x)
        torch.testing.assert_close(after.logits, model(x.unsqueeze(1)).logits, rtol=1e-5, atol=1e-6)
    assert name == "a cast" or not torch.allclose(before.logits, after.logits, rtol=1e-3)


def test_a_copy_plays_for_itself():
    model, x = small(), torch.randn(1, 4)
    with torch.no_grad():
        before = model.step(x).logits
        other = changed(model)
        assert not torch.allclose(other.step(x).logits, before)
        assert torch.equal(model.step(x).logits, before)


def test_a_copy_of_a_trained_model_plays_what_was_trained():
    """A copy's tensors count their changes from 0, as those of the fresh model did that the tape was written for."""
    net = nfsim.Network("n").add(
        nfsim.Input("x", 4), nfsim.Population("a", 7, dynamics=nfsim.CfC(drive="complex", learn_omega=True))
    )
    model = nfsim.compile(net.add(nfsim.Readout("o", 3), nfsim.Projection("x", "a")), device="cpu").eval()
    x = torch.randn(2, 1, 4)
    with torch.no_grad():
        model.step(x[:, 0])
    take_a_step(model)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            torch.testing.assert_close(copied.step(x[:, 0]).logits, model(x).logits, rtol=1e-5, atol=1e-6)


def test_a_step_takes_its_own_dt_for_each_sample_after_one_that_took_a_number():
    model, x = small(), torch.randn(2, 1, 4)
    dt = torch.tensor([0.5, 0.7])
    with torch.no_grad():
        model.step(x[:, 0])
        want = model(x, dt=dt[:, None]).logits
        torch.testing.assert_close(model.step(x[:, 0], dt=dt).logits, want)


def test_a_model_made_in_inference_mode_steps():
    with torch.inference_mode():
        model, x = small(), torch.randn(2, 1, 4)
        torch.testing.assert_close(model.step(x[:, 0]).logits, model(x).logits)


def test_samples_do_not_depend_on_their_batch():
    model, x = small(), torch.randn(5, 4)
    with torch.no_grad():
        whole = model.step(x)
        for k in range(5):
            alone = model.step(x[k : k + 1])
            assert torch.equal(alone.logits, whole.logits[k : k + 1])
            assert torch.equal(alone.state["xr"], whole.state["xr"][k : k + 1])


@pytest.mark.parametrize("where", ["x", "xr", "xi"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_as_ever(where, value):
    model = small()
    with torch.no_grad():
        state = model.step(torch.randn(2, 4)).state
        x = torch.randn(2, 4)
        (x if where == "x" else state[where])[1, 2] = value
        with pytest.raises(ValueError, match="is not finite" if where == "x" else f"state {where} holds a value that"):
            model.step(x, state)


def test_other_calls_are_refused_as_ever():
    model = small()
    with torch.no_grad():
        state = model.step(torch.randn(2, 4)).state
        with pytest.raises(ValueError, match=r"state xr has shape \(2, 21\); give \(batch, node\) = \(3, 21\)"):
            model.step(torch.randn(3, 4), state)
        with pytest.raises(ValueError, match="state is not the state of an earlier Output"):
            model.step(torch.randn(2, 4), {"xr": state["xr"]})
        with pytest.raises(ValueError, match="a step takes"):
            model.step(torch.randn(2, 1, 4))
        with pytest.raises(ValueError, match="dt -1"):
            model.step(torch.randn(2, 4), dt=-1)


def test_views_in_any_layout_are_read():
    model, x = small(), torch.randn(4, 6, 2).transpose(0, 2)  # [2, 6, 4], of no contiguous step
    with torch.no_grad():
        torch.testing.assert_close(steps(model, x)[0][:, -1], model(x.contiguous()).logits, rtol=1e-5, atol=1e-6)


def test_gradients_flow_through_a_step_that_wants_them():
    model = small()
    model.step(torch.randn(2, 4)).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_dropout_acts_in_a_step_of_a_model_that_trains():
    model, x = small(dropout=0.5), torch.randn(1, 4)
    with torch.no_grad():
        assert torch.equal(model.step(x).logits, model.step(x).logits)
        model.train()
        assert not torch.equal(model.step(x).logits, model.step(x).logits)


def test_the_guard_looks_at_a_step_too():
    model, x = small(), torch.randn(1, 4)
    model.guard = True
    with torch.no_grad():
        model.step(x)
        model.values.learned["sensory:drive_bias"].fill_(float("nan"))
        with pytest.raises(FloatingPointError, match="sensory"):
            model.step(x)


def test_explain_says_how_a_step_runs():
    assert "step      one call on the CPU, without gradients" in small().explain()
    attention = small(gating="attention").explain()
    assert "step      as a sequence of one: nuclei act by ambassadors or attention: thalamus/lgn" in attention
