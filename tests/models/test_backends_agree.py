"""One declaration, two executions: the compiled network is the reference in value and in gradient."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import networks
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.models.model import RECORDABLE
from nfsim.models.reference import ReferenceModel

SMALL = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
LARGE = settings(SMALL, max_examples=600)

# Both run in float64. A call adds up to ten ticks of a few hundred products each of order one, so that rounding stays
# below 1e-12; the gradient passes 1/sqrt(1e-5) where a silent source is normalised, hence 1e-9.
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def outputs(model, call):
    """Everything that a call returns, by name."""
    out = model(call["x"], call["state"], dt=call["dt"], lengths=call["lengths"], record=RECORDABLE)
    return {"logits at the end": out.logits, **out.state, **out.record}


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
