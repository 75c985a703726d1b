"""What is no dense tensor, or of the other step mode's shape, is named in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import delay_snn
from spikingjelly.activation_based import functional
from torch import Tensor, fx, nn

from snn_delays.errors import UsageError
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.losses import READOUTS, count_spikes, cross_entropy, score
from snn_delays.neurons import LeakyReadout, LIFNode, ParametricLIFNode

pytestmark = pytest.mark.usefixtures("unchecked")

MODULES: dict[str, Callable[[], nn.Module]] = {
    "DelaySNN": lambda: delay_snn([5, 6, 3], 4),
    "DelaySNN without delays": lambda: delay_snn([5, 6, 3], 0),
    "DelayLayer": lambda: DelayLayer(5, 3, 4),
    "LIFNode": lambda: LIFNode(),
    "ParametricLIFNode": lambda: ParametricLIFNode(),
    "LeakyReadout": lambda: LeakyReadout(2.0),
}
NO_TENSORS: list[tuple[Any, str]] = [
    (np.zeros((6, 2, 5), np.float32), "must be a tensor, got ndarray. Use torch.as_tensor("),
    ([0.0, 1.0], "must be a tensor, got list. Use torch.as_tensor("),
    (torch.zeros(6, 2, 5).to_sparse(), "must be dense, got torch.sparse_coo. Use "),
]


def said_of(run: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        run()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("kind", MODULES)
def test_an_input_that_is_no_dense_tensor_is_named(kind: str, mode: str) -> None:
    net = MODULES[kind]()
    functional.set_step_mode(net, mode)
    for x, said in NO_TENSORS:
        assert said_of(lambda x=x: net(x)).startswith(f"{kind.split()[0]}: input {said}")


@pytest.mark.parametrize("kind", ["DelaySNN", "DelaySNN without delays", "DelayLayer"])
@pytest.mark.parametrize(("mode", "other"), [("s", "m"), ("m", "s")])
def test_the_step_mode_that_takes_a_shape_is_named(kind: str, mode: str, other: str) -> None:
    net = MODULES[kind]()
    functional.set_step_mode(net, mode)
    x = torch.zeros(6, 2, 5) if other == "m" else torch.zeros(2, 5)
    said = said_of(lambda: net(x))
    assert said.startswith(f"{kind.split()[0]}: input must be [")
    assert said.endswith(f"For that shape, functional.set_step_mode(net, {other!r}).")


def test_a_readout_takes_no_sequence_for_a_step() -> None:
    net = LeakyReadout(2.0)
    net.step_mode = "s"
    said = "LeakyReadout: input must be [N, C] with step_mode='s', got [6, 2, 5]."
    assert said_of(lambda: net(torch.zeros(6, 2, 5))).startswith(said)


def test_scripts_and_symbols_are_refused() -> None:
    for kind in MODULES:
        said = said_of(lambda kind=kind: torch.jit.script(MODULES[kind]()))
        assert "torch.jit.script does not follow it. Use torch.jit.trace" in said, kind
    for net in (delay_snn([5, 6, 3], 4), nn.Sequential(DelayLayer(5, 3, 4))):
        assert "torch.fx.symbolic_trace does not" in said_of(lambda net=net: fx.symbolic_trace(net))


@pytest.mark.parametrize("readout", READOUTS)
def test_lengths_of_other_samples_are_refused(readout: str) -> None:
    v = torch.zeros(6, 2, 3)
    for lengths in (torch.tensor([4]), torch.tensor([4, 5, 6]), torch.tensor([[4, 5]])):
        for run in (lambda y: score(v, y, readout), lambda y: count_spikes(v, y)):
            said = said_of(lambda run=run, lengths=lengths: run(lengths))
            assert said.startswith(
                "score: lengths must be [2], the steps of each sample, got int64"
            )
    for lengths in (np.array([4, 5]), [4, 5]):
        said = said_of(lambda lengths=lengths: score(v, lengths, readout))
        assert said.endswith("Use torch.as_tensor(lengths).")
    for x, said in NO_TENSORS:
        assert said_of(lambda x=x: score(x, None, readout)).startswith(f"score: v {said}")


def test_labels_of_every_whole_dtype_are_taken_and_other_kinds_named() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]])

    def loss(labels: Any) -> Tensor:
        return cross_entropy(scores, labels)

    labels = torch.tensor([2, 0])
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32):
        assert loss(labels.to(dtype)) == loss(labels)
    assert said_of(lambda: loss([2, 0])).startswith("cross_entropy: labels must be a tensor, got")
    assert said_of(lambda: loss(labels.numpy())).startswith("cross_entropy: labels must be a tens")
    assert said_of(lambda: loss(labels.to_sparse())).startswith("cross_entropy: labels must be den")
