"""What every test shares: seeds, data, and the surroundings that make runs repeatable and fast on few cores."""

import os
import random
from pathlib import Path

import pytest

import compiled_once

# Before torch and numba are imported, so at the top and not in a fixture: workers side by side must neither fight over
# the cores nor each compile the same kernels.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    compiled_once.choose_folder(worker)

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line has it: idle threads must not hold the cores

import hypothesis

import shape_types

shape_types.install()
if worker:
    compiled_once.install()

# No deadline: the first call of a kernel compiles it. In CI the same examples in every run.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))


@pytest.fixture
def seed() -> int:
    """Seed 0, set in python, numpy and torch before the test."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  libraries under test may draw from the global generator
    torch.manual_seed(0)
    return 0


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that NFSIM_DATA names. Without it the test is skipped, except in CI, where that is an error."""
    value = os.environ.get("NFSIM_DATA")
    if value and Path(value).is_dir():
        return Path(value)
    cure = "point it at a folder that holds MNIST/raw in torchvision's layout"
    message = f"NFSIM_DATA: {value!r} is not a folder; {cure}" if value else f"NFSIM_DATA is not set; {cure}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
