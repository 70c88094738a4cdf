"""Measurements follow the laws of networks that can be solved by hand."""

import math

import pytest
import torch

import nfsim
from nfsim.data.arrays import Arrays
from nfsim.studies.measures import MEASURES

STEPS = 6


def one_population(**dynamics) -> torch.nn.Module:
    """A population that nothing but its own decay acts on, read at the last step."""
    net = nfsim.Network("alone", seed=1)
    cell = nfsim.CfC(**{"rate": "exact", "omega": 0.0, "limiter": "none", "gain": ()} | dynamics)
    net.add(nfsim.Input("in", 3), nfsim.Population("area", 5, dynamics=cell), nfsim.Readout("out", 2))
    net.connect("in", "area")
    return nfsim.compile(net, device="cpu")


@pytest.fixture
def data():
    """Eight samples of six equal steps each."""
    x = torch.randn(8, 1, 3, generator=torch.Generator().manual_seed(0)).expand(8, STEPS, 3).numpy()
    target = (torch.arange(8) % 2).numpy()
    return Arrays(train=(x, target), validation=(x, target), test=(x, target), labels=("0", "1"))


def values(name, model, data) -> list[float]:
    return [value for _, value in MEASURES[name](model, data)]


def decay(model) -> torch.Tensor:
    """exp(-lambda dt / tau) of each node."""
    (raw,) = (p for name, p in model.named_parameters() if name.endswith(":rate"))
    ((dynamics),) = (p.dynamics for p in model.network.flat.populations.values())
    return torch.exp(-torch.nn.functional.softplus(raw.detach()) / dynamics.tau)


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.5, 2.0, 20.0])
def test_memory_falls_by_what_an_update_forgets(tau, data):
    model = one_population(tau=tau)
    forgotten = decay(model)
    assert forgotten.std() < 1e-6, "all nodes start alike, so that one rate describes them"
    found = values("memory", model, data)
    assert len(found) == STEPS
    for k in range(STEPS):
        assert found[k] == pytest.approx(found[0] * float(forgotten[0]) ** k, rel=1e-4)


@pytest.mark.slow
def test_memory_of_a_rotating_state_falls_alike(data):
    """Rotation turns the gradient and keeps its norm: after a full turn nothing of it is left."""
    model = one_population(tau=2.0, omega=2 * math.pi / 5)
    found = values("memory", model, data)
    assert found[5] == pytest.approx(found[0] * float(decay(model)[0]) ** 5, rel=1e-4)


def test_amplitude_rises_towards_the_drive_as_the_closed_form_says(data):
    model = one_population(tau=4.0)
    found = values("amplitude", model, data)
    kept = float(decay(model)[0])
    for k in range(1, STEPS + 1):
        assert found[k - 1] / found[0] == pytest.approx((1 - kept**k) / (1 - kept), rel=1e-4)


@pytest.mark.parametrize("bound", [0.1, 1.0])
def test_no_peak_is_above_the_limit_and_none_below_the_mean(bound, data):
    model = one_population(limiter="amplitude", amplitude=bound, tau=0.5)
    peaks, means = values("peak", model, data), values("amplitude", model, data)
    assert all(mean <= peak <= bound for mean, peak in zip(means, peaks, strict=True))


@pytest.mark.parametrize("rate", ["sigmoid", pytest.param("exact", marks=pytest.mark.slow)])
def test_a_saturated_rate_has_no_gradient(rate, data):
    open_, shut = (one_population(rate=rate, bias=0.0, tau=tau) for tau in (1.0, 0.01))
    assert values("rate_gradient", open_, data)[0] > 0
    assert values("rate_gradient", shut, data)[0] < 1e-6 * values("rate_gradient", open_, data)[0]


def test_the_norm_of_the_gradient_is_that_of_the_mean_loss(data):
    model = one_population()
    x, target, _ = data.samples("validation")
    torch.nn.functional.cross_entropy(model(x).logits, target).backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    assert values("gradient", model, data)[0] == pytest.approx(norm, rel=1e-5)


def test_measuring_leaves_the_model_as_it_is(data):
    model = one_population()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name in MEASURES:
        values(name, model, data)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
