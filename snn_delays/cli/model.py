"""The network that the sections ``model`` and ``neuron`` of a configuration stand for.

``model._target_`` is called with the section's settings, and with ``n_channels``, ``frame``,
``n_classes``, ``dt_ms`` and ``neuron`` as far as it takes them. A setting in milliseconds,
``tau_ms``, is given as ``tau`` in steps where that is what it takes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import hydra
from hydra.errors import InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, open_dict
from spikingjelly.activation_based import layer
from torch import nn

from snn_delays.arguments import choice, shown
from snn_delays.cli.settings import list_of, options, plain, typed
from snn_delays.data import SpikeData
from snn_delays.deploy.quantised_training import folded, make_quantisation_aware_
from snn_delays.errors import UsageError, one_line
from snn_delays.layers.delay_layer import DelayLayer
from snn_delays.layers.networks import delay_layers, synapses_of
from snn_delays.layers.recurrent import RecurrentDelayLayer
from snn_delays.layers.ternary import ternary_
from snn_delays.network import DelaySNN, plain_synapses
from snn_delays.neurons import LeakyReadout
from snn_delays.report.run import kind_of_delays

log = logging.getLogger("snn_delays")


def delay_snn(
    *,
    n_channels: int,
    n_classes: int,
    neuron: Callable[[], nn.Module],
    delays: str,
    weights: str,
    hidden: list[int],
    max_delay: int,
    tau: float,
    dropout: float,
    batch_norm: bool,
    granularity: Any,
    kernel_count: int,
    interpolation: Any,
    sigma_learned: bool,
    first_delays: Any,
    bias: bool,
    readout: Any,
    tail: int | None,
    method: Any,
    recurrent: Any,
    recurrent_max_delay: int,
    recurrent_first_delays: Any,
    recurrent_dropout: float,
    recurrent_layers: list[bool] | None,
) -> DelaySNN:
    """The chain of ``conf/model/delays.yaml``."""
    choice("model.delays", delays, ("learned", "fixed", "none"))
    choice("model.weights", weights, ("learned", "fixed", "ternary"))
    if weights != "learned" and delays != "learned":
        raise UsageError(
            f"model.weights={weights} with model.delays={delays} leaves no synapse anything to "
            "learn. Let one of them be learned."
        )
    hidden = list_of("model.hidden", hidden, "[256,256]")
    common = {"kernel_count": kernel_count, "interpolation": interpolation, "method": method}
    synapses = partial(
        DelayLayer,
        max_delay=max_delay,
        granularity=granularity,
        sigma_learned=sigma_learned,
        first_delays=first_delays,
        bias=bias,
        **common,
    )
    choice("model.recurrent", recurrent, (None, *RecurrentDelayLayer.granularities))
    onto_itself = partial(
        RecurrentDelayLayer,
        max_delay=recurrent_max_delay,
        granularity=recurrent,
        first_delays=recurrent_first_delays,
        dropout=recurrent_dropout,
        **common,
    )
    where = [True] * len(hidden) if recurrent_layers is None else recurrent_layers
    each = isinstance(where, list) and len(where) == len(hidden)
    if not (each and all(isinstance(one, bool) for one in where)):
        raise UsageError(
            f"model.recurrent_layers must be null, or true or false for each of {len(hidden)} "
            f"hidden layers, such as [{','.join(['true'] * len(hidden))}], got {where!r}."
        )
    if recurrent is None and recurrent_layers is not None:
        raise UsageError(
            "model.recurrent_layers needs model.recurrent=axonal, or another granularity, got null."
        )
    net = DelaySNN(
        [n_channels, *hidden, n_classes],
        partial(plain_synapses, bias=bias) if delays == "none" or max_delay == 0 else synapses,
        neuron,
        recurrent=[onto_itself if one and recurrent else None for one in where],
        norm=layer.BatchNorm1d if batch_norm else None,
        dropout=dropout,
        output=partial(LeakyReadout, tau),
        readout=readout,
        tail=tail,
    )
    if delays == "fixed":
        for delay in net.delay_parameters():
            delay.requires_grad_(False)
    if weights != "learned":
        for one in synapses_of(net).values():
            weight: Any = one.weight
            if weights == "ternary":
                ternary_(weight)
            weight.requires_grad_(False)
    return net


def build_network(config: DictConfig, data: SpikeData) -> nn.Module:
    """The network of a configuration, for the channels, classes and time step of ``data``."""
    make = _named(config.model, "model")
    names, dt_ms = ("n_channels", "frame", "n_classes", "dt_ms"), data.dt_ms
    offered: dict[str, Any] = {name: getattr(data, name) for name in names}
    takes = signature(make).parameters
    if "neuron" in takes and config.get("neuron"):
        node = _named(config.neuron, "neuron")
        offered["neuron"] = partial(node, **_given(config.neuron, "neuron", node, dt_ms))
    given = {name: value for name, value in offered.items() if name in takes}
    settings = {"_target_": config.model._target_, **_given(config.model, "model", make, dt_ms)}
    net = instantiate("model", settings, _convert_="all", **given)
    if not isinstance(net, nn.Module):
        raise UsageError(f"model._target_ must name a torch module, got {shown(net)}.")
    return quantisation_aware(net, config) if config.get("finetune") else net


def instantiate(section: str, settings: Any, **more: Any) -> Any:
    """The object that a section of the configuration stands for."""
    try:
        return hydra.utils.instantiate(settings, **more)
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, TypeError | ValueError) or isinstance(cause, UsageError):
            raise
        given = ", ".join(f"{key}={value}" for key, value in settings.items() if key != "_target_")
        raise UsageError(
            f"{section}: a setting is unknown or of the wrong kind ({one_line(cause)}), got "
            f"{given}. --help shows what each should look like."
        ) from error


def quantisation_aware(net: nn.Module, config: DictConfig) -> nn.Module:
    """What a network becomes in fine-tuning."""
    finetune = config.finetune
    net = folded(net, finetune.max_delay)
    return make_quantisation_aware_(net, finetune.bits, finetune.scale)


def keep_what_is_taken(config: DictConfig) -> None:
    """Drop from a new run what ``conf/`` sets for other networks and schedules than those chosen.

    What was typed, or comes from a file of one's own, stays, and is refused.
    """
    known = options()
    known_schedules = [given for (group, _), given in known.items() if group == "schedule"]
    ours = {key for given in known_schedules for key in given}
    _leave_out(config, "schedule", _named(config.schedule, "schedule"), ours)
    if config.model.get("_target_") == known["model", "delays"]["_target_"]:
        return
    make = _named(config.model, "model")
    if "neuron" in signature(make).parameters:
        config.neuron = plain(config.neuron)
    elif given := [key for key in typed() if key.partition(".")[0] == "neuron"]:
        raise UsageError(f"{config.model._target_} takes no neuron, got {', '.join(given)}.")
    else:
        config.neuron = None
    _leave_out(config, "model", make, set(known["model", "delays"]))


def _leave_out(config: DictConfig, name: str, make: Any, ours: set[str]) -> None:
    """Drop the keys of a section that are among ``ours``, were not typed, and are not taken."""
    section, given = config[name], typed()
    keys = [str(key) for key in section if key in ours and f"{name}.{key}" not in given]
    dropped = [key for key in keys if key != "_target_" and not _argument(key, make)]
    with open_dict(section):
        for key in dropped:
            del section[key]
    if dropped:
        log.info(f"{section._target_} takes no {', '.join(dropped)}: left out.")


def described(net: nn.Module, dt_ms: float) -> str:
    """A network in one line."""
    name = type(net).__name__
    if isinstance(net, DelaySNN):
        name = f"{' – '.join(map(str, net.sizes))} neurons"
    parameters = sum(parameter.numel() for parameter in net.parameters())
    longest = max((one.max_delay for one in delay_layers(net)), default=0)
    delays = f"{kind_of_delays(net)} delays up to {longest} steps ({longest * dt_ms:g} ms)"
    return f"{name}, {parameters:,} parameters, {delays if longest else 'no delays'}"


def _named(section: DictConfig, name: str) -> Any:
    """What a section's ``_target_`` names, which may lie in the current folder."""
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
        signature(found)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name}._target_ must name a class or function of yours, got {target}."
        ) from error
    return found


