"""The bypass baseline: what it takes, and what it refuses."""

import pytest
import torch

from nfsim.models.mlp import MLP
from trainings import some_model


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 4), (2, 2, 5), (2, 15)])
def test_the_mlp_refuses_inputs_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"is not \[batch, 3, 5\]"):
        some_model()(torch.zeros(shape))


def test_the_mlp_refuses_what_it_cannot_be():
    with pytest.raises(ValueError, match="must all be >= 1"):
        MLP(5, "01", hidden=[0])
    with pytest.raises(ValueError, match="no activation 'tanh'; choose one of relu, gelu"):
        MLP(5, "01", activation="tanh")
    with pytest.raises(ValueError, match="cannot record gain"):
        some_model()(torch.zeros(1, 3, 5), record=["gain"])


def test_the_mlp_ignores_what_lies_beyond_the_length():
    x = torch.randn(2, 3, 5)
    lengths = torch.tensor([1, 3])
    other = x.clone()
    other[0, 1:] = 9.0
    model = some_model().eval()
    assert torch.equal(model(x, lengths=lengths).logits, model(other, lengths=lengths).logits)
