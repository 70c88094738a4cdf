"""What every declaration is checked and frozen with."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, TypeGuard

import numpy as np

LARGEST_NUMBER = float(np.finfo(np.float32).max)
"""Models compute in float32, where anything larger is infinite."""
LARGEST_COUNT = 2**24
"""So many nodes are 400 MB of positions; anything larger is a slip, or a file that was tampered with."""
COUNT = f"a whole number in [1, {LARGEST_COUNT}]"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a real number that is finite in float32 (bool is not)."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and bool(-LARGEST_NUMBER <= value <= LARGEST_NUMBER)


def is_count(value: Any) -> TypeGuard[int]:
    """Whether `value` is a `COUNT` (bool is not)."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and bool(1 <= value <= LARGEST_COUNT)


def flags(part: Any, *names: str) -> Iterator[str]:
    """The problems of fields that are neither True nor False: a text "no" would count as yes."""
    for name in names:
        if not isinstance(value := getattr(part, name), bool):
            yield f"{name} {value!r} is not True or False; give one of them"


def share(name: str, value: Any) -> Iterator[str]:
    """The problem of a `value` that is no share of what is left when not all is taken."""
    if not (is_number(value) and 0 <= value < 1):
        yield f"{name} {value!r} is not in [0, 1); give the share to leave out"


def one_of(name: str, value: Any, choices: Iterable[Any]) -> Iterator[str]:
    """The problem of a `value` that is none of the `choices`."""
    value, choices = tuples(value), tuple(choices)
    if value not in choices:
        yield f"{name} {value!r} is unknown; choose one of {', '.join(map(repr, choices))}"


def tuples(value: Any) -> Any:
    """Lists and arrays as nested tuples, so that a declaration is a value: it compares, hashes and pickles."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return tuple(tuples(v) for v in value) if isinstance(value, list | tuple) else value


def freeze(part: Any) -> None:
    """Turn every list and array that a declaration was given into tuples."""
    for f in fields(part):
        object.__setattr__(part, f.name, tuples(getattr(part, f.name)))


def several(value: Any) -> tuple[Any, ...]:
    """One thing, such as a name, or an iterable of them, as a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict) else (value,)
