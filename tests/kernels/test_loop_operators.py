"""The loop as a torch operator, what it refuses, and the lanes that its kernel is made of."""

import numba
import numpy as np
import pytest
import torch

from loops import gradients, loop_inputs, run
from nfsim.models.kernels import _loop_operators as operators
from nfsim.models.kernels import cfc_loop, loop

close = torch.testing.assert_close


def arguments(**options):
    """What the operator gets for `loop_inputs(**options)`."""
    caught = []

    def catch(*values):
        caught.append(values)
        return operators.loop(*values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "loop", catch)
        run(loop_inputs(**options), kernel="numba")
    return caught[0]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"thalamus": False, "coupling": False, "rotation": "none"}])
def test_operator_keeps_the_rules_of_torch(options):
    *values, _ = arguments(B=1, T=2, **options)
    grad = [x.requires_grad_() if n in operators.GRADIENTS and x is not None else x
            for n, x in zip(operators.Arguments._fields, values, strict=True)]  # fmt: skip
    torch.library.opcheck(operators.loop, (*grad, True))
    z = torch.randn(1, 2, 6, dtype=torch.float64)
    detached = [x.detach() if isinstance(x, torch.Tensor) else x for x in values]
    for wanted in ([True, True, True], [False, False, False]):
        wanted = [w and detached[operators.Arguments._fields.index(n)] is not None
                  for w, n in zip(wanted, operators.COSTLY, strict=True)]  # fmt: skip
        torch.library.opcheck(operators.loop_backward, (z, None, z, wanted, *detached))


@pytest.mark.parametrize("final", [False, True])
def test_compiled_whole_it_has_the_same_values_and_gradients(final):
    inputs = loop_inputs(rotation="each")

    def total(u, weight):
        return run(inputs | {"u": 2 * u, "weight": weight}, final=final).square().sum()

    torch._dynamo.reset()
    found = []
    for function in (total, torch.compile(total, fullgraph=True, backend="aot_eager")):
        u, weight = inputs["u"].clone().requires_grad_(), inputs["weight"].clone().requires_grad_()
        value = function(u, weight)
        found.append((value.detach(), *torch.autograd.grad(value, [u, weight])))
    close(found[1], found[0])


@pytest.mark.slow
def test_plain_torch_compiles_whole_and_differentiates_twice():
    inputs = loop_inputs(T=2)
    u = inputs["u"].requires_grad_()
    torch._dynamo.reset()
    compiled = torch.compile(lambda u: run(inputs | {"u": u}, kernel="torch"), fullgraph=True, backend="eager")
    close(compiled(u), run(inputs, kernel="numba"))
    assert torch.autograd.gradgradcheck(lambda u: run(inputs | {"u": u}, kernel="torch"), [u])


@pytest.mark.slow
def test_sixteen_bits_are_read_as_float32():
    inputs = loop_inputs(dtype=torch.float32)
    inputs["u"] = inputs["u"].bfloat16()
    z = run(inputs)
    assert z.dtype == torch.float32
    close(z, run(inputs | {"u": inputs["u"].float()}), rtol=0, atol=0)


def test_only_the_gradients_that_are_asked_for_are_given():
    inputs = loop_inputs()
    inputs["degree"].requires_grad_()
    (degree,) = torch.autograd.grad(run(inputs, kernel="numba").sum(), [inputs["degree"]])
    _, found = gradients(inputs | {"degree": inputs["degree"].detach()}, kernel="numba")
    assert degree.shape == found["degree"].shape
    assert degree.any()


def changed(**new):
    return lambda inputs: inputs | {k: f(inputs[k]) for k, f in new.items()}


REFUSED = {
    "cfc_loop: u has shape .* must be .batch, time, 2 node.": changed(u=lambda u: u[0]),
    r"cfc_loop: z0 has shape \[1, 6\]; it must be \[2, 6\]": changed(z0=lambda z: z[:1]),
    r"cfc_loop: rate has shape \[2\]; it must be \[3\]": changed(rate=lambda x: x[:2]),
    "cfc_loop: gate 'open' is not known; choose from": changed(gate=lambda _: "open"),
    "cfc_loop: the exact gate has no bias; leave it out": changed(gate=lambda _: "exact"),
    r"cfc_loop: dt has shape \[2\]; it must be \[2, 2\]": changed(dt=lambda x: x[0]),
    "cfc_loop: dt -1.0 is not a duration; give a number above 0": changed(dt=lambda _: -1.0),
    r"cfc_loop: inhibition has shape \[2\]; it must be \[K, P\]": changed(inhibition=lambda x: x[:, 0]),
    r"cfc_loop: ranges has shape \[2\]; it must be \[R, 2\]": changed(ranges=lambda x: x[0]),
    r"cfc_loop: relayed has shape \[2, 2, 10\]; .* C = 11: five for each of 2 nuclei": changed(
        relayed=lambda x: x[..., 1:]
    ),
    r"cfc_loop: from_means has shape \[11, 2\]; it must be \[11, 3\]": changed(from_means=lambda x: x[:, 1:]),
    r"cfc_loop: at_drive has dtype torch.float64; it must be torch.bool": changed(at_drive=lambda x: x.double()),
    r"cfc_loop: ranges has dtype torch.float64; it must be torch.int64": changed(ranges=lambda x: x.double()),
    "cfc_loop: ranges .* are not all parts of the 3 nodes; give pairs": changed(ranges=lambda x: x + 3),
    "cfc_loop: indptr does not rise from 0 to the 5 edges": changed(indptr=lambda x: x + 1),
    "cfc_loop: indices from 3 to . are not all within the 3 nodes": changed(indices=lambda x: 3 + x),
    r"cfc_loop: weight has shape \[4\]; it must be \[5\]": changed(weight=lambda x: x[1:]),
    "cfc_loop: limit needs a gradient, and kernel 'numba' has none; detach it": changed(
        limit=lambda x: x.requires_grad_()
    ),
    "cfc_loop: inputs are on cpu and meta; move them to one device": changed(rate=lambda x: x.to("meta")),
    "cfc_loop: indices is on meta and u on cpu; move them": changed(indices=lambda x: x.to("meta")),
    "cfc_loop: dtype torch.complex128 is not a real floating type": changed(u=lambda x: x + 0j),
}


