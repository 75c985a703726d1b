"""On a GPU layers, networks and training give the numbers of the CPU."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays import DelaySNN, set_sigma
from snn_delays.convolutional import DelayConvSNN
from snn_delays.data import load_synthetic
from snn_delays.data.augmentation import Augmentation
from snn_delays.dcls import DclsConv1d, DclsConv2d
from snn_delays.evaluation import evaluate
from snn_delays.layers import DelayConv1d, DelayConv2d, DelayLayer, RecurrentDelayLayer, rounded
from snn_delays.neurons import CAdLIFNode, LeakyReadout, LIFNode, PLIFNode, SiLIFNode
from snn_delays.ops import lif
from snn_delays.training import fit

PRE, POST, MAX_DELAY = 11, 9, 24


def spikes(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.rand(shape) < 0.2).to(dtype)


def compare(gpu: str, module: nn.Module, x: Tensor, tolerance: float = 1e-9) -> dict[str, Tensor]:
    """Output and all gradients on the GPU against those on the CPU, which come back."""
    module = module.to(x.dtype)
    found: list[dict[str, Tensor]] = []
    for device in ("cpu", gpu):
        one, leaf = copy.deepcopy(module).to(device), x.detach().to(device).requires_grad_()
        functional.reset_net(one)
        torch.manual_seed(1)
        y = one(leaf)
        judge = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).sin().view(y.shape).to(device)
        (y * judge).sum().backward()
        values = {"y": y, "gradient of x": leaf.grad}
        for name, parameter in one.named_parameters():
            if parameter.requires_grad:
                values[f"gradient of {name}"] = parameter.grad
        found.append({name: one.detach().cpu() for name, one in values.items() if one is not None})
    assert found[0].keys() == found[1].keys()
    for name, there in found[1].items():
        here = found[0][name]
        bound = tolerance * max(float(here.abs().max()), 1.0)
        torch.testing.assert_close(
            there, here, rtol=tolerance, atol=bound, msg=partial("{}: {}".format, name)
        )
    return found[0]


@pytest.mark.parametrize("sigma", [12.0, 5.0, 2.0, 0.5, 0.0])
@pytest.mark.parametrize(
    ("granularity", "method"),
    [
        *(("synaptic", method) for method in ("auto", "dense", "taps", "lowrank", "reference")),
        *(("axonal", method) for method in ("auto", "axonal", "dense")),
        *(("dendritic", method) for method in ("auto", "dendritic")),
        *(("common", "auto"), ("axonal+dendritic", "auto")),
    ],
)
def test_delay_layers(gpu: str, granularity: Any, method: Any, sigma: float) -> None:
    layer = DelayLayer(
        *(PRE, POST, MAX_DELAY), kernel_count=2, granularity=granularity, method=method, bias=True
    )
    set_sigma(layer, sigma)
    compare(gpu, layer, spikes(40, 5, PRE))


@pytest.mark.parametrize("sigma", [12.0, 2.0, 0.5])
@pytest.mark.parametrize("method", ["dense", "taps", "lowrank"])
def test_delay_layers_in_single_precision(gpu: str, method: Any, sigma: float) -> None:
    layer = DelayLayer(PRE, POST, MAX_DELAY, method=method)
    set_sigma(layer, sigma)
    compare(gpu, layer, spikes(40, 5, PRE, dtype=torch.float32), 2e-4)


@pytest.mark.parametrize("rounding", ["integer", "straight_through"])
@pytest.mark.parametrize("interpolation", ["gaussian", "triangle"])
def test_rounding_and_triangles(gpu: str, interpolation: Any, rounding: Any) -> None:
    layer = DelayLayer(PRE, POST, MAX_DELAY, interpolation=interpolation, sigma=1.5)
    layer.rounding = rounding
    compare(gpu, layer, spikes(40, 5, PRE))


def test_learned_widths_masks_and_pieces(gpu: str) -> None:
    compare(gpu, DelayLayer(PRE, POST, MAX_DELAY, sigma_learned=True), spikes(40, 5, PRE))
    layer = DelayLayer(PRE, POST, MAX_DELAY).double().to(gpu)
    x = spikes(40, 5, PRE).to(gpu)
    whole = layer(x)
    functional.reset_net(layer)
    torch.testing.assert_close(torch.cat([layer(x[:13]), layer(x[13:])]), whole)


@pytest.mark.parametrize("granularity", ["synaptic", "axonal"])
@pytest.mark.parametrize(
    "neuron", [lambda: LIFNode(tau=2.0, step_mode="m"), partial(CAdLIFNode, POST, v_threshold=0.3)]
)
def test_recurrent_layers(gpu: str, neuron: Any, granularity: Any) -> None:
    layer = RecurrentDelayLayer(POST, neuron(), 7, granularity=granularity, sigma=1.0)
    found = compare(gpu, layer, torch.randn(25, 4, POST, dtype=torch.float64), 1e-8)
    assert 0.01 < found["y"].mean() < 0.9


@pytest.mark.parametrize("sigma", [3.0, 0.5])
def test_convolutions(gpu: str, sigma: float) -> None:
    with_delays = DelayConv2d(2, 3, 3, max_delay=6, sigma=sigma)
    compare(gpu, with_delays, spikes(12, 2, 2, 9, 9))
    compare(gpu, DelayConv1d(2, 3, 3, max_delay=6, sigma=sigma), spikes(12, 2, 2, 17))
    flat = DclsConv2d(4, 4, 6, extent=(9, 7), groups=4, interpolation="gaussian", sigma=sigma)
    compare(gpu, flat, torch.randn(2, 4, 15, 15, dtype=torch.float64))
    along = DclsConv1d(4, 6, 3, extent=11, interpolation="gaussian", sigma=sigma)
    compare(gpu, along, torch.randn(2, 4, 30, dtype=torch.float64))


NEURONS: dict[str, Any] = {
    "lif": partial(LIFNode, tau=1.5, decay_input=False, step_mode="m"),
    "plif": partial(PLIFNode, tau=1.5),
    "cadlif": partial(CAdLIFNode, v_threshold=0.3),
    "silif": partial(SiLIFNode, v_threshold=0.3),
}


def network(sizes: list[int], neuron: str) -> DelaySNN:
    torch.manual_seed(3)
    synapses = partial(DelayLayer, max_delay=MAX_DELAY)
    output = partial(LeakyReadout, tau=1.5)
    return DelaySNN(sizes, synapses, NEURONS[neuron], dropout=0.0, output=output)


@pytest.mark.parametrize("sigma", [12.0, 0.5])
@pytest.mark.parametrize("neuron", ["lif", "plif", "cadlif", "silif"])
def test_networks(gpu: str, neuron: str, sigma: float) -> None:
    net = network([PRE, 16, 12, 5], neuron)
    set_sigma(net, sigma)
    found = compare(gpu, net, spikes(40, 6, PRE), 1e-7)
    assert found["y"].abs().max() > 0
    compare(gpu, rounded(net), spikes(40, 6, PRE), 1e-7)


def test_a_network_of_maps(gpu: str) -> None:
    net = DelayConvSNN((2, 12, 12), 3)
    compare(gpu, net.eval(), spikes(10, 2, 2, 12, 12), 1e-6)


@pytest.mark.parametrize("neuron", ["lif", "cadlif"])
def test_training_gives_the_losses_of_the_cpu(gpu: str, tmp_path: Any, neuron: str) -> None:
    data = load_synthetic(tmp_path, n_train=96, n_valid=32, n_test=32)
    found = []
    for accelerator in ("cpu", gpu):
        net = network([data.n_channels, 24, data.n_classes], neuron)
        rows = fit(net, data, epochs=3, batch_size=32, accelerator=accelerator)
        found.append(rows)
        for name, parameter in net.named_parameters():
            assert parameter.device.type == accelerator, name
        evaluate(rounded(net), data.test, 32)
    for here, there in zip(*found, strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=2e-2)
        assert there["rate_hz"] == pytest.approx(here["rate_hz"], rel=2e-2)
    assert found[0][0]["loss"] > 0


def test_augmentation_and_mixed_precision_train(gpu: str, tmp_path: Any) -> None:
    data = load_synthetic(tmp_path, n_train=96, n_valid=32, n_test=32)
    for precision in ("bf16-mixed", "16-mixed"):
        net = DelaySNN([data.n_channels, 24, data.n_classes], dropout=0.2)
        changes = Augmentation(event_drop=0.1, channel_shift=0.2, cutmix=0.5)
        rows = fit(net, data, epochs=1, batch_size=32, precision=precision, augmentation=changes)
        assert 0 < rows[0]["loss"] < 10


def test_neurons_run_as_kernels(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    called, plain = [], lif.LOOPS.callers["cuda"]

    def noted(name: str, *args: Any) -> None:
        called.append(name)
        plain(name, *args)

    monkeypatch.setitem(lif.LOOPS.callers, "cuda", noted)
    net = DelaySNN([PRE, 16, 5], dropout=0.0).to(gpu)
    net(spikes(20, 3, PRE, dtype=torch.float32).to(gpu)).sum().backward()
    assert called == ["forward", "backward"]
