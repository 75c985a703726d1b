#!/usr/bin/env python
"""Seconds of one core that encoding takes per second of sound, stage by stage.

Processor time, not wall time, of one thread; medians over clips of drawn, speech-like sound, or of
recordings with ``--audio``.

    python scripts/bench/encode.py [--channels 700] [--clips 5] [--audio DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.cochlea import Ear, FilterBank, filter_table, find_recordings, presented
from snn_delays.cochlea.filters import SOUND_RATE
from snn_delays.cochlea.hair_cell import release_probability
from snn_delays.cochlea.nerve import DEAD_STEPS, FIBRES, bushy_spikes, fibre_spikes
from snn_delays.files.sound import read_sound


def speech_like(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Pulses of a voice's pitch through three formants, with pauses between syllables."""
    n = int(seconds * SOUND_RATE)
    t = np.arange(n) / SOUND_RATE
    pulses = (np.diff(np.floor(120 * t), prepend=0) > 0).astype(float)
    ring = np.arange(int(0.02 * SOUND_RATE)) / SOUND_RATE
    formants = rng.uniform((300, 900, 2200), (800, 2000, 3200))
    response = np.exp(-200 * ring) * np.sin(2 * np.pi * np.outer(formants, ring)).sum(axis=0)
    voice = np.convolve(pulses, response)[:n] * np.clip(np.sin(2 * np.pi * 3 * t), 0, None)
    return voice + 1e-3 * rng.standard_normal(n)


def stages(bank: FilterBank, sound: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Processor seconds of every stage, and of the whole."""
    found, began = {}, time.process_time()

    def lap(name: str) -> None:
        nonlocal began
        now = time.process_time()
        found[name], began = now - began, now

    velocities = [velocity.copy() for velocity in bank.velocities(sound)]
    lap("membrane")
    probabilities = [release_probability(velocity) for velocity in velocities]
    lap("hair cells")
    counts = [fibre_spikes(p, FIBRES, DEAD_STEPS, rng) for p in probabilities]
    lap("fibres")
    spikes = sum(len(bushy_spikes(count)) for count in counts)
    lap("bushy cells")
    Ear(bank).hear(sound, rng)
    lap("all")
    return found | {"spikes": float(spikes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=700)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a drawn clip")
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--audio", type=Path, help="folder of recordings, one folder per class")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    if options.audio:
        clips = find_recordings(options.audio).recordings
        chosen = rng.choice(len(clips), min(options.clips, len(clips)), replace=False)
        sounds = [read_sound(clips[int(i)].path) for i in chosen]
    else:
        sounds = [speech_like(options.seconds, rng) for _ in range(options.clips)]
    began = time.process_time()
    bank = FilterBank(filter_table(options.channels))
    table = time.process_time() - began
    stages(bank, presented(sounds[0]), rng)  # compiles
    rows = []
    for sound in sounds:
        seconds = len(sound) / SOUND_RATE
        found = stages(bank, presented(sound), rng)
        rows.append({name: value / seconds for name, value in found.items()})
    medians: dict[str, Any] = {
        name: statistics.median(row[name] for row in rows) for name in rows[0]
    }
    print(f"{platform.machine()}, {options.channels} channels, {len(sounds)} clips")
    print(f"{'the membrane, once':20} {table:8.2f} s")
    for name, value in medians.items():
        unit = "spikes per second" if name == "spikes" else "s per second of sound"
        print(f"{name:20} {value:8.{0 if name == 'spikes' else 3}f} {unit}")
    if options.json:
        options.json.write_text(
            json.dumps({"membrane_once": table} | medians, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
