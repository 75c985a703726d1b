"""Whether a trace is right: random spikes through the network itself, and through the trace.

Every neuron node's output is replaced by given spikes, so that all that lies between two
populations meets them, whatever the neurons would have done; then every node meets random currents.
What no graph shows (a change in place, a hook, a draw at random, a container's order, a value
changed after it was made) shows here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from snn_delays.deploy.parts import torch_model_of
from snn_delays.deploy.signals import Float64, Signal
from snn_delays.errors import UsageError, one_line
from snn_delays.neurons import TORCH_MODELS
from snn_delays.table.models import MODELS
from snn_delays.table.population import Population
from snn_delays.table.table import INPUT

_SAMPLES, _HEARD = 3, 3  # samples, and steps with spikes in them
_CLOSE = 1e-3  # of the largest value, float32 against float64
_ADVICE = (
    "Look for changes in place, hooks, draws at random, and operations over time or samples; write "
    "them as modules and sums that make new tensors."
)


@torch.no_grad()
def require_currents(
    module: nn.Module,
    shape: tuple[int, ...],
    signals: Mapping[str, Signal],
    nodes: Mapping[str, str],
    read: Callable[[Mapping[str, Float64]], Float64],
    *,
    stepwise: bool,
) -> None:
    """Refuse a trace whose currents or output are not the network's own.

    Args:
        module: the network, rounded, in evaluation.
        shape: of its input, without time and samples.
        signals: into each population, by its name.
        nodes: of each population the name of its neuron node.
        read: the output, ``[T, N, classes]`` or ``[N, classes]``, from each source's spikes.
        stepwise: whether the network takes single steps.

    Raises:
        UsageError: a current or an output that differs, or a network that cannot run.
    """
    delays = [rows.max_delay for signal in signals.values() for rows in signal.parts.values()]
    steps = _HEARD + 1 + max(delays, default=0)
    random = np.random.default_rng(0)
    like = next(module.parameters(), torch.zeros(0))
    given = {INPUT: random.integers(0, 4, (steps, _SAMPLES, *shape)).astype(float)}
    for name, signal in signals.items():
        spiking = _spikes(module.get_submodule(nodes[name])) if name in nodes else False
        whole = (steps, _SAMPLES, signal.size)
        given[name] = random.integers(0, 2, whole) * 1.0 if spiking else random.normal(size=whole)
    for one in given.values():
        one[_HEARD:] = 0  # delays of every length arrive all the same
    found: dict[str, list[Tensor]] = {name: [] for name in nodes}
    with ExitStack() as hooks:
        for name, node in nodes.items():
            spikes = torch.from_numpy(given[name]).to(like)
            hook = _replacing(node, spikes, found[name], stepwise)
            handle = module.get_submodule(node).register_forward_hook(
                hook, prepend=True, with_kwargs=True
            )
            hooks.callback(handle.remove)
        output = _output(module, torch.from_numpy(given[INPUT]).to(like), stepwise)
    given[INPUT] = given[INPUT].reshape(steps, _SAMPLES, -1)
    for name, node in nodes.items():
        if not found[name]:
            raise UsageError(f"trace: module {node!r} is in the trace, but never called. {_ADVICE}")
        current = found[name][0] if len(found[name]) == 1 else torch.stack(found[name])
        _require_close(f"the current into module {node!r}", current, signals[name].values(given))
    _require_close("the output", output, read(given))


@torch.no_grad()
def require_steps(node: nn.Module, name: str, population: Population, gain: float) -> None:
    """Refuse a neuron node that does not do what its population's model says.

    Raises:
        UsageError: spikes other than 0 and 1, or others than the model's.
    """
    model = TORCH_MODELS[population.model.family]
    parameters, rest, scalars = population.step_values()
    volts = [
        np.abs(population.parameters[one.name]).max()
        for one in population.model.parameters
        if one.quantity.unit == "v"
    ]
    like = next(node.parameters(), torch.zeros(0))
    unit = float(max(volts, default=0.0)) or 1.0
    samples = -(-512 // population.size)  # enough for any neuron to be seen in the first step
    current = np.random.default_rng(0).normal(0, 1.5 * unit, (6, samples, population.size))
    given = torch.from_numpy(current / gain).to(like)
    functional.reset_net(node)
    whole = getattr(node, "step_mode", "m") == "m"
    found = node(given) if whole else torch.stack([node(now) for now in given])
    state = [torch.from_numpy(one.astype(np.float64)).expand(samples, -1) for one in rest]
    constants = [torch.from_numpy(one.astype(np.float64)) for one in parameters]
    expected = []
    for now in torch.from_numpy(current):
        *state, spikes, _ = model.step(*state, now, *constants, *scalars)
        expected.append(spikes if population.spiking else state[0])
    wanted = torch.stack(expected).double()
    kind = type(node).__name__
    if population.spiking and not bool(((found == 0) | (found == 1)).all()):
        odd = float(found[(found != 0) & (found != 1)][0])
        raise UsageError(
            f"trace: module {name!r} is a {kind} that gives {odd:.4g}; spikes are 0 or 1. Give it "
            "a surrogate function that spikes, or call surrogate_function.set_spiking_mode(True)."
        )
    wrong = (found.cpu().double() - wanted).abs() > _CLOSE * max(1.0, float(wanted.abs().max()))
    # One in a hundred: where v meets the threshold to the last digit, either may be right.
    if float(wrong.double().mean(dim=(1, 2)).max()) > 0.01:
        raise UsageError(
            f"trace: module {name!r} is a {kind} that does not do what {population.model.name} "
            "neurons do from rest. Make a new one with its values as arguments, without hooks."
        )


def _replacing(node: str, spikes: Tensor, kept: list[Tensor], stepwise: bool) -> Callable[..., Any]:
    """A hook that keeps a node's currents and gives spikes ``[T, N, size]`` instead of its own."""

    def hook(module: nn.Module, arguments: Any, keywords: Any, output: Any) -> Tensor:
        whole = getattr(module, "step_mode", "m") == "m"
        now = spikes if whole else spikes[min(len(kept), len(spikes) - 1)]
        lead = now.dim() - 1
        right = isinstance(output, Tensor) and output.shape[:lead] == now.shape[:lead]
        if not right or output.numel() != now.numel() or (whole and stepwise):
            got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(
                f"trace: module {node!r} takes {'whole sequences' if whole else 'single steps'} "
                f"(step_mode), and gives {got} where {list(now.shape)} are due. Set the step modes "
                "of the network and of what its containers hold to go together."
            )
        current = next(iter((*arguments, *keywords.values())))
        kept.append(current.clone())
        return now.reshape(output.shape).clone()

    return hook


