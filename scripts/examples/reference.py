"""What the examples share: the class that potentials stand for, and a comparison of spikes.

sample.npz  counts [T, channels]; potentials [T + tail, classes] and spikes_0, spikes_1, …
            [T + tail, neurons], one per hidden layer, as the exporter found them
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np


def prediction(potentials: np.ndarray, readout: str) -> int:
    """The class of the readout's potentials ``[steps, classes]``."""
    if readout == "sum_softmax":
        shares = np.exp(potentials - potentials.max(axis=1, keepdims=True))
        return int((shares / shares.sum(axis=1, keepdims=True)).sum(axis=0).argmax())
    return int({"max": potentials.max, "mean": potentials.mean}[readout](axis=0).argmax())


def compare(
    simulator: str,
    reference: Path,
    network: dict[str, Any],
    spikes: Sequence[np.ndarray],
    potentials: np.ndarray,
) -> int:
    """Print the class found and how many spikes agree.

    Args:
        reference: sample.npz.
        network: with its ``readout`` and ``class_names``.
        spikes: bool ``[T + tail, neurons]`` per hidden layer.
        potentials: ``[T + tail, classes]``.

    Returns the exit status: 1 if more than 1 spike in 10,000 differs, or the class does.
    """
    found, class_names = prediction(potentials, network["readout"]), network["class_names"]
    with np.load(reference) as sample:
        expected = [sample[f"spikes_{index}"] for index in range(len(spikes))]
        gap = float(np.abs(potentials - sample["potentials"]).max())
        label, answer = int(sample["label"]), int(sample["prediction"])
    if [fired.shape for fired in expected] != [fired.shape for fired in spikes]:
        refuse(f"{reference} is not a sample of this network.")
    total = sum(int(fired.sum()) for fired in expected)
    differing = sum(int((a != b).sum()) for a, b in zip(expected, spikes, strict=True))
    print(
        f"{simulator}: class {class_names[found]} (reference {class_names[answer]}, "
        f"true {class_names[label]}); {total - differing} of {total} hidden spikes agree, "
        f"{differing} differ; potentials differ by at most {gap:.1e}"
    )
    return int(differing > 1e-4 * total or found != answer)


@contextmanager
def needs(packages: str) -> Iterator[None]:
    """End with one line if what is imported within is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        refuse(f"{error.name} is not installed: pip install {packages}")


def require(path: Path, option: str = "") -> None:
    """End with one line if a file that ``snn-delays-export`` writes is not there."""
    if not path.is_file():
        refuse(f"{path}: no such file. snn-delays-export writes it{option}.")


def input_counts(path: Path, channels: int) -> np.ndarray:
    """The sample's input, whole numbers ``[T, channels]``."""
    require(path)
    with np.load(path) as sample:
        if "counts" not in sample:
            refuse(f"{path} is not a sample.npz as snn-delays-export writes it.")
        counts = sample["counts"]
    if counts.ndim != 2 or counts.shape[1] != channels:
        refuse(f"{path} has input {counts.shape}, the network takes [T, {channels}].")
    if np.any(counts != counts.astype(int)):
        refuse(f"{path} holds currents; this example sends spikes.")
    return counts.astype(int)


def refuse(why: str) -> NoReturn:
    """End with one line for whoever typed the command."""
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)
