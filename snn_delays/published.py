"""Networks that the published code of SNN-delays has trained, as networks of this package."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from snn_delays import losses
from snn_delays.arguments import choice, real_number, shown, whole_number
from snn_delays.errors import UsageError
from snn_delays.interpolation import DCLS_OFFSET, INTERPOLATIONS, Interpolation
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.network import DelaySNN
from snn_delays.neurons import LeakyReadout, lif
from snn_delays.neurons.lif import ParametricLIFNode
from snn_delays.neurons.swept import steps
from snn_delays.ops import surrogates
from snn_delays.run.folder import DAMAGE, tensors_of

_NAME = "load_snn_delays_checkpoint"
# What a state dict does not hold, by the number of classes: tau in steps of 10 ms, and dropout.
_RECIPES = {20: (1.005, 0.4), 35: (1.5, 0.25)}  # SHD; SSC and GSC
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def load_snn_delays_checkpoint(
    path: Path | str,
    *,
    max_delay: int | None = None,
    tau: float | None = None,
    interpolation: Interpolation = "gaussian",
    v_threshold: float = 1.0,
    output_v_threshold: float = 2.0,
    dropout: float | None = None,
    readout: losses.Readout = "sum_softmax",
) -> DelaySNN:
    """The network of a state dict that SNN-delays has saved, in evaluation mode.

    DCLS counts a position P from the middle of D taps, and a kernel behind D − 1 steps of silence
    reaches back in time, so that P is a delay of

        d = D − 1 − D // 2 − P,      σ = |SIG| + 0.27 (``gauss``) or |SIG| (``max``)

    The output for a recording is the published network's for the same recording followed by
    ``tail`` steps of silence (half a kernel per layer). Without that silence both agree until half
    a kernel (max_delay // 2) after the last input. Later the published code forgets, layer by
    layer, what comes more than half a kernel after the layer's input has ended; here, as on a chip,
    it arrives.

    Args:
        path: what ``torch.save(model.state_dict(), path)`` wrote. Nothing but tensors is read.
        max_delay: D − 1, in steps. ``None`` takes it from the positions, of which some lie at
            ± D // 2 exactly: as published they start there, and are clamped to it.
        tau: membrane time constant in steps; ``None`` takes that of SHD for 20 classes (1.005) and
            of SSC and GSC for 35 (1.5). PLIF neurons have learned their own.
        interpolation: of layers with SIG: ``"gaussian"`` for DCLS's version ``gauss``,
            ``"triangle"`` for ``max``. Layers without SIG are its ``v1``, a triangle at σ = 0.
        v_threshold: of the hidden neurons.
        output_v_threshold: of the last ones, which spike only where ``readout="spike_count"``.
        dropout: of training on; ``None`` is 0.25 for 35 classes, else 0.4.
        readout: what the published settings call ``loss``; their ``sum`` is ``"sum_softmax"``.

    Raises:
        UsageError: no such file, one that needs more than tensors, or no such state dict; what it
            does not hold and is not given; positions beyond ``max_delay``; widths that differ
            within a layer; synapse filters.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670).
    """
    choice(f"{_NAME}: interpolation", interpolation, INTERPOLATIONS)
    choice(f"{_NAME}: readout", readout, losses.READOUTS)
    v_threshold = real_number(f"{_NAME}: v_threshold", v_threshold, above=0)
    saved = _layers(_read(Path(path)), path)
    max_delay = _reach(saved, max_delay, path)
    classes = len(saved[-1].weight)
    taus = _taus(saved, tau, path)
    dropout = _RECIPES.get(classes, (None, 0.4))[1] if dropout is None else dropout
    node = lif if saved[0].w is None else _plif
    spiking = partial(node, taus[-1], v_threshold=output_v_threshold)
    first = saved[0]
    net = DelaySNN(
        [first.weight.shape[1], *(len(one.weight) for one in saved)],
        partial(
            DelayLayer,
            max_delay=max_delay,
            kernel_count=first.weight.shape[2],
            interpolation="triangle" if first.sig is None else interpolation,
            bias=first.bias is not None,
        ),
        partial(node, taus[0], v_threshold=v_threshold),
        norm=layer.BatchNorm1d if first.norm else None,
        dropout=dropout,
        output=spiking if readout == "spike_count" else partial(LeakyReadout, taus[-1]),
        readout=readout,
    )
    net.to(first.weight.dtype)
    for index, one in enumerate(saved):
        _fill(net.blocks[index], one, max_delay, f"{path}: layer {index}")
    return net.eval()


@dataclass(frozen=True)
class _Saved:
    """What a state dict holds of one layer: DCLS's tensors, BatchNorm's, a PLIF node's w."""

    weight: Tensor
    position: Tensor
    sig: Tensor | None
    bias: Tensor | None
    norm: dict[str, Tensor]
    w: Tensor | None

    def kind(self) -> tuple[Any, ...]:
        """What all layers of a network have in common."""
        return self.weight.shape[2], self.sig is None, self.bias is None, self.w is None


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UsageError(f"{_NAME}: {path} not found. Give the file that SNN-delays has saved.")
    try:
        state = tensors_of(path.read_bytes())
    except DAMAGE as error:
        if needs := _needs(path):
            raise UsageError(
                f"{_NAME}: {path} must hold tensors alone, got what could run code when it is "
                f"loaded ({shown(needs)}). Where it was made, save model.state_dict() alone."
            ) from error
        raise UsageError(
            f"{_NAME}: {path} is damaged or nothing that torch.save wrote "
            f"({type(error).__name__}). Save it with torch.save(model.state_dict(), PATH)."
        ) from error
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(
            f"{_NAME}: {path} must hold a state dict, names with tensors, got "
            f"{shown(list(state))}. Save it with torch.save(model.state_dict(), PATH)."
        )
    return state


