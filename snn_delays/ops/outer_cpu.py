"""Tiles of matrix products as values in compiled loops: rows of vectors that stay in registers.

A step adds the product of one number a row and one vector a column: eight loads for 24 products.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from snn_delays.ops.registers import HIGH, LANES, WIDE
from snn_delays.ops.vectors import (
    Vectors,
    _broadcast,
    _fma,
    _packed,
    _places,
    _read,
    _unpacked,
    intrinsic,
)


def _outer_adder(rows: int, count: int) -> Any:
    @intrinsic
    def add_outer(_typing, tile, left, index, step, right, place):
        """tile[i, v] + left[index + i · step] · right[place + v · LANES …], i < ``rows``, v <
        ``count``."""

        def code(context, builder, _, arguments):
            sums = _unpacked(builder, arguments[0])
            data = context.make_array(left)(context, builder, arguments[1]).data
            at, step = arguments[2:4]
            places = _places(context, builder, right, arguments[4:], count)
            values = [_read(builder, one) for one in places]
            for i in range(rows):
                factor = _broadcast(builder, builder.load(builder.gep(data, [at])))
                for v, value in enumerate(values):
                    sums[i * count + v] = _fma(builder, factor, value, sums[i * count + v])
                at = builder.add(at, step)
            return _packed(builder, sums)

        return tile(tile, left, types.intp, types.intp, right, types.intp), code

    return add_outer


def _rows_storer(rows: int) -> Any:
    @intrinsic
    def store_rows(_typing, array, index, step, tile):
        """array[index + i · step …] = row i of the tile's ``rows``; no check of bounds."""

        def code(context, builder, _, arguments):
            vectors, at = _unpacked(builder, arguments[3]), arguments[1]
            count = len(vectors) // rows
            for i in range(rows):
                places = _places(context, builder, array, (arguments[0], at), count)
                for v, place in enumerate(places):
                    builder.store(vectors[i * count + v], place, align=array.dtype.bitwidth // 8)
                at = builder.add(at, arguments[2])
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, tile), code

    return store_rows


def _rows_loader(rows: int, count: int) -> Any:
    @intrinsic
    def load_rows(_typing, array, index, step):
        """A tile of ``count`` vectors a row, from array[index + i · step …] on; no check of
        bounds."""

        def code(context, builder, _, arguments):
            of, at, step = arguments
            found = []
            for _ in range(rows):
                places = _places(context, builder, array, (of, at), count)
                found += [_read(builder, place) for place in places]
                at = builder.add(at, step)
            return _packed(builder, found)

        return Vectors(array.dtype, rows * count)(array, types.intp, types.intp), code

    return load_rows


def _silent(count: int) -> Any:
    @intrinsic
    def zeros(_typing, like):
        """A tile of ``count`` vectors of zeros, of the numbers of an array."""

        def code(context, builder, _, _arguments):
            form = ir.VectorType(context.get_value_type(like.dtype), LANES)
            return _packed(builder, [ir.Constant(form, [0.0] * LANES)] * count)

        return Vectors(like.dtype, count)(like), code

    return zeros


load_high_wide, load_high = _rows_loader(HIGH, WIDE), _rows_loader(HIGH, 1)
load_wide, load_one = _rows_loader(1, WIDE), _rows_loader(1, 1)
zeros_high_wide, zeros_high, zeros_wide, zeros_one = (
    _silent(count) for count in (HIGH * WIDE, HIGH, WIDE, 1)
)
outer_high_wide, outer_high = _outer_adder(HIGH, WIDE), _outer_adder(HIGH, 1)
outer_wide, outer_one = _outer_adder(1, WIDE), _outer_adder(1, 1)
store_high, store_low = _rows_storer(HIGH), _rows_storer(1)
