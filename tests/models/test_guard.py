"""The guard: the first state that is not finite is named, whatever kernel computed it."""

import pytest
import torch

import nfsim
from nfsim import CfC, Input, Nearest, Network, Population, Projection, Readout


def network(*parts: object, **dynamics: object) -> Network:
    net = Network("net", ticks=2)
    net.add(Input("x", 3), Population("a", 6, dynamics=CfC(**dynamics)), Readout("out", 2))
    return net.add(Projection("x", "a"), *parts)


# a scan, the fused loop, and the plain loop: clamp acts on the updated state, which no kernel fuses
NETWORKS = {
    "cfc_scan": network(),
    "cfc_loop": network(Projection("a", "a", Nearest(2))),
    "ticks": network(Projection("a", "a", Nearest(2)), limiter="clamp"),
}
KERNELS = ["cfc_scan", "ticks", pytest.param("cfc_loop", marks=pytest.mark.slow)]  # seconds to compile in float32


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_guard_names_the_node_and_the_step_of_the_first_value_that_is_not_finite(kernel, backend):
    model = nfsim.compile(NETWORKS[kernel], device="cpu", backend=backend)
    assert kernel in model.explain() or kernel == "ticks"
    dtype = next(model.parameters()).dtype
    x = torch.zeros(3, 5, 3, dtype=dtype)
    # finite where it enters; its product with a weight of 1e30 is not, and only node 4 of sample 1 meets it at step 2
    x[1, 2, 0] = 1e30 if backend == "torch" else 1e300
    with torch.no_grad():
        weight = model.values["x->a:a:weight"].zero_()
        weight.view(6, -1, 3)[4, :, 0] = 1e30 if backend == "torch" else 1e300
    assert torch.isfinite(x).all()
    model(x)  # off by default
    model.guard = True
    with pytest.raises(FloatingPointError, match=r"a: node 4 is not finite after step 2 \(tick 0 of it\) of sample 1"):
        model(x)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_guarded_model_gives_the_same_numbers(kernel):
    plain, guarded = (nfsim.compile(NETWORKS[kernel], device="cpu", guard=guard) for guard in (False, True))
    x = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    for lengths in (None, torch.tensor([5, 1, 3])):
        assert torch.equal(plain(x, lengths=lengths).logits, guarded(x, lengths=lengths).logits)


def test_a_guard_that_is_neither_on_nor_off_is_refused():
    with pytest.raises(nfsim.BuildError, match="guard 'yes'"):
        nfsim.compile(NETWORKS["cfc_scan"], guard="yes")
