"""What is allocated holds NaN before it is written, so that no kernel gets by with what memory happened to hold."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def memory_holds_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # with torch.utils.deterministic.fill_uninitialized_memory, its default
    assert torch.empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(False)
