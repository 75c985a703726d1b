"""Kernels of ``ops/fft.py`` from weights and delays, their spectra, and gradients back.

In torch each operation would write and read ``max_delay + 1`` numbers for every synapse anew;
``ops/kernels_cpu.py`` does those of a few synapses in the cache.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snn_delays.interpolation import inside
from snn_delays.ops.compiled import loops, use_torch_threads
from snn_delays.ops.spectrum import Transform

kernels_cpu = loops("kernels_cpu")  # None: there are no transforms either.


class Synapses:
    """Weights ``[post, pre, k]``, and delays and widths that are broadcast to them, for the loops.

    Args:
        sigma: 0-d, or ``[…, 1]`` where there is one for each delay.
        turned: whether kernels are ``[…, pre, post]``, not ``[…, post, pre]``.
    """

    def __init__(
        self,
        weight: Tensor,
        delay: Tensor,
        sigma: Tensor,
        max_delay: int,
        interpolation: str,
        turned: bool,
    ) -> None:
        self.taps, self.gaussian = max_delay + 1, interpolation == "gaussian"
        self.parameters = weight, delay, sigma
        delay = inside(delay.detach(), max_delay)
        width = sigma.detach().squeeze(-1) if sigma.dim() else sigma.detach()
        if self.gaussian:
            # Of σ = 0 the nearest tap is all, of two equally near ones too. Narrower bells than
            # 1e-6 have the same taps, and squares of their widths no inverse in float32.
            delay = torch.where(width == 0, delay.round(), delay)
            width = width.clamp(min=1e-6)
        order = (2, 1, 0) if turned else (2, 0, 1)
        given = [
            one.expand(weight.shape).permute(order).contiguous()
            for one in (weight.detach(), delay, width)
        ]
        self.shape = given[0].shape[1:]  # A and B
        self._given = [one.flatten(1).numpy() for one in given]
        self._kernel: Tensor | None = None

    def _strips(self) -> Tensor:
        """Room for all taps, as the loops have them."""
        strips, pairs = -(-self.shape.numel() // kernels_cpu.STRIP), -(-self.taps // 2)
        return self.parameters[0].new_empty(strips, 2, pairs, kernels_cpu.STRIP)

    def _made(self) -> Tensor:
        if self._kernel is None:
            self._kernel = self._strips()
            use_torch_threads()
            kernels_cpu.make(self._kernel.numpy(), *self._given, self.taps, self.gaussian)
        return self._kernel

    def kernel(self) -> Tensor:
        """``[taps, A, B]``."""
        rows = self._made().permute(2, 1, 0, 3).flatten(0, 1).flatten(1)
        return rows[: self.taps, : self.shape.numel()].unflatten(1, self.shape).contiguous()

    def spectrum(self, form: Transform, some: slice, out: Tensor) -> None:
        """At some points of half of them, and at those opposite: ``[2, some, 3, A, B]``."""
        use_torch_threads()
        kernels_cpu.spectra(out.flatten(3).numpy(), self._made().numpy(), form.kernel[some])

    def sums(self, grad: Tensor | None = None) -> Tensor:
        """Room to add up the gradients of a kernel; those of one ``[taps, A, B]`` to begin with."""
        sums = self._strips().zero_()
        if grad is not None:
            strips, _, pairs, strip = sums.shape
            padding = 0, strips * strip - self.shape.numel(), 0, 2 * pairs - self.taps
            rows = torch.nn.functional.pad(grad.flatten(1), padding)
            sums.copy_(rows.view(pairs, 2, strips, strip).permute(2, 1, 0, 3))
        return sums

    def add_spectrum(self, form: Transform, some: slice, values: Tensor, sums: Tensor) -> None:
        """Adds the gradients of what ``spectrum`` makes."""
        use_torch_threads()
        kernels_cpu.add_spectra(sums.numpy(), values.flatten(3).numpy(), form.kernel[some])

    def gradients(self, sums: Tensor) -> list[Tensor]:
        """Of each parameter, in its shape, from those of a kernel ``[…, post, pre]``."""
        found = [np.empty_like(one) for one in self._given]
        use_torch_threads()
        kernels_cpu.slopes(*found, sums.numpy(), *self._given, self.taps, self.gaussian)
        weight, delay, sigma = (
            torch.from_numpy(one).unflatten(1, self.shape).permute(1, 2, 0) for one in found
        )
        _, like_delay, like_sigma = self.parameters
        width = like_sigma.shape[:-1]  # without the taps' axis
        sigma = sigma.sum_to_size(width).reshape(like_sigma.shape)
        return [weight, delay.sum_to_size(like_delay.shape), sigma]
