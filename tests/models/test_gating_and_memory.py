"""The forms beside the main equations: ambassadors, attention, gated and Hebbian memory, each by what it must do."""

import math

import pytest
import torch

import networks
import nfsim
from nfsim import CfC, Input, Network, Nucleus, Population, Projection, Readout
from nfsim.compiler import lower
from nfsim.compiler.program import TICKS
from nfsim.models.compiled import CompiledModel
from nfsim.models.model import RECORDABLE
from nfsim.models.reference import ReferenceModel

F64 = torch.float64
TIGHT = {"rtol": 1e-11, "atol": 1e-12}  # float64 sums of a few dozen terms of order one


@pytest.fixture(params=[lambda program: CompiledModel(program, F64), ReferenceModel], ids=["compiled", "reference"])
def build(request):
    def build(net, seed=0):
        model = request.param(lower(net))
        if seed is not None:
            networks.perturb(model, seed)
        return model

    return build


def network(*parts, ticks=1, **cell):
    """An input to v1 and v2, of two sectors each, and more parts; `cell` holds fields of their dynamics."""
    net = Network("net", ticks=ticks)
    cells = (Population(name, n, 2, CfC(**cell)) for name, n in (("v1", 6), ("v2", 4)))
    return net.add(Input("x", 3), *cells, Readout("out", 2), Projection("x", "*")).add(*parts)


def sequence(steps=4, seed=0):
    return torch.randn(3, steps, 3, dtype=F64, generator=torch.Generator().manual_seed(seed))


def start(net, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(3, n, dtype=F64, generator=generator) for name, n in networks.carried(net).items()}


def put(model, name, value):
    with torch.no_grad():
        model.values[name].fill_(value)


NEAR = nfsim.Nearest(2)
FORMS = {
    "ambassadors": network(Nucleus("n", gating="ambassador"), gain=("time", "drive", "readout")),
    "ambassadors beside other nuclei": network(
        Nucleus("n", targets="v1", gating="ambassador"), Nucleus("m", trn=True), Nucleus("o", "x", "*", "feedforward")
    ),
    "attention": network(Nucleus("n", gating="attention"), Nucleus("m", "v2", "v1", "attention", value=5)),
    "attention beside gain": network(Nucleus("n", gating="attention"), Nucleus("m"), Projection("v1", "v2", NEAR)),
    "gated memory": network(memory="gated", ticks=2),
    "gated memory under a clamp": network(memory="gated", limiter="clamp", amplitude=0.3, rate="exact"),
    "Hebbian memory": network(Projection("v1", "v1", NEAR, memory="hebbian")),
    "Hebbian memory over areas": network(
        Projection("*", "*", NEAR, memory="hebbian", learnable="edges"),
        Projection("v2", "v1", kind="coupling", memory="hebbian", scaling="none", name="across"),
    ),
    "Hebbian memory from an earlier stage": network(
        Projection("v1", "v2", nfsim.Random(0.5), kind="coupling", memory="hebbian")
    ),
    "all of them": network(
        Nucleus("n", gating="ambassador"), Nucleus("m", gating="attention"), Nucleus("o"),
        Projection("*", "*", NEAR, memory="hebbian"), memory="gated", gain=("time", "drive", "coupling", "readout"),
    ),
}  # fmt: skip


def everything(model, net, lengths):
    """All that a call returns, and the gradients of a sum that feels each of its numbers."""
    x, state = sequence().requires_grad_(), {k: v.requires_grad_() for k, v in start(net).items()}
    out = model(x, state, lengths=lengths, record=RECORDABLE)
    values = {"logits at the end": out.logits, **{f"state {k}": v for k, v in out.state.items()}, **out.record}
    total, generator = 0.0, torch.Generator().manual_seed(0)
    for value in values.values():
        real = torch.view_as_real(value) if value.is_complex() else value
        total = total + (real * torch.randn(real.shape, generator=generator, dtype=F64)).sum()
    leaves = {"x": x, **state, **dict(model.named_parameters())}
    return values, dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


