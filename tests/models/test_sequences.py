"""Time may be cut, padded and streamed, and samples reordered, without a change in the numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

import networks
import nfsim
from nfsim import CfC, Input, Network, Population, Projection, Readout
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.regions import presets

F64 = torch.float64
# The same sums in another order: batched products may be cut differently, ten ticks of a few dozen terms each.
SAME = {"rtol": 1e-9, "atol": 1e-10}
FEW = settings(networks.SETTINGS, max_examples=12)


def compiled(net, seed=0):
    model = CompiledModel(lower(net), F64)
    networks.perturb(model, seed)
    return model


def steps_of(dt, k):
    """The part of dt that one step takes; dt is None, a number, [time] or [batch, time]."""
    return dt[..., k] if isinstance(dt, torch.Tensor) else dt


@FEW
@given(networks.networks(), st.data())
def test_streaming_steps_give_the_numbers_of_the_sequence(net, data):
    call = data.draw(networks.calls(net)) | {"lengths": None}
    model = compiled(net)
    whole = model(call["x"], call["state"], dt=call["dt"], record="logits")
    state, logits = call["state"], []
    for k, x in enumerate(call["x"].unbind(1)):
        out = model.step(x, state, dt=steps_of(call["dt"], k))
        state = out.state
        logits.append(out.logits)
    ((_, readout),) = net.flat.readouts.items()
    streamed = torch.stack(logits, 1)
    if readout.when == "mean":  # the readout is linear in its features, so the mean of its answers is its answer
        torch.testing.assert_close(streamed.mean(1), whole.logits, **SAME)
    else:
        torch.testing.assert_close(streamed, whole.record["logits"][:, net.ticks - 1 :: net.ticks], **SAME)
        torch.testing.assert_close(streamed if readout.when == "each" else streamed[:, -1], whole.logits, **SAME)
    for name in whole.state:
        torch.testing.assert_close(state[name], whole.state[name], **SAME)


@FEW
@given(networks.networks(), st.data())
def test_a_sequence_may_be_cut_anywhere_and_continued_from_the_state(net, data):
    call = data.draw(networks.calls(net)) | {"lengths": None}
    cut = data.draw(st.integers(0, call["x"].shape[1]))
    model = compiled(net)
    whole = model(call["x"], call["state"], dt=call["dt"], record=("z", "gain"))
    state, pieces = call["state"], []
    for part in (slice(0, cut), slice(cut, None)):
        if call["x"][:, part].shape[1]:
            out = model(call["x"][:, part], state, dt=steps_of(call["dt"], part), record=("z", "gain"))
            state = out.state
            pieces.append(out.record)
    for name in ("z", "gain"):
        torch.testing.assert_close(torch.cat([p[name] for p in pieces], 1), whole.record[name], **SAME)
    for name in whole.state:
        torch.testing.assert_close(state[name], whole.state[name], **SAME)


@FEW
@given(networks.networks(), st.data())
def test_padding_is_invisible_and_every_sample_equals_its_own_short_call(net, data):
    call = data.draw(networks.calls(net))
    (batch, steps, _), model = call["x"].shape, compiled(net)
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, steps), min_size=batch, max_size=batch)))
    valid = torch.arange(steps) < lengths[:, None]
    noisy = torch.where(valid[..., None], call["x"], 100 * torch.ones_like(call["x"]))
    runs = [model(x, call["state"], dt=call["dt"], lengths=lengths, record="z") for x in (call["x"], noisy)]
    each = model.readout.readout.when == "each"
    for b, n in enumerate(lengths.tolist()):
        state = call["state"] and {k: v[b : b + 1] for k, v in call["state"].items()}
        dt = call["dt"]
        dt = dt[b : b + 1, :n] if isinstance(dt, torch.Tensor) and dt.dim() == 2 else steps_of(dt, slice(0, n))
        alone = model(call["x"][b : b + 1, :n], state, dt=dt)
        for run in runs:
            logits = run.logits[b, :n] if each else run.logits[b]
            torch.testing.assert_close(logits, alone.logits[0], **SAME)
            for name in alone.state:
                torch.testing.assert_close(run.state[name][b], alone.state[name][0], **SAME)


@FEW
@given(networks.networks(), st.data())
def test_the_order_of_the_samples_says_nothing(net, data):
    call = data.draw(networks.calls(net))
    batch, model = len(call["x"]), compiled(net)
    order = torch.tensor(data.draw(st.permutations(range(batch))))

    def reordered(value):
        return value[order] if isinstance(value, torch.Tensor) else value

    dt = reordered(call["dt"]) if isinstance(call["dt"], torch.Tensor) and call["dt"].dim() == 2 else call["dt"]
    state = call["state"] and {k: reordered(v) for k, v in call["state"].items()}
    record = ("z", "logits")
    a = model(call["x"], call["state"], dt=call["dt"], lengths=call["lengths"], record=record)
    b = model(call["x"][order], state, dt=dt, lengths=reordered(call["lengths"]), record=record)
    for name, value in {"logits": a.logits, **a.state}.items():
        other = b.logits if name == "logits" else b.state[name]
        torch.testing.assert_close(other, value[order], **SAME)
    for name in record:
        torch.testing.assert_close(b.record[name], a.record[name][order], **SAME)


def network(*parts, **options):
    net = Network("net", **options)
    net.add(Input("x", 3), Population("a", 6, dynamics=CfC(rate="exact")), Readout("out", 2), Projection("x", "a"))
    return net.add(*parts)


def sequence(*shape):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("parts", [(), (Projection("a", "a", nfsim.Nearest(2)),)], ids=["scan", "loop"])
def test_every_form_of_one_and_the_same_dt_gives_the_same(parts):
    model, x = compiled(network(*parts, dt=0.3)), sequence(2, 4, 3)
    declared = model(x).logits
    for dt in (0.3, torch.tensor(0.3, dtype=F64), torch.full((4,), 0.3), torch.full((2, 4), 0.3, dtype=F64)):
        torch.testing.assert_close(model(x, dt=dt).logits, declared, rtol=1e-6, atol=1e-7)  # 0.3 in float32
    assert (model(x, dt=0.6).logits - declared).abs().max() > 1e-3


@pytest.mark.parametrize("parts", [(), (Projection("a", "a", nfsim.Nearest(2)),)], ids=["scan", "loop"])
def test_a_sample_with_its_own_dt_runs_as_if_all_had_it(parts):
    model, x = compiled(network(*parts)), sequence(2, 4, 3)
    dt = sequence(2, 4).abs() + 0.1
    together = model(x, dt=dt).logits
    for b in range(2):
        torch.testing.assert_close(model(x[b : b + 1], dt=dt[b]).logits[0], together[b], **SAME)


@pytest.mark.parametrize("parts", [(), (Projection("a", "a", nfsim.Nearest(2)),)], ids=["scan", "loop"])
def test_ticks_hold_the_input_and_share_its_time(parts):
    """Three ticks of a step of 0.6 are three steps of 0.2 with the same input."""
    slow, fast = compiled(network(*parts, dt=0.6, ticks=3)), compiled(network(*parts, dt=0.2))
    x = sequence(2, 4, 3)
    a = slow(x, record="z").record["z"]
    b = fast(x.repeat_interleave(3, dim=1), record="z").record["z"]
    torch.testing.assert_close(a, b, **SAME)


def test_a_learned_initial_state_is_where_a_call_without_a_state_starts():
    net = Network("net").add(Input("x", 3), Population("a", 6, dynamics=CfC(initial="learned")), Readout("out", 2))
    model = compiled(net.add(Projection("x", "a")))
    initial = model.values["a:initial"]
    assert initial.abs().max() > 0.1
    x = sequence(2, 4, 3)
    given_state = {"xr": initial[0].expand(2, -1), "xi": initial[1].expand(2, -1)}
    torch.testing.assert_close(model(x).logits, model(x, given_state).logits, **SAME)


def test_the_model_computes_in_float32_also_for_float64_input_and_under_autocast():
    model = nfsim.compile(network(Projection("a", "a", nfsim.Nearest(2))), device="cpu")
    x = sequence(2, 4, 3)
    out = model(x)
    assert {out.logits.dtype, out.state["xr"].dtype} == {torch.float32}
    torch.testing.assert_close(out.logits, model(x.float()).logits)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x.float())
    assert mixed.state["xr"].dtype == torch.float32
    # the products run in bfloat16, which has 8 bits: 0.4 % of numbers of order one
    torch.testing.assert_close(mixed.state["xr"], out.state["xr"], rtol=0, atol=0.02)


def test_a_loop_may_hear_the_drive_of_a_stage_whose_states_nobody_hears():
    net = Network("drive only", seed=1)
    net.add(Input("x", 2), Population("b", 5), Population("c", 5), Readout("out", 2, reads="c"))
    net.add(Projection("x", "b"), Projection("x", "c"), Projection("c", "c"))
    net.connect("b", "c", nfsim.Nearest(2), on="drive", kind="coupling")
    model, x = compiled(net), torch.randn(3, 4, 2, dtype=F64)
    assert [stage.schedule for stage in model.program.stages] == ["scan", "loop"]
    torch.testing.assert_close(model(x).logits, model(x, record="z").logits, **SAME)


@pytest.mark.parametrize("learnable", ["none", "scale", "edges"])
def test_a_coupling_of_the_drive_follows_its_edges(learnable):
    """A lesion, or a state dict of other weights: the coupling is folded into the drive's, and not for ever."""
    net = Network("n").add(Input("x", 4), Population("a", 6), Readout("o", 3), Projection("x", "a"))
    net.add(Projection("a", "a", nfsim.Nearest(2), on="drive", learnable=learnable))
    model, x = CompiledModel(lower(net), F64), torch.randn(2, 3, 4, dtype=F64)
    before = model(x).logits
    with torch.no_grad():
        model.values["a->a:edges"].zero_()
    alone = Network("n").add(Input("x", 4), Population("a", 6), Readout("o", 3), Projection("x", "a"))
    without = CompiledModel(lower(alone), F64)
    without.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(model(x).logits, without(x).logits, **SAME)
    assert not torch.allclose(before, model(x).logits)


def test_a_checkpointed_network_has_its_gradients():
    net = presets.hierarchy(4, 3, sensory=8, prefrontal=7, motor=6, rank=3, nuclei=2, key=3)
    model, x = CompiledModel(lower(net), F64), torch.randn(2, 3, 4, dtype=F64)
    grads = []
    for run in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        model.zero_grad()
        run(x).logits.square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*grads, **SAME)


def test_autocast_changes_nothing():
    net = presets.hierarchy(4, 3, sensory=8, prefrontal=7, motor=6, rank=3, nuclei=1)
    model, x = nfsim.compile(net, device="cpu"), torch.randn(2, 3, 4)
    plain = model(x).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(x).logits, plain)