def _given(section: DictConfig, name: str, make: Any, dt_ms: float) -> dict[str, Any]:
    """The settings of a section as arguments."""
    given: dict[str, Any] = {}
    for key, value in plain(section).items():
        argument = _argument(key, make)
        if key == "_target_":
            continue
        if argument is None:
            raise UsageError(
                f"no such setting: {name}.{key}; {section._target_} takes "
                f"{', '.join(signature(make).parameters)}."
            )
        if argument != key:
            value = _in_steps(f"{name}.{key}", value, dt_ms)
        given[argument] = value
    return given


def _in_steps(key: str, value: Any, dt_ms: float) -> Any:
    """Milliseconds, one number or several, as steps."""
    several = value if isinstance(value, list) else [value]
    for one in several:
        if isinstance(one, bool) or not isinstance(one, int | float):
            raise UsageError(f"{key} must be a number of milliseconds, got {value!r}.")
    steps = [one / dt_ms for one in several]
    return steps if isinstance(value, list) else steps[0]


def _argument(key: str, make: Any) -> str | None:
    """The argument that a setting is; None if there is none."""
    takes = signature(make).parameters
    for name in (key, key.removesuffix("_ms")):
        if name in takes:
            return name
    return key if any(one.kind is one.VAR_KEYWORD for one in takes.values()) else None
