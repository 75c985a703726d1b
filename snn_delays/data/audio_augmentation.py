"""Changes to a training batch of sounds, as images of their mel bands over time."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

from snn_delays.arguments import real, real_number, settle, whole_number
from snn_delays.data.splits.batch import Batch
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError

Sounds = Float[Tensor, "N C frames bands"]


@dataclass(frozen=True)
class AudioAugmentation(BatchChange):
    """How strongly sounds ``[1, N, C, frames, bands]`` are changed, in this order; first all off.

    Every sound is changed by numbers of its own; what is off draws nothing.

    Args:
        speed: sounds become faster or slower by a factor from 1 / (1 + speed) to 1 + speed.
        roll: sounds move along time, in a circle, by at most this share of their frames, in [0, ½].
        mixup: α of the share of the sound that is mixed in, > 0; published: 1. 0 is off.

    Raises:
        UsageError: a strength out of range; on use, batches that are no images.
    """

    speed: float = 0.0
    roll: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        settle(self, "augmentation.", speed=real(0), roll=real(0, 0.5), mixup=real(0))

    def __call__(self, batch: Batch, n_classes: int) -> tuple[Batch, Tensor]:
        used = [name for name, strength in asdict(self).items() if strength]
        if not used:
            return batch, batch.labels
        if batch.spikes.ndim != 5 or len(batch.spikes) != 1:
            raise UsageError(
                f"augmentation: {', '.join(used)} {'is' if len(used) == 1 else 'are'} for sounds "
                f"[1, N, C, frames, bands], got input {list(batch.spikes.shape)}. Use "
                "augmentation=none."
            )
        sounds = batch.spikes[0]
        if self.speed:
            sounds = speed(sounds, self.speed)
        if self.roll:
            sounds = roll(sounds, self.roll)
        batch = batch._replace(spikes=sounds[None])
        return mixup(batch, n_classes, self.mixup) if self.mixup else (batch, batch.labels)


def speed(sounds: Sounds, strength: float) -> Sounds:
    """Resample the frames of each sound about its middle; pitch is unchanged.

    y[t] = (1 − r) · x[⌊s⌋] + r · x[⌊s⌋ + 1],  s = c + f · (t − c),  c = (frames − 1) / 2,
    r = s − ⌊s⌋,  f = (1 + strength)^u, u ~ U(−1, 1), per sound

    Before the first frame and after the last one these go on. It is the features that are
    resampled, not the sound: a tone stays as high as it was, and frames are blurred.
    """
    strength = real_number("speed", strength, 0)
    frames = sounds.shape[2]
    exponents = 2 * torch.rand(len(sounds), 1, device=sounds.device) - 1
    centre = (frames - 1) / 2
    moments = torch.arange(frames, device=sounds.device) - centre
    places = (centre + (1 + strength) ** exponents * moments).clamp(0, frames - 1)
    before = places.floor()
    share = (places - before)[:, None, :, None].to(sounds)
    first, second = _at(sounds, before), _at(sounds, (before + 1).clamp(max=frames - 1))
    return first + share * (second - first)


def _at(sounds: Sounds, frames: Float32[Tensor, "N frames"]) -> Sounds:
    return sounds.gather(2, frames.long()[:, None, :, None].expand_as(sounds))


def roll(sounds: Sounds, limit: float) -> Sounds:
    """Move each sound by a whole number of frames; what leaves at one end enters at the other.

    y[t] = x[(t − s) mod frames],  s ~ U{−m … m},  m = ⌊limit · frames⌋
    """
    limit = real_number("roll", limit, 0, 0.5)
    n, _, frames, _ = sounds.shape
    most = int(limit * frames)
    shift = torch.randint(-most, most + 1, (n, 1), device=sounds.device)
    places = (torch.arange(frames, device=sounds.device) - shift) % frames
    return sounds.gather(2, places[:, None, :, None].expand_as(sounds))


def mixup(batch: Batch, n_classes: int, alpha: float) -> tuple[Batch, Tensor]:
    """Mix each sound n with the next one m in the batch, and what they are said to be.

    y[n] = (1 − λ) · x[n] + λ · x[m],  target[n] = (1 − λ) · label[n] + λ · label[m]
    λ = min(b, 1 − b),  b ~ Beta(α, α), per sound

    It is the features that are mixed, whose logarithm is not that of mixed sounds. The batch keeps
    its labels, those of the greater parts; targets are probabilities ``[N, n_classes]``.

    Reference:
        Zhang et al., "mixup: beyond empirical risk minimization" (2018, arXiv:1710.09412); of mel
        bands: Kong et al., "PANNs" (2020, arXiv:1912.10211).
    """
    alpha = real_number("mixup", alpha, above=0)
    n_classes = whole_number("mixup: n_classes", n_classes, 1)
    sounds, labels = batch.spikes, batch.labels
    known = labels if labels.ndim == 2 else F.one_hot(labels, n_classes).to(sounds)
    alphas = torch.full((len(labels),), alpha, device=sounds.device)
    drawn = torch.distributions.Beta(alphas, alphas).sample()
    share = torch.minimum(drawn, 1 - drawn)
    targets = known + share[:, None] * (known.roll(-1, 0) - known)
    mixed = sounds + share[:, None, None, None].to(sounds) * (sounds.roll(-1, 1) - sounds)
    return batch._replace(spikes=mixed), targets
