"""Changes to a training batch that leave its meaning alone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import UsageError


def channel_shift(
    spikes: Float[Tensor, "time batch channels"], limit: int
) -> Float[Tensor, "time batch channels"]:
    """Move each sample up or down the channels by a random whole number of them, at most ``limit``.

    Along a cochlea's axis this is a change of pitch and of vocal tract length, as between
    speakers. Channels that nothing moves into are silent; what is moved over the edge is lost.
    Draws from torch's global generator.

    Shape:
        ``[T, N, C] → [T, N, C]``.

    Raises:
        UsageError: a limit that is negative or no whole number.
    """
    if not isinstance(limit, int) or limit < 0:
        raise UsageError(f"channel_shift must be a whole number of channels >= 0, got {limit!r}.")
    if limit == 0:
        return spikes
    batch, channels = spikes.shape[1:]
    shift = torch.randint(-limit, limit + 1, (batch, 1)).to(spikes.device)
    source = torch.arange(channels, device=spikes.device) - shift
    inside = (source >= 0) & (source < channels)
    moved = spikes.gather(2, source.clamp(0, channels - 1).expand_as(spikes))
    return moved * inside
