"""The width σ that a layer stores: scheduled or learned, one number or one for each axis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.arguments import real_number, shown
from snn_delays.errors import UsageError
from snn_delays.modules.eager import readable
from snn_delays.modules.ranged import Spread
from snn_delays.modules.rest import not_seen_yet

_outlived = False


@contextmanager
def read_anew() -> Iterator[None]:
    """Within it sums take a σ that is stored as a tensor: what is recorded now reads it anew, when
    it is repeated with another one."""
    global _outlived
    before, _outlived = _outlived, True
    try:
        yield
    finally:
        _outlived = before


def outlived() -> bool:
    """Whether what is done now is repeated, when σ may be another."""
    return _outlived


def _waits(buffer: Tensor) -> bool:
    """Whether the host has to wait for its numbers."""
    return not buffer.is_cpu


class _Read:
    """σ as it was read, and after which write. A copy counts its own writes, and reads anew."""

    def __init__(self, buffer: Tensor) -> None:
        self.buffer, self.version, self.value = buffer, buffer._version, buffer.tolist()

    def of(self, buffer: Tensor) -> bool:
        return self.buffer is buffer and self.version == buffer._version

    def __reduce__(self) -> Any:
        return type(None), ()


class Width(Spread, nn.Module):
    """A layer with a width ``sigma``.

    In its state dict σ is a tensor ``_sigma``, 0-d or ``[axes]``. It stays in double precision when
    the weights are cast, so that σ is what a schedule said; it is in single precision where a
    device has no other (MPS). If σ is learned, it is exp of the parameter ``log_sigma`` instead.

    Args:
        axes: how many widths there are; None is a single one.
    """

    _sigma: Tensor
    log_sigma: nn.Parameter | None
    unit = "steps"

    def __init__(self, axes: int | None = None) -> None:
        super().__init__()
        shape = () if axes is None else (axes,)
        self.register_buffer("_sigma", torch.zeros(shape, dtype=torch.float64))
        self.register_parameter("log_sigma", None)
        self._read: _Read | None = None

    def read_sigma(self) -> Any:
        """σ as a number, or a list of one for each axis. A GPU is asked once after each
        write; writes through ``_sigma.data`` go unnoticed there."""
        learned: Any = self._parameters["log_sigma"]  # so, which a step of a stream can tell
        if learned is not None:
            return learned.detach().exp().tolist()
        buffer: Any = self._buffers["_sigma"]
        if buffer.is_inference() or not _waits(buffer):  # the writes of inference are not counted
            return buffer.tolist()
        if self._read is None or not self._read.of(buffer):
            self._read = _Read(buffer)
        return self._read.value

    def write_sigma(self, value: Any) -> None:
        """Store σ, of a layer with several axes one number for all or one for each.

        Raises:
            UsageError: no width, or not one for each axis.
        """
        name = f"{type(self).__name__}: sigma"
        learned = self.log_sigma is not None
        limits: dict[str, Any] = (
            {"above": 0, "advice": "It is learned."} if learned else {"least": 0}
        )
        axes = self._sigma.numel() if self._sigma.dim() else None
        if axes is not None and isinstance(value, list | tuple):
            if len(value) != axes:
                raise UsageError(
                    f"{name} must be a number or one for each of {axes} learned axes, got "
                    f"{shown(value)}."
                )
            numbers = [_width(name, one, self.unit, **limits) for one in value]
        else:
            numbers = [_width(name, value, self.unit, **limits)] * (axes or 1)
        not_seen_yet(self)
        if self.log_sigma is not None:
            with torch.no_grad():
                logs = self.log_sigma.new_tensor([math.log(one) for one in numbers])
                ends = (1,) * (self.log_sigma.dim() - 1)
                self.log_sigma.copy_(logs.view(-1, *ends) if axes is not None else logs[0])
            return
        if self._sigma.is_inference() and not torch.is_inference_mode_enabled():
            self._sigma = self._sigma.clone()  # which cannot be written to out here
        with torch.no_grad():
            told = self._sigma.new_tensor(numbers if axes is not None else numbers[0])
            self._sigma.copy_(told)

    def learned_widths(self) -> list[nn.Parameter]:
        return [] if self.log_sigma is None else [self.log_sigma]

    def schedule_sigma(self, sigma: float) -> None:
        if self.log_sigma is None:
            self.write_sigma(sigma)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._read = None
        not_seen_yet(self)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        exact = self._sigma
        single = fn(exact.new_empty(0, dtype=torch.float32)).device.type == "mps"
        if single:
            self._sigma = exact.float()
        super()._apply(fn)  # SpikingJelly's modules know no `recurse`
        if self._sigma.dtype != exact.dtype and not single:
            self._sigma = exact.to(self._sigma.device)
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        sigma = state_dict.get(f"{prefix}_sigma")
        if isinstance(sigma, Tensor) and readable(sigma):
            for one in sigma.flatten().tolist():
                _width(f"{type(self).__name__}: {prefix}_sigma", one, self.unit, least=0)
        not_seen_yet(self)
        self._read = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _width(name: str, value: Any, unit: str, **limits: Any) -> float:
    return float(real_number(name, value, unit=unit, **limits))
