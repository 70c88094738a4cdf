"""The sparse product is the dense one, in value and gradient, for many rows and for few."""

import pytest
import scipy.sparse
import torch

from nfsim.models.kernels import pattern, sparse_product

DOUBLE = {"dtype": torch.float64}


def random_matrix(n, m, density=0.4, seed=0):
    matrix = scipy.sparse.random_array((n, m), density=density, format="csr", rng=seed)
    indptr, indices = (torch.from_numpy(x.astype("int64")) for x in (matrix.indptr, matrix.indices))
    return matrix, pattern(indptr, indices, m), torch.from_numpy(matrix.data.copy())


@pytest.mark.parametrize("kernel", ["numba", "torch"])
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 9, 20])
def test_sparse_product_is_the_dense_product(rows, kernel):
    matrix, p, w = random_matrix(7, 9)
    z = torch.randn(rows, 9, **DOUBLE)
    expected = z @ torch.from_numpy(matrix.toarray()).T
    torch.testing.assert_close(sparse_product(z, w, p, kernel=kernel), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("rows", [2, 3, 12])
def test_gradients_of_the_sparse_product_are_right(rows):
    _, p, w = random_matrix(5, 6)
    z = torch.randn(rows, 6, **DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z, w: sparse_product(z, w, p), (z, w.requires_grad_()))


@pytest.mark.parametrize("rows", [2, 12])
def test_a_weight_that_is_not_finite_reaches_its_target_alone(rows):
    matrix, p, w = random_matrix(5, 6)
    w[0] = torch.inf
    target = int(matrix.indptr.searchsorted(0, side="right")) - 1
    out = sparse_product(torch.randn(rows, 6, **DOUBLE), w, p)
    finite = out.isfinite().all(0)
    assert not finite[target]
    assert finite.sum() == 4


def test_nodes_without_edges_receive_nothing():
    _, p, w = random_matrix(4, 5, density=0.0)
    assert not sparse_product(torch.randn(3, 5), w.float(), p).any()


def test_results_do_not_depend_on_threads():
    _, p, w = random_matrix(300, 300, density=0.05)
    z, before, results = torch.randn(4, 300), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(sparse_product(z, w.float(), p))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def test_shapes_that_do_not_fit_are_refused():
    _, p, w = random_matrix(4, 5)
    with pytest.raises(ValueError, match=r"sparse_product: z has shape \[2, 4\]; it must be \[2, 5\]"):
        sparse_product(torch.randn(2, 4, **DOUBLE), w, p)
    with pytest.raises(ValueError, match=r"sparse_product: there is no Triton kernel"):
        sparse_product(torch.randn(2, 5, **DOUBLE), w, p, kernel="triton")


def test_the_operator_keeps_torch_s_rules():
    _, p, w = random_matrix(4, 5)
    z = torch.randn(2, 5, **DOUBLE, requires_grad=True)
    torch.library.opcheck(torch.ops.nfsim.sparse_product.default, (z, w.requires_grad_(), *p, "numba"))
