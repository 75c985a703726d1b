"""What the examples share: how late populations run, which class they say, a comparison of spikes.

sample.npz  counts [T, channels]; potentials [T + tail, classes] of the output, and spikes_NAME
            [T + tail, neurons] of every population that spikes, as the exporter found them
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np


def float_neurons(network: dict[str, Any]) -> None:
    """End with one line if a population is of another kind than LIF and LI."""
    for name, one in network["populations"].items():
        if one["model"] not in ("LIF", "LI"):
            refuse(
                f"population {name} has {one['model']} neurons, and these examples know LIF and "
                "LI; export float neurons of these."
            )


def lags(network: dict[str, Any], least: int, begin: dict[str, int]) -> dict[str, int]:
    """Steps by which each population runs late, so that no delay is below ``least`` steps.

    Where a delay is shorter, its target waits: delays become delay + lag[target] − lag[source].

    Args:
        begin: the least lag of the ``input`` and of every population.
    """
    found, projections = dict(begin), network["projections"].values()
    for _ in range(len(found) + 1):
        before = dict(found)
        for one in projections:
            if len(one["delay"]):
                needed = found[one["source"]] + least - int(one["delay"].min())
                found[one["target"]] = max(found[one["target"]], needed)
        if found == before:
            return found
    refuse(f"a loop of this network is too short for a simulator of delays >= {least} steps.")


def prediction(potentials: np.ndarray, output: np.ndarray | None, readout: str) -> int:
    """The class of the output's potentials, or spikes, ``[steps, classes]``."""
    if readout == "spike_count":
        assert output is not None
        return int(output.sum(axis=0).argmax())
    if readout == "sum_softmax":
        shares = np.exp(potentials - potentials.max(axis=1, keepdims=True))
        return int((shares / shares.sum(axis=1, keepdims=True)).sum(axis=0).argmax())
    return int({"max": potentials.max, "mean": potentials.mean}[readout](axis=0).argmax())


def compare(
    simulator: str,
    reference: Path,
    network: dict[str, Any],
    spikes: dict[str, np.ndarray],
    potentials: np.ndarray,
) -> int:
    """Print the class found and how many spikes agree.

    Args:
        reference: sample.npz.
        network: with its ``populations``, ``readout`` and ``class_names``.
        spikes: bool ``[T + tail, neurons]`` of every population that spikes.
        potentials: ``[T + tail, classes]``.

    Returns the exit status: 1 if more than 1 spike in 10,000 differs, or the class does.
    """
    (*_, output), class_names = network["populations"], network["class_names"]
    found = prediction(potentials, spikes.get(output), network["readout"])
    with np.load(reference) as sample:
        if any(f"spikes_{name}" not in sample for name in spikes):
            refuse(f"{reference} is not a sample of this network.")
        expected = {name: sample[f"spikes_{name}"] for name in spikes}
        gap = float(np.abs(potentials - sample["potentials"]).max())
        label, answer = int(sample["label"]), int(sample["prediction"])
    if any(expected[name].shape != fired.shape for name, fired in spikes.items()):
        refuse(f"{reference} is not a sample of this network.")
    total = sum(int(fired.sum()) for fired in expected.values())
    differing = sum(int((expected[name] != fired).sum()) for name, fired in spikes.items())
    print(
        f"{simulator}: class {class_names[found]} (reference {class_names[answer]}, "
        f"true {class_names[label]}); {total - differing} of {total} spikes agree, "
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
