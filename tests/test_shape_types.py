"""The check of shape types is on, catches wrong shapes and dtypes, and leaves the border's own checks alone."""

import importlib
import sys

import jaxtyping
import pytest

import shape_types

SOURCE = """
from __future__ import annotations
import numpy as np
from jaxtyping import Float32

def total(x: Float32[np.ndarray, "time node"], scale: float = 1.0) -> Float32[np.ndarray, "node"]:
    return x.sum(axis=0) * np.float32(scale)

def wrong(x: Float32[np.ndarray, "time node"]) -> Float32[np.ndarray, "node"]:
    return x.sum(axis=1)
"""


@pytest.fixture
def checked(tmp_path, monkeypatch):
    (tmp_path / "shapes_under_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    with jaxtyping.install_import_hook("shapes_under_test", "shape_types.shapes_only"):
        yield importlib.import_module("shapes_under_test")
    del sys.modules["shapes_under_test"]


def test_a_right_call_passes_through_with_its_value(checked):
    import numpy as np

    assert checked.total(np.ones((3, 2), np.float32)).tolist() == [3.0, 3.0]


def test_a_wrong_rank_a_wrong_dtype_and_a_wrong_result_are_refused(checked):
    import numpy as np

    for argument in (np.ones(3, np.float32), np.ones((3, 2), np.float64)):
        with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'x'"):
            checked.total(argument)
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        checked.wrong(np.ones((3, 2), np.float32))


def test_an_annotation_without_a_shape_is_left_to_the_functions_own_check(checked):
    import numpy as np

    with pytest.raises(ValueError, match="could not convert string to float"):
        checked.total(np.ones((3, 2), np.float32), scale="a lot")


def test_kernels_and_modules_without_shape_types_are_not_wrapped():
    typed = "from jaxtyping import Float\n"
    assert shape_types.checkable(typed)
    assert not shape_types.checkable("import numpy\n")
    assert not shape_types.checkable(typed + "import numba\n")
    assert not shape_types.checkable(typed + "from triton import language\n")


@pytest.mark.parametrize("name", shape_types.checked_modules())
def test_each_module_with_shape_types_is_loaded_through_the_check(name):
    module = importlib.import_module(name)
    assert type(module.__spec__.loader).__module__ == "jaxtyping._import_hook"
