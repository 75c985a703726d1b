"""Vectors of numbers as values in compiled loops, so that sums stay in registers.

LLVM vectorises plain loops one at a time and keeps their sums in memory; a loop written in vectors
does several rows at once and runs as fast as a matrix product. A vector has ``LANES`` numbers of
the array it was loaded from: float32s fill a register, float64s two.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.extending import models, register_model

from snn_delays.loops.loop import called
from snn_delays.ops.registers import COLUMNS, GROUP, LANES, SHORT, STRIP, TALL, TILE

intrinsic: Any = extending.intrinsic  # what it makes takes one argument less: typed loosely


class Vectors(types.Type):
    """``count`` vectors of numbers of type ``element``, one after the other in memory."""

    def __init__(self, element: types.Float, count: int = 1) -> None:
        self.element = element
        self.count = count
        super().__init__(name=f"Vectors({element}, {count})")


@register_model(Vectors)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, vectors: Vectors) -> None:
        vector = ir.VectorType(manager.lookup(vectors.element).get_value_type(), LANES)
        super().__init__(manager, vectors, ir.ArrayType(vector, vectors.count))


@called
def aligned(room):
    """``room`` from the first place on where a vector crosses no cache line: one that does costs
    two. Up to ``LANES`` − 1 numbers are left out."""
    return room[-(room.ctypes.data // room.itemsize) % LANES :]


def _loader(count: int) -> Any:
    @intrinsic
    def load(_typing, array, index):
        """array[index : index + count · LANES]; no check of bounds."""

        def code(context, builder, _, arguments):
            places = _places(context, builder, array, arguments, count)
            return _packed(builder, [_read(builder, place) for place in places])

        return Vectors(array.dtype, count)(array, types.intp), code

    return load


load, load_two, load_strip, load_tile = _loader(1), _loader(2), _loader(STRIP), _loader(TILE)
load_columns, load_group, load_square = _loader(COLUMNS), _loader(GROUP), _loader(LANES)


@intrinsic
def store(_typing, array, index, vectors):
    """array[index : index + count · LANES] = vectors; no check of bounds."""

    def code(context, builder, _, arguments):
        places = _places(context, builder, array, arguments[:2], vectors.count)
        for place, vector in zip(places, _unpacked(builder, arguments[2]), strict=True):
            builder.store(vector, place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vectors), code


@intrinsic
def load_left(_typing, array, index, left):
    """array[index : index + LANES] as far as ``left`` numbers go, and zeros; no check of bounds."""

    def code(context, builder, _, arguments):
        (place,) = _places(context, builder, array, arguments[:2], 1)
        with _all_left(builder, arguments[2], 1) as (everything, some):
            with everything:
                whole, whole_from = _read(builder, place), builder.block
            with some:
                part, part_from = _read_some(builder, place, arguments[2]), builder.block
        value = builder.phi(whole.type)
        value.add_incoming(whole, whole_from)
        value.add_incoming(part, part_from)
        return _packed(builder, [value])

    return Vectors(array.dtype)(array, types.intp, types.intp), code


@intrinsic
def store_left(_typing, array, index, left, vectors):
    """array[index : …] = vectors as far as ``left`` numbers go; no check of bounds."""

    def code(context, builder, _, arguments):
        places = _places(context, builder, array, arguments[:2], vectors.count)
        given, left = _unpacked(builder, arguments[3]), arguments[2]
        with _all_left(builder, left, vectors.count) as (everything, some):
            with everything:
                for place, vector in zip(places, given, strict=True):
                    builder.store(vector, place, align=array.dtype.bitwidth // 8)
            with some:
                for place, vector in zip(places, given, strict=True):
                    _write_some(builder, place, left, vector)
                    left = builder.sub(left, left.type(LANES))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vectors), code


def _loader_apart(count: int) -> Any:
    @intrinsic
    def load_apart(_typing, array, index, step):
        """``count`` vectors, i being array[index + i · step : … + LANES]; no check of bounds."""

        def code(context, builder, _, arguments):
            places = _places_apart(context, builder, array, arguments, count)
            return _packed(builder, [_read(builder, place) for place in places])

        return Vectors(array.dtype, count)(array, types.intp, types.intp), code

    return load_apart


load_apart, load_short, load_tall = _loader_apart(LANES), _loader_apart(SHORT), _loader_apart(TALL)


@intrinsic
def store_apart(_typing, array, index, step, tile):
    """array[index + i · step : … + LANES] = vector i of the tile; no check of bounds."""

    def code(context, builder, _, arguments):
        places = _places_apart(context, builder, array, arguments[:3], tile.count)
        for place, vector in zip(places, _unpacked(builder, arguments[3]), strict=True):
            builder.store(vector, place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, tile), code


@intrinsic
def turned(_typing, tile):
    """The tile transposed: number j of vector i becomes number i of vector j."""

    def code(_context, builder, _, arguments):
        rows = _unpacked(builder, arguments[0])
        form = ir.VectorType(ir.IntType(32), LANES)
        step = 1
        while step < LANES:  # exchange the off-diagonal blocks of this size
            kept = [j if not j & step else LANES + j - step for j in range(LANES)]
            given = [j + step if not j & step else LANES + j for j in range(LANES)]
            masks = [ir.Constant(form, one) for one in (kept, given)]
            for i in (i for i in range(LANES) if not i & step):
                pair = rows[i], rows[i + step]
                rows[i], rows[i + step] = (builder.shuffle_vector(*pair, one) for one in masks)
            step *= 2
        return _packed(builder, rows)

    return tile(tile), code


def _splatter(count: int) -> Any:
    @intrinsic
    def splat(_typing, number):
        """``count`` vectors of equal numbers."""

        def code(_context, builder, _, arguments):
            return _packed(builder, [_broadcast(builder, arguments[0])] * count)

        return Vectors(number, count)(number), code

    return splat


splat, splat_group = _splatter(1), _splatter(GROUP)


@intrinsic
def fma(_typing, a, b, c):
    """a · b + c, vector by vector."""

    def code(_context, builder, _, arguments):
        triples = zip(*(_unpacked(builder, argument) for argument in arguments), strict=True)
        return _packed(builder, [_fma(builder, *one) for one in triples])

    return a(a, a, a), code


@intrinsic
def times(_typing, a, b):
    """a · b, of one vector each."""

    def code(_context, builder, _, arguments):
        (x,), (y,) = (_unpacked(builder, argument) for argument in arguments)
        return _packed(builder, [builder.fmul(x, y)])

    return a(a, b), code


@intrinsic
def total(_typing, a):
    """The sum of one vector's numbers, pairwise."""

    def code(_context, builder, _, arguments):
        (vector,) = _unpacked(builder, arguments[0])
        number = vector.type.element
        reduce = _llvm(builder, "vector.reduce.fadd", number, number, vector.type)
        return builder.call(reduce, [ir.Constant(number, 0.0), vector], fastmath=("reassoc",))

    return a.element(a), code


