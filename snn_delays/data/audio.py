"""Sounds of one or several classes, from files, as images of their mel bands over time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, Int64
from rich.progress import MofNCompleteColumn
from torch import Tensor

from snn_delays.arguments import real_number, whole_number
from snn_delays.data.audio_list import PARTS, class_folders, table
from snn_delays.data.gsc.log_mel import LogMel, require_heard
from snn_delays.data.splits.image_split import ImageSplit, channel_scale
from snn_delays.data.splits.interface import SpikeData
from snn_delays.data.splits.validation import check_fraction, stratified
from snn_delays.errors import UsageError
from snn_delays.files.sound import BadAudioError, length, read_audio
from snn_delays.loops.loop import cores
from snn_delays.terminal import bar

# Sounds whose features one thread computes at once.
_BATCH = 16

_log = logging.getLogger("snn_delays")


def load_audio_folder(
    root: Path | str,
    *,
    listing: Path | str | None = None,
    seconds: float = 10.0,
    rate: int = 32_000,
    n_fft: int = 1024,
    hop: int = 320,
    n_mels: int = 128,
    fmin: float = 50.0,
    fmax: float = 14_000.0,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> SpikeData:
    """Sounds of class folders, or of a list, as images ``[1, frames, n_mels]`` of one step each.

    feature = ln max(energy in a mel band, 1e-6), of a Hann window of ``n_fft`` samples at each of
    0, ``hop``, 2 ``hop``, …; normalised by mean and standard deviation of the training sounds.

    Without ``listing`` the classes are the folders in ``root``, except those whose names begin with
    ``_`` or ``.``, such as Speech Commands' noise; a sound has one class, the score is accuracy.
    If ``root`` holds Speech Commands' lists of what is for validation and test, they are followed.

    A listing is a CSV file with a header, ``file,labels`` or ``file,labels,split``: a path below
    ``root``; names of classes with commas between them, in quotes if several, none if empty; train,
    valid or test. The score is mAP then. Without either, shares of every class, or of every set of
    classes, are held out.

    Features are computed on every load, by all cores, and held in memory as ``float16``.

    Args:
        root: folder of the sounds: wav, flac, ogg or aiff of any rate; channels are averaged.
        listing: the CSV file, a path below ``root`` or a whole one; ``None``: class folders.
        seconds: sounds are cut, or filled up with silence, to this duration.
        rate: sounds are resampled to so many samples per second.
        n_fft, hop: a window's length, and from one to the next, in samples.
        n_mels: number of bands, on Slaney's scale.
        fmin, fmax: lower edge of the first band and upper edge of the last, Hz.
        valid_fraction, test_fraction: what to hold out where no split is told.
        seed: of that draw.

    Raises:
        UsageError: settings out of range; files that are missing or no sound; a bad listing.

    Reference:
        Settings: Khalfaoui-Hassani et al., "Audio classification with dilated convolution with
        learnable spacings" (2023, arXiv:2309.13972).
    """
    rate = whole_number("rate", rate, 1, unit="Hz")
    n_fft = whole_number("n_fft", n_fft, 2)
    hop = whole_number("hop", hop, 1, n_fft)
    n_mels = whole_number("n_mels", n_mels, 1)
    fmin = real_number("fmin", fmin, 0, unit="Hz")
    fmax = real_number("fmax", fmax, above=fmin, most=rate / 2, unit="Hz")
    seconds = real_number("seconds", seconds, n_fft / rate, unit="s")
    seed = whole_number("seed", seed, 0)
    check_fraction(valid_fraction)
    check_fraction(test_fraction, "test_fraction")
    if valid_fraction + test_fraction >= 1:
        raise UsageError(
            f"valid_fraction + test_fraction must be < 1, got {valid_fraction:g} + "
            f"{test_fraction:g}."
        )
    front_end = LogMel(rate, n_mels, n_fft, hop, n_fft, fmin, fmax)
    require_heard(front_end, "audio", "Choose fewer n_mels, a larger n_fft or a larger fmin.")
    root = Path(root).expanduser()
    listed = class_folders(root) if listing is None else table(root / Path(listing).expanduser())
    if listed.parts is None:
        parts = _drawn(listed.labels, valid_fraction, test_fraction, seed)
    else:
        parts = [np.flatnonzero(np.array(listed.parts) == part) for part in PARTS]
    counts = {name: len(of) for name, of in zip(PARTS, parts, strict=True)}
    if not all(counts.values()):
        raise UsageError(
            f"{listing or root} must leave sounds for train, valid and test, got "
            f"{', '.join(f'{n} for {name}' for name, n in counts.items())}."
        )
    images = _features(root, listed.files, front_end, seconds)
    mean, std = channel_scale(images[parts[0]])
    about = {"labels": listed.labels, "mean": mean, "std": std, "task": listed.task}
    whole = ImageSplit(images, **about, name="audio")
    return SpikeData(
        *(whole.subset(of, name) for name, of in zip(PARTS, parts, strict=True)),
        class_names=listed.class_names,
        dt_ms=1000 * seconds,  # a sound is one step
        split="stratified" if listed.parts is None else "official",
        invalid_events=0,
    )


def _drawn(
    labels: Int64[np.ndarray, "n ..."], valid: float, test: float, seed: int
) -> list[Int64[np.ndarray, " part"]]:
    """Which sounds train, validate and test: shares of every class, or of every set of classes."""
    classes = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    nobody = np.full(len(labels), -1)
    rest, tested = stratified(classes, nobody, test, seed)
    kept, held = stratified(classes[rest], nobody[rest], valid / (1 - test), seed)
    return [rest[kept], rest[held], tested]


def _features(
    root: Path, files: Sequence[str], front_end: LogMel, seconds: float
) -> Float16[Tensor, "n 1 frames bands"]:
    samples = round(seconds * front_end.rate)
    shape = (len(files), 1, front_end.steps(samples), front_end.n_mels)
    images = np.empty(shape, np.float16)
    durations, highest = np.empty(len(files)), np.empty(len(files))

    def compute(first: int) -> int:
        sounds = []
        for place, name in enumerate(files[first : first + _BATCH], first):
            try:
                n, own_rate = length(root / name)
                sounds.append(read_audio(root / name, front_end.rate, samples))
            except BadAudioError as error:
                raise UsageError(f"{root / name} {error}. Replace it, or leave it out.") from error
            durations[place], highest[place] = n / own_rate, own_rate / 2
        images[first : first + _BATCH, 0] = front_end(np.stack(sounds))
        return len(sounds)

    # Reading, transforms and matrix products let other threads run.
    seen = bar("features", len(files), MofNCompleteColumn())
    with seen as progress, ThreadPoolExecutor(cores()) as pool:
        for done in pool.map(compute, range(0, len(files), _BATCH)):
            progress(advance=done)
    cut, filled = (durations > seconds).sum(), (durations < seconds).sum()
    _log.info(
        f"audio: features of {len(files)} sounds of {seconds:g} s: {cut} longer ones cut, "
        f"{filled} shorter ones filled up with silence."
    )
    if dull := int((highest < front_end.fmax).sum()):
        _log.warning(
            f"audio: {dull} of {len(files)} files have a rate of their own too low for bands "
            f"up to {front_end.fmax:g} Hz: they hold NOTHING above half of it, "
            f"{highest.min():g} Hz at the least. Lower fmax."
        )
    return torch.from_numpy(images)
