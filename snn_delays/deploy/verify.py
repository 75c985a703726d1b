"""Does the table do what the network does? Every spike of every sample is compared.

Of a synapse whose source is silent in these samples no spike tells. So every number of the table is
compared as well, with those of the table that the network itself stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snn_delays.arguments import require
from snn_delays.data import Split
from snn_delays.deploy.integer import RecordedNetwork, recorded
from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.losses import score
from snn_delays.table.equality import same_network
from snn_delays.table.simulator import Simulation, Simulator, predict
from snn_delays.table.simulator.simulation import Tally
from snn_delays.table.table import DelayTable


@dataclass
class Agreement(Tally):
    """What a network and its table have in common on a set of samples.

    The network computes in float32, the simulator in float64: where v meets the threshold to
    the last digit, one may fire and the other not. Such ties are counted, not hidden. Integer
    neurons agree to the bit, potentials included.

    Args:
        accuracy_network, accuracy_table: share of right predictions, 0 … 1.
        difference: the first number in which the table is not what the network would be exported
            as, in words; None if there is none. Quantising, for one, makes such differences.
        membrane_bits: that v needed in each population, sign included; None unless all are
            integer ones that ran as a ``TableNetwork``.
    """

    accuracy_network: float = 0.0
    accuracy_table: float = 0.0
    difference: str | None = None
    membrane_bits: dict[str, int] | None = None


@torch.no_grad()
def compare(
    table: DelayTable,
    rounded_net: nn.Module,
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
        rounded_net: ``rounded(net)`` of any network that ``trace`` takes, or another one whose
            delays are integers: ``TableNetwork(table)``, ``load_table(path)``.
        progress: called as ``progress(samples done, samples in all)`` after every sample.
        watch: called as ``watch(counts, simulation)`` with every sample and what the table did.

    Raises:
        UsageError: an empty split, or a table, network and split of unlike sizes.
    """
    if not isinstance(rounded_net, (RecordedNetwork, TableNetwork)):
        # Read as the table says, where the network does not say so itself.
        says_readout = isinstance(getattr(rounded_net, "readout", None), str)
        rounded_net = recorded(
            rounded_net,
            readout=None if says_readout else table.readout,
            tail_steps=None
            if isinstance(getattr(rounded_net, "tail", None), int)
            else table.tail_steps,
        )
    require(isinstance(split, Split), "compare: split", "be a Split, as data.test is", split)
    if not len(split):
        raise UsageError("compare: the split has no samples; choose one with at least 1.")
    whole = isinstance(rounded_net, TableNetwork) and all(p.integer for p in table.populations)
    simulator = Simulator(table)
    right, peaks = np.zeros(2, int), dict.fromkeys(table.order, 0.0)
    found = Agreement()
    for sample in _torch_samples(table, rounded_net, split, batch_size):
        simulation = simulator.run(sample.counts)
        answers = sample.prediction, predict(simulation, table.readout)
        if watch is not None:
            watch(sample.counts, simulation)
        if table.output.spiking:  # whose spikes say it all
            simulation = replace(simulation, potentials=sample.simulation.potentials)
        found.add(sample.simulation, simulation, answers, 1e-3)
        right += np.equal(answers, sample.label)
        for name, peak in sample.peaks.items():
            peaks[name] = max(peaks[name], peak)
        if progress is not None:
            progress(found.samples, len(split))
    found.difference = same_network(_own_table(rounded_net, table), table)
    found.accuracy_network, found.accuracy_table = (right / len(split)).tolist()
    if whole:
        found.membrane_bits = {n: int(peak).bit_length() + 1 for n, peak in peaks.items()}
    return found


def _own_table(net: TableNetwork | RecordedNetwork | LoadedNetwork, like: DelayTable) -> DelayTable:
    """What the network is as a table; what no network has, such as dt, as in another one."""
    if isinstance(net, TableNetwork):
        return net.table
    traced = net.traced() if isinstance(net, LoadedNetwork) else net.traced
    about = {"dt_ms": like.dt_ms, "class_names": like.class_names}
    return traced.table(**about, readout=net.readout, tail_steps=net.tail)


class _Sample(NamedTuple):
    """One sample's input, and what the network made of it, without the batch's padding."""

    counts: NDArray[np.float32]  # [T, input_channels]
    label: int
    prediction: int
    simulation: Simulation  # potentials are spikes where the output spikes
    peaks: dict[str, float]  # largest |v| by population, of a table's network


def _torch_samples(table: DelayTable, net: Any, split: Split, batch_size: int) -> Iterator[_Sample]:
    net.eval()
    device = next(net.parameters(), torch.empty(0)).device
    for batch in DataLoader(split, batch_size=batch_size, collate_fn=split.collate):
        output, fired = net(batch.spikes.to(device), return_spikes=True)
        _require_alike(table, net, len(batch.spikes), output, fired)
        lengths = batch.lengths + net.tail
        predictions = score(output, lengths.to(device), table.readout).argmax(dim=1)
        counts, v = batch.spikes.flatten(2).numpy(), output.cpu().numpy()
        peaks = net.peaks() if isinstance(net, TableNetwork) else {}
        peaks = {name: one.cpu().numpy() for name, one in peaks.items()}
        spikes = {name: one.bool().cpu().numpy() for name, one in fired.items()}
        for n in range(len(batch.labels)):
            yield _Sample(
                counts=counts[: batch.lengths[n], n],
                label=int(batch.labels[n]),
                prediction=int(predictions[n]),
                simulation=Simulation(
                    v[: lengths[n], n], {name: one[: lengths[n], n] for name, one in spikes.items()}
                ),
                peaks={name: one[: lengths[n], n].max(initial=0) for name, one in peaks.items()},
            )


def _require_alike(
    table: DelayTable, net: Any, steps: int, output: Tensor, fired: dict[str, Tensor]
) -> None:
    """Refuse a network of other populations, tail or readout than the table's."""
    in_table = {one.name: one.size for one in table.populations if one.spiking}
    in_net = {name: one.shape[-1] for name, one in fired.items()}
    about = [
        f"{', '.join(f'{name} of {size}' for name, size in spiking.items())}, {classes} classes, "
        f"tail {tail}, readout {readout}"
        for spiking, classes, tail, readout in (
            (in_table, table.output.size, table.tail_steps, table.readout),
            (in_net, output.shape[-1], len(output) - steps, net.readout),
        )
    ]
    if about[0] != about[1]:
        raise UsageError(
            f"compare: table and network must have the same populations, tail and readout, got "
            f"{about[0]} and {about[1]}. Export the table from this network."
        )
