"""What the scans compute, held to loops of complex steps, to exact solutions, and to each other."""

import numpy as np
import pytest
import torch

from nfsim.models.kernels import cfc_scan, gated_scan
from scans import (
    ORACLES,
    cfc_inputs,
    cfc_loop,
    gated_inputs,
    gated_loop,
    pairs,
    tracked,
    value_and_gradients,
)

close = torch.testing.assert_close
FLOAT32 = {"rtol": 2e-5, "atol": 2e-6}  # some 30 roundings of 6e-8 along ten steps of numbers around 1

EXACT, SIGMOID = {"gate": "exact"}, {"gate": "sigmoid"}
# Gate "exact" in float64 and "sigmoid" in float32; the other combinations of gate and precision are `slow`.
CASES = {
    "exact": (cfc_scan, cfc_inputs(2, 4, 3), EXACT),
    "exact, shared rates, own turns": (cfc_scan, cfc_inputs(2, 3, 2, each_rate=False, turn="each"), EXACT),
    "exact from 0, no limiter": (cfc_scan, cfc_inputs(1, 3, 3, turn=None, start=False), EXACT | {"amplitude": None}),
    "exact, one step, narrow limiter": (cfc_scan, cfc_inputs(2, 1, 2), EXACT | {"amplitude": 0.3}),
}
CASES32 = {
    "gated, float32": (gated_scan, gated_inputs(3, 9, 37, dtype=torch.float32), {}),
    "gated from 0, one step, float32": (gated_scan, gated_inputs(2, 1, 2, start=False, dtype=torch.float32), {}),
    "sigmoid": (cfc_scan, cfc_inputs(3, 9, 37, dtype=torch.float32), SIGMOID | {"amplitude": 0.7}),
    "sigmoid, own turns": (cfc_scan, cfc_inputs(3, 9, 50, turn="each", start=False, dtype=torch.float32), SIGMOID),
    "wide": (cfc_scan, cfc_inputs(1, 3, 300, dtype=torch.float32), SIGMOID),
}
SLOW = {
    f"{gate}, {dtype}": (cfc_scan, cfc_inputs(2, 3, 3, turn="each", dtype=dtype), {"gate": gate})
    for gate, dtype in [("none", torch.float64), ("sigmoid", torch.float64), ("exact", torch.float32)]
} | {
    "rates given": (cfc_scan, cfc_inputs(2, 4, 5, dtype=torch.float32), {}),
    "rates given, shared": (cfc_scan, cfc_inputs(3, 4, 4, each_rate=False, turn=None, dtype=torch.float32), {}),
    "gated": (gated_scan, gated_inputs(2, 4, 3), {}),
    "gated from 0, one step": (gated_scan, gated_inputs(2, 1, 2, start=False), {}),
    "gated, one node": (gated_scan, gated_inputs(1, 4, 1), {}),
}


def named(cases, **marks):
    return [pytest.param(*case, id=name, **marks) for name, case in cases.items()]


@pytest.mark.parametrize(("scan", "inputs", "options"), named(CASES | CASES32) + named(SLOW, marks=pytest.mark.slow))
@pytest.mark.parametrize("kernel", ["numba", "torch"])
def test_scan_equals_the_loop_of_complex_steps(scan, inputs, options, kernel):
    z = scan(**inputs, **options, kernel=kernel)
    tolerance = FLOAT32 if z.dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    wide = {name: None if x is None else x.double() for name, x in inputs.items()}
    close(z.double(), ORACLES[scan](**wide, **options), **tolerance)


