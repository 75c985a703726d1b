"""Does the table do what the network does? Every hidden spike of every sample is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from snn_delays.data import Split
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.losses import score
from snn_delays.network import DelaySNN
from snn_delays.table.simulator import Simulation, Simulator, predict
from snn_delays.table.simulator.simulation import far_apart
from snn_delays.table.table import DelayTable


@dataclass(frozen=True)
class Agreement:
    """What a table and its network have in common on a set of samples.

    The network computes in float32, the simulator in float64: where v meets the threshold to
    the last digit, one may fire and the other not. Such ties are counted, not hidden.

    Args:
        accuracy_network, accuracy_table: share of right predictions, 0 … 1.
        spikes_total: hidden spikes of the network.
        spikes_differing: (step, neuron) pairs where only one of the two fired.
        samples_with_difference: samples with at least one such pair.
        potentials_max_difference: largest |v − v| of the readout at any step; 0 for integer
            neurons, which agree to the bit.
        readouts_differing: samples whose hidden spikes all agree, and whose readout is further
            apart than rounding to single precision explains: by 1/1000 of its largest v.
        membrane_bits: that v needed in each layer, sign included; None unless all are integer
            layers that ran as a ``TableNetwork``.
    """

    samples: int
    accuracy_network: float
    accuracy_table: float
    predictions_differing: int
    spikes_total: int
    spikes_differing: int
    samples_with_difference: int
    potentials_max_difference: float
    readouts_differing: int
    membrane_bits: tuple[int, ...] | None


@torch.no_grad()
def compare(
    table: DelayTable,
    rounded_net: DelaySNN | TableNetwork,
    split: Split,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[NDArray[np.float32], Simulation], None] | None = None,
) -> Agreement:
    """Run table and network over a split, each sample over its own steps and the tail.

    The network runs in batches on its own device and is left in evaluation mode; the simulator
    runs sample by sample and never sees the batch's padding.

    Args:
        rounded_net: ``net.rounded()``, or another network whose delays are integers.
        progress: called as ``progress(samples done, samples in all)`` after every sample.
        watch: called as ``watch(counts, simulation)`` with every sample and what the table did.

    Raises:
        UsageError: an empty split, or a table, network and split of unlike sizes.
    """
    in_table = ([table.input_channels, *(one.n_post for one in table.layers)], table.tail_steps)
    if in_table != (rounded_net.sizes, rounded_net.tail):
        raise UsageError(
            f"compare: table and network must have the same sizes and tail, got {in_table[0]} with "
            f"{in_table[1]} steps and {rounded_net.sizes} with {rounded_net.tail} steps. "
            "Export the table from this network."
        )
    if not len(split):
        raise UsageError("compare: the split has no samples; choose one with at least 1.")
    whole = isinstance(rounded_net, TableNetwork) and all(one.integer for one in table.layers)
    simulator = Simulator(table)
    right_network = right_table = predictions_differing = 0
    spikes_total = spikes_differing = samples_with_difference = readouts_differing = 0
    apart, peaks = 0.0, np.zeros(len(table.layers))
    for done, sample in enumerate(_torch_samples(rounded_net, split, batch_size), start=1):
        simulation = simulator.run(sample.counts)
        prediction = predict(simulation, table.readout)
        if watch is not None:
            watch(sample.counts, simulation)
        differing = sum(
            int(np.count_nonzero(by_network != by_table))
            for by_network, by_table in zip(sample.spikes, simulation.spikes, strict=True)
        )
        apart = max(apart, float(np.abs(sample.potentials - simulation.potentials).max(initial=0)))
        peaks = np.maximum(peaks, sample.peaks)
        right_network += sample.prediction == sample.label
        right_table += prediction == sample.label
        predictions_differing += sample.prediction != prediction
        spikes_total += sum(int(np.count_nonzero(spikes)) for spikes in sample.spikes)
        spikes_differing += differing
        samples_with_difference += differing > 0
        if not differing:
            readouts_differing += far_apart(sample.potentials, simulation.potentials, 1e-3)
        if progress is not None:
            progress(done, len(split))
    return Agreement(
        samples=len(split),
        accuracy_network=right_network / len(split),
        accuracy_table=right_table / len(split),
        predictions_differing=predictions_differing,
        spikes_total=spikes_total,
        spikes_differing=spikes_differing,
        samples_with_difference=samples_with_difference,
        potentials_max_difference=apart,
        readouts_differing=readouts_differing,
        membrane_bits=tuple(int(peak).bit_length() + 1 for peak in peaks) if whole else None,
    )


class _Sample(NamedTuple):
    """One sample's input, and what the network made of it, without the batch's padding."""

    counts: NDArray[np.float32]  # [T, input_channels]
    label: int
    prediction: int
    potentials: NDArray[np.floating]  # [T + tail, classes]
    spikes: list[NDArray[np.bool_]]  # [T + tail, n_post] per hidden layer
    peaks: list[float]  # largest |v| per layer, of a table's network


def _torch_samples(
    net: DelaySNN | TableNetwork, split: Split, batch_size: int
) -> Iterator[_Sample]:
    net.eval()
    device = next(net.parameters()).device
    for batch in DataLoader(split, batch_size=batch_size, collate_fn=split.collate):
        potentials, hidden = net(batch.spikes.to(device), return_spikes=True)
        lengths = batch.lengths + net.tail
        predictions = score(potentials, lengths.to(device), net.readout).argmax(dim=1)
        counts, v = batch.spikes.numpy(), potentials.cpu().numpy()
        peaks = [one.cpu().numpy() for one in net.peaks()] if isinstance(net, TableNetwork) else []
        fired = [spikes.bool().cpu().numpy() for spikes in hidden]
        for n in range(len(batch.labels)):
            yield _Sample(
                counts=counts[: batch.lengths[n], n],
                label=int(batch.labels[n]),
                prediction=int(predictions[n]),
                potentials=v[: lengths[n], n],
                spikes=[spikes[: lengths[n], n] for spikes in fired],
                peaks=[float(one[: lengths[n], n].max(initial=0)) for one in peaks] or [0.0],
            )
