"""What moves parameters in training: optimisers, and timetables that step once per epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from snn_delays.arguments import described
from snn_delays.errors import UsageError
from snn_delays.layers.groups import parameter_groups
from snn_delays.layers.networks import delay_layers

_log = logging.getLogger("snn_delays")
Timed = tuple[Optimizer, LRScheduler | None]


def published(
    net: nn.Module,
    epochs: int,
    *,
    weight_lr: float,
    weight_decay: float,
    delay_lr: float,
    fused: bool = False,
) -> list[Timed]:
    """Adam for weights, one-cycle to ``weight_lr`` (positions of DCLS's kernels:
    to 5 times that); Adam for delays, if any learn, cosine to 0.

    Args:
        fused: whether a step of each is one launch on a GPU, also if it goes on from states that
            were saved where it was not.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670).
    """
    rates = {"weight_lr": weight_lr, "weight_decay": weight_decay, "delay_lr": delay_lr}
    groups = parameter_groups(net, **rates)
    delays = [group for group in groups if group["name"] == "delays"]
    weights = _adam([group for group in groups if group["name"] != "delays"], fused)
    peaks = [group["lr"] for group in weights.param_groups]
    timed: list[Timed] = [(weights, OneCycleLR(weights, max_lr=peaks, total_steps=max(epochs, 2)))]
    if delays:
        adam = _adam(delays, fused)
        timed.append((adam, CosineAnnealingLR(adam, T_max=epochs)))
    return timed


def _adam(groups: list[dict[str, Any]], fused: bool) -> Adam:
    adam = Adam(groups, fused=fused or None)

    def as_here(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """A saved state, for an optimiser that keeps its own form."""
        groups = [{**group, "fused": fused or None} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    adam.register_load_state_dict_pre_hook(as_here)
    return adam


def own(optimizers: Sequence[Optimizer | Timed], net: nn.Module) -> list[Timed]:
    """The caller's own, with a timetable or without.

    What is to be learned and none of them moves is named in a warning.

    Raises:
        UsageError: something else, one that moves parameters of another network, or two that move
            the same.
    """
    timed = [one if isinstance(one, tuple) else (one, None) for one in optimizers]
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    moved: set[int] = set()
    for optimizer, timetable in timed:
        if not isinstance(optimizer, Optimizer) or not isinstance(timetable, LRScheduler | None):
            raise UsageError(
                "fit: optimizers must be optimisers or (optimiser, timetable), got "
                f"{type(optimizer).__name__} and {type(timetable).__name__}."
            )
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in names:
                    raise UsageError(
                        "fit: optimizers must move parameters of the network given, got a "
                        f"{described(parameter)} that is none of its own. Make them of "
                        "parameter_groups(net) or net.parameters()."
                    )
                if id(parameter) in moved:
                    raise UsageError(
                        f"fit: two of the optimizers move {names[id(parameter)]}, which would take "
                        "two steps at a time. Give each its own of parameter_groups(net)."
                    )
                moved.add(id(parameter))
    still = [one for one in net.parameters() if one.requires_grad and id(one) not in moved]
    if still:
        more = f" and {len(still) - 3} more" if still[3:] else ""
        _log.warning(
            "fit: none of the optimizers moves %s%s, which therefore stay as they are. Leave that "
            "unsaid with requires_grad_(False), or give them to one (parameter_groups(net)).",
            ", ".join(names[id(one)] for one in still[:3]),
            more,
        )
    return timed


def rates(net: nn.Module, timed: Sequence[Timed]) -> dict[str, float]:
    """The learning rates of weights and of delays: of the first group with any; 0 without."""
    kept = {id(delay) for layer in delay_layers(net) for delay in layer.stored_places()}
    found = {"weight_lr": 0.0, "delay_lr": 0.0}
    for optimizer, _ in reversed(timed):
        for group in reversed(optimizer.param_groups):
            for moves_delays in {id(parameter) in kept for parameter in group["params"]}:
                found["delay_lr" if moves_delays else "weight_lr"] = float(group["lr"])
    return found
