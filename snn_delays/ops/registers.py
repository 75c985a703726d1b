"""Sizes of the vectors and tiles of compiled loops, by the registers of the processor.

A loop is fast while its sums stay in registers: a tile that does not fit is written to memory and
read again for every product. What fits is decided here alone, by how many vector registers there
are and how wide they are. LLVM says so, for the very processor and features that numba compiles
for; numba keeps compiled loops by these, so that none are ever taken for another processor.
``scripts/bench/tiles.py`` measures the loops with these sizes and with others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba.core.registry import cpu_target


class Registers(NamedTuple):
    """The vector registers of a processor: how many, and bits of one."""

    number: int
    bits: int


class Sizes(NamedTuple):
    """Of the vectors and tiles of loops; all but ``lanes`` are counts of vectors.

    Args:
        lanes: float32s of a vector, which fill one register.
        tile: steps that are summed up at once. Beside them stand five coefficients and one vector
            that they are multiplied with.
        columns: of a matrix that are summed up at once, in whole strips; beside them one
            coefficient, and one vector where the processor does not multiply from memory.
        strip: of a small tile.
        group: of samples that share a coefficient where each serves few products: four sums for
            each of these vectors are so many that none waits for itself.
        short, tall: rows of an image that are summed up at once, beside up to four coefficients
            and one vector. Heights of images are often multiples of 7.
        high, wide: rows and columns of a matrix product that are summed up at once, beside a row of
            vectors and one factor.
    """

    lanes: int
    tile: int
    columns: int
    strip: int
    group: int
    short: int
    tall: int
    high: int
    wide: int


def registers(triple: str, name: str, features: str) -> Registers:
    """Those that LLVM takes for a long vector, asked by compiling one addition."""
    vector = ir.VectorType(ir.FloatType(), 32)
    module = ir.Module()
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [vector.as_pointer()]), "twice")
    builder = ir.IRBuilder(function.append_basic_block())
    (place,) = function.args
    numbers = builder.load(place, align=4)
    builder.store(builder.fadd(numbers, numbers), place, align=4)
    builder.ret_void()
    target = binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=name, features=features)
    assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
    if "%zmm" in assembly:
        return Registers(32, 512)
    if "%ymm" in assembly:
        return Registers(16, 256)
    return Registers(32 if target.name.startswith("aarch64") else 16, 128)


def sizes(processor: Registers) -> Sizes:
    """What fits into the registers of a processor, and was quickest where that was measured."""
    lanes = processor.bits // 32
    if processor.number < 32:
        return Sizes(lanes, tile=10, columns=8, strip=4, group=2, short=7, tall=7, high=6, wide=2)
    group = 1 if processor.bits == 512 else 4
    return Sizes(lanes, tile=16, columns=16, strip=4, group=group, short=7, tall=14, high=6, wide=4)


_context: Any = cpu_target.target_context
HOST = registers(*_context.codegen().magic_tuple())
LANES, TILE, COLUMNS, STRIP, GROUP, SHORT, TALL, HIGH, WIDE = sizes(HOST)
