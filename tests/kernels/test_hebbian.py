"""A Hebbian tick is the rule written out, edge by edge, in value and gradient."""

import pytest
import scipy.sparse
import torch

from nfsim.models.kernels import hebbian_step

DOUBLE = {"dtype": torch.float64}


def problem(n=5, m=7, batch=3, density=0.4, seed=0, dtype=torch.float64):
    matrix = scipy.sparse.random_array((n, m), density=density, format="csr", rng=seed)
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W": (batch, matrix.nnz), "source": (batch, 2, m), "target": (batch, 2, n)}
    tensors = {name: torch.randn(shape, dtype=dtype, generator=generator) for name, shape in shapes.items()}
    index = {name: torch.from_numpy(getattr(matrix, name).astype("int64")) for name in ("indptr", "indices")}
    return tensors | {"rule": torch.tensor([0.9, 0.3], dtype=dtype)} | index


@pytest.mark.parametrize("kernel", ["numba", "torch"])
def test_weights_follow_the_phases_and_pull(kernel):
    p = problem()
    grown, pull = hebbian_step(**p, kernel=kernel)
    source, target = (torch.complex(*p[name].unbind(1)) for name in ("source", "target"))
    want = torch.zeros_like(target)
    for i in range(5):
        for e in range(p["indptr"][i], p["indptr"][i + 1]):
            j = p["indices"][e]
            W = 0.9 * p["W"][:, e] + 0.3 * (target[:, i].conj() * source[:, j]).real
            torch.testing.assert_close(grown[:, e], W, rtol=1e-14, atol=1e-14)
            want[:, i] += W * (source[:, j] - target[:, i])
    torch.testing.assert_close(torch.complex(*pull.unbind(1)), want, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("use", ["both", "weights", "pull"])
def test_gradients_are_right_over_two_ticks(use):
    p = problem(n=4, m=4, batch=2)
    index = p.pop("indptr"), p.pop("indices")

    def two(W, source, target, rule):
        W, pull = hebbian_step(W, source, target, rule, *index)
        W, again = hebbian_step(W, source, target + pull, rule, *index)
        return {"both": (W, again), "weights": W, "pull": again}[use]

    assert torch.autograd.gradcheck(two, [value.requires_grad_() for value in p.values()])


def test_a_population_coupled_to_itself_gets_both_gradients():
    p = problem(n=6, m=6)
    grads = {}
    for kernel in ("numba", "torch"):
        z = p["source"].clone().requires_grad_()
        _, pull = hebbian_step(**p | {"source": z, "target": z}, kernel=kernel)
        pull.square().sum().backward()
        grads[kernel] = z.grad
    torch.testing.assert_close(grads["numba"], grads["torch"], rtol=1e-13, atol=1e-13)


def test_nothing_comes_of_no_edges():
    grown, pull = hebbian_step(**problem(density=0.0))
    assert grown.shape == (3, 0)
    assert not pull.any()


def test_results_do_not_depend_on_threads():
    p, before, results = problem(n=300, m=300, batch=8, density=0.05, dtype=torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rule = p["rule"].clone().requires_grad_()
            grown, pull = hebbian_step(**p | {"rule": rule})
            results.append((grown, pull, *torch.autograd.grad(grown.sum() + pull.sum(), rule)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_shapes_that_do_not_fit_are_refused():
    p = problem()
    with pytest.raises(ValueError, match=r"hebbian_step: target has shape \[3, 2, 4\]; it must be \[3, 2, 5\]"):
        hebbian_step(**p | {"target": torch.randn(3, 2, 4, **DOUBLE)})
    with pytest.raises(ValueError, match=r"hebbian_step: W has shape \[3, 1\]"):
        hebbian_step(**p | {"W": torch.randn(3, 1, **DOUBLE)})
    with pytest.raises(ValueError, match=r"hebbian_step: there is no Triton kernel"):
        hebbian_step(**p, kernel="triton")


def test_the_operator_keeps_torch_s_rules():
    p = problem()
    for name in ("W", "source", "target", "rule"):
        p[name].requires_grad_()
    torch.library.opcheck(torch.ops.nfsim.hebbian_step.default, (*p.values(), "numba"))
