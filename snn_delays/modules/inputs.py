"""What modules take: dense tensors of torch, of one step or of a sequence as their mode says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from snn_delays.errors import UsageError


def require_dense(owner: str, x: Any, name: str = "input") -> None:
    """Refuse an argument of ``owner`` that is no dense tensor.

    Raises:
        UsageError: arrays, lists, sparse tensors, and what ``torch.fx`` traces symbols with.
    """
    if isinstance(x, Tensor) and x.layout is torch.strided:
        return
    variable = "x" if name == "input" else name
    if isinstance(x, Tensor):
        raise UsageError(
            f"{owner}: {name} must be dense, got {x.layout}. Use {variable}.to_dense()."
        )
    if isinstance(x, fx.Proxy):
        raise UsageError(
            f"{owner}: torch.fx.symbolic_trace does not follow it. Use torch.export.export, or "
            "make_fx of torch.fx.experimental.proxy_tensor."
        )
    raise UsageError(
        f"{owner}: {name} must be a tensor, got {type(x).__name__}. "
        f"Use torch.as_tensor({variable})."
    )


def require_sequence(owner: str, x: Tensor, width: int, axes: tuple[str, ...]) -> None:
    """Refuse an input of ``owner`` whose axes are not these and one of this width.

    Raises:
        UsageError: that says so where the other ``step_mode`` would take it.
    """
    if x.dim() == len(axes) + 1 and x.shape[-1] == width:
        return
    mode, other = ("s", "m") if len(axes) == 1 else ("m", "s")
    fits = x.dim() == 4 - len(axes) and x.shape[-1] == width
    hint = f" For that shape, functional.set_step_mode(net, {other!r})." if fits else ""
    raise UsageError(
        f"{owner}: input must be [{', '.join((*axes, str(width)))}] with step_mode={mode!r}, "
        f"got {list(x.shape)}.{hint}"
    )


def require_frames(owner: str, x: Tensor, channels: int, space: int, axes: tuple[str, ...]) -> None:
    """Refuse an input of ``owner`` that is no sequence, or step, of maps of so many channels.

    Args:
        space: axes of a map.

    Raises:
        UsageError: that says so where the other ``step_mode`` would take it.
    """
    if x.dim() == len(axes) + 1 + space and x.shape[len(axes)] == channels:
        return
    mode, other, lead = ("s", "m", 2) if len(axes) == 1 else ("m", "s", 1)
    fits = x.dim() == lead + 1 + space and x.shape[lead] == channels
    hint = f" For that shape, functional.set_step_mode(net, {other!r})." if fits else ""
    size = {1: ("W",), 2: ("H", "W")}[space]
    raise UsageError(
        f"{owner}: input must be [{', '.join((*axes, str(channels), *size))}] with "
        f"step_mode={mode!r}, got {list(x.shape)}.{hint}"
    )