def _adder(taps: int) -> Any:
    @intrinsic
    def add_taps(_typing, tile, coefficients, q, array, index):
        """tile[i] + Σ_p coefficients[q + p] · array[index + (i + p) · LANES …], p < ``taps``."""

        def code(context, builder, _, arguments):
            factors = _factors(context, builder, coefficients, arguments[1:3], taps)
            places = _places(context, builder, array, arguments[3:], tile.count + taps - 1)
            return _with_taps(builder, arguments[0], factors, places)

        return tile(tile, coefficients, types.intp, array, types.intp), code

    return add_taps


add_one_tap, add_five_taps = _adder(1), _adder(5)


def _row_adder(taps: int) -> Any:
    @intrinsic
    def add_rows(_typing, tile, coefficients, q, array, index, step):
        """tile[i] + Σ_p coefficients[q + p] · array[index + (i + p) · step …], p < ``taps``."""

        def code(context, builder, _, arguments):
            factors = _factors(context, builder, coefficients, arguments[1:3], taps)
            places = _places_apart(context, builder, array, arguments[3:], tile.count + taps - 1)
            return _with_taps(builder, arguments[0], factors, places)

        return tile(tile, coefficients, types.intp, array, types.intp, types.intp), code

    return add_rows


add_one_row, add_two_rows, add_four_rows = _row_adder(1), _row_adder(2), _row_adder(4)


@intrinsic
def add_dots(_typing, sums, tile, array, index, step):
    """sums[p] + Σ_i tile[i] · array[index + (i + p) · step …], one vector for each p."""

    def code(context, builder, _, arguments):
        # Of even and of odd rows: a sum that waits for itself takes four times as long.
        even = _unpacked(builder, arguments[0])
        odd = [ir.Constant(even[0].type, [0.0] * LANES)] * sums.count
        rows = _unpacked(builder, arguments[1])
        count = tile.count + sums.count - 1
        for j, place in enumerate(_places_apart(context, builder, array, arguments[2:], count)):
            value = _read(builder, place)
            for p in range(max(0, j - tile.count + 1), min(sums.count, j + 1)):
                to = odd if (j - p) % 2 else even
                to[p] = _fma(builder, rows[j - p], value, to[p])
        return _packed(builder, [builder.fadd(a, b) for a, b in zip(even, odd, strict=True)])

    return sums(sums, tile, array, types.intp, types.intp), code


