"""Shape types checked while the tests run, and only those.

Modules that annotate with jaxtyping get every call's shapes and dtypes checked by beartype. Other annotations are left
alone: the public border checks its own input, and its tests must meet *its* message, not the type checker's.
"""

import re
import typing
from collections.abc import Callable

import jaxtyping
from beartype import BeartypeConf, beartype

import checkout

# njit and triton.jit compile the function's own bytecode, so a module of kernels can't be wrapped.
COMPILED = re.compile(r"^\s*(import|from) (numba|triton)\b", re.MULTILINE)
TYPED = re.compile(r"^\s*(import|from) jaxtyping\b", re.MULTILINE)

check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checkable(source: str) -> bool:
    """Return whether a module's source uses shape types and is not compiled by another compiler."""
    return bool(TYPED.search(source)) and not COMPILED.search(source)


def checked_modules() -> list[str]:
    """Return the import names of the modules whose calls are checked; a package's `__init__` is never one."""
    files = {name: file for name, file in checkout.modules().items() if file.name != "__init__.py"}
    return [name for name, file in files.items() if checkable(file.read_text(encoding="utf-8"))]


def names_a_shape(annotation: object) -> bool:
    """Return whether an annotation is, or contains, a jaxtyping array type."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(names_a_shape(part) for part in typing.get_args(annotation))


def shapes_only(function: Callable) -> Callable:
    """Return the function checked by beartype for those annotations that carry a shape, itself where none does."""
    kept = {name: hint for name, hint in function.__annotations__.items() if names_a_shape(hint)}
    if not kept:
        return function
    function.__annotations__ = kept
    return check(function)


def install() -> None:
    """Check the shape types of all modules that are imported from now on."""
    jaxtyping.install_import_hook(checked_modules(), "shape_types.shapes_only")
