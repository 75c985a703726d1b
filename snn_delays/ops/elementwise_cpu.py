"""Arithmetic on vectors in compiled loops, number by number: those of ``ops/vectors.py``."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from snn_delays.ops.registers import LANES
from snn_delays.ops.vectors import _bits, _broadcast, _fma, _llvm, _packed, _unpacked, intrinsic

# Below exp of this a number counts as none (``interpolation.TINY``).
LOWEST = math.log(1e-30)
# Terms of exp's series, for |x| ≤ ln(2) / 2, in single and in double precision.
TERMS = {32: 8, 64: 14}


def _pairwise(name: str) -> Any:
    @intrinsic
    def operation(_typing, a, b):
        def code(_context, builder, _, arguments):
            pairs = zip(*(_unpacked(builder, argument) for argument in arguments), strict=True)
            return _packed(builder, [getattr(builder, name)(x, y) for x, y in pairs])

        return a(a, b), code

    return operation


plus, minus, over = _pairwise("fadd"), _pairwise("fsub"), _pairwise("fdiv")


def _one_by_one(make: Any) -> Any:
    """A function of one vector, by what makes a vector of a vector."""

    @intrinsic
    def operation(_typing, a):
        def code(_context, builder, _, arguments):
            return _packed(builder, [make(builder, x) for x in _unpacked(builder, arguments[0])])

        return a(a), code

    return operation


@intrinsic
def larger(_typing, a, b):
    """The larger of two, number by number; b where one of them is none."""

    def code(_context, builder, _, arguments):
        (x,), (y,) = (_unpacked(builder, argument) for argument in arguments)
        return _packed(builder, [builder.select(builder.fcmp_ordered(">", x, y), x, y)])

    return a(a, b), code


@intrinsic
def whole(_typing, like, number):
    """A whole number, in every place of a vector like this one."""

    def code(context, builder, _, arguments):
        value = builder.sitofp(arguments[1], context.get_value_type(like.element))
        return _packed(builder, [_broadcast(builder, value)] * like.count)

    return like(like, number), code


def _constant(form: Any, value: float) -> Any:
    return ir.Constant(form, [value] * LANES)


def _rint(builder: Any, x: Any) -> Any:
    return builder.call(_llvm(builder, "rint", x.type, x.type), [x])


def _side(builder: Any, x: Any) -> Any:
    half, none = _constant(x.type, 0.5), _constant(x.type, 0.0)
    at_or_below = builder.select(builder.fcmp_ordered("==", x, none), half, none)
    above = builder.fcmp_ordered(">", x, none)
    return builder.select(above, _constant(x.type, 1.0), at_or_below)


def _exp(builder: Any, x: Any) -> Any:
    """2ⁿ · exp(r) with x = n · ln 2 + r; n is what adding a large number leaves in the last bits,
    from where it is moved to the exponent."""
    bits = _bits(x.type.element)
    fraction = 23 if bits == 32 else 52
    high = 0.693145751953125 if bits == 32 else 0.6931471803691238  # of few digits: products exact
    low = math.log(2) - high if bits == 32 else 1.9082149292705877e-10
    integers = ir.VectorType(ir.IntType(bits), LANES)
    kept = builder.fcmp_ordered(">", x, _constant(x.type, LOWEST))
    y = builder.select(kept, x, _constant(x.type, LOWEST))
    large = _constant(x.type, 1.5 * 2.0**fraction)
    shifted = _fma(builder, y, _constant(x.type, 1 / math.log(2)), large)
    n = builder.fsub(shifted, large)
    r = _fma(builder, n, _constant(x.type, -high), y)
    r = _fma(builder, n, _constant(x.type, -low), r)
    value = _constant(x.type, 1 / math.factorial(TERMS[bits] - 1))
    for term in range(TERMS[bits] - 2, -1, -1):
        value = _fma(builder, value, r, _constant(x.type, 1 / math.factorial(term)))
    places = ir.Constant(integers, [fraction] * LANES)
    power = builder.shl(builder.bitcast(shifted, integers), places)
    scaled = builder.add(builder.bitcast(value, integers), power)
    return builder.select(kept, builder.bitcast(scaled, x.type), _constant(x.type, 0.0))


# To the nearest whole number, of two to the even one; 1, ½ or 0 above, at or below 0; exp(x) for
# x ≤ 0, and 0 below LOWEST.
nearest, side, fading = _one_by_one(_rint), _one_by_one(_side), _one_by_one(_exp)
