"""The network that the sections ``model`` and ``neuron`` of a configuration stand for.

``model._target_`` is called with the section's settings, and with ``n_channels``, ``n_classes``,
``dt_ms`` and ``neuron`` as far as it takes them. A setting in milliseconds, ``tau_ms``, is given as
``tau`` in steps where that is what it takes.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from spikingjelly.activation_based import layer
from torch import nn

from snn_delays.arguments import shown
from snn_delays.cli.settings import CONF, typed
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError, one_line
from snn_delays.layers.buffers import stored
from snn_delays.layers.delay_layer import DelayLayer, delay_layers
from snn_delays.network import DelaySNN, plain_synapses
from snn_delays.neurons import LeakyReadout

log = logging.getLogger("snn_delays")


def delay_snn(
    *,
    n_channels: int,
    n_classes: int,
    neuron: Callable[[], nn.Module],
    delays: str,
    hidden: list[int],
    max_delay: int,
    tau: float,
    dropout: float,
    batch_norm: bool,
    granularity: Any,
    kernel_count: int,
    interpolation: Any,
    bias: bool,
    readout: Any,
    tail: int | None,
    method: Any,
) -> DelaySNN:
    """The chain of ``conf/model/delays.yaml``."""
    if delays not in ("learned", "fixed", "none"):
        raise UsageError(f"model.delays must be learned, fixed or none, got {delays!r}.")
    if not isinstance(hidden, list):
        raise UsageError(f"model.hidden must be a list such as [256,256], got {hidden!r}.")
    synapses = partial(
        DelayLayer,
        max_delay=max_delay,
        kernel_count=kernel_count,
        granularity=granularity,
        interpolation=interpolation,
        bias=bias,
        method=method,
    )
    net = DelaySNN(
        [n_channels, *hidden, n_classes],
        partial(plain_synapses, bias=bias) if delays == "none" or max_delay == 0 else synapses,
        neuron,
        norm=layer.BatchNorm1d if batch_norm else None,
        dropout=dropout,
        output=partial(LeakyReadout, tau),
        readout=readout,
        tail=tail,
    )
    if delays == "fixed":
        for delay in net.delay_parameters():
            delay.requires_grad_(False)
    return net


def plain_network(config: DictConfig, data: SpikeData) -> nn.Module:
    """The network as described, before any fine-tuning changes it.

    Raises:
        UsageError: nothing of that name, a setting that it does not take, or no network.
    """
    make = _named(config.model, "model")
    offered: dict[str, Any] = {"n_channels": data.n_channels, "n_classes": data.n_classes}
    offered["dt_ms"] = data.dt_ms
    if config.get("neuron"):
        node = _named(config.neuron, "neuron")
        settings = _given(config.neuron, "neuron", node, data.dt_ms)
        offered["neuron"] = partial(node, **settings)
    taken = {name: value for name, value in offered.items() if name in _names(make)}
    net = _called(make, "model", {**taken, **_given(config.model, "model", make, data.dt_ms)})
    if not isinstance(net, nn.Module):
        raise UsageError(f"model._target_ must name a torch module, got {shown(net)}.")
    return net


def keep_what_is_taken(config: DictConfig) -> None:
    """Of a new run with a network of one's own, drop what ``conf/`` sets and it does not take.

    What was typed, or stands in a file of one's own, stays, to be refused.
    """
    ours = OmegaConf.load(CONF / "model/delays.yaml")
    assert isinstance(ours, DictConfig)
    if config.model.get("_target_") == ours._target_:
        return
    make = _named(config.model, "model")
    if "neuron" in _names(make):
        config.neuron = OmegaConf.to_container(config.neuron, resolve=True)
    elif given := [key for key in typed() if key.partition(".")[0] == "neuron"]:
        raise UsageError(f"{config.model._target_} takes no neuron, got {', '.join(given)}.")
    else:
        config.neuron = None
    dropped = [
        str(key)
        for key in config.model
        if key in ours and f"model.{key}" not in typed() and not _argument(str(key), make)
    ]
    with open_dict(config.model):
        for key in dropped:
            del config.model[key]
    if dropped:
        log.info(f"{config.model._target_} takes no {', '.join(dropped)}: left out.")


def kind_of_delays(net: nn.Module) -> str:
    """``learned``, ``fixed`` or ``none``."""
    delays = [stored(one, "delay") for one in delay_layers(net)]
    learned = any(one is None or one.requires_grad for one in delays)
    return ("learned" if learned else "fixed") if delays else "none"


def described(net: nn.Module, dt_ms: float) -> str:
    """A network in a line."""
    name = type(net).__name__
    if isinstance(net, DelaySNN):
        name = f"{' – '.join(map(str, net.sizes))} neurons"
    parameters = sum(parameter.numel() for parameter in net.parameters())
    longest = max((one.max_delay for one in delay_layers(net)), default=0)
    delays = f"{kind_of_delays(net)} delays up to {longest} steps ({longest * dt_ms:g} ms)"
    return f"{name}, {parameters:,} parameters, {delays if longest else 'no delays'}"


def _named(section: DictConfig, name: str) -> Any:
    """What a section's ``_target_`` names; also if it lies in the folder where one stands."""
    target = section.get("_target_")
    if os.getcwd() not in sys.path:  # an installed command looks beside itself only
        sys.path.append(os.getcwd())
    try:
        found = get_object(str(target))
    except Exception as error:
        raise UsageError(
            f"{name}._target_={target} cannot be imported: {one_line(error)} Give PACKAGE.NAME of "
            "something that is installed, or lies in this folder."
        ) from error
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name}._target_ must name a class or function of yours, got {target}."
        ) from error
    return found


def _given(section: DictConfig, name: str, make: Any, dt_ms: float) -> dict[str, Any]:
    """The settings of a section as arguments."""
    given: dict[str, Any] = {}
    settings = OmegaConf.to_container(section, resolve=True)
    assert isinstance(settings, dict)
    for key, value in settings.items():
        if key == "_target_":
            continue
        argument = _argument(str(key), make)
        if argument is None:
            raise UsageError(
                f"no such setting: {name}.{key}; {section._target_} takes "
                f"{', '.join(inspect.signature(make).parameters)}."
            )
        if argument != key:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"{name}.{key} must be a number of milliseconds, got {value!r}.")
            value = value / dt_ms
        given[argument] = value
    return given


def _argument(key: str, make: Any) -> str | None:
    """The argument that a setting is; None if there is none."""
    if key.endswith("_ms") and not _names(make) & {key} and key[:-3] in _names(make):
        return key[:-3]
    any_name = [p.kind == p.VAR_KEYWORD for p in inspect.signature(make).parameters.values()]
    return key if key in _names(make) or any(any_name) else None


def _names(make: Any) -> set[str]:
    """Arguments that can be given by name."""
    parameters = inspect.signature(make).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name for one in parameters if one.kind in by_name}


def _called(make: Any, section: str, settings: dict[str, Any]) -> Any:
    try:
        return make(**settings)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={shown(value)}" for key, value in settings.items())
        raise UsageError(
            f"{section}: {make.__name__} cannot be made ({one_line(error)}) of {given}."
        ) from error