def _needs(path: Path) -> list[str]:
    """The classes and functions by which a file would be loaded."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except DAMAGE:
        return []


def _layers(state: dict[str, Tensor], path: Path | str) -> list[_Saved]:
    """The layers in order. Modules without tensors are seen by the numbers that they take."""
    found = [re.fullmatch(r"(.*?)(\d+)\.P", name) for name in state]
    places = sorted((match[1], int(match[2])) for match in found if match)
    owners = {owner for owner, _ in places}
    if len(places) < 2 or len(owners) != 1:
        raise UsageError(
            f"{_NAME}: {path} must hold DCLS's layers of one SNN-delays network (keys such as "
            f"model.0.P), got {shown(list(state))}."
        )
    owner, rest, layers = owners.pop(), dict(state), []
    indices = [index for _, index in places]
    norms = f"{owner}{indices[0] + 1}.running_mean" in state
    for index in indices:
        last = index == indices[-1]

        def take(offset: int, name: str, at: int = index) -> Tensor | None:
            return rest.pop(f"{owner}{at + offset}.{name}", None)

        normed = norms and not last
        weight, position = take(0, "weight"), take(0, "P")
        assert position is not None  # by which it was found
        if weight is None or weight.dim() != 3 or position.shape != (1, *weight.shape):
            got = None if weight is None else list(weight.shape)
            raise UsageError(
                f"{_NAME}: {path}: {owner}{index} must have a weight [post, pre, k] and P "
                f"[1, post, pre, k], got {got} and {list(position.shape)}."
            )
        norm = {name: take(1, name) for name in _NORM} if normed else {}
        layers.append(
            _Saved(
                weight,
                position[0],
                take(0, "SIG"),
                take(0, "bias"),
                {name: one for name, one in norm.items() if one is not None},
                take(2 if normed else 1, "w"),
            )
        )
    span = 4 if norms else 3  # of a layer's modules: synapses, norm, neurons, dropout
    if rest or any(late - early != span for early, late in itertools.pairwise(indices)):
        raise UsageError(
            f"{_NAME}: {path} must have synapses, BatchNorm or none, LIF or PLIF and dropout in "
            f"each layer, no synapse filter, got modules {', '.join(map(str, indices))} with P"
            + (f" and also {shown(list(rest))}." if rest else ".")
        )
    for before, after in itertools.pairwise(layers):
        if before.kind() != after.kind() or len(before.weight) != after.weight.shape[1]:
            raise UsageError(
                f"{_NAME}: {path} must hold layers of one kind that follow each other, got weights "
                f"{list(before.weight.shape)} and then {list(after.weight.shape)}."
            )
    return layers


def _reach(saved: Sequence[_Saved], given: int | None, path: Path | str) -> int:
    """D − 1 as given, or of the positions at the edges."""
    if given is not None:
        return whole_number(f"{_NAME}: max_delay", given, 1, unit="steps")
    farthest = max(float(one.position.abs().max()) for one in saved)
    if farthest >= 1 and farthest == int(farthest):
        return 2 * int(farthest)
    raise UsageError(
        f"{_NAME}: {path} does not say how long its kernels are: no position lies at an edge, the "
        f"farthest is {farthest:.3f}. Give max_delay=…, in steps (24 as published for SHD, 30 for "
        "SSC and GSC)."
    )


def _taus(saved: Sequence[_Saved], given: float | None, path: Path | str) -> list[float]:
    """The time constant of every layer's neurons, in steps."""
    if saved[0].w is not None:
        if given is not None:
            raise UsageError(f"{_NAME}: {path} holds learned taus (PLIF). Leave out tau={given}.")
        return [1 / float(one.w.double().sigmoid()) for one in saved if one.w is not None]
    classes = len(saved[-1].weight)
    tau = _RECIPES.get(classes, (None,))[0] if given is None else steps(_NAME, given)
    if tau is None:
        raise UsageError(
            f"{_NAME}: {path} does not hold the tau of its neurons, which is known of 20 classes "
            f"(SHD) and 35 (SSC, GSC), got {classes}. Give tau=…, in steps."
        )
    return [tau] * len(saved)


