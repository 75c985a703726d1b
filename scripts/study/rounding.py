#!/usr/bin/env python
"""What rounding costs a run, and of what: on its validation split.

    python scripts/study/rounding.py RUN [RUN …]

Rounding does two things. It moves every delay to the nearest step, and it takes the width σ from
every kernel. Each is done alone as well, and to one layer at a time.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from torch import nn

from snn_delays.cli.runs import load_run
from snn_delays.data import SpikeData
from snn_delays.evaluation import evaluate
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.networks import delay_layers, rounded, set_rounding
from snn_delays.run.folder import RunFolder


def accuracy(net: nn.Module, data: SpikeData) -> float:
    return 100 * evaluate(net, data.valid).score


@torch.no_grad()
def to_steps(layers: list[Delayed]) -> None:
    """Delays moved to the nearest step, kernels as wide as before."""
    for one in layers:
        for delay in one.delay_tensors():
            delay.copy_(delay.round())


@torch.no_grad()
def narrow(layers: list[Delayed]) -> None:
    """Delays where they are, and each spread over its two neighbouring steps alone."""
    for one in layers:
        one.interpolation, one.method = "triangle", "dense"
        one.schedule_sigma(0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    print(
        "| run | as trained | moved to steps | narrow | both: rounded | one layer rounded | "
        "0.4 to 0.6 from a step |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in options.runs:
        _, data, net = load_run(RunFolder(path), "last", None)
        set_rounding(net, "none")
        found = [accuracy(net, data)]
        for change in (to_steps, narrow):
            other = copy.deepcopy(net)
            change(delay_layers(other))
            found.append(accuracy(other, data))
        found.append(accuracy(rounded(net), data))
        alone = []
        for index in range(len(delay_layers(net))):
            other, whole = copy.deepcopy(net), rounded(net)
            layers = zip(delay_layers(other), delay_layers(whole), strict=True)
            one, exact = list(layers)[index]
            one.load_state_dict(exact.state_dict())
            one.schedule_sigma(0.0)
            alone.append(accuracy(other, data))
        delays = torch.cat(
            [one.flatten() for layer in delay_layers(net) for one in layer.delay_tensors()]
        )
        between = 100 * ((delays % 1 - 0.5).abs() < 0.1).double().mean()
        cells = [str(path), *(f"{one:.1f}" for one in found)]
        cells += [" ".join(f"{one:.1f}" for one in alone), f"{between:.0f} %"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