@pytest.mark.parametrize(("scan", "inputs", "options"), named(CASES) + named(SLOW, marks=pytest.mark.slow))
@pytest.mark.parametrize("kernel", ["numba", "torch"])
@pytest.mark.parametrize("final", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradients_are_difference_quotients(scan, inputs, options, kernel, final):
    inputs = tracked({name: None if x is None else x.double() for name, x in inputs.items()})

    def run(*values):
        return scan(**dict(zip(inputs, values, strict=True)), **options, kernel=kernel, final=final)

    assert torch.autograd.gradcheck(run, tuple(inputs.values()))


@pytest.mark.parametrize(("scan", "inputs", "options"), named(CASES32) + named(SLOW, marks=pytest.mark.slow))
@pytest.mark.parametrize("final", [pytest.param(False, marks=pytest.mark.slow), True])
def test_gradients_in_float32_equal_those_of_torch_in_float64(scan, inputs, options, final):
    wide = {name: None if x is None else x.double() for name, x in inputs.items()}
    oracle = value_and_gradients(scan, wide, kernel="torch", final=final, **options)
    for x, exact in zip(value_and_gradients(scan, inputs, kernel="numba", final=final, **options), oracle, strict=True):
        close(x.double(), exact, rtol=1e-4, atol=1e-5)  # sums over samples and steps: some hundred roundings


def test_torch_kernel_is_differentiable_twice():
    inputs = tracked(cfc_inputs(2, 3, 2))
    assert torch.autograd.gradgradcheck(
        lambda *values: cfc_scan(*values, gate="sigmoid", kernel="torch"), tuple(inputs.values())
    )


def test_numba_kernel_refuses_to_be_differentiated_twice():
    inputs = tracked(gated_inputs(1, 2, 2, dtype=torch.float32))
    (slope,) = torch.autograd.grad(gated_scan(**inputs).sum(), inputs["b"], create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        slope.sum().backward()


def test_state_under_constant_input_nears_its_fixed_point_geometrically():
    """z_t = z* + a^t (z_0 - z*), with a = (1 - t) R and z* = t s / (1 - a)."""
    inputs = cfc_inputs(2, 40, 3, each_rate=False, start=True)
    inputs["v"] = inputs["v"][:, :1].expand(-1, 40, -1)
    s, t = pairs(inputs["v"])[:, :1], inputs["t"].numpy()
    s = s / np.sqrt(1 + np.abs(s) ** 2)
    a = (1 - t) * pairs(inputs["rotation"])
    fixed = t * s / (1 - a)
    steps = np.arange(1, 41)[None, :, None]
    exact = fixed + a**steps * (pairs(inputs["z0"])[:, None] - fixed)
    np.testing.assert_allclose(pairs(cfc_scan(**inputs, kernel="torch")), exact, rtol=1e-12)
    single = {name: x.float() for name, x in inputs.items()}
    np.testing.assert_allclose(pairs(cfc_scan(**single)), exact, rtol=1e-4, atol=1e-6)


def test_without_input_a_state_turns_and_keeps_its_modulus():
    angle = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    turn = torch.cat([angle.cos(), angle.sin()])
    start = torch.randn(2, 6, dtype=torch.float64)
    for dtype, rtol in ((torch.float64, 1e-12), (torch.float32, 200 * 2e-7)):  # in float32, the rounding of 200 turns
        kernel = "torch" if dtype == torch.float64 else "numba"
        a, b, z0 = turn.expand(2, 200, 6).to(dtype), torch.zeros(2, 200, 6, dtype=dtype), start.to(dtype)
        z = gated_scan(a, b, z0, kernel=kernel)
        np.testing.assert_allclose(pairs(z[:, -1]), pairs(start) * np.exp(200j * angle.numpy()), rtol=rtol)


def test_two_half_steps_of_the_exact_gate_are_one_step():
    q, v = torch.rand(1, 1, 4, dtype=torch.float64), torch.randn(1, 1, 8, dtype=torch.float64)
    whole = cfc_scan(v, q, gate="exact")
    halves = cfc_scan(v.expand(1, 2, 8), (q / 2).expand(1, 2, 4), gate="exact")
    close(halves[:, -1], whole[:, -1])


def test_cfc_is_a_gated_scan_of_its_decay_and_its_steady_state():
    inputs = cfc_inputs(3, 8, 5, turn="each")
    rate = inputs["t"].repeat(1, 1, 2)
    v = pairs(inputs["v"])
    s = torch.from_numpy(np.concatenate([x / np.sqrt(1 + np.abs(v) ** 2) for x in (v.real, v.imag)], -1))
    expected = gated_scan((1 - rate) * inputs["rotation"], rate * s, inputs["z0"])
    close(cfc_scan(**inputs, kernel="torch"), expected)


@pytest.mark.parametrize("scan", [gated_scan, cfc_scan])
def test_a_sequence_may_be_cut_anywhere(scan):
    inputs = (gated_inputs if scan is gated_scan else cfc_inputs)(2, 11, 5, dtype=torch.float32)
    timed = {name for name, x in inputs.items() if x.ndim == 3}
    first = {name: x[:, :4] if name in timed else x for name, x in inputs.items()}
    rest = {name: x[:, 4:] if name in timed else x for name, x in inputs.items()}
    rest["z0"] = scan(**first, final=True)
    assert torch.equal(torch.cat([scan(**first), scan(**rest)], 1), scan(**inputs))


@pytest.mark.parametrize("scan", [gated_scan, cfc_scan])
@pytest.mark.parametrize("kernel", ["numba", "torch"])
def test_final_state_is_the_last_one_in_value_and_gradient(scan, kernel):
    inputs = tracked((gated_inputs if scan is gated_scan else cfc_inputs)(2, 6, 5, dtype=torch.float32))
    wanted = list(inputs.values())
    last, final = scan(**inputs, kernel=kernel)[:, -1], scan(**inputs, kernel=kernel, final=True)
    assert torch.equal(last, final)
    for x, y in zip(*(torch.autograd.grad(z.sin().sum(), wanted) for z in (last, final)), strict=True):
        close(x, y)
    with torch.no_grad():
        assert torch.equal(scan(**inputs, kernel=kernel, final=True), final)


def test_sigmoid_inside_is_accurate_to_float32():
    q = torch.linspace(-65, 100, 40_001)
    t = cfc_scan(torch.cat([torch.ones_like(q), torch.zeros_like(q)])[None, None], q, amplitude=None, gate="sigmoid")
    exact = torch.sigmoid(q.double())
    assert ((t[0, 0, : len(q)] - exact) / exact).abs().max() < 3e-7


@pytest.mark.slow
def test_exact_gate_does_not_cancel_for_small_rates():
    q = torch.logspace(-29, 2, 10_001)
    t = cfc_scan(torch.cat([torch.ones_like(q), torch.zeros_like(q)])[None, None], q, amplitude=None, gate="exact")
    exact = -torch.expm1(-q.double())
    assert ((t[0, 0, : len(q)] - exact) / exact).abs().max() < 3e-7


def test_what_has_decayed_is_zero_and_not_subnormal():
    v = torch.zeros(1, 400, 4).requires_grad_()
    z = cfc_scan(v, torch.full((2,), 0.5), z0=torch.ones(1, 4))
    z[:, -1].sum().backward()
    assert z[0, 90].gt(0).all()
    assert z[0, 120:].eq(0).all()
    assert v.grad[0, 350].gt(0).all()
    assert v.grad[0, :250].eq(0).all()


def test_a_number_that_is_none_stays_in_its_sample_and_node():
    inputs = cfc_inputs(3, 5, 20, dtype=torch.float32)
    inputs["v"][1, 2, 7] = float("nan")
    z = cfc_scan(**inputs, gate="sigmoid")
    bad = z.isnan()
    assert bad[1, 2:, [7, 27]].all()
    assert bad.sum() == 2 * 3


def test_oracles_agree_where_their_equations_meet():
    inputs = cfc_inputs(2, 4, 3, each_rate=False, start=True)
    a = (1 - inputs["t"]).repeat(2) * inputs["rotation"]
    b = cfc_scan(inputs["v"][:, :, :], torch.ones(3, dtype=torch.float64), kernel="torch") * inputs["t"].repeat(2)
    close(cfc_loop(**inputs), gated_loop(a.expand(2, 4, 6), b, inputs["z0"]))
