"""Each part of a network, recorded as a CUDA graph, gives what it gives as it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.convolutional import DelayConvSNN
from snn_delays.dcls import DclsConv1d
from snn_delays.graphs.recordings import CudaRecorder, Results
from snn_delays.layers import DelayConv1d, DelayLayer, RecurrentDelayLayer
from snn_delays.layers.networks import clamp_delays_
from snn_delays.modules.width import read_anew
from snn_delays.neurons import (
    AdLIFNode,
    CAdLIFNode,
    LeakyReadout,
    LIFNode,
    PLIFNode,
    SEAdLIFNode,
    SiLIFNode,
)
from snn_delays.neurons.cubalif import CuBaLIFNode

STEPS, BATCH, SIZE = 21, 6, 16
delays: Any = partial(DelayLayer, SIZE, SIZE, 12, sigma=2.0)
PARTS: dict[str, Callable[[], nn.Module]] = {
    **{
        method: partial(delays, method=method)
        for method in ("dense", "lowrank", "taps", "reference", "auto")
    },
    **{
        f"{ends} {method}": partial(delays, granularity=ends, method=method)
        for ends, method in (
            ("axonal", "axonal"), ("dendritic", "dendritic"), ("axonal", "dense"),
            ("axonal+dendritic", "auto"), ("common", "auto"),
        )
    },
    "triangle": partial(delays, interpolation="triangle"),
    "learned σ": partial(delays, sigma_learned=True),
    "recurrent": lambda: RecurrentDelayLayer(SIZE, LIFNode(tau=2.0, step_mode="m"), 4, sigma=1.0),
    "over space": lambda: DelayConv1d(1, 2, 3, max_delay=4, sigma=1.0),
    "maps": lambda: DelayConvSNN((1, SIZE, SIZE), 3),
    "dcls": lambda: DclsConv1d(SIZE, SIZE, 3, extent=11, interpolation="gaussian", sigma=1.0),
    "lif": lambda: LIFNode(tau=1.7, step_mode="m"),
    "plif": lambda: PLIFNode(SIZE, tau=1.7),
    "cubalif": lambda: CuBaLIFNode(tau=1.6, tau_syn=2.5, step_mode="m"),
    **{
        one.__name__: partial(one, SIZE, v_threshold=0.3)
        for one in (AdLIFNode, CAdLIFNode, SEAdLIFNode, SiLIFNode)
    },
    "readout": lambda: LeakyReadout(2.0),
    "norm": lambda: layer.BatchNorm1d(SIZE, step_mode="m"),
    "dropout": lambda: layer.Dropout(0.4, step_mode="m"),
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {
    "over space": (STEPS, BATCH, 1, SIZE),
    "maps": (5, BATCH, 1, SIZE, SIZE),
    "dcls": (BATCH, SIZE, STEPS),
}


def compare(work: Callable[[Tensor], Results], inputs: list[Tensor]) -> None:
    """Of other inputs than those that it was recorded with."""
    recorder = CudaRecorder(inputs[0].device)
    with recorder.alone():
        expected = []
        for one in inputs:
            torch.manual_seed(5)
            found, waits = recorder.watched(work, one)
            expected.append([value.clone() for value in found if value is not None])
            print(f"waits: {waits or 'none'}")
        place = inputs[0].clone()
        recording = recorder.record(lambda: work(place))
        for one, values in zip(inputs, expected, strict=True):
            torch.manual_seed(5)
            place.copy_(one)
            recording.replay()
            found = [value for value in recording.results if value is not None]
            assert len(found) == len(values)
            for number, (there, here) in enumerate(zip(found, values, strict=True)):
                torch.testing.assert_close(there, here, msg=lambda said, n=number: f"{n}: {said}")
            assert values[0].abs().sum() > 0
    assert not torch.equal(expected[0][0], expected[1][0])


@pytest.mark.parametrize("anew", [False, True], ids=["σ kept", "σ anew"])
@pytest.mark.parametrize("name", PARTS)
def test_parts(gpu: str, name: str, anew: bool) -> None:
    if anew and not hasattr(PARTS[name](), "sigma"):
        pytest.skip("has no σ")
    torch.manual_seed(0)
    part = PARTS[name]().to(gpu)
    shape = SHAPES.get(name, (STEPS, BATCH, SIZE))

    def work(x: Tensor) -> Results:
        functional.reset_net(part)
        x = x.detach().requires_grad_()
        part.zero_grad()
        y = part(x)
        judge = torch.linspace(-1, 1, y.numel(), device=y.device).sin().view(y.shape)
        (y * judge).sum().backward()
        return y.detach(), x.grad, *(one.grad for one in part.parameters() if one.requires_grad)

    def reads_anew(x: Tensor) -> Results:
        with read_anew():
            return work(x)

    compare(reads_anew if anew else work, [torch.randn(shape, device=gpu) * 2 for _ in range(2)])


@pytest.mark.parametrize("readout", losses.READOUTS)
def test_losses(gpu: str, readout: str) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([21, 3, 8, 15, 1, 20], device=gpu)
    labels = torch.tensor([0, 3, 2, 1, 1, 15], device=gpu)

    def work(v: Tensor) -> Results:
        v = v.detach().requires_grad_()
        loss = losses.cross_entropy(losses.score(v, lengths, readout), labels)
        loss.backward()
        return loss.detach(), v.grad

    compare(work, [torch.randn(STEPS, BATCH, SIZE, device=gpu) for _ in range(2)])


@pytest.mark.parametrize("clip", [False, True])
def test_optimisers(gpu: str, clip: bool) -> None:
    layers = nn.ModuleList([delays(), CAdLIFNode(SIZE)]).to(gpu)
    adam = torch.optim.Adam(layers.parameters(), lr=0.5, fused=True)
    group: Any = adam.param_groups[0]

    def work(scale: Tensor) -> Results:
        for parameter in layers.parameters():
            parameter.grad = (parameter.detach() + 0.1) * scale
        if clip:
            torch.nn.utils.clip_grad_norm_(layers.parameters(), 0.3)
        group["capturable"] = torch.cuda.is_current_stream_capturing()
        adam.step()
        group["capturable"] = False
        clamp_delays_(layers)
        return tuple(one.detach() for one in layers.parameters())

    one = torch.ones((), device=gpu)
    work(one)
    before = {state["step"].item() for state in adam.state.values()}
    recorder = CudaRecorder(one.device)
    with recorder.alone():
        recording = recorder.record(lambda: work(one))
        recording.replay()
    assert before == {1.0}
    assert {state["step"].item() for state in adam.state.values()} == {2.0}
    assert all(bool(value.isfinite().all()) for value in recording.results if value is not None)
    delay: Any = layers[0]
    assert 0 <= float(delay.delay.min()) <= float(delay.delay.max()) <= 12
