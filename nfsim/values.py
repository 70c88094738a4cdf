"""What every declaration is checked and frozen with."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """Whether `value` is a finite real number (bool is not)."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number above zero (bool is not)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0


def one_of(name: str, value: Any, choices: Iterable[Any]) -> Iterator[str]:
    """The problem of a `value` that is none of the `choices`."""
    choices = tuple(choices)
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


def names(value: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)
