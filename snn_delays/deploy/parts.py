"""The modules that a trace knows: synapses, normalisation, neurons, and what passes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spikingjelly.activation_based import base
from spikingjelly.activation_based import layer as sj_layer
from torch import fx, nn
from torch.fx.proxy import TraceError
from torch.nn.utils.parametrize import type_before_parametrizations

from snn_delays.deploy.fold import is_norm, is_pool, is_synapses
from snn_delays.deploy.signals import Float64
from snn_delays.errors import UsageError, one_line
from snn_delays.layers.delayed import Delayed
from snn_delays.neurons import TORCH_MODELS, TorchModel
from snn_delays.table.population import Population

FLATTENS = (nn.Flatten, sj_layer.Flatten)
# What evaluation passes on unchanged; Flatten keeps numbers in their order.
NOTHING = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d),
    *(sj_layer.Dropout, sj_layer.Dropout2d),
    *FLATTENS,
)
# Modules that run those inside them one after another, step by step or not.
CONTAINERS = (
    *(sj_layer.MultiStepContainer, sj_layer.SeqToANNContainer, sj_layer.StepModeContainer),
)
ADVICE = (
    "Known are DelayLayer, DelayConv1d and 2d, Linear, Conv1d and 2d, BatchNorm1d and 2d, average "
    "pooling, Dropout, Identity, Flatten, neurons of "
    f"{', '.join(sorted({node.__name__ for one in TORCH_MODELS.values() for node in one.nodes}))}, "
    "additions, concatenations and slices of channels."
)


# What a forward raises that does with a stand-in what takes a tensor.
NOT_FOLLOWED = (TraceError, TypeError, ValueError, RuntimeError, AttributeError)


def follow(module: nn.Module) -> fx.Graph:
    """The graph of a network's ``signals`` or forward, down to layers and neurons."""
    tracer = _Tracer()
    tracer.traced_func_name = "signals" if hasattr(type(module), "signals") else "forward"
    try:
        return tracer.trace(module)
    except UsageError:
        raise
    except NOT_FOLLOWED as error:
        raise UsageError(
            f"trace: cannot follow {type(module).__name__}.forward: {one_line(error)}. Let it use "
            f"no values of tensors and no loop over time. {ADVICE}"
        ) from error


class _Tracer(fx.Tracer):
    """Follows forwards down to the layers and neurons that are known, and to what is not ours."""

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        # All but the input stay what the forward's defaults are, so that it may ask for them.
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            isinstance(m, base.MemoryModule)
            or is_synapses(m)
            or is_norm(m)
            or is_pool(m)
            or type(m) in (*NOTHING, *CONTAINERS)
            or torch_model_of(m) is not None
            or super().is_leaf_module(m, module_qualified_name)
            or (type(m).__module__.startswith("spikingjelly.") and not isinstance(m, nn.Sequential))
        )


def step_mode(module: nn.Module) -> str:
    """``"s"`` where all parts that care take single steps; what is in a container is its own.

    Raises:
        UsageError: some take single steps and others sequences: one of them would be wrong.
    """
    modes: dict[str, str] = {}
    waiting = [("the network", module)]
    while waiting:
        name, one = waiting.pop()
        if type(one) in CONTAINERS:
            continue
        if isinstance(one, base.StepModule) and not isinstance(one, nn.Linear):
            modes.setdefault(str(one.step_mode), name)
        if isinstance(one, Delayed):  # which sees to that of its neurons
            continue
        prefix = "" if one is module else f"{name}."
        waiting += [(f"{prefix}{key}", child) for key, child in one.named_children()]
    if len(modes) > 1:
        raise UsageError(
            f"trace: {modes['s']} takes single steps (step_mode 's'), {modes['m']} whole sequences "
            "('m'). Call functional.set_step_mode(net, 'm')."
        )
    return next(iter(modes), "m")


def unpacked(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A module by its name, or those that a container calls, in order; one may come twice."""
    if type(module) in (*CONTAINERS, nn.Sequential):
        for key, child in module._modules.items():
            if child is not None:
                yield from unpacked(f"{name}.{key}", child)
    else:
        yield name, module


def neurons_in(name: str, module: nn.Module) -> tuple[str, nn.Module] | None:
    """The neuron node that a module is, or has for the synapses that lead back to it; by name."""
    if isinstance(module, Delayed) and module.neuron is not None:
        return f"{name}.neuron", module.neuron
    return (name, module) if torch_model_of(module) is not None else None


def torch_model_of(node: nn.Module) -> TorchModel | None:
    """The model of a neuron node; None for any other module."""
    kind = type_before_parametrizations(node)
    return next((one for one in TORCH_MODELS.values() if kind in one.nodes), None)


def population_of(name: str, node: nn.Module, bias: Float64) -> tuple[Population, float]:
    """The population of a neuron node, and what it multiplies its currents by, ``bias`` included.

    Shape:
        bias: float64 ``[size]``.
    """
    model = torch_model_of(node)
    if model is None:
        raise UsageError(
            f"is a {type(node).__name__}, which a delay table cannot express. {ADVICE}"
        )
    values = model.describe(node)
    own = {**values.parameters, **values.scalars, "bias": bias * values.gain}
    return Population.of(name, model.model, len(bias), **own), values.gain