def _with_taps(builder: Any, tile: Any, factors: list[Any], places: list[Any]) -> Any:
    """The tile, to whose vector i factor p times the vector at place i + p is added, for each p."""
    sums = _unpacked(builder, tile)
    for j, place in enumerate(places):
        value = _read(builder, place)
        for p in range(max(0, j - len(sums) + 1), min(len(factors), j + 1)):
            sums[j - p] = _fma(builder, factors[p], value, sums[j - p])
    return _packed(builder, sums)


def _factors(context: Any, builder: Any, array: Any, given: Any, count: int) -> list[Any]:
    """A vector of equal numbers for each of ``count`` of an array, from one on."""
    of, index = given
    data = context.make_array(array)(context, builder, of).data
    places = [builder.gep(data, [builder.add(index, index.type(i))]) for i in range(count)]
    return [_broadcast(builder, builder.load(place)) for place in places]


def _places(context: Any, builder: Any, array: Any, given: Any, count: int) -> list[Any]:
    """Where ``count`` vectors of an array begin, from a number on."""
    of, index = given
    data = context.make_array(array)(context, builder, of).data
    vector = ir.VectorType(data.type.pointee, LANES)
    first = builder.bitcast(builder.gep(data, [index]), vector.as_pointer())
    return [builder.gep(first, [ir.IntType(32)(i)]) for i in range(count)]


def _places_apart(context: Any, builder: Any, array: Any, given: Any, count: int) -> list[Any]:
    """Where ``count`` vectors begin that are a number of ``array``'s numbers apart."""
    of, index, step = given
    places = []
    for _ in range(count):
        places += _places(context, builder, array, (of, index), 1)
        index = builder.add(index, step)
    return places


def _read(builder: Any, place: Any) -> Any:
    return builder.load(place, align=_bits(place.type.pointee.element) // 8)


def _all_left(builder: Any, left: Any, count: int) -> Any:
    """The two branches: whether at least ``count`` vectors are left, or fewer."""
    enough = builder.icmp_signed(">=", left, left.type(count * LANES))
    return builder.if_else(enough, likely=True)


def _mask(builder: Any, left: Any) -> Any:
    """Which lanes there are where ``left`` numbers are left, perhaps none or less."""
    lanes = ir.Constant(ir.VectorType(left.type, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, _broadcast(builder, left))


def _read_some(builder: Any, place: Any, left: Any) -> Any:
    form = place.type.pointee
    masks = ir.VectorType(ir.IntType(1), LANES)
    given = place.type, ir.IntType(32), masks, form
    load = _llvm(builder, "masked.load", form, *given, suffix=".p0")
    align, nothing = ir.IntType(32)(_bits(form.element) // 8), ir.Constant(form, [0.0] * LANES)
    return builder.call(load, [place, align, _mask(builder, left), nothing])


def _write_some(builder: Any, place: Any, left: Any, vector: Any) -> None:
    masks = ir.VectorType(ir.IntType(1), LANES)
    given = vector.type, place.type, ir.IntType(32), masks
    store = _llvm(builder, "masked.store", ir.VoidType(), *given, suffix=".p0", of=vector.type)
    align = ir.IntType(32)(_bits(vector.type.element) // 8)
    builder.call(store, [vector, place, align, _mask(builder, left)])


def _bits(number: Any) -> int:
    return 64 if isinstance(number, ir.DoubleType) else 32


def _broadcast(builder: Any, number: Any) -> Any:
    form, index = ir.VectorType(number.type, LANES), ir.VectorType(ir.IntType(32), LANES)
    nothing = ir.Constant(form, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(index, [0] * LANES))


def _fma(builder: Any, *abc: Any) -> Any:
    form = abc[0].type
    return builder.call(_llvm(builder, "fma", form, form, form, form), abc)


def _llvm(
    builder: Any, name: str, result: Any, *arguments: Any, of: Any = None, suffix: str = ""
) -> Any:
    """LLVM's own function of this name for vectors, of the type of the last argument or ``of``."""
    kind = ir.FunctionType(result, arguments)
    whole_name = f"llvm.{name}.v{LANES}f{_bits((of or arguments[-1]).element)}{suffix}"
    return cgutils.get_or_insert_function(builder.module, kind, whole_name)


def _unpacked(builder: Any, vectors: Any) -> list[Any]:
    return [builder.extract_value(vectors, i) for i in range(vectors.type.count)]


def _packed(builder: Any, vectors: list[Any]) -> Any:
    whole = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for i, vector in enumerate(vectors):
        whole = builder.insert_value(whole, vector, i)
    return whole