@pytest.mark.parametrize(
    "lengths",
    [pytest.param(None, id="whole", marks=pytest.mark.slow), pytest.param(torch.tensor([4, 1, 3]), id="padded")],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_the_reference_in_value_and_gradient(form, lengths):
    """With a gradient at every parameter: none of them is without effect."""
    net = FORMS[form]
    compiled, reference = CompiledModel(lower(net), F64), ReferenceModel(lower(net))
    networks.perturb(compiled, 0)
    reference.load_state_dict(compiled.state_dict())
    found, expected = everything(compiled, net, lengths), everything(reference, net, lengths)
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        for name in b:
            torch.testing.assert_close(a[name], b[name], rtol=1e-9, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")
    assert all(gradient.any() for gradient in found[1].values())


@pytest.mark.parametrize("form", FORMS)
def test_a_form_streams_and_travels_as_json(form):
    net = FORMS[form]
    assert nfsim.Network.from_json(net.to_json()) == net
    model = CompiledModel(lower(net), F64)
    networks.perturb(model, 1)
    whole, state = model(sequence(), start(net)), start(net)
    for x in sequence().unbind(1):
        out = model.step(x, state)
        state = out.state
    torch.testing.assert_close(out.logits, whole.logits, **TIGHT)
    for name, value in whole.state.items():
        torch.testing.assert_close(state[name], value, **TIGHT)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_steps_tick_after_tick_and_says_why(form):
    model = nfsim.compile(FORMS[form], device="cpu")
    stages = [stage for stage in model.program.stages if stage.kernel == TICKS]
    reasons = [reason for stage in stages for reason in stage.refused]
    assert any(word in reason for word in ("ambassadors", "mixing", "memory") for reason in reasons)
    assert all(f"not fused   {reason}" in model.explain() for reason in reasons)


def test_an_ambassador_sets_one_gain_for_its_sector(build):
    net = network(Nucleus("n", targets="v1", gating="ambassador"))
    model, state = build(net), start(net)
    gain = model(sequence(1), state, record="gain").record["gain"][:, 0]
    w, c = model.values["n:v1:weight"], model.values["n:v1:bias"]
    sector = model.node_coords()["sector"][:6].tolist()
    for i, s in enumerate(sector):
        a = sector.index(s)
        expected = torch.sigmoid(w[s, 0] * state["xr"][:, a] + w[s, 1] * state["xi"][:, a] + c[s])
        torch.testing.assert_close(gain[:, i], expected, **TIGHT)
    assert (gain[:, 6:] == 1).all()


def test_nodes_that_are_no_ambassadors_leave_the_gain_alone(build):
    net = network(Nucleus("n", gating="ambassador"))
    model, state = build(net), start(net)
    sector = model.node_coords()["sector"].tolist()
    first = {sector[:6].index(s) for s in (0, 1)} | {6 + sector[6:].index(s) for s in (0, 1)}
    others = torch.tensor([i for i in range(10) if i not in first])
    moved = {k: v.index_add(1, others, torch.ones(3, len(others), dtype=F64)) for k, v in state.items()}
    gains = [model(sequence(1), s, record="gain").record["gain"] for s in (state, moved)]
    torch.testing.assert_close(*gains, **TIGHT)


def test_attention_sets_no_gain_and_adds_what_its_equation_says_to_the_drive(build):
    net = network(Nucleus("n", "v2", "v1", "attention", key=4, value=3))
    model, state, x = build(net), start(net), sequence(1)
    v, record = model.values, model(x, state, record=("gain", "nucleus_gain", "drive")).record
    assert (record["gain"] == 1).all()
    assert (record["nucleus_gain"] == 1).all()
    z = torch.complex(state["xr"], state["xi"])
    p = torch.from_numpy(model.program.connectome.nodes.positions[:6])
    rate = torch.sqrt(z.abs() ** 2 + 1e-12)[:, 6:]
    Q = torch.stack([z.real[:, 6:].mean(1), z.imag[:, 6:].mean(1), rate.mean(1)], 1) @ v["n:query"].T
    y = torch.cat([z.real[:, :6, None], z.imag[:, :6, None], p.expand(3, 6, 3)], -1)
    K = y[..., :2] @ v["n:key_state"].T + y[..., 2:] @ v["n:key_position"].T
    a = torch.softmax(torch.einsum("bd,bjd->bj", Q, K) / 2, -1)
    r = torch.nn.functional.gelu(torch.einsum("bj,bjv->bv", a, y @ v["n:value"].T))
    sent = torch.einsum("iq,qrv,bv->bri", torch.cat([torch.ones(6, 1, dtype=F64), p], 1), v["n:out"], r)
    put(model, "n:out", 0.0)
    silent = model(x, state, record="drive").record["drive"][:, 0]
    drive = record["drive"][:, 0]
    torch.testing.assert_close(drive[:, :6] - silent[:, :6], torch.complex(sent[:, 0], sent[:, 1]), **TIGHT)
    assert torch.equal(drive[:, 6:], silent[:, 6:])


def test_attention_hears_every_node_that_it_targets_and_no_other(build):
    net = network(Nucleus("n", "v1", "v1", "attention"))
    model, state = build(net), {k: v.requires_grad_() for k, v in start(net).items()}
    drive = model(sequence(1), state, record="drive").record["drive"][0, 0, 0]
    felt = torch.autograd.grad(drive.real + drive.imag, state["xr"])[0][0]
    assert (felt[:6] != 0).all()
    assert (felt[6:] == 0).all()


def test_gated_memory_that_forgets_all_and_admits_all_is_no_memory(build):
    plain, gated = (build(network(memory=memory, limiter="none"), seed=None) for memory in ("none", "gated"))
    gated.load_state_dict(plain.state_dict(), strict=False)
    for path in ("v1", "v2"):
        put(gated, f"{path}:forget_bias", -800.0)
        put(gated, f"{path}:admit_bias", 800.0)
    torch.testing.assert_close(gated(sequence()).logits, plain(sequence()).logits, **TIGHT)


def test_gated_memory_starts_as_a_running_mean_of_the_steady_state(build):
    """Under a constant input c = (1 - f^T) s after T ticks, with f = sigmoid(1)."""
    model, T = build(network(memory="gated"), seed=None), 7
    out = model(sequence(1).expand(-1, T, -1), record="drive")
    u = out.record["drive"][:, 0]
    s = u / torch.sqrt(1 + u.abs() ** 2)
    expected = (1 - torch.sigmoid(torch.tensor(1.0, dtype=F64)) ** T) * s
    torch.testing.assert_close(torch.complex(out.state["cr"], out.state["ci"]), expected, **TIGHT)


def test_a_memory_that_is_closed_holds_what_it_was_given_and_the_state_settles_there(build):
    """1 - t = 0.27 at gain 1 and bias 0, so that 80 ticks leave 1e-45 of where the state began."""
    net = network(memory="gated", omega=0.0, bias=0.0, limiter="none")
    model, state = build(net, seed=None), start(net)
    for path in ("v1", "v2"):
        put(model, f"{path}:forget_bias", 800.0)
        put(model, f"{path}:admit_bias", -800.0)
    out = model(sequence(80), state)
    for z, c in (("xr", "cr"), ("xi", "ci")):
        torch.testing.assert_close(out.state[c], state[c], **TIGHT)
        torch.testing.assert_close(out.state[z], state[c], **TIGHT)


def test_memory_costs_six_parameters_a_node_or_two_a_coupling():
    def ledger(of_coupling, **cell):
        net = network(Projection("v1", "v1", NEAR, memory=of_coupling), **cell)
        return nfsim.compile(net, device="cpu").ledger()

    plain = ledger("none")
    assert ledger("none", memory="gated") == plain | {"node constants": plain["node constants"] + 6 * 10}
    assert ledger("hebbian") == plain | {"coupling": plain["coupling"] + 2}


def test_hebbian_memory_without_strength_is_no_memory(build):
    plain, hebbian = (build(network(Projection("v1", "v1", NEAR, memory=m)), None) for m in ("none", "hebbian"))
    hebbian.load_state_dict(plain.state_dict(), strict=False)
    put(hebbian, "v1->v1:strength", 0.0)
    torch.testing.assert_close(hebbian(sequence()).logits, plain(sequence()).logits, **TIGHT)


def test_fast_weights_of_still_phases_grow_to_the_declared_size_times_the_cosine_between_them(build):
    """W_ij = (1 - rho^T) k cos(theta_j - theta_i) after T ticks of |z| = 1, with rho = 0.95."""
    net = network(Projection("v1", "v1", NEAR, memory="hebbian"), bias=-800.0, omega=0.0)  # t = 0: nothing moves
    model, T = build(net, seed=None), 5
    theta = torch.linspace(0, 5, 10, dtype=F64).expand(3, -1)
    state = {"xr": theta.cos(), "xi": theta.sin(), "v1->v1:fast": torch.zeros_like(start(net)["v1->v1:fast"])}
    W = model(sequence(T), state).state["v1->v1:fast"]
    edges = model.edge_coords()
    i, j = (torch.from_numpy(edges[k]) for k in ("edge_target", "edge_source"))
    size = abs(edges["edge_weight"]).mean()
    torch.testing.assert_close(W, (1 - 0.95**T) * size * torch.cos(theta[:, j] - theta[:, i]), **TIGHT)


def test_fast_weights_of_one_coupling_leave_another_as_it_was(build):
    net = network(Projection("v1", "v1", NEAR, memory="hebbian"), Projection("v2", "v2", NEAR))
    model, state = build(net), start(net)
    loud = state | {"v1->v1:fast": state["v1->v1:fast"] + 1}
    quiet, loud = (model(sequence(1), s, record="steady").record["steady"] for s in (state, loud))
    assert (quiet[..., :6] != loud[..., :6]).all()
    assert torch.equal(quiet[..., 6:], loud[..., 6:])


def test_a_state_that_lacks_or_spoils_a_memory_is_refused_by_name(build):
    net = network(Projection("v1", "v1", NEAR, memory="hebbian"), memory="gated")
    model, state = build(net), start(net)
    with pytest.raises(ValueError, match=r"pass output\.state, with its xr, xi, cr, ci and v1->v1:fast"):
        model(sequence(), {k: state[k] for k in ("xr", "xi")})
    with pytest.raises(ValueError, match=r"state v1->v1:fast has shape \(3, 10\); give \(batch, edge\)"):
        model(sequence(), state | {"v1->v1:fast": state["xr"]})
    with pytest.raises(ValueError, match="state ci holds a value that is not finite"):
        model(sequence(), state | {"ci": state["ci"] * math.nan})


@pytest.mark.parametrize("place", ["v1", "v2"])
def test_a_form_in_an_area_that_nothing_reads_has_no_gradient(build, place):
    """The readout hears v1 alone, so that neither ambassadors nor memory of v2 reach it, and those of v1 do."""
    coupling = Projection(place, place, NEAR, memory="hebbian", name="k")
    net = network(Nucleus("n", targets=place, gating="ambassador"), coupling, memory="gated")
    net.parts = tuple(Readout("out", 2, reads="v1") if isinstance(p, Readout) else p for p in net.parts)
    model = build(net)
    gates = [f"{place}:{gate}{part}" for gate in ("forget", "admit") for part in ("", "_bias")]
    names = [n for n in model.values.learned if n.startswith(("n:", "k:"))] + gates
    leaves = [model.values[n] for n in names]
    grads = torch.autograd.grad(model(sequence(), start(net)).logits.sum(), leaves, allow_unused=True)
    assert len(names) == 2 + 3 + 4
    assert [g is not None and bool(g.any()) for g in grads] == [place == "v1"] * len(names)
