"""σ, the width of a layer's interpolation, as a buffer: saved, averaged and moved as others are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.arguments import real_number
from snn_delays.eager import readable


class SigmaBuffer(nn.Module):
    """A module with a width ``sigma`` in steps; in its state dict a 0-d tensor ``_sigma``.

    The buffer stays in double precision when the module's weights are cast, so that σ is what a
    schedule said; it is in single precision where a device has no other (MPS).
    """

    _sigma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_sigma", torch.zeros((), dtype=torch.float64))
        self._read: tuple[Tensor, int, float] | None = None

    @property
    def sigma(self) -> float:
        """True standard deviation of the interpolation kernel, in steps.

        A GPU is asked for it only after the buffer was written to.
        """
        buffer = self._buffer()
        if buffer.is_cpu or buffer.is_inference():
            return buffer.item()
        if self._read is None or self._read[0] is not buffer or self._read[1] != buffer._version:
            self._read = buffer, buffer._version, buffer.item()
        return self._read[2]

    @sigma.setter
    def sigma(self, value: Any) -> None:
        number = real_number(f"{type(self).__name__}: sigma", value, 0, unit="steps")
        if self._sigma.is_inference() and not torch.is_inference_mode_enabled():
            self._sigma = self._sigma.clone()  # which cannot be written to out here
        with torch.no_grad():
            self._sigma.fill_(number)

    def _width(self) -> float | Tensor:
        """σ as sums take it: a number, or where a graph outlives it the buffer itself."""
        buffer = self._buffer()
        return self.sigma if readable(buffer) else buffer

    def _buffer(self) -> Tensor:
        buffer = self._buffers["_sigma"]  # looked up so, which a step of a stream can tell
        assert buffer is not None
        return buffer

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        sigma = state_dict.get(f"{prefix}_sigma")
        if isinstance(sigma, Tensor) and readable(sigma):
            real_number(f"{type(self).__name__}: {prefix}_sigma", sigma, 0, unit="steps")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        exact = self._sigma
        single = fn(exact.new_empty(0, dtype=torch.float32)).device.type == "mps"
        if single:
            self._sigma = exact.float()
        super()._apply(fn)  # SpikingJelly's modules know no `recurse`
        if self._sigma.dtype != exact.dtype and not single:
            self._sigma = exact.to(self._sigma.device)
        return self
