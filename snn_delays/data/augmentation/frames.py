"""Random changes that move, hide or exchange whole steps and channels, of spikes or of currents.

Nothing loops over recordings, random numbers come from torch's global generator of the input's
own device, and a strength of 0 returns what it was given and draws none.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from snn_delays.arguments import real_number, whole_number
from snn_delays.columns import column
from snn_delays.data.splits.batch import Batch
from snn_delays.errors import UsageError

# Larger than any number of steps or channels by far, so that the rest of a division is as good as
# equally distributed.
_LARGE = 2**40


def channel_shift(
    spikes: Float[Tensor, "time batch channels"], limit: int
) -> Float[Tensor, "time batch channels"]:
    """Move each recording up or down by its own whole number of channels, at most ``limit``.

    Along a cochlea's axis this is a change of pitch and of vocal tract length, as between
    speakers. Channels that nothing moves into are silent; what is moved over the edge is lost.

    Reference:
        Nowotny, Turner, Knight (2022, arXiv:2212.01232), up to 40 of 700 channels.
    """
    batch, channels = spikes.shape[1:]
    limit = whole_number("channel_shift", limit, 0, unit="channels")
    if limit == 0:
        return spikes
    if limit >= channels:
        raise UsageError(
            f"channel_shift must be less than the input's {channels} channels, got {limit}: "
            "a recording would be moved out of all of them."
        )
    shift = torch.randint(-limit, limit + 1, (batch, 1), device=spikes.device)
    source = torch.arange(channels, device=spikes.device) - shift
    inside = (source >= 0) & (source < channels)
    moved = spikes.gather(2, source.clamp(0, channels - 1).expand_as(spikes))
    return moved * inside


def time_mask(
    spikes: Float[Tensor, "time batch channels"], lengths: Int64[Tensor, " batch"], limit: int
) -> Float[Tensor, "time batch channels"]:
    """Silence one span of steps of each recording: width ~ U{0 … w}, start ~ U{0 … length − width}.

    w = min(limit, ⌊length / 2⌋), so that more than half of a recording is never hidden. For
    normalised currents 0 is their mean.

    Reference:
        SpecAugment: Park et al. (2019, arXiv:1904.08779).
    """
    limit = whole_number("time_mask", limit, 0, unit="steps")
    if limit == 0:
        return spikes
    hidden = _random_spans(lengths, (lengths // 2).clamp(max=limit), spikes.shape[0])
    return spikes * (~hidden).T[:, :, None].to(spikes)


def channel_mask(
    spikes: Float[Tensor, "time batch channels"], limit: int
) -> Float[Tensor, "time batch channels"]:
    """Silence one span of channels of each recording; as :func:`time_mask`, length = C."""
    limit = whole_number("channel_mask", limit, 0, unit="channels")
    if limit == 0:
        return spikes
    batch, channels = spikes.shape[1:]
    sizes = torch.full((batch,), channels, device=spikes.device)
    hidden = _random_spans(sizes, (sizes // 2).clamp(max=limit), channels)
    return spikes * (~hidden).to(spikes)


def cutmix(batch: Batch, n_classes: int, probability: float) -> tuple[Batch, Tensor]:
    """Replace a span of steps of a recording by the same steps of the next one in the batch.

    With probability p, for recording n and its neighbour m, both lasting at least L steps:

        width ~ U{0 … L}, start ~ U{0 … L − width}
        target[n] = (1 − λ) · onehot(label[n]) + λ · onehot(label[m])        λ = width / length[n]

    The recording keeps its length and its speaker. The batch comes in random order, and so do
    neighbours.

    What comes back is the batch, each label that of the greater part; and the targets of the loss,
    class probabilities ``[N, n_classes]``, or the labels ``[N]`` themselves if p = 0.

    Reference:
        CutMix: Yun et al. (2019, arXiv:1905.04899) with α = 1; along time and with a neighbour as
        in the code of Hammouamri et al. (2024, arXiv:2306.17670).
    """
    probability = real_number("cutmix", probability, 0, 1)
    if probability == 0:
        return batch, batch.labels
    n_classes = whole_number("cutmix: n_classes", n_classes, 1)
    spikes, labels, lengths = batch.spikes, batch.labels, batch.lengths
    if labels.device.type == "cpu":
        column("cutmix: labels", labels, None, 0, n_classes - 1, why=f"{n_classes} classes")
    common = torch.minimum(lengths, lengths.roll(-1))
    chosen = torch.rand(len(labels), device=labels.device) < probability
    widths = common * chosen
    foreign = _random_spans(common, widths, spikes.shape[0])
    steps, size, channels = spikes.shape
    rows = torch.arange(steps * size, device=spikes.device).view(steps, size)
    rows = torch.where(foreign.T, rows.roll(-1, 1), rows)
    spikes = spikes.reshape(-1, channels).index_select(0, rows.flatten()).view_as(spikes)
    share = (foreign.sum(1) / lengths)[:, None]
    neighbours = labels.roll(-1)
    targets = F.one_hot(labels, n_classes) * (1 - share) + F.one_hot(neighbours, n_classes) * share
    greater = torch.where(share.squeeze(1) > 0.5, neighbours, labels)
    return batch._replace(spikes=spikes, labels=greater), targets


def _random_spans(sizes: Int64[Tensor, " N"], limits: Int64[Tensor, " N"], columns: int) -> Tensor:
    """One span of each row, inside its first ``sizes`` of the columns, at most ``limits`` wide."""
    large = torch.randint(_LARGE, (2, len(sizes)), device=sizes.device)
    widths = large[0] % (limits + 1)
    starts = large[1] % (sizes - widths + 1)
    column = torch.arange(columns, device=sizes.device)
    return (column >= starts[:, None]) & (column < (starts + widths)[:, None])
