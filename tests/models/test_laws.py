"""What must hold whatever the parameters are: laws of the cell, of the coupling and of the tick."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import networks
import nfsim
from nfsim import CfC, Input, Network, Population, Projection, Readout
from nfsim.compiler import lower
from nfsim.models import cell
from nfsim.models.compiled import CompiledModel
from nfsim.models.reference import ReferenceModel

BACKENDS = [lambda program: CompiledModel(program, torch.float64), ReferenceModel]
F64 = torch.float64
# float64 sums of a few dozen terms of order one
TIGHT = {"rtol": 1e-11, "atol": 1e-12}


@pytest.fixture(params=BACKENDS, ids=["compiled", "reference"])
def build(request):
    """The model of a network in float64, with parameters away from their start."""

    def build(net, seed=0):
        model = request.param(lower(net))
        networks.perturb(model, seed)
        return model

    return build


def network(dynamics, *parts, size=6, **options):
    net = Network("net", **options)
    net.add(Input("x", 3), Population("a", size, 2, dynamics), Readout("out", 2), *parts)
    return net.add(Projection("x", "a"))


def sequence(batch=2, steps=5, features=3, seed=0):
    return torch.randn(batch, steps, features, dtype=F64, generator=torch.Generator().manual_seed(seed))


def shifted(z):
    """The state before each tick, for a network that starts at 0."""
    return torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], dim=1)


@pytest.mark.parametrize("rate", ["sigmoid", "exact"])
def test_without_rotation_one_update_multiplies_the_distance_to_the_steady_state_by_one_minus_t(build, rate):
    dynamics = CfC(tau=0.7, rate=rate, bias=nfsim.Uniform(-2, 1), omega=0.0, drive="complex")
    thalamus = nfsim.Nucleus("n", trn=True), nfsim.Nucleus("m", trn=True, feedback="a")
    model = build(network(dynamics, *thalamus, Projection("a", "a", nfsim.Nearest(2)), dt=0.5, ticks=2))
    record = model(sequence(), record=("z", "steady", "gain")).record
    gate = record["gain"] * F.softplus(model.values["a:rate"]) * 0.25 / 0.7
    t = torch.sigmoid(gate + model.values["a:rate_bias"]) if rate == "sigmoid" else 1 - torch.exp(-gate)
    before = (record["steady"] - shifted(record["z"])).abs()
    after = (record["steady"] - record["z"]).abs()
    assert before.min() > 1e-3
    torch.testing.assert_close(after, (1 - t) * before, **TIGHT)


def test_two_half_steps_of_the_exact_rate_are_one_step_and_of_the_sigmoid_are_not(build):
    """Under an input that is held, with nothing that turns or feeds back."""
    ends = {}
    for rate in ("exact", "sigmoid"):
        for ticks in (1, 2):
            model = build(network(CfC(rate=rate, omega=0.0, drive="complex"), ticks=ticks))
            ends[rate, ticks] = model(sequence(), record=("z",)).record["z"][:, ticks - 1 :: ticks]
    torch.testing.assert_close(ends["exact", 2], ends["exact", 1], **TIGHT)
    assert (ends["sigmoid", 2] - ends["sigmoid", 1]).abs().max() > 0.05


def test_an_undriven_state_turns_by_omega_and_decays_by_one_minus_t(build):
    model = build(network(CfC(omega=(0.0, 0.5, -1.0, 2.0, 3.0, 4.0), drive="complex"), dt=0.5))
    with torch.no_grad():
        model.values["a:drive_bias"].zero_()
    start = {"xr": torch.ones(1, 6, dtype=F64), "xi": torch.zeros(1, 6, dtype=F64)}
    z = model(torch.zeros(1, 4, 3, dtype=F64), start, record="z").record["z"][0]
    t = torch.sigmoid(F.softplus(model.values["a:rate"]) * 0.5 + model.values["a:rate_bias"])
    steps = torch.arange(1, 5)[:, None]
    expected = (1 - t) ** steps * torch.exp(1j * model.values["a:omega"] * 0.5 * steps)
    torch.testing.assert_close(z, expected, **TIGHT)


@given(st.floats(-50, 50), st.floats(-50, 50), st.sampled_from([0.3, 1.0, 10.0]))
def test_the_limiter_keeps_the_phase_and_stays_below_its_amplitude(re, im, amplitude):
    v = torch.tensor([[re], [im]], dtype=F64)
    s = cell.limit(v, amplitude**-2)
    assert cell.modulus(s).item() < amplitude + 2e-6  # eps of the modulus, at 0
    # the phase is kept when the cross product vanishes and the dot product does not turn negative
    assert abs((s[0] * v[1] - s[1] * v[0]).item()) <= 1e-14 * abs(v).max().item() ** 2
    assert (s * v).sum() >= 0
    if max(abs(re), abs(im)) < 1e-3 * amplitude:
        torch.testing.assert_close(s, v, rtol=1e-5, atol=0)


def test_the_limited_steady_state_has_the_phase_of_the_drive_and_less_than_the_amplitude(build):
    model = build(network(CfC(amplitude=0.5, drive="complex")))
    record = model(30 * sequence(), record=("steady", "drive")).record
    torch.testing.assert_close(record["steady"].angle(), record["drive"].angle(), **TIGHT)
    assert record["drive"].abs().max() > 10
    assert 0.49 < record["steady"].abs().max() < 0.5


def test_the_clamped_state_is_the_update_cut_at_the_amplitude_with_its_phase(build):
    model = build(network(CfC(limiter="clamp", amplitude=0.8, omega=0.4, drive="complex")))
    record = model(5 * sequence(steps=8), record=("z", "steady", "drive")).record
    torch.testing.assert_close(record["steady"], record["drive"], **TIGHT)
    t = torch.sigmoid(F.softplus(model.values["a:rate"]) + model.values["a:rate_bias"])
    turn = torch.exp(1j * model.values["a:omega"])
    free = (1 - t) * turn * shifted(record["z"]) + t * record["steady"]
    cut = free * torch.clamp(0.8 / free.abs(), max=1)
    torch.testing.assert_close(record["z"], cut, rtol=1e-9, atol=1e-11)  # eps^2 of the modulus is 1e-12
    assert record["z"].abs().max() <= 0.8
    assert (free.abs() > 0.8).any()
    assert (free.abs() < 0.8).any()


@pytest.mark.parametrize("scaling", ["max", "none"])
def test_mutual_coupling_never_raises_the_energy_of_unit_oscillators(build, scaling):
    """Symmetric K, equal omega, |z| = 1 restored after each step: the phases descend E = -1/2 sum K Re(conj(z_i) z_j).

    A step is a gradient step of relative size t (1 + weight) < 0.1 in a frame that turns with omega.
    """
    weight = 0.5 if scaling == "max" else 0.1
    coupling = Projection("a", "a", nfsim.Nearest(4), scaling=scaling, weight=weight, learnable="none")
    net = network(CfC(rate="exact", omega=0.7, drive="complex", learn_bias=False), coupling, size=30, dt=0.05)
    model = build(net)
    with torch.no_grad():
        model.values["a:drive_bias"].zero_()
    K = torch.from_numpy(model.program.connectome.matrices["a->a"].toarray()).to(torch.complex128)
    torch.testing.assert_close(K, K.T, **TIGHT)
    angle = 2 * math.pi * torch.rand(1, 30, dtype=F64, generator=torch.Generator().manual_seed(1))
    z, energies = torch.polar(torch.ones_like(angle), angle), []
    with torch.no_grad():
        for _ in range(300):
            energies.append(-0.5 * (z.conj() @ K @ z.T).real.item())
            out = model.step(torch.zeros(1, 3, dtype=F64), {"xr": z.real, "xi": z.imag})
            z = torch.complex(out.state["xr"], out.state["xi"])
            z = z / z.abs()
    assert np.diff(energies).max() <= 1e-12
    assert energies[-1] < energies[0] - 1


def test_coupling_is_felt_from_the_previous_state_of_both_ends(build):
    """F_i = sum_j K_ij (z_j - z_i) by hand from the record, for a source that runs before and one that does not."""
    net = network(CfC(limiter="none", drive="complex"), Population("b", 4, dynamics=CfC(limiter="none")), ticks=2)
    net.connect("a", "b", nfsim.Random(0.6), kind="coupling", learnable="edges")
    net.connect("b", "b", nfsim.Nearest(2), learnable="edges")
    model = build(net)
    record = model(sequence(), record=("z", "steady", "drive")).record
    z, force = shifted(record["z"]), (record["steady"] - record["drive"])[..., 6:]
    expected = torch.zeros_like(force)
    for name, source in (("a->b", z[..., :6]), ("b->b", z[..., 6:])):
        K = model.program.connectome.matrices[name].tocoo()
        dense = torch.zeros(K.shape, dtype=F64)
        dense[K.row, K.col] = model.values[f"{name}:edges"].detach()
        difference = source.unsqueeze(-2) - z[..., 6:].unsqueeze(-1)
        expected = expected + (dense * difference).sum(-1)
    torch.testing.assert_close(force, expected, **TIGHT)
    assert force.abs().max() > 0.01


def test_coupling_on_the_drive_smooths_the_drive_of_the_same_tick(build):
    net = network(CfC(limiter="none", drive="complex"), Projection("a", "a", nfsim.AllToAll(), on="drive", weight=0.6))
    model = build(net)
    record = model(sequence(), record=("steady", "drive")).record
    u, scale = record["drive"], model.values["a->a:scale"]
    pull = 0.6 * scale * (u.sum(-1, keepdim=True) - u - 5 * u) / 5
    torch.testing.assert_close(record["steady"], u + pull, **TIGHT)


def test_a_drive_hears_an_earlier_population_now_and_its_own_a_tick_late(build):
    """By hand from the recorded states: W y added to the turned bias."""
    plain = CfC(limiter="none", drive="phase", phase=0.0)
    net = network(plain, Population("b", 4, dynamics=plain), ticks=2)
    net.connect("a", "b", signal="rate")
    net.connect("b", "b", kind="drive", signal="rate")
    model = build(net)
    record = model(sequence(), record=("z", "drive")).record
    z, u = record["z"], record["drive"][..., 6:]
    now, late = (torch.sqrt(v.abs() ** 2 + 1e-12) for v in (z[..., :6], shifted(z)[..., 6:]))
    # edges are stored in row order; no node of b hears itself
    from_a = model.values["a->b:b:weight"].reshape(4, 6)
    from_b = torch.zeros(4, 4, dtype=F64)
    from_b[~torch.eye(4, dtype=bool)] = model.values["b->b:b:weight"].detach().flatten()
    expected = now @ from_a.T + late @ from_b.T + model.values["b:drive_bias"]
    torch.testing.assert_close(u.real, expected, **TIGHT)
    torch.testing.assert_close(u.imag, torch.zeros_like(expected), **TIGHT)


def test_the_dynamics_do_not_know_where_phase_zero_is(build):
    """Without drive, a start that is turned as a whole gives states that are turned as a whole."""
    coupling = Projection("a", "a", nfsim.Nearest(3)), Projection("a", "a", nfsim.Random(0.5), on="drive")
    model = build(network(CfC(omega=nfsim.Uniform(0, 2), drive="complex"), *coupling))
    with torch.no_grad():
        model.values["a:drive_bias"].zero_()
    start = torch.complex(*torch.randn(2, 3, 6, dtype=F64, generator=torch.Generator().manual_seed(2)))
    turn = torch.exp(torch.tensor(0.9j, dtype=torch.complex128))
    runs = [
        model(torch.zeros(3, 4, 3, dtype=F64), {"xr": z.real, "xi": z.imag}, record="z").record["z"]
        for z in (start, turn * start)
    ]
    torch.testing.assert_close(runs[1], turn * runs[0], **TIGHT)


def test_the_historical_cell_stays_real(build):
    coupling = Projection("a", "a", nfsim.Nearest(3))
    z = build(network(CfC(omega=0.0, phase=0.0), coupling))(sequence(), record="z").record["z"]
    assert z.real.abs().max() > 0.1
    assert z.imag.abs().max() == 0


@settings(max_examples=20)
@given(st.data())
def test_the_parts_of_the_free_energy_are_a_surprise_and_a_divergence_of_complex_gaussians(data):
    values = st.floats(-2, 2)
    s, before, z = (torch.tensor(data.draw(st.lists(values, min_size=2, max_size=2)), dtype=F64) for _ in range(3))
    gain, v0 = data.draw(st.floats(1e-4, 1)), data.draw(st.floats(0.2, 3))
    accuracy, complexity = cell.free_energy(
        s[:, None], before[:, None], z[:, None], torch.tensor([gain], dtype=F64), v0
    )
    precision = max(gain, 1e-3)
    seen = torch.distributions.Normal(before, precision**-0.5)
    surprise = -seen.log_prob(s).sum() - math.log(2 * math.pi)  # the constant of two parts is left out
    belief, prior = torch.distributions.Normal(z, precision**-0.5), torch.distributions.Normal(0 * z, v0**0.5)
    divergence = torch.distributions.kl_divergence(belief, prior).sum()
    torch.testing.assert_close(accuracy.squeeze(), surprise, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(complexity.squeeze(), divergence, rtol=1e-9, atol=1e-9)


def test_the_recorded_free_energy_is_that_of_the_recorded_states_and_gains(build):
    model = build(network(CfC(prior_variance=0.5, drive="complex"), nfsim.Nucleus("n")))
    record = model(sequence(), record=("z", "steady", "gain", "energy_accuracy", "energy_complexity")).record
    parts = [torch.view_as_real(v).movedim(-1, -2) for v in (record["steady"], shifted(record["z"]), record["z"])]
    accuracy, complexity = cell.free_energy(*parts, record["gain"], 0.5)
    torch.testing.assert_close(record["energy_accuracy"], accuracy, **TIGHT)
    torch.testing.assert_close(record["energy_complexity"], complexity, **TIGHT)


def test_a_coupling_of_each_node_to_itself_alone_does_nothing_and_a_drive_does():
    def logits(*projection):
        net = Network("net").add(Input("x", 3), Population("a", 6), Readout("out", 2), Projection("x", "a"))
        model = CompiledModel(lower(net.add(*projection)), torch.float64)
        return model(torch.ones(1, 4, 3, dtype=torch.float64)).logits

    own = nfsim.OneToOne()
    assert torch.equal(logits(Projection("a", "a", own, learnable="none")), logits())
    assert not torch.allclose(logits(Projection("a", "a", own, kind="drive")), logits())