@pytest.mark.parametrize(("message", "change"), REFUSED.items())
def test_what_cannot_run_is_refused_with_the_cure(message, change):
    with pytest.raises((ValueError, TypeError), match=message):
        run(change(loop_inputs()), kernel="numba")


@pytest.mark.parametrize("kernel", ["triton", "fast"])
def test_kernels_that_do_not_exist_are_refused(kernel):
    with pytest.raises(ValueError, match=f"cfc_loop: (there is no Triton kernel|kernel '{kernel}' is not known)"):
        cfc_loop(torch.zeros(1, 1, 2), rate=torch.ones(1), kernel=kernel)


def test_states_that_were_not_kept_have_no_gradient():
    *values, _ = arguments()
    values[0].requires_grad_()
    with pytest.raises(RuntimeError, match="were not kept"):
        operators.loop(*values, False)[1].sum().backward()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_compute_what_numpy_computes(dtype):
    from nfsim.models.kernels import _loop_numba_arithmetic as arithmetic
    from nfsim.models.kernels import _loop_numba_lanes as lanes

    @numba.njit
    def compute(x, square, out, count):
        lanes.transpose(square, 0, count, out[6], 0, count)
        lanes.store(out[7], 0, lanes.fold(square, 0))
        for i in range(x.size // count):
            q = lanes.load(x, i)
            e, rest = arithmetic.decay(q)
            lanes.store(out[0], i, e)
            lanes.store(out[1], i, rest)
            lanes.store(out[2], i, arithmetic.reciprocal(1 + e))
            lanes.store(out[3], i, arithmetic.inverse_root(1 + q * q))
            lanes.store(out[4], i, arithmetic.if_above(q, 0.5, 2 - q, q / 4))
            lanes.store(out[5], i, arithmetic.flush(q * 1e-32))

    eps, count = np.finfo(dtype).eps, 64 // np.dtype(dtype).itemsize
    x = np.random.default_rng(0).normal(size=64 * count).astype(dtype) * np.logspace(-3, 1.4, 64 * count, dtype=dtype)
    square = np.arange(count * count, dtype=dtype)
    out = tuple(np.zeros_like(square if i > 5 else x) for i in range(8))
    compute(x, square, out, count)
    exact = x.astype(np.longdouble)
    expected = (np.exp(-exact), -np.expm1(-exact), 1 / (1 + np.exp(-exact)), 1 / np.sqrt(1 + exact**2))
    for result, right in zip(out[:4], expected, strict=False):
        tolerance = 2 * eps * np.maximum(abs(right), 1 if result is out[1] and dtype is np.float64 else 0)
        assert (abs(result - right) <= tolerance).all()
    np.testing.assert_array_equal(out[4], np.where(x > 0.5, 2 - x, x / 4))
    small = abs(x * dtype(1e-32)) < 1e-30
    np.testing.assert_array_equal(out[5][small], 0 if dtype is np.float32 else x[small] * 1e-32)
    np.testing.assert_array_equal(out[6].reshape(count, count), square.reshape(count, count).T)
    np.testing.assert_allclose(out[7][:count], square.reshape(count, count).sum(1), rtol=4 * eps)


def test_lanes_hand_on_what_is_not_a_number():
    from nfsim.models.kernels import _loop_numba_arithmetic as arithmetic
    from nfsim.models.kernels import _loop_numba_lanes as lanes

    @numba.njit
    def compute(x, out):
        e, rest = arithmetic.decay(lanes.load(x, 0))
        lanes.store(out, 0, e)
        lanes.store(out, 1, rest)
        lanes.store(out, 2, arithmetic.inverse_root(lanes.load(x, 0)))
        lanes.store(out, 3, arithmetic.flush(lanes.load(x, 0)))

    x, out = np.ones(16, np.float32), np.empty(64, np.float32)
    x[:3] = np.nan, np.inf, 1e38
    compute(x, out)
    out = out.reshape(4, 16)
    assert np.isnan(out[:, 0]).all()
    assert np.isfinite(out[:3, 1:]).all()
    assert (out[0, 1:3] > 0).all()
    assert (out[0, 1:3] < 1e-37).all()
