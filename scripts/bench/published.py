"""The published network, to compare with: DCLS 0.1.1 and SpikingJelly 2.0.0 as they ship.

Written anew from the paper. Per hidden layer: Dcls1d along time → BatchNorm over T·N → LIF →
dropout; at the output Dcls1d → a LIF that never fires. Axes are in the order that was the fastest
on a CPU: time first for neurons and BatchNorm, last for convolutions, whose padding copies anyway.

Reference:
    Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks using
    dilated convolutions with learnable spacings" (2024, arXiv:2306.17670).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from DCLS.construct.modules import Dcls1d
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST_SIGMA = 0.27  # a Gaussian Dcls1d's true σ is abs(SIG) + 0.27


class Synapses(nn.Module):
    """``Dcls1d`` as a delay: ``[T, N, pre] → [T + right, N, post]``, the result a view.

    taps − 1 steps of silence on the left make delays causal: position P is a delay of
    taps − 1 − taps // 2 − P steps. ``right`` more steps let late spikes arrive; ``None`` is half
    a kernel, as published.
    """

    def __init__(
        self, pre: int, post: int, taps: int, kernel_count: int = 1, right: int | None = None
    ) -> None:
        super().__init__()
        self.dcls = Dcls1d(
            pre, post, kernel_count, dilated_kernel_size=taps, bias=False, version="gauss"
        )
        self.taps = taps
        self.padding = (taps - 1, (taps - 1) // 2 if right is None else right)
        nn.init.kaiming_uniform_(self.dcls.weight.flatten(1), nonlinearity="relu")
        nn.init.uniform_(self.dcls.P, -(taps // 2), taps // 2)
        self.dcls.SIG.requires_grad_(False)  # σ follows a schedule

    def forward(self, x: Tensor) -> Tensor:
        return self.dcls(F.pad(x.permute(1, 2, 0), self.padding)).permute(2, 0, 1)

    @torch.no_grad()
    def set_sigma(self, sigma: float) -> None:
        """True σ in steps; DCLS cannot go below 0.27."""
        self.dcls.SIG.fill_(max(sigma - SMALLEST_SIGMA, 0.0))

    @torch.no_grad()
    def load(self, weight: Tensor, delay: Tensor) -> None:
        """Take over our ``weight`` and per-synapse ``delay`` (steps), ``[post, pre, k]``."""
        self.dcls.weight.copy_(weight)
        self.dcls.P.copy_(self.taps - 1 - self.taps // 2 - delay.unsqueeze(0))


class Norm(nn.BatchNorm1d):
    """BatchNorm of ``[T, N, C]`` over time and batch, in one call."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, 1)).view(input.shape)


def lif(tau: float, v_threshold: float = 1.0, store_v_seq: bool = False) -> neuron.LIFNode:
    """SpikingJelly's LIF as published; ``tau`` in steps."""
    return neuron.LIFNode(
        tau=tau,
        decay_input=False,
        v_threshold=v_threshold,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(alpha=5.0),
        detach_reset=True,
        step_mode="m",
        store_v_seq=store_v_seq,
    )


class PublishedSNN(nn.Module):
    """The published classifier and its two optimisers.

    ``[T, N, sizes[0]] → [T + layers · (taps − 1) // 2, N, sizes[-1]]``, membrane potentials.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        taps: int = 25,
        *,
        tau: float = 1.005,
        dropout: float = 0.4,
        kernel_count: int = 1,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for pre, post in itertools.pairwise(sizes[:-1]):
            blocks += [Synapses(pre, post, taps, kernel_count), Norm(post), lif(tau)]
            blocks += [layer.Dropout(dropout, step_mode="m")]
        self.blocks = nn.Sequential(*blocks, Synapses(sizes[-2], sizes[-1], taps, kernel_count))
        self.readout = lif(tau, v_threshold=1e9, store_v_seq=True)  # never fires
        norms = [p for block in blocks if isinstance(block, Norm) for p in block.parameters()]
        self.optimizers = [
            torch.optim.Adam(
                [
                    {"params": [s.dcls.weight for s in self.synapses()], "weight_decay": 1e-5},
                    {"params": norms, "weight_decay": 0.0},
                ],
                lr=1e-3,
            ),
            torch.optim.Adam([s.dcls.P for s in self.synapses()], lr=0.1),
        ]

    def synapses(self) -> list[Synapses]:
        return [block for block in self.blocks if isinstance(block, Synapses)]

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        self.readout(self.blocks(x))
        v = self.readout.v_seq
        assert v is not None
        return v

    def set_sigma(self, sigma: float) -> None:
        for synapses in self.synapses():
            synapses.set_sigma(sigma)

    @torch.no_grad()
    def rounded(self) -> PublishedSNN:
        """A copy as the published code evaluates it: whole positions, and the triangle
        ("max") at SIG = 0, which is one tap, in the same dense kernel and convolution."""
        functional.reset_net(self)
        copied = copy.deepcopy(self)
        for synapses in copied.synapses():
            synapses.dcls.P.round_()
            synapses.dcls.SIG.zero_()
            synapses.dcls.version = synapses.dcls.DCK.version = "max"
            synapses.dcls.clamp_parameters()
        return copied.eval()


def scores(v: Tensor) -> Tensor:
    """Sum over time of softmax."""
    return torch.softmax(v, dim=-1).sum(0)


def training_step(net: PublishedSNN, x: Tensor, labels: Tensor, bf16: bool = False) -> None:
    """Forward, loss, backward, both optimisers, positions clamped."""
    for optimizer in net.optimizers:
        optimizer.zero_grad()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        loss = F.cross_entropy(scores(net(x)), labels)
    loss.backward()
    for optimizer in net.optimizers:
        optimizer.step()
    for synapses in net.synapses():
        synapses.dcls.clamp_parameters()
