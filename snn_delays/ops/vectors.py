"""Vectors of numbers as values in compiled loops, so that sums stay in registers.

LLVM vectorises plain loops one at a time and keeps their sums in memory; a loop written in vectors
does several rows at once and runs as fast as a matrix product. A vector has ``LANES`` numbers of
the array it was loaded from; machines with narrower registers take several for one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.extending import models, register_model

intrinsic: Any = extending.intrinsic  # what it makes takes one argument less: typed loosely
LANES = 16  # float32s in the widest registers, and in one cache line
TILE = 16  # vectors of a tile: with a few more for what is added to it, they fill the registers
STRIP = 4  # vectors of a small tile


class Vector(types.Type):
    """``LANES`` numbers of type ``element``."""

    def __init__(self, element: types.Float) -> None:
        self.element = element
        super().__init__(name=f"Vector({element})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        element = manager.lookup(vector.element).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, LANES))


class Tile(types.Type):
    """Several vectors of numbers of type ``element``, one after the other in memory."""

    def __init__(self, element: types.Float, vectors: int) -> None:
        self.element = element
        self.vectors = vectors
        super().__init__(name=f"Tile({element}, {vectors})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: Tile) -> None:
        vector = manager.lookup(Vector(tile.element)).get_value_type()
        super().__init__(manager, tile, ir.ArrayType(vector, tile.vectors))


@intrinsic
def load(_typing, array, index):
    """array[index : index + LANES]; no check of bounds."""
    vector = Vector(array.dtype)

    def code(context, builder, signature, arguments):
        value = builder.load(_pointer(context, builder, signature, arguments, vector))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.intp), code


@intrinsic
def splat(_typing, number):
    """A vector of equal numbers."""
    vector = Vector(number)

    def code(context, builder, signature, arguments):
        form = context.get_value_type(vector)
        nothing = ir.Constant(form, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, nothing, zeros)

    return vector(number), code


@intrinsic
def fma(_typing, a, b, c):
    """a · b + c."""

    def code(context, builder, signature, arguments):
        form = context.get_value_type(a)
        kind = ir.FunctionType(form, (form, form, form))
        return builder.call(_llvm(builder, kind, "llvm.fma", a), arguments)

    return a(a, a, a), code


@intrinsic
def total(_typing, a):
    """The sum of a vector's numbers, pairwise."""

    def code(context, builder, signature, arguments):
        form, number = context.get_value_type(a), context.get_value_type(a.element)
        kind = ir.FunctionType(number, (number, form))
        reduce = _llvm(builder, kind, "llvm.vector.reduce.fadd", a)
        zero = ir.Constant(number, 0.0)
        return builder.call(reduce, [zero, arguments[0]], fastmath=("reassoc",))

    return a.element(a), code


def _tile_loader(vectors: int) -> Any:
    @intrinsic
    def load_tile(_typing, array, index):
        """array[index : index + vectors · LANES]; no check of bounds."""
        tile = Tile(array.dtype, vectors)

        def code(context, builder, signature, arguments):
            pointer = _pointer(context, builder, signature, arguments, Vector(array.dtype))
            value = ir.Constant(context.get_value_type(tile), ir.Undefined)
            for i in range(vectors):
                vector = builder.load(builder.gep(pointer, [ir.IntType(32)(i)]))
                vector.align = array.dtype.bitwidth // 8
                value = builder.insert_value(value, vector, i)
            return value

        return tile(array, types.intp), code

    return load_tile


load_tile = _tile_loader(TILE)
load_strip = _tile_loader(STRIP)


@intrinsic
def store_tile(_typing, array, index, tile):
    """array[index : index + vectors · LANES] = tile; no check of bounds."""

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature, arguments, Vector(array.dtype))
        for i in range(tile.vectors):
            vector = builder.extract_value(arguments[2], i)
            into = builder.gep(pointer, [ir.IntType(32)(i)])
            builder.store(vector, into).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, tile), code


def _adder(taps: int) -> Any:
    @intrinsic
    def add_taps(_typing, tile, coefficients, q, array, index):
        """tile[i] + Σ_p coefficients[q + p] · array[index + (i + p) · LANES …], p < ``taps``."""
        vector = Vector(tile.element)
        size = tile.element.bitwidth // 8

        def code(context, builder, signature, arguments):
            form = context.get_value_type(vector)
            kind = ir.FunctionType(form, (form, form, form))
            fma = _llvm(builder, kind, "llvm.fma", vector)
            numbers = context.make_array(coefficients)(context, builder, arguments[1]).data
            nothing = ir.Constant(form, ir.Undefined)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            factors = []
            for p in range(taps):
                place = builder.gep(numbers, [builder.add(arguments[2], arguments[2].type(p))])
                one = builder.insert_element(nothing, builder.load(place), ir.IntType(32)(0))
                factors.append(builder.shuffle_vector(one, nothing, zeros))
            sums = [builder.extract_value(arguments[0], i) for i in range(tile.vectors)]
            number = context.make_array(array)(context, builder, arguments[3]).data
            number = builder.gep(number, [arguments[4]])
            pointer = builder.bitcast(number, form.as_pointer())
            for j in range(tile.vectors + taps - 1):
                value = builder.load(builder.gep(pointer, [ir.IntType(32)(j)]))
                value.align = size
                for p in range(taps):
                    if 0 <= j - p < tile.vectors:
                        sums[j - p] = builder.call(fma, [factors[p], value, sums[j - p]])
            result = ir.Constant(context.get_value_type(tile), ir.Undefined)
            for i, value in enumerate(sums):
                result = builder.insert_value(result, value, i)
            return result

        return tile(tile, coefficients, types.intp, array, types.intp), code

    return add_taps


add_one_tap = _adder(1)
add_five_taps = _adder(5)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, vector: Vector) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    number = builder.gep(array.data, [arguments[1]])
    return builder.bitcast(number, context.get_value_type(vector).as_pointer())


def _llvm(builder: Any, kind: ir.FunctionType, name: str, vector: Vector) -> Any:
    name = f"{name}.v{LANES}f{vector.element.bitwidth}"
    return cgutils.get_or_insert_function(builder.module, kind, name)
