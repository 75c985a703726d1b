"""Recurrent neurons, whose spikes come back to them with delays, one step after the other.

    I[t, post] = x[t, post] + m[post] · r[t, post]
    r[t, post] = Σ_pre Σ_k w[post, pre, k] · Σ_j g_σ(j − d[post, pre, k]) · s[t − 1 − j, pre]
    s[t] = neuron(I[t])

j and d count from the step before: what arrives there was sent at the last step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snn_delays.interpolation import dense_kernel, interpolate

Current = Callable[[Tensor], Tensor]


def loop(
    neuron: nn.Module,
    x: Float[Tensor, "time batch size"],
    history: Float[Tensor, "taps batch size"],
    kept: Float[Tensor, "batch size"] | None,
    current: Current,
) -> Float[Tensor, "time batch size"]:
    """The equations as a loop over time in torch, for neurons of any kind.

    Args:
        neuron: in single-step mode, with what it remembers.
        x: currents from elsewhere.
        history: the last spikes, the last of all at the end.
        kept: m, what dropout leaves; None is all.
        current: r of a step from the spikes before it.
    """
    found = []
    for now in x.unbind(0):
        back = current(history)
        spikes = neuron(now + (back if kept is None else kept * back))
        history = torch.cat([history[1:], spikes.unsqueeze(0)])
        found.append(spikes)
    return torch.stack(found) if found else x


def currents(
    weight: Float[Tensor, "post pre k"],
    delay: Float[Tensor, "post_or_1 pre_or_1 k"],
    sigma: float | Tensor,
    max_delay: int,
    interpolation: str,
) -> Current:
    """r of a step from the spikes before it, ``[taps, N, pre] → [N, post]``.

    Delays that do not differ between neurons post hold the spikes of each neuron pre back once,
    for all that it leads to: pre · taps + pre · post a step in place of pre · post · taps.
    """
    settings = (sigma, max_delay, interpolation)
    if delay.shape[0] == 1:
        spread = interpolate(delay[0].expand(weight.shape[1], -1), *settings).to(weight.dtype)

        def axonal(history: Tensor) -> Tensor:
            late = torch.einsum("jni,ikj->nik", history.flip(0), spread)
            return torch.einsum("nik,oik->no", late, weight).to(weight.dtype)

        return axonal
    kernel = dense_kernel(weight, delay, *settings)

    def synaptic(history: Tensor) -> Tensor:
        return torch.einsum("jni,oij->no", history.flip(0), kernel).to(weight.dtype)

    return synaptic
