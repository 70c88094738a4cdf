"""One declaration, two executions: the compiled network is the reference in value and in gradient."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import networks
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.models.model import RECORDABLE
from nfsim.models.reference import ReferenceModel
from nfsim.regions import presets

SMALL = settings(networks.SETTINGS, max_examples=20)
LARGE = settings(SMALL, max_examples=80)

# Both run in float64. A call adds up to ten ticks of a few hundred products each of order one, so that rounding stays
# below 1e-12; the gradient passes 1/sqrt(1e-5) where a silent source is normalised, hence 1e-9.
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def outputs(model, call):
    """Everything that a call returns, by name."""
    out = model(call["x"], call["state"], dt=call["dt"], lengths=call["lengths"], record=RECORDABLE)
    return {"logits at the end": out.logits, **out.state, **out.record}


def stays_bounded(values):
    """Whether a network settles: without a limiter, a coupling that is strong for its step diverges in both alike."""
    return all(bool((value.abs() < 1e6).all()) for value in values.values())


def random_sum(values):
    """A scalar that feels every entry of the values, the same for equal shapes."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for value in values.values():
        real = torch.view_as_real(value) if value.is_complex() else value
        total = total + (real * torch.randn(real.shape, generator=generator, dtype=torch.float64)).sum()
    return total


def check_agreement(net, call, seed):
    net.check()
    program = lower(net)
    compiled, reference = CompiledModel(program, torch.float64), ReferenceModel(program)
    networks.perturb(compiled, seed)
    reference.load_state_dict(compiled.state_dict())
    gradients = {}
    results = {}
    for name, model in (("compiled", compiled), ("reference", reference)):
        x = call["x"].clone().requires_grad_()
        state = call["state"] and {k: v.clone().requires_grad_() for k, v in call["state"].items()}
        results[name] = outputs(model, call | {"x": x, "state": state})
        leaves = {"x": x, **(state or {}), **dict(model.named_parameters())}
        grads = torch.autograd.grad(random_sum(results[name]), list(leaves.values()), allow_unused=True)
        gradients[name] = {
            k: torch.zeros_like(leaf) if g is None else g for (k, leaf), g in zip(leaves.items(), grads, strict=True)
        }
    assume(stays_bounded(results["reference"]))
    for kind in (results, gradients):
        assert kind["compiled"].keys() == kind["reference"].keys()
        for name, expected in kind["reference"].items():
            torch.testing.assert_close(
                kind["compiled"][name],
                expected,
                **EXACT,
                msg=lambda text, name=name: f"{name}: {text}\n{net.to_json()}",
            )


@SMALL
@given(data=st.data(), net=networks.networks())
def test_compiled_networks_are_the_reference_in_value_and_gradient(data, net):
    check_agreement(net, data.draw(networks.calls(net)), data.draw(st.integers(0, 99)))


@pytest.mark.slow
@LARGE
@given(data=st.data(), net=networks.networks())
def test_many_compiled_networks_are_the_reference_in_value_and_gradient(data, net):
    check_agreement(net, data.draw(networks.calls(net)), data.draw(st.integers(0, 99)))


def check_single_precision(data, net):
    """Rounding of 6e-8 in sums of a few dozen terms over up to twelve ticks; in 300 networks 1e-6 was seen."""
    call = data.draw(networks.calls(net))
    program = lower(net)
    single, reference = CompiledModel(program), ReferenceModel(program)
    networks.perturb(single, data.draw(st.integers(0, 99)))
    reference.load_state_dict(single.state_dict())
    call["x"] = call["x"].float()
    call["state"] = call["state"] and {name: value.float() for name, value in call["state"].items()}
    found, expected = (outputs(model, call) for model in (single, reference))
    assume(stays_bounded(expected))
    for name, value in expected.items():
        assert found[name].dtype in (torch.float32, torch.complex64), name
        largest = max(1.0, value.abs().max().item()) if value.numel() else 1.0
        torch.testing.assert_close(found[name].to(value), value, rtol=0, atol=2e-5 * largest)


@settings(SMALL, max_examples=12)
@given(data=st.data(), net=networks.networks())
def test_in_float32_a_network_is_the_reference_to_single_precision(data, net):
    check_single_precision(data, net)


@pytest.mark.slow
@settings(SMALL, max_examples=50)
@given(data=st.data(), net=networks.networks())
def test_in_float32_many_networks_are_the_reference_to_single_precision(data, net):
    check_single_precision(data, net)


@pytest.mark.parametrize("preset", [presets.hierarchy, presets.thalamocortical])
def test_in_float32_the_gradients_of_the_presets_are_those_of_the_reference(preset):
    """Sums over 16 steps of products of order one: an error of 1e-4 of the largest entry leaves training unchanged."""
    sizes = {"sensory": 12, "prefrontal": 16, "motor": 10, "nuclei": 2, "neighbours": 3}
    program = lower(preset(6, 5, **sizes, bias=-1.0))
    single, reference = CompiledModel(program), ReferenceModel(program)
    reference.load_state_dict(single.state_dict())
    x = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(0))
    for model in (single, reference):
        torch.nn.functional.cross_entropy(model(x).logits, torch.tensor([0, 1, 4])).backward()
    for (name, a), b in zip(single.named_parameters(), reference.parameters(), strict=True):
        error, largest = (a.grad - b.grad).abs().max().item(), b.grad.abs().max().item()
        assert error <= 1e-4 * largest + 1e-7, name
        assert largest > 0, name
