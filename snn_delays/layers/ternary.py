"""Weights of three values, to be frozen while delays learn."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def ternary_(weight: Tensor) -> Tensor:
    """Make a weight −c, 0 or c in place: the third that is smallest 0, the others by their sign.

        c = √(mean w² · n / n≠0),   so that the mean square stays that of the initialisation

    Shape:
        any → the same tensor.

    Reference:
        Grappolini, Subramoney, "Beyond weights: deep learning in spiking neural networks with pure
        synaptic-delay training" (2023, arXiv:2306.06237), where such weights are frozen.
    """
    size = weight.abs().flatten()
    kept = torch.zeros_like(size, dtype=torch.bool)
    kept[size.topk(size.numel() - size.numel() // 3).indices] = True
    c = (size.square().mean() * size.numel() / kept.sum().clamp(min=1)).sqrt()
    return weight.copy_(torch.where(kept.view_as(weight), c * weight.sign(), 0))
