"""The one place that knows whether numba and Triton are there, and calls what they compile."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.loops.passive import let_torch_sleep
from snn_delays.modules.eager import for_loops

_log = logging.getLogger("snn_delays")
TRITON = importlib.util.find_spec("triton") is not None

try:
    from snn_delays.loops import loop, team
except ImportError:
    loop = team = None
    _log.warning(
        "numba is not installed: delays and neurons run on the CPU, but several times slower. "
        "Install it with: pip install numba"
    )


def loops(module: str) -> Any:
    """The compiled loops ``snn_delays.ops.<module>``; ``None`` where numba is missing."""
    return None if loop is None else importlib.import_module(f"snn_delays.ops.{module}")


# Of the loops of one device, by name.
Caller = Callable[..., None]


class Loops:
    """Loops over time by the type of device that they run on, called alike with tensors.

    Args:
        cpu: the module of those that numba compiles, in ``snn_delays.ops``; None if there is none.
        cuda: that of Triton's kernels, whose functions have the same names and arguments.
    """

    def __init__(self, *, cpu: str | None, cuda: str) -> None:
        self.callers: dict[str, Caller] = {}
        if cpu is not None and (module := loops(cpu)) is not None:
            self.callers["cpu"] = with_arrays(module)
        if TRITON and torch.version.cuda is not None:
            self.callers["cuda"] = kernels(cuda)

    def on(self, device: str) -> bool:
        """Whether there are any on this type of device."""
        if device == "cuda" and not TRITON:
            _say_no_triton()
        return device in self.callers

    def take(self, *tensors: Tensor) -> bool:
        """Whether they can take these: readable, on one such device, of one precision."""
        device = tensors[0].device.type
        return self.on(device) and for_loops(*tensors, device=device)

    def call(self, name: str, *args: Any) -> None:
        """Run one of them where its first argument, a contiguous tensor as all others, lies."""
        self.callers[args[0].device.type](name, *args)


def with_arrays(module: Any) -> Caller:
    """Functions of ``module`` that take NumPy's arrays for tensors, and torch's threads."""

    def call(name: str, *args: Any) -> None:
        use_torch_threads()
        taken = [one.numpy() if isinstance(one, Tensor) else one for one in args]
        getattr(module, name)(*taken)

    return call


def kernels(module: str) -> Caller:
    """Functions of ``snn_delays.ops.<module>`` that start Triton's kernels; imported when needed,
    which takes a second."""

    def call(name: str, *args: Any) -> None:
        getattr(importlib.import_module(f"snn_delays.ops.{module}"), name)(*args)

    return call


@functools.cache
def _say_no_triton() -> None:
    """Once in a process."""
    _log.warning(
        "triton is not installed: on the GPU neurons run step by step, many times slower. It comes "
        "with PyTorch's CUDA packages for Linux; install them again: pip install --force-reinstall "
        "torch"
    )


def to_array(x: Tensor) -> NDArray[Any]:
    """x as loops take it: its numbers one after the other, and no graph."""
    return x.detach().contiguous().numpy()


def use_torch_threads() -> None:
    """Give the loops torch's thread count, as far as there are cores, and these cores."""
    if loop is not None and team is not None:
        loop.use_threads(threads := torch.get_num_threads())
        if threads > 1 and not team.forked():
            let_torch_sleep()


def _after_fork() -> None:
    """Torch's threads do not come along: what waits for them would wait for ever."""
    if team is not None and team.forked():
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