def _output(module: nn.Module, x: Tensor, stepwise: bool) -> Tensor:
    """What the network makes of it, over time unless it sums that up itself."""
    forward: Any = getattr(module, "signals") if hasattr(type(module), "signals") else module  # noqa: B009
    try:
        with torch.random.fork_rng(devices=[]):
            output = torch.stack([forward(now) for now in x]) if stepwise else forward(x)
    except UsageError:
        raise
    except Exception as error:  # whatever a network's own code raises
        raise UsageError(
            f"trace: {type(module).__name__} fails on an input {list(x.shape)}: {one_line(error)}. "
            "Give an example of its input."
        ) from error
    if not isinstance(output, Tensor):
        raise UsageError(f"trace: the output is a {type(output).__name__}, not one tensor.")
    return output


def _require_close(what: str, got: Tensor, expected: Float64) -> None:
    lead = expected.shape[:-1]
    if got.shape[: len(lead)] != lead or got.numel() != expected.size:
        raise UsageError(
            f"trace: {what} is {list(got.shape)} for an input of {_SAMPLES} samples, "
            f"{list(expected.shape)} in the trace. {_ADVICE}"
        )
    off = np.abs(got.detach().double().cpu().numpy().reshape(expected.shape) - expected).max()
    most = np.abs(expected).max()
    if not off <= _CLOSE * max(most, 1e-6):  # nan is not
        raise UsageError(
            f"trace: {what} is off by {off:.3g} (of {most:.3g} at most) from what the trace makes "
            f"of the same spikes. {_ADVICE}"
        )


def _spikes(node: nn.Module) -> bool:
    model = torch_model_of(node)
    return model is not None and MODELS[model.model].spiking
