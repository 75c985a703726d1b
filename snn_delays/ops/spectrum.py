"""A sequence as the values of its polynomial x(z) = Σ_t x[t] · zᵗ, and back.

At the K points where zᴷ = i, all of them or those of a part, for which another power of z is the
same. ``ops/fft.py`` says what for, ``ops/fft_cpu.py`` how.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.compiled import loops, use_torch_threads

fft_cpu = loops("fft_cpu")  # None: there are no transforms.

# X as three real numbers (a, b, their sum) and G as (c, d − c, c + d) have the three products
# c · (a + b), a · (d − c), b · (c + d), of which Y = first − third + i · (first + second).
OF_X = np.array([[1, 1], [1, 0], [0, 1]])
OF_Y = np.array([[1, 1], [0, 1], [-1, 0]])


class Transform(NamedTuple):
    """What the loops need for K of all points, those at which zᴷ is the same, in one precision.

    Of complex numbers the real part, the imaginary part, and that with its sign turned.
    """

    fold: np.ndarray  # [M, 3]: powers of zᴷ, with which x is reduced to K coefficients
    twist: np.ndarray  # [K, 3]: powers of the first point
    radices: np.ndarray
    table: np.ndarray  # [coefficients, 3]
    kernel: np.ndarray  # [K / 2, 2, 2, pairs]: half of the points to the powers of even, odd taps

    @property
    def points(self) -> int:
        return len(self.twist)

    @property
    def tables(self) -> tuple[np.ndarray, ...]:
        return self.fold, self.twist, self.radices, self.table

    @property
    def adjoint(self) -> tuple[np.ndarray, ...]:
        # Contiguous as the others: loops are compiled for each layout.
        twist, table = (np.ascontiguousarray(one[:, [0, 2, 1]]) for one in (self.twist, self.table))
        return self.fold, twist, self.radices, table


@functools.lru_cache(maxsize=256)
def transforms(points: int, parts: int, taps: int, dtype: torch.dtype) -> tuple[Transform, ...]:
    """All ``points``, 2^a · 3^b · 5^c, in ``parts``: exp(i · π · (½ − 2 · k) / points)."""
    number = torch.empty(0, dtype=dtype).numpy().dtype
    some = points // parts
    radices, table = [], [np.empty(0, complex)]
    n = some
    for radix in (4, 2, 3, 5):
        while n % radix == 0:
            n //= radix
            radices.append(radix)
            p, j, k = np.ogrid[:n, :radix, :radix]
            turns = j * k / radix + p * j / (radix * n)
            table.append(np.exp(-2j * np.pi * turns).ravel())
    found = []
    for part in range(parts):
        angles = np.pi / points * (0.5 - 2 * (part + parts * np.arange(some)))
        powers = np.exp(1j * angles[: some // 2, None] * np.arange(taps + taps % 2))
        powers = powers.reshape(some // 2, -(-taps // 2), 2).swapaxes(1, 2)
        kernel = np.stack([np.real(powers), np.imag(powers)], 1)
        form = Transform(
            _signed(np.exp(1j * angles[0] * some * np.arange(2 * parts)), number),
            _signed(np.exp(1j * angles[0] * np.arange(some)), number),
            np.array(radices, np.int64),
            _signed(np.concatenate(table), number),
            np.ascontiguousarray(kernel, number),
        )
        found.append(form)
    return tuple(found)


def _signed(values: np.ndarray, number: np.dtype) -> np.ndarray:
    real, imaginary = np.real(values), np.imag(values)
    return np.stack([real, imaginary, -imaginary], 1).astype(number)


def points_for(length: int) -> int:
    """The least even K of the loops' radices with 2 · K ≥ ``length``."""
    least = max(1, -(-length // 4))
    odd = [5**five * 3**three for five in range(3) for three in range(3)]
    return 2 * min(base << max(0, -(-least // base) - 1).bit_length() for base in odd)


def like(form: Transform, x: Tensor, room: Tensor) -> Tensor:
    """Room for a spectrum of ``[T, N, C]``: ``[K, 3, N, C]``."""
    shape = form.points, 3, *x.shape[1:]
    return room[: math.prod(shape)].view(shape)


def spectrum(form: Transform, x: Tensor, mix: np.ndarray, room: Tensor) -> Tensor:
    """Three real numbers of each value of ``[T, N, C]``: ``[K, 3, N, C]``."""
    out = like(form, x, room)
    rows = x.detach().flatten(1).numpy()
    use_torch_threads()
    fft_cpu.to_spectrum(out.flatten(2).numpy(), rows, mix.astype(rows.dtype), *form.tables)
    return out


def add_sequence(form: Transform, values: Tensor, mix: np.ndarray, out: Tensor, more: bool) -> None:
    """The adjoint, ``[K, 3, N, C]`` → ``[T, N, C]``, added if there is more in ``out``."""
    rows, spectra = out.flatten(1).numpy(), values.flatten(2).numpy()
    use_torch_threads()
    fft_cpu.from_spectrum(rows, more, spectra, mix.astype(rows.dtype), *form.adjoint)