def _plif(tau: float, *, v_threshold: float) -> nn.Module:
    return ParametricLIFNode(
        tau,
        decay_input=False,
        v_threshold=v_threshold,
        detach_reset=True,
        surrogate_function=surrogates.made("lif", "atan", 5.0),
        step_mode="m",
    )


@torch.no_grad()
def _fill(block: nn.Module, saved: _Saved, max_delay: int, owner: str) -> None:
    """Give a block the values of a saved layer."""
    synapses, norm = block.synapses, block.norm
    assert isinstance(synapses, DelayLayer)
    taps = max_delay + 1
    delay = taps - 1 - taps // 2 - saved.position
    low, high = (float(end) for end in delay.aminmax())
    if not (low >= -1e-4 and high <= max_delay + 1e-4):  # NaN neither
        raise UsageError(
            f"{_NAME}: {owner} must have delays from 0 to max_delay={max_delay} steps, got "
            f"{low:.3f} to {high:.3f}. Give the max_delay that it was trained with."
        )
    synapses.weight.copy_(saved.weight)
    synapses.delay.copy_(delay)
    if saved.bias is not None and synapses.bias is not None:
        synapses.bias.copy_(saved.bias)
    synapses.sigma = 0.0 if saved.sig is None else _width(saved.sig, synapses, owner)
    if isinstance(norm, nn.Module) and saved.norm:
        norm.load_state_dict(saved.norm)
    if saved.w is not None and isinstance(block.neuron, ParametricLIFNode):
        block.neuron.w.copy_(saved.w)


def _width(sig: Tensor, synapses: DelayLayer, owner: str) -> float:
    """σ of a layer, which has one for all its synapses."""
    low, high = (float(end) for end in sig.double().abs().aminmax())
    if not high - low <= 1e-5 * max(high, 1.0):
        raise UsageError(
            f"{_NAME}: {owner} must have one width for all synapses, as a schedule sets it, got "
            f"SIG from {low:g} to {high:g}."
        )
    return (low + high) / 2 + (DCLS_OFFSET if synapses.interpolation == "gaussian" else 0.0)
