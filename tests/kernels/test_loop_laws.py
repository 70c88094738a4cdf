"""What the loop computes, held to complex numpy, to finite differences, to exact solutions, and to itself."""

import pytest
import torch

from loops import gradients, learned, loop_in_numpy, loop_inputs, run
from nfsim.models.kernels import LoopCoupling, cfc_loop

# The models' tests hold the same kernel to the reference; these look at it by itself, and compile it for both dtypes.
pytestmark = pytest.mark.slow

close = torch.testing.assert_close
FLOAT64 = {"rtol": 1e-11, "atol": 1e-12}  # a few ten roundings of 1e-16, in sums of up to some hundred terms
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}

CASES = {
    "all parts": {},
    "drive alone": {"thalamus": False, "coupling": False, "rotation": "none", "dt": "one", "limited": False},
    "coupling alone": {"thalamus": False, "dt": "one"},
    "thalamus alone": {"coupling": False, "rotation": "each"},
    "exact gate": {"exact": True, "rotation": "each"},
    "a rotation for each tick": {"rotation": "each", "relayed": "shared", "shift": False},
    "no feedback, nothing read": {"feedback": False, "R": 0, "places": "all"},
    "means without feedback": {"feedback": False, "P": 0, "R": 3},
    "gain nowhere": {"places": "none"},
    "one node, one tick": {"N": 1, "T": 1, "K": 1, "R": 2, "E": 1},
    "more samples than a tile": {"B": 21, "N": 9, "E": 30, "R": 3},
    "tiles of nodes too few for a line": {"B": 17, "N": 2, "E": 3, "rotation": "each"},
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def inputs(request):
    return loop_inputs(**request.param)


@pytest.mark.parametrize("kernel", ["torch", "numba"])
def test_states_are_those_of_complex_arithmetic(inputs, kernel):
    close(run(inputs, kernel=kernel), torch.from_numpy(loop_in_numpy(inputs)), **FLOAT64)


def test_kernel_has_the_gradients_of_plain_torch(inputs):
    z, found = gradients(inputs, kernel="numba")
    expected, wanted = gradients(inputs, kernel="torch")
    close(z, expected, **FLOAT64)
    close(found, wanted, **FLOAT64)


def test_kernel_agrees_with_plain_torch_in_float32(inputs):
    narrow = {k: x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for k, x in inputs.items()}
    z, found = gradients(narrow, kernel="numba")
    expected, wanted = gradients(inputs, kernel="torch")
    close(z, expected.float(), **FLOAT32)
    close(found, {k: g.float() for k, g in wanted.items()}, **FLOAT32)


@pytest.mark.parametrize("case", ["all parts", "thalamus alone", "exact gate", "no feedback, nothing read"])
def test_gradients_are_finite_differences(case):
    inputs = loop_inputs(**CASES[case])
    names = learned(inputs)
    leaves = [inputs[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(lambda *x: run(inputs | dict(zip(names, x, strict=True)), kernel="numba"), leaves)


def test_a_large_float32_loop_agrees_with_float64():
    inputs = loop_inputs(B=20, T=6, N=150, K=4, P=3, R=3, E=900)
    narrow = {k: x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for k, x in inputs.items()}
    z, found = gradients(narrow, kernel="numba")
    expected, wanted = gradients(inputs, kernel="numba")
    close(z, expected.float(), **FLOAT32)
    for name, gradient in wanted.items():
        scale = gradient.abs().max()
        close(found[name] / scale, (gradient / scale).float(), rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_last_state_alone_has_the_value_and_the_gradients_of_the_last_state(inputs):
    names = learned(inputs)
    leaves = {name: inputs[name].requires_grad_() for name in names}
    last, z = run(inputs | leaves, final=True), run(inputs | leaves)
    close(last, z[:, -1], rtol=0, atol=0)
    pairs = (torch.autograd.grad((x**2).sum(), list(leaves.values()), allow_unused=True) for x in (last, z[:, -1]))
    for one, other in zip(*pairs, strict=True):
        close(one, other, rtol=0, atol=0)


def test_samples_do_not_know_of_each_other():
    inputs = loop_inputs(B=19, T=3, N=6, R=2, rotation="each")
    each = ("u", "z0", "dt", "rotation", "relayed", "shift")
    z = run(inputs, kernel="numba")
    order = torch.randperm(19, generator=torch.Generator().manual_seed(0))
    close(run(inputs | {k: inputs[k][order] for k in each}, kernel="numba"), z[order], rtol=0, atol=0)
    for b in (0, 7, 18):
        close(run(inputs | {k: inputs[k][b : b + 1] for k in each}, kernel="numba"), z[b : b + 1], rtol=0, atol=0)
    bad = inputs["u"].clone()
    bad[4] = torch.nan
    spoiled = run(inputs | {"u": bad}, kernel="numba")
    others = torch.arange(19) != 4
    close(spoiled[others], z[others], rtol=0, atol=0)
    assert spoiled[4].isnan().any()


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr("nfsim.models.kernels._loop_numba._SMALL", 0)
    inputs, before, results = loop_inputs(B=41, T=3, N=7), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(gradients(inputs, kernel="numba"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        close(other, results[0], rtol=0, atol=0)


def test_tick_by_tick_gives_the_states_of_the_sequence():
    inputs = loop_inputs(T=5, rotation="each")
    z, whole = inputs["z0"], run(inputs, kernel="numba")
    for t in range(5):
        now = {k: inputs[k][:, t : t + 1] for k in ("u", "dt", "rotation", "relayed", "shift")}
        z = run(inputs | now | {"z0": z}, final=True, kernel="numba")
        close(z, whole[:, t], rtol=0, atol=0)


def test_two_half_ticks_of_the_exact_gate_are_one_tick():
    inputs = loop_inputs(T=1, thalamus=False, coupling=False, exact=True, rotation="none", dt="one")
    once = run(inputs | {"dt": 1.0}, final=True, kernel="numba")
    twice = run(inputs | {"u": inputs["u"].expand(-1, 2, -1), "dt": 0.5}, final=True, kernel="numba")
    close(twice, once, **FLOAT64)


def test_diffusive_coupling_leaves_a_uniform_state_alone():
    N, weight = 12, torch.full((24,), 0.3)
    ring = torch.arange(N).repeat_interleave(2) + torch.tensor([-1, 1]).repeat(N)
    coupling = LoopCoupling(torch.arange(N + 1) * 2, ring % N, weight, torch.full((N,), 0.6))
    start = torch.cat([torch.full((1, N), 0.8), torch.full((1, N), -0.4)], -1)
    drift = cfc_loop(start[:, None].expand(1, 9, -1) * 0, start, rate=torch.full((N,), -1e3), coupling=coupling)
    close(drift, start[:, None].expand(1, 9, -1))
    F = cfc_loop(torch.zeros(1, 1, 2 * N), start, rate=torch.full((N,), 1e3), coupling=coupling)
    close(F, torch.zeros(1, 1, 2 * N), rtol=0, atol=1e-7)


def test_gain_that_acts_nowhere_has_no_gradient_at_all():
    _, found = gradients(loop_inputs(places="none"), kernel="numba")
    for name in ("relayed", "from_means", "inhibition", "feedback", "shift"):
        assert not found[name].any(), name


def test_far_limits_of_gates_and_limiter_stay_finite_in_float32():
    inputs = loop_inputs(dtype=torch.float32, B=3)
    for name in ("relayed", "bias", "u"):
        inputs[name] = inputs[name] * 1e3
    z, found = gradients(inputs, kernel="numba")
    assert z.isfinite().all()
    assert all(g.isfinite().all() for g in found.values())


@pytest.mark.slow
def test_a_cortex_of_full_size_agrees_with_plain_torch():
    inputs = loop_inputs(B=33, T=28, N=649, K=8, P=8, R=3, E=8100, places="all", relayed="each")
    inputs["weight"], inputs["degree"] = inputs["weight"] / 12, inputs["degree"] / 12
    inputs["feedback"] = inputs["feedback"] / 25
    z, found = gradients(inputs, kernel="numba")
    expected, wanted = gradients(inputs, kernel="torch")
    close(z, expected, **FLOAT64)
    for name, gradient in wanted.items():
        scale = gradient.abs().max()
        assert ((found[name] - gradient) / scale).abs().max() < 1e-10, name
