"""Google Speech Commands: 35 English words (30 in version 0.01), thousands of speakers, as wav."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from snn_delays.arguments import choice, whole_number
from snn_delays.data.cache import CacheChoice, cache_folders
from snn_delays.data.events.reading import OnBad
from snn_delays.data.gsc import clips
from snn_delays.data.gsc.clips import Task
from snn_delays.data.gsc.encoders import Encoder, EncoderName
from snn_delays.data.gsc.features import read_features
from snn_delays.data.gsc.log_mel import Frontend, log_mel
from snn_delays.data.gsc.split import FeatureSplit, Scale
from snn_delays.data.splits.interface import SpikeData
from snn_delays.errors import UsageError

# Files named one by one in the log; a folder of nothing but damage needs no more.
_NAMED = 20

_log = logging.getLogger("snn_delays")


def load_gsc(
    root: Path | str,
    *,
    task: Task = "v2_35",
    frontend: Frontend = "standard",
    n_mels: int = 140,
    dt_ms: float = 10.0,
    window_ms: float = 25.0,
    fmin: float = 20.0,
    fmax: float | None = None,
    encoder: EncoderName = "none",
    threshold: float = 0.5,
    on_bad: OnBad = "refuse",
    seed: int = 0,
    cache: CacheChoice = None,
) -> SpikeData:
    """Load Speech Commands from one folder of wav files per word.

    Every recording becomes ``1000 / dt_ms + 1`` steps of ``n_mels`` levels: the logarithm of its
    energy in mel bands, normalised per band over the training recordings; then an encoder makes
    currents or spikes of them. Training, validation and test are the official lists'.

    Args:
        root: the folder of the words' folders.
        task: "v2_35", every word there is; "v2_12", ten commands, unknown words and silence.
        frontend: "standard", or "published", which leaves 53 of 140 bands empty; see
            :func:`~snn_delays.data.gsc.log_mel.log_mel`.
        n_mels: number of bands.
        dt_ms: duration of a time step, in ms.
        window_ms: length of sound that a step hears, in ms.
        fmin, fmax: lower edge of the lowest band and upper edge of the highest, Hz; None for the
            Nyquist frequency, 8 kHz.
        encoder: "none" for currents; "delta", "level", "latency": see ``data/gsc/encoders.py``.
        threshold: of the encoder, in standard deviations of a band.
        on_bad: what to do about files that hold no sound one could use: "refuse" to load, or
            "skip" them, which the log counts.
        seed: of the draw of unknown words and silence.
        cache: where to keep the features; see ``data.cache.cache_folders``.

    Raises:
        UsageError: a setting out of range; recordings missing, or damaged with on_bad="refuse".

    Reference:
        Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition" (2018,
        arXiv:1804.03209).
    """
    choice("task", task, get_args(Task))
    choice("on_bad", on_bad, get_args(OnBad))
    seed = whole_number("seed", seed, 0)
    encode = Encoder(encoder, threshold)
    front_end = log_mel(
        frontend, dt_ms=dt_ms, n_mels=n_mels, window_ms=window_ms, fmin=fmin, fmax=fmax
    )
    root = Path(root).expanduser()
    folders = cache_folders(root, cache)
    found = clips.find_clips(root)
    names = [clip.name for of_word in found.values() for clip in of_word]
    told, split = clips.official_parts(root, names)
    if task == "v2_35":
        chosen = clips.every_word(found, told)
    else:
        noise, unfit = clips.measure_noise(root)
        _settle(unfit, root, on_bad)
        chosen = clips.ten_commands(found, told, noise, seed)
    features = read_features(root, chosen.clips, front_end, folders)
    _settle({chosen.clips[i].name: why for i, why in features.bad.items()}, root, on_bad)
    good = np.ones(len(chosen.clips), bool)
    good[list(features.bad)] = False

    parts = np.array(chosen.parts)
    where = {part: np.flatnonzero(good & (parts == part)) for part in ("train", "valid", "test")}
    for part, places in where.items():
        if not len(places):
            raise UsageError(
                f"GSC: none of the {len(chosen.clips)} recordings in {root} is for {part}: "
                "expected at least 1. The official lists, or the hash of file names, say which are."
            )
    heard, steps = where["train"], front_end.steps(front_end.rate)
    scale = Scale.of(features.sums[heard], features.squares[heard], steps)
    whole = FeatureSplit(
        features.parts,
        places=features.places,
        labels=torch.tensor(chosen.labels),
        speakers=torch.tensor([clip.speaker for clip in chosen.clips]),
        scale=scale,
        encoder=encode,
        name="all",
    )
    splits = {part: whole.subset(places, part) for part, places in where.items()}
    about = {"class_names": chosen.class_names, "dt_ms": float(dt_ms), "split": split}
    return SpikeData(**splits, **about, invalid_events=0)


def _settle(bad: Mapping[str, str], root: Path, on_bad: OnBad) -> None:
    """Say one line for each file that will not do; refuse, or say how many are skipped."""
    lines = [f"{root / name} {reason}" for name, reason in bad.items()]
    if not lines:
        return
    more = len(lines) - 1
    number = f"{len(lines)} recordings" if more else "1 recording"
    if on_bad == "refuse":
        for line in lines[1:_NAMED]:
            _log.warning("GSC: %s.", line)
        raise UsageError(
            f"GSC: {lines[0]}{f' ({more} more like it)' if more else ''}. Restore or delete "
            f"{'them' if more else 'it'}, or set on_bad=skip to do without {number}."
        )
    for line in lines[:_NAMED]:
        _log.warning("GSC: left out: %s.", line)
    _log.warning("GSC: left out %s that cannot be used (on_bad=skip).", number)
