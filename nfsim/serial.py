"""Declarations as canonical JSON and back.

Reading builds only registered types from plain values: nothing is imported or run.
"""

import json
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from nfsim.dynamics import CfC, Normal, Uniform
from nfsim.errors import BuildError
from nfsim.population import Input, Nucleus, Population, Projection, Readout, Region
from nfsim.rules import AbstractRule, AllToAll, Decay, Entries, Explicit, Nearest, OneToOne, Random, Topographic
from nfsim.shuffled import Shuffled
from nfsim.sphere import Band, Cap
from nfsim.values import tuples

SCHEMA = 1
_BUILTIN = (Input, Population, Region, Nucleus, Projection, Readout, CfC, Uniform, Normal, Cap, Band, Entries)
_RULES = (AllToAll, OneToOne, Topographic, Nearest, Decay, Random, Explicit, Shuffled)
_types: dict[str, type] = {t.__name__: t for t in (*_BUILTIN, *_RULES)}
T = TypeVar("T", bound=type)


def declarable(cls: T) -> T:
    """Register a frozen dataclass of your own, such as a wiring rule, so that networks that use it travel as JSON.

    Use as a decorator. Reading the JSON later needs the class to be registered again first: nothing is imported by
    name.
    """
    if not is_dataclass(cls) or _types.get(cls.__name__, cls).__qualname__ != cls.__qualname__:
        raise BuildError(
            f"{cls.__name__}: is not a dataclass, or its name is taken; declare a dataclass with a name of its own"
        )
    _types[cls.__name__] = cls
    return cls


def _declared(part: Any) -> type:
    """The registered type that says all about `part`: its own, or that of a subclass that only presets fields."""
    for cls in type(part).__mro__:
        if _types.get(cls.__name__) is cls:
            if cls is not type(part) and issubclass(cls, AbstractRule | CfC):
                break
            return cls
    raise BuildError(
        f"{type(part).__name__}: is not a registered declaration; decorate its class with nfsim.declarable"
    )


def encode(value: Any) -> Any:
    """A declaration as plain JSON values; fields at their default are left out, so that new fields keep old digests."""
    if is_dataclass(value):
        cls = _declared(value)
        out: dict[str, Any] = {"type": cls.__name__}
        for f in fields(cls):
            v = tuples(getattr(value, f.name))
            if f.default is MISSING or v != f.default or type(v) is not type(f.default):
                out[f.name] = encode(v)
        return out
    if isinstance(value, tuple):
        return [encode(v) for v in value]
    return tuples(value)


def decode(value: Any, where: str = "network") -> Any:
    """The declaration of plain JSON values."""
    if isinstance(value, list):
        return tuple(decode(v, where) for v in value)
    if not isinstance(value, dict):
        return value
    name = value.get("type")
    cls = _types.get(name) if isinstance(name, str) else None
    if cls is None:
        known = ", ".join(sorted(_types))
        raise BuildError(f"{where}: type {name!r} is not a registered declaration; known are {known}")
    known_fields = {f.name: f for f in fields(cls)}
    for key in value:
        if key != "type" and key not in known_fields:
            raise BuildError(f"{where}: {name} has no field {key!r}; its fields are {', '.join(known_fields)}")
    for key, f in known_fields.items():
        if f.default is MISSING and f.default_factory is MISSING and key not in value:
            raise BuildError(f"{where}: {name} lacks its field {key!r}; add it")
    where = f"{where}/{value.get('name', name)}"
    try:
        return cls(**{k: decode(v, where) for k, v in value.items() if k != "type"})
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise BuildError(f"{where}: {name} cannot hold these values ({error}); correct the file") from None


def dumps(value: Any, indent: int | None = None) -> str:
    """Canonical JSON text: sorted keys, no NaN."""
    try:
        return json.dumps(
            value, sort_keys=True, allow_nan=False, indent=indent, separators=None if indent else (",", ":")
        )
    except (TypeError, ValueError) as error:
        raise BuildError(
            f"the declaration holds a value that JSON cannot ({error}); give finite numbers and plain names"
        ) from None


def loads(text: str | bytes) -> dict[str, Any]:
    """The JSON object of a text, or a `BuildError` that says where it breaks."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise BuildError(
            "network JSON is nested too deeply to be a network; give the text of Network.to_json()"
        ) from None
    except (ValueError, TypeError) as error:
        raise BuildError(f"network JSON does not parse ({error}); give the text of Network.to_json()") from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        got = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise BuildError(
            f"network JSON has schema {got!r}, this version reads {SCHEMA}; write it again with this version"
        )
    return value
