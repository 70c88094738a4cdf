"""Two further forms of a declared network: read by the synchrony of pairs of nodes, and in continuous time."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

import nfsim
from nfsim.assembly import KINDS
from nfsim.models.ctm import CTM
from nfsim.models.ode import ODE

LABELS = ["a", "b", "c"]


def network(ticks=2, *, alone=False, **dynamics):
    """Input -> v1, coupled on the sphere and gated by the input -> motor -> readout; `alone`: v1 by itself."""
    cell = nfsim.CfC(**{"omega": 0.7} | dynamics)
    net = nfsim.Network("small", seed=3, ticks=ticks)
    net.add(nfsim.Input("x", 4), nfsim.Population("v1", 8, dynamics=cell))
    net.connect("x", "v1")
    if alone:
        return net.add(nfsim.Readout("r", LABELS, reads="v1"))
    net.add(nfsim.Population("motor", 6, dynamics=cell), nfsim.Readout("r", LABELS, reads="motor"))
    net.connect("v1", "motor")
    net.connect("v1", "v1", rule=nfsim.Nearest(3), kind="coupling")
    return net.add(nfsim.Nucleus("n", reads="x", targets="v1", gating="feedforward"))


def compiled(*args, **options):
    return nfsim.compile(network(*args, **options), device="cpu")


def continuous(core, **options):
    pytest.importorskip("torchdiffeq", reason="needs the extra ode")
    return ODE(core, **options)


FINE = {"rtol": 1e-6, "atol": 1e-7}
FORMS = {"ctm": lambda: CTM(compiled(), pairs=20), "ode": lambda: continuous(compiled(), method="rk4")}


@pytest.fixture(params=FORMS)
def form(request, seed):
    """Return either form of the small network."""
    return FORMS[request.param]()


def test_padding_after_the_end_changes_nothing(form):
    x, lengths = torch.randn(3, 4, 4), torch.tensor([4, 1, 2])
    padded = x.clone()
    for sample, n in zip(padded, lengths, strict=True):
        sample[n:] = 9.0
    a, b = form(x, lengths=lengths), form(padded, lengths=lengths)
    assert torch.equal(a.logits, b.logits)
    for name in ("xr", "xi"):
        assert torch.equal(a.state[name], b.state[name])
    for k, n in enumerate(lengths):
        torch.testing.assert_close(a.logits[k], form(x[k : k + 1, :n]).logits[0], rtol=1e-5, atol=1e-6)


def test_every_learned_parameter_has_a_gradient(form):
    form(torch.randn(5, 3, 4)).logits.square().sum().backward()
    for name, parameter in form.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_what_a_form_writes_builds_its_like_again(form):
    text = form.to_json()
    again = KINDS[type(form).__name__](text)
    assert again.to_json() == text
    again.load_state_dict(form.state_dict())
    x = torch.randn(2, 3, 4)
    assert torch.equal(again(x).logits, form(x).logits)


def test_a_form_can_be_trained_and_loaded(form, tmp_path):
    rng = np.random.default_rng(0)
    part = rng.normal(size=(12, 2, 4)), np.arange(12) % 3
    data = nfsim.data.Arrays(train=part, validation=part, labels=LABELS)
    result = nfsim.fit(form, data, epochs=1, folder=tmp_path, progress=False)
    x = torch.randn(2, 2, 4)
    assert torch.equal(nfsim.load(tmp_path)(x).logits, result.model(x).logits)


def test_only_logits_are_recorded(form):
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match="cannot record gain; only logits"):
        form(x, record=["gain"])
    out = form(x, record=["logits"])
    assert torch.equal(out.record["logits"][:, -1], out.logits)


# Synchrony of pairs


def test_synchrony_is_the_decayed_mean_product_of_the_states_of_a_pair(seed):
    model = CTM(compiled(), pairs=9)
    torch.nn.init.normal_(model.decay)
    z = torch.randn(2, 5, 14, dtype=torch.complex64)
    i, j = model.ends.numpy()
    r = np.log1p(np.exp(model.decay.detach().numpy()))
    for ticks in (None, torch.tensor([5, 2])):
        found = model.synchrony(z, ticks).detach().numpy()
        for b in range(2):
            n = 5 if ticks is None else int(ticks[b])
            weight = np.exp(-r * (n - 1 - np.arange(n)[:, None]))
            product = np.real(z[b, :n, i].numpy().conj() * z[b, :n, j].numpy())
            expected = (weight * product).sum(0) / np.sqrt(weight.sum(0))
            np.testing.assert_allclose(found[b], expected, rtol=1e-4, atol=1e-5)


def test_synchrony_does_not_change_when_all_phases_turn_together(seed):
    model, z = CTM(compiled(), pairs=9), torch.randn(2, 5, 14, dtype=torch.complex64)
    turned = z * torch.exp(1j * torch.tensor(1.3))
    torch.testing.assert_close(model.synchrony(turned), model.synchrony(z), rtol=1e-4, atol=1e-5)


def test_pairs_lie_within_the_population_that_is_named(seed):
    assert CTM(compiled(), population="v1").ends.unique().tolist() == [*range(8)]
    assert CTM(compiled(), population="motor").ends.unique().tolist() == [*range(8, 14)]
    assert torch.equal(CTM(compiled()).ends, CTM(compiled()).ends)
    with pytest.raises(ValueError, match="no population 'v2'; the network has v1, motor"):
        CTM(compiled(), population="v2")


def test_the_networks_own_readout_is_not_trained():
    model = CTM(compiled(), pairs=20)
    model(torch.randn(2, 3, 4)).logits.sum().backward()
    still = [name for name, p in model.core.values.learned.items() if not p.requires_grad]
    assert sorted(still) == ["r:bias", "r:weight"]
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learned == sum(p.numel() for p in compiled().parameters()) - 7 * 3 + 20 + 21 * 3


# Continuous time


def test_padding_costs_the_adaptive_solver_no_accuracy(seed):
    model, x, lengths = continuous(compiled(alone=True)), torch.randn(2, 2, 4), torch.tensor([2, 1])
    padded = x.clone()
    padded[1, 1:] = 9.0
    assert torch.equal(model(x, lengths=lengths).logits, model(padded, lengths=lengths).logits)


@pytest.mark.parametrize("rate", ["sigmoid", pytest.param("exact", marks=pytest.mark.slow)])
@pytest.mark.parametrize("ticks", [1, 3])
def test_under_a_constant_target_the_flow_is_the_closed_form(rate, ticks, seed):
    core = compiled(ticks, alone=True, rate=rate, omega=0.0)
    x = torch.randn(3, 4, 4)
    out, expected = continuous(core, **FINE)(x), core(x)
    for name in ("xr", "xi"):
        torch.testing.assert_close(out.state[name], expected.state[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.logits, expected.logits, rtol=1e-4, atol=1e-5)


def test_the_network_approaches_its_flow_in_first_order_of_the_tick(seed):
    x = torch.randn(4, 2, 4)
    flow = continuous(compiled(rate="exact"), **FINE)(x).logits
    errors = [(compiled(ticks, rate="exact")(x).logits - flow).abs().max().item() for ticks in (16, 32, 64)]
    assert errors[0] < 0.1
    for coarse, fine in pairwise(errors):
        assert 1.7 < coarse / fine < 2.3


def test_the_flow_turns_at_omega_where_nothing_draws_it(seed):
    model = continuous(compiled(alone=True, rate="exact", omega=0.5), **FINE)
    with torch.no_grad():
        model.core.values.learned["v1:rate"].fill_(-100.0)  # softplus(-100) is 0
    z = torch.randn(2, 8, dtype=torch.complex64)
    after = model(torch.randn(2, 3, 4), {"xr": z.real.contiguous(), "xi": z.imag.contiguous()}).state
    expected = z * torch.exp(1j * torch.tensor(0.5 * 3))
    torch.testing.assert_close(torch.complex(after["xr"], after["xi"]), expected, rtol=1e-4, atol=1e-4)


def test_euler_takes_one_step_a_tick(seed):
    model, x = continuous(compiled(ticks=3), method="euler"), torch.randn(2, 1, 4)
    z = torch.zeros(2, 2, 14)
    for _ in range(3):
        z = z + model.field(z, x[:, 0]) / 3
    out = model(x).state
    torch.testing.assert_close(torch.stack([out["xr"], out["xi"]], 1), z, rtol=1e-5, atol=1e-6)


def test_what_has_no_continuous_form_is_refused():
    for options, message in (({"memory": "gated"}, "memory 'gated'"), ({"limiter": "clamp"}, "limiter 'clamp'")):
        with pytest.raises(ValueError, match=f"ODE: population v1 has {message}"):
            continuous(compiled(alone=True, **options))
    net = network(alone=True)
    net.parts = tuple(nfsim.Readout("r", LABELS, reads="v1", when="mean") if p.name == "r" else p for p in net.parts)
    with pytest.raises(ValueError, match="readout r reads when='mean'"):
        continuous(nfsim.compile(net, device="cpu"))
    with pytest.raises(ValueError, match="no method 'heun'; choose one of dopri5, rk4, euler"):
        continuous(compiled(), method="heun")
    with pytest.raises(ValueError, match="give one number for all steps"):
        continuous(compiled())(torch.randn(2, 3, 4), dt=torch.ones(2, 3))


def test_a_solver_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ModuleNotFoundError, match=r"torchdiffeq is not installed; .* neuralfield-sim\[ode\]"):
        ODE(compiled())
