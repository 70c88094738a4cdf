"""The fused scan of gated nodes, and the gain by itself, are their parts run one after the other in torch."""

import pytest
import torch

from nfsim.models.kernels import node_gain, routed_scan

DOUBLE = {"dtype": torch.float64}
B, T, N, K = 3, 4, 19, 2


def scan_inputs(gate, seed=0):
    r = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=r, **DOUBLE)

    inputs = {
        "v": normal(B, T, 2 * N),
        "query": normal(B, T, K, 3),
        "shift": normal(B, T, K),
        "positions": normal(3, N),
        "share": normal(K, N).abs(),
        "lam": normal(N).abs(),
        "bias": normal(N) if gate == "sigmoid" else None,
        "rotation": normal(2 * N),
        "z0": normal(B, 2 * N),
    }
    learned = {k: x.requires_grad_() for k, x in inputs.items() if x is not None and k not in ("positions", "share")}
    return inputs, learned


def value_and_gradients(function, inputs, learned, **options):
    out = function(**inputs, **options)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), **DOUBLE)
    return [out, *torch.autograd.grad((out * weight).sum(), list(learned.values()))]


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("gate", ["sigmoid", pytest.param("exact", marks=pytest.mark.slow)])
def test_the_fused_scan_is_gain_gate_and_scan_in_turn(gate, final):
    inputs, learned = scan_inputs(gate)
    options = {"amplitude": 0.7, "gate": gate, "final": final}
    fused = value_and_gradients(routed_scan, inputs, learned, **options)
    plain = value_and_gradients(routed_scan, inputs, learned, **options, kernel="torch")
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_without_rotation_start_or_limit_it_is_the_same_too():
    inputs, learned = scan_inputs("sigmoid")
    inputs |= {"rotation": None, "z0": None, "amplitude": None}
    learned = {k: x for k, x in learned.items() if k not in ("rotation", "z0")}
    fused = value_and_gradients(routed_scan, inputs, learned)
    for a, b in zip(fused, value_and_gradients(routed_scan, inputs, learned, kernel="torch"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("numbers", [3, 5])
def test_the_gain_is_the_mean_of_sigmoids_of_queries_times_keys(numbers):
    r = torch.Generator().manual_seed(0)
    query, shift = torch.randn(6, K, numbers, generator=r, **DOUBLE), torch.randn(6, K, generator=r, **DOUBLE)
    z = torch.randn(6, 2, N, generator=r, **DOUBLE) if numbers == 5 else None
    positions, share = torch.randn(3, N, generator=r, **DOUBLE), torch.rand(K, N, generator=r, **DOUBLE)
    leaves = [x.requires_grad_() for x in (query, shift, z) if x is not None]
    keys = positions.expand(6, 3, N) if z is None else torch.cat([z, positions.expand(6, 3, N)], dim=1)
    expected = (torch.sigmoid(query @ keys + shift[..., None]) * share).sum(1)
    assert torch.autograd.gradcheck(
        lambda *x: node_gain(*x[:2], x[2] if z is not None else None, positions, share), leaves
    )
    torch.testing.assert_close(node_gain(query, shift, z, positions, share), expected, rtol=1e-12, atol=1e-12)


def test_the_operators_keep_torch_s_rules():
    inputs, _ = scan_inputs("sigmoid")
    torch.library.opcheck(torch.ops.nfsim.routed_scan.default, (*inputs.values(), 1.0, "sigmoid", True, "numba"))


def test_inputs_that_do_not_fit_are_refused():
    inputs, _ = scan_inputs("sigmoid")
    with pytest.raises(ValueError, match=r"routed_scan: lam has shape \[3\]; it must be \[19\]"):
        routed_scan(**inputs | {"lam": torch.ones(3, **DOUBLE)})
    with pytest.raises(ValueError, match=r"gate 'exact' with bias True; give a bias to 'sigmoid', none to 'exact'"):
        routed_scan(**inputs, gate="exact")
    with pytest.raises(ValueError, match=r"node_gain: query has shape \[2, 2\]; it must be \[R, K, 3\]"):
        node_gain(torch.ones(2, 2), torch.ones(2, 2), None, torch.ones(3, N), torch.ones(2, N))
