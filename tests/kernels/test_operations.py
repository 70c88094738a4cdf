"""Each operation has the values and gradients of every peer that it is timed against."""

import pytest
import torch

from operations import OPERATIONS, inputs
from scans import value_and_gradients

PAIRS = [(ours, peer) for ours, others in OPERATIONS.items() for peer in others]


@pytest.mark.parametrize("size", [(1, 1, 3), (3, 7, 5), (9, 20, 70)], ids=str)
@pytest.mark.parametrize(("ours", "peer"), PAIRS, ids=lambda x: getattr(x, "__name__", x))
def test_peers_compute_the_same(ours, peer, size):
    given = inputs(ours, *size, torch.float64)
    expected = value_and_gradients(OPERATIONS[ours][peer], given)
    for x, y in zip(value_and_gradients(ours, given), expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-10)
