"""Training as recordings of its steps gives the numbers of training as it is."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import recorded
import small_runs
import torch
from small_runs import SETTINGS, network, timeless
from torch import nn

from snn_delays import optimisation, training
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.graphs.parts import RepeatedParts
from snn_delays.layers import DelayLayer
from snn_delays.network import DelaySNN
from snn_delays.neurons import CAdLIFNode, LeakyReadout
from snn_delays.regularisers import SmallDelays
from snn_delays.schedules import Exponential
from snn_delays.training import fit

data = small_runs.data
pytestmark = pytest.mark.usefixtures("unchecked")
RUN = SETTINGS | {"epochs": 4, "batch_size": 20, "schedule": Exponential(start=3.0, until=0.75)}


class Recorded:
    """Trains with recordings, or in torch without them, and says how often what was done."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.made = patch, []
        # Of optimisers only fused ones can be recorded, which on the CPU have to be asked for.
        patch.setattr(training.optimisation, "published", self._fused(optimisation.published))

    def _fused(self, published: Any) -> Any:
        return lambda *args, **settings: published(*args, **{**settings, "fused": True})

    def __call__(self, as_it_is: bool, net: nn.Module, data: SpikeData, **settings: Any) -> Any:
        def parts(graphs: str, net: nn.Module, optimizers: Any, *_: Any, **__: Any) -> Any:
            if as_it_is:
                return recorded.InTorchParts()
            self.made.append(recorded.Interpreter(net, optimizers))
            return RepeatedParts(self.made[-1], net, optimizers)

        self.patch.setattr(training, "parts_for", parts)
        return fit(net, data, **{**RUN, **settings})


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


def require_alike(one: nn.Module, other: nn.Module) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def adaptive(data: SpikeData) -> nn.Module:
    torch.manual_seed(3)
    sizes = [data.n_channels, 16, data.n_classes]
    synapses = partial(DelayLayer, max_delay=8)
    return DelaySNN(sizes, synapses, CAdLIFNode, output=partial(LeakyReadout, 2.0))


CASES: dict[str, dict[str, Any]] = {
    "lif": {},
    "no dropout": {"net": {"dropout": 0.0}},
    "adaptive": {"make": adaptive},
    "axonal": {"net": {"granularity": "axonal"}},
    "augmentation": {"fit": {"augmentation": Augmentation(event_drop=0.2, cutmix=0.5)}},
    "clipped": {"fit": {"clip_norm": 0.05}},
    "regulariser": {"fit": {"regulariser": SmallDelays(0.1, weighted=True)}},
    "skip": {"fit": {"on_nan": "skip"}},
}


@pytest.mark.parametrize("name", CASES)
def test_recordings_train_as_the_steps_do(name: str, train: Recorded, data: SpikeData):
    case = CASES[name]
    make = case.get("make") or partial(network, **case.get("net", {}))
    nets = [make(data) for _ in range(2)]
    rows = [
        train(as_it_is, net, data, **case.get("fit", {}))
        for as_it_is, net in zip((True, False), nets, strict=True)
    ]
    assert train.made[0].recorded >= 3  # passes, steps and ranges
    assert train.made[0].repeated > 10
    require_alike(*nets)
    for one, other in zip(*map(timeless, rows), strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5)
    pairs = zip(make(data).parameters(), nets[1].parameters(), strict=True)
    assert all(not torch.equal(first, now) for first, now in pairs)
