"""Random networks in evaluation mode, and recordings to run them on."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from spikingjelly.activation_based import layer
from torch import nn

from snn_delays.data import SpikeSplit
from snn_delays.layers import DelayLayer
from snn_delays.network import DelaySNN, plain_synapses
from snn_delays.neurons import lif

Net = TypeVar("Net", bound=nn.Module)


def delay_snn(
    sizes: Sequence[int],
    max_delay: int = 24,
    *,
    learn_delays: bool = True,
    tau: float = 1.005,
    bias: bool = False,
    batch_norm: bool = True,
    dropout: float = 0.4,
    readout: Any = "sum_softmax",
    tail: int | None = None,
    **others: Any,
) -> DelaySNN:
    """A ``DelaySNN`` from numbers: of its neurons, and else of its delay layers."""
    of_neurons = {"v_threshold", "v_reset", "surrogate_alpha", "detach_reset"} & set(others)
    neuron = partial(lif, tau, **{name: others.pop(name) for name in of_neurons})
    delays = partial(DelayLayer, max_delay=max_delay, bias=bias, **others)
    net = DelaySNN(
        sizes,
        delays if max_delay != 0 else partial(plain_synapses, bias=bias),
        neuron,
        norm=layer.BatchNorm1d if batch_norm else None,
        **{"dropout": dropout, "readout": readout, "tail": tail},
    )
    for delay in net.delay_parameters():
        delay.requires_grad_(learn_delays)
    return net


def random_network(seed: int, sizes: tuple[int, ...] = (12, 16, 14, 4), **options: Any) -> DelaySNN:
    """A network that spikes, with normalisation statistics as if it had been trained."""
    torch.manual_seed(seed)
    return enliven_(delay_snn(sizes, **{"max_delay": 7, "tau": 2.0, **options}))


def enliven_(net: Net) -> Net:
    """Statistics and constants as if the network had been trained, in evaluation mode."""
    net.eval()
    for module in net.modules():
        if isinstance(module, layer.BatchNorm1d | layer.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.2, 2.0)
            torch.nn.init.uniform_(module.weight, -0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.2, 0.3)
    for name, parameter in net.named_parameters():
        if name.endswith("delay.bias"):
            torch.nn.init.normal_(parameter, 0.0, 0.1)
    return net


def random_split(seed: int, recordings: int, channels: int = 12, classes: int = 4) -> SpikeSplit:
    """Recordings of unequal length; some cells hold more than one spike, one recording none."""
    generator = torch.Generator().manual_seed(seed)
    duration = torch.randint(3, 30, (recordings,), generator=generator)
    events = duration * 5
    events[0] = 0
    owner = torch.repeat_interleave(torch.arange(recordings), events)
    n = int(events.sum())
    return SpikeSplit(
        steps=(torch.rand(n, generator=generator) * duration[owner]).long(),
        channels=torch.randint(0, channels, (n,), generator=generator),
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), events.cumsum(0)]),
        labels=torch.randint(0, classes, (recordings,), generator=generator),
        speakers=torch.full((recordings,), -1),
        n_channels=channels,
        name="drawn",
    )


def through_pickle(net: Net) -> Net:
    return pickle.loads(pickle.dumps(net))


def through_a_file(net: Net) -> Net:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)
