"""Lanes: a numba type for one cache line of numbers that are computed on together, 16 float32 or 8 float64.

A kernel over lanes reads like one over numbers: `load`, `+ - * /` with lanes and numbers, `store`. It is vectorised
because it says so, not because LLVM finds a way: no aliases to rule out, sums stay in registers, and branches on
numbers may stand anywhere. An array of lanes is a flat contiguous array, counted in lines. This file holds the type and
what moves it; the arithmetic has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import extending
from numba.core import types
from numba.core.cgutils import ir
from numba.extending import models, register_model

from nfsim.models.kernels._loops_numba import _MATH, CACHE

LINE = 64
"""Bytes of a line: one register of AVX-512, two of AVX2, four of NEON."""

intrinsic: Any = extending.intrinsic
"""numba's, without its type, which counts the typing context among the arguments of a call."""

FLAGS = tuple(_MATH["fastmath"])

INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, **_MATH}
"""Options of functions that only kernels call: no entries for Python and C saves a quarter of the compile time."""


def entry(function: Callable[..., Any]) -> Any:
    """Return `function` compiled at its first call, free of the GIL, and kept on disk where there is a folder."""
    options: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True, **_MATH}
    try:
        return numba.njit(cache=CACHE, **options)(function)
    except RuntimeError:
        # numba found no folder it can write its cache to
        return numba.njit(**options)(function)


class Lanes(types.Type):
    """Numbers of one dtype that fill a line."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.count = dtype, LINE * 8 // dtype.bitwidth
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        number = manager.lookup(lanes.dtype).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(number, lanes.count))


def _shuffle(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def spread(context: Any, builder: Any, lanes: Lanes, value: Any, kind: Any) -> Any:
    """Return lanes as they are, and a number in all lanes."""
    if kind == lanes:
        return value
    number = context.cast(builder, value, kind, lanes.dtype)
    empty = ir.Constant(context.get_value_type(lanes), ir.Undefined)
    one = builder.insert_element(empty, number, ir.IntType(32)(0))
    return _shuffle(builder, one, one, [0] * lanes.count)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Address of a number of a flat array; a signed index does not wrap round, as it would in numba."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _line(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Address of the lanes that start at a number, and the alignment that it is sure to have."""
    pointer = _address(context, builder, kind, array, index)
    vector = context.get_value_type(Lanes(kind.dtype))
    return builder.bitcast(pointer, vector.as_pointer()), kind.dtype.bitwidth // 8


def _read(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    address, align = _line(context, builder, kind, array, index)
    return builder.load(address, align=align)


def _write(context: Any, builder: Any, kind: Any, array: Any, index: Any, value: Any) -> None:
    address, align = _line(context, builder, kind, array, index)
    builder.store(value, address, align=align)


def _times(builder: Any, index: Any, factor: int) -> Any:
    return builder.mul(index, index.type(factor))


@intrinsic
def stand_alone(_):
    """Keep the function that this is called in out of its callers.

    In a function of its own a loop has all constants in registers: measured for the gain, 1.7 times faster.
    """

    def generate(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def width(_, array):
    """Return the lanes of a line of an array, a constant (`array.itemsize` is none: dividing by it takes 18 cycles)."""

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.intp, Lanes(array.dtype).count)

    return types.intp(array), generate


@intrinsic
def at(_, array, index):
    """Return number `index` of a flat array."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, array, *arguments))

    return array.dtype(array, types.intp), generate


@intrinsic
def load(_, array, line):
    """Return a line of an array."""
    lanes = Lanes(array.dtype)

    def generate(context, builder, signature, arguments):
        data, line = arguments
        return _read(context, builder, array, data, _times(builder, line, lanes.count))

    return lanes(array, types.intp), generate


@intrinsic
def store(_, array, line, value):
    """Write lanes, or a number to all lanes, to a line of an array."""
    lanes = Lanes(array.dtype)

    def generate(context, builder, signature, arguments):
        data, line, x = arguments
        x = spread(context, builder, lanes, x, value)
        _write(context, builder, array, data, _times(builder, line, lanes.count), x)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def splat(_, like, number):
    """Return a number in all lanes, of the dtype of `like`, an array or lanes."""
    lanes = Lanes(like.dtype)

    def generate(context, builder, signature, arguments):
        return spread(context, builder, lanes, arguments[1], number)

    return lanes(like, number), generate


@intrinsic
def transpose(_, source, start, stride, into, start_into, stride_into):
    """Copy a square of numbers, a row of it for each lane, to as many rows that hold its columns."""
    count = Lanes(source.dtype).count
    i = types.intp

    def generate(context, builder, signature, arguments):
        source_, start, stride, into_, start_into, stride_into = arguments
        rows = []
        for _ in range(count):
            rows.append(_read(context, builder, source, source_, start))
            start = builder.add(start, stride)
        half, width = count // 2, range(count // 2)
        low = [k for j in width for k in (j, count + j)]
        high = [k + half for k in low]
        for _ in range(half.bit_length()):
            pairs = [(rows[j], rows[j + half]) for j in width]
            rows = [_shuffle(builder, *pair, order) for pair in pairs for order in (low, high)]
        for row in rows:
            _write(context, builder, into, into_, start_into, row)
            start_into = builder.add(start_into, stride_into)
        return context.get_dummy_value()

    return types.void(source, i, i, into, i, i), generate


@intrinsic
def fold(_, array, line):
    """Return the sums of as many lines as there are lanes, the first line's in the first lane."""
    lanes = Lanes(array.dtype)

    def generate(context, builder, signature, arguments):
        data, line = arguments
        start = _times(builder, line, lanes.count)
        steps = [builder.add(start, start.type(j * lanes.count)) for j in range(lanes.count)]
        rows = [_read(context, builder, array, data, step) for step in steps]
        even = list(range(0, 2 * lanes.count, 2))
        odd = [j + 1 for j in even]
        while len(rows) > 1:
            pairs = zip(rows[::2], rows[1::2], strict=True)
            halves = [(_shuffle(builder, a, b, even), _shuffle(builder, a, b, odd)) for a, b in pairs]
            rows = [builder.fadd(a, b, flags=FLAGS) for a, b in halves]
        return rows[0]

    return lanes(array, types.intp), generate
