"""Gradients that can be differentiated themselves, as gradient penalties and Hessians need them.

With ``create_graph=True`` torch runs a backward pass with gradients on. What compiled loops add up
then leaves no graph: the same gradient is computed in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor


def in_torch(grad: Tensor) -> bool:
    """Whether a backward pass has to be done in torch: with a graph, or for a batch of gradients.

    Batches are what ``torch.autograd.grad`` makes of ``is_grads_batched=True``.
    """
    return torch.is_grad_enabled() or is_legacy_batchedtensor(grad)


def gradients(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    grad: Tensor | tuple[Tensor, ...],
    graph: bool = True,
) -> tuple[Tensor | None, ...]:
    """Gradients of ``function(*inputs)``, written in torch, with a graph to inputs and ``grad``.

    Args:
        needed: which inputs get one; the others get None.
        grad: gradient of the function's value, or of its values.
        graph: without it they are numbers; one of an input on which nothing hangs is None.
    """
    with torch.enable_grad():
        # Views, so that inputs that depend on each other are told apart.
        views = [x.view_as(x) if graph else x.detach().requires_grad_() for x in inputs]
        wanted = [view for view, need in zip(views, needed, strict=True) if need]
        value = function(*views)
        found = torch.autograd.grad(value, wanted, grad, create_graph=graph, allow_unused=not graph)
        found = iter(found)
    return tuple(next(found) if need else None for need in needed)
