"""Your own data and SpikingJelly network, trained, rounded, and proved as an integer table."""

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from snn_delays import DelayLayer, fit, rounded
from snn_delays.data import recordings
from snn_delays.deploy import compare, integer_table
from snn_delays.evaluation import evaluate
from snn_delays.table import write_table

CHANNELS, CLASSES = 12, 4


def sample(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Times (ms) and units: the later half of the channels lags by 5, 15, 25 or 35 ms."""
    units = np.arange(CHANNELS)
    times = 20 + 3 * units % 7 + rng.normal(0, 1, CHANNELS)
    return times + np.where(units < CHANNELS // 2, 0, 5 + 10 * label), units


class Net(nn.Module):
    """Two hidden layers; the second one's input skips it, too."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.first, self.lif1 = DelayLayer(CHANNELS, hidden, max_delay=12), lif()
        self.second, self.lif2 = DelayLayer(hidden, hidden, max_delay=6), lif()
        self.out, self.lif3 = layer.Linear(hidden, CLASSES, step_mode="m"), lif()

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif1(self.first(x))
        return self.lif3(self.out(self.lif2(self.second(x)) + x))  # read by spike count


def lif() -> neuron.LIFNode:
    return neuron.LIFNode(tau=2.0, decay_input=False, step_mode="m")


def main() -> None:
    torch.manual_seed(0)
    rng, labels = np.random.default_rng(0), np.arange(400) % CLASSES
    events = [sample(rng, int(label)) for label in labels]
    data = recordings(events, labels, n_units=CHANNELS, dt_ms=5.0, time_unit="ms")
    net = Net()
    rows = fit(net, data, epochs=20, batch_size=32, weight_lr=1e-2)
    print(f"validation after {len(rows)} epochs: {rows[-1]['valid_accuracy']:.0%}")
    as_trained, deployed = (evaluate(one, data.test).score for one in (net, rounded(net)))
    print(f"test: {as_trained:.0%} with σ-kernels, {deployed:.0%} with delays rounded")
    table = integer_table(net, dt_ms=data.dt_ms, class_names=data.class_names)
    write_table(table, "delays.h5")
    found = compare(table, rounded(net), data.test)
    print(f"delays.h5: {table.synapses} synapses; {found.accuracy_table:.0%} in the simulator, "
          f"{found.spikes_differing} of {found.spikes_total} spikes differ")  # fmt: skip


if __name__ == "__main__":
    main()
