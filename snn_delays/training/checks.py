"""Checks of ``fit`` before it trains: whether network, data and schedule go together."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from snn_delays.arguments import Rule, choice, real, whole
from snn_delays.data import SpikeData
from snn_delays.data.splits.change import BatchChange
from snn_delays.data.splits.interface import framed
from snn_delays.errors import UsageError, one_line
from snn_delays.evaluation import ReadOut, class_scores
from snn_delays.graphs.recordings import GRAPHS
from snn_delays.layers.memory import fresh_copy
from snn_delays.layers.networks import delay_layers
from snn_delays.modules.state import evaluating, reset_memories
from snn_delays.schedules import Schedule
from snn_delays.training.faults import ON_NAN

_log = logging.getLogger("snn_delays")
# Weights stay in single precision, so that every checkpoint and table is.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")
_CLIP = real(above=0, must="be a number > 0, or none")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("epochs", "batch_size", "accumulate", "devices", "num_nodes"), whole(1)),
    "clip_norm": lambda name, value: None if value is None else _CLIP(name, value),
    "on_nan": partial(choice, known=ON_NAN),
    **dict.fromkeys(("weight_lr", "weight_decay", "delay_lr"), real(0)),
    "precision": partial(choice, known=PRECISIONS),
    "accelerator": partial(choice, known=ACCELERATORS),
    "graphs": partial(choice, known=GRAPHS),
    "seed": whole(0, 2**31 - 1, must="be a whole number from 0 to 2^31 − 1"),
}


def checked_settings(**given: Any) -> dict[str, Any]:
    """The settings of ``fit`` that are numbers or names, as Python's own; refused out of range."""
    settings = given | {
        name: rule(f"fit: {name}", given[name]) for name, rule in _RULES.items() if name in given
    }
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(accelerator := settings["accelerator"], True):
        raise UsageError(
            f"fit: accelerator={accelerator}: torch finds no such device here. "
            "Use accelerator=auto."
        )
    return settings


def require_match(
    net: nn.Module, data: SpikeData, readout: ReadOut | None, augmentation: BatchChange
) -> BatchChange:
    """Refuse a network that cannot answer for the data, or an augmentation that does not suit them.

    Tried on one recording; the network, its mode and all random generators stay as they were.
    Returns the augmentation as it suits the data.
    """
    inputs = framed(data.frame) if data.frame[1:] else f"{data.n_channels} inputs"
    must = (
        f"fit: for these data the network must have {inputs} and {data.n_classes} classes or more"
    )
    _warn_of_classes(data)
    longest = [int(data.train.lengths.argmax())]
    first = data.train.collate(longest)
    device = next(net.parameters(), first.spikes).device
    with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(net):
        suited = augmentation.suited(first)
        suited(first, data.n_classes)
        parts = [part for part in net.modules() if isinstance(part, base.MemoryModule)]
        hooks = [part.register_forward_pre_hook(_require_step) for part in parts]
        try:
            on_device = data.train.sparse(longest).to(device).dense()
            scores = class_scores(net, on_device, readout)
        except (UsageError, RuntimeError, TypeError, IndexError, AssertionError) as error:
            raise UsageError(f"{must}: {one_line(error)}") from error
        finally:
            for hook in hooks:
                hook.remove()
            reset_memories(net)
    if scores.dim() != 2 or scores.shape[0] != 1 or scores.shape[1] < data.n_classes:
        raise UsageError(
            f"{must}, got {list(scores.shape)} as the scores of one sample, [1, classes]."
        )
    return suited


def _warn_of_classes(data: SpikeData) -> None:
    """Warn of classes that are asked for and cannot have been learned."""
    has = [
        data.task.carries(split.labels, data.n_classes).any(0)
        for split in (data.train, data.valid, data.test)
    ]
    lacking = (~has[0] & (has[1] | has[2])).nonzero().flatten().tolist()
    if lacking:
        _log.warning(
            "%d of %d classes have no training recording, but others: the first of them is %s.",
            *(len(lacking), data.n_classes, data.class_names[lacking[0]]),
        )


def require_together(count: int, on_nan: str) -> None:
    """Refuse what several processes cannot do together."""
    if count > 1 and on_nan == "skip":
        raise UsageError(
            f"fit: on_nan=skip is for one process, got {count}: each would leave out other steps. "
            "Use on_nan=stop."
        )


def leaves_unused(net: nn.Module, data: SpikeData, readout: ReadOut | None) -> bool:
    """Whether there are parameters to learn that the scores do not depend on; tried on a copy."""
    copied = fresh_copy(net).eval()
    device = next(net.parameters(), torch.empty(0)).device
    batch = data.train.sparse([int(data.train.lengths.argmax())]).to(device).dense()
    class_scores(copied, batch, readout).sum().backward()
    return any(one.requires_grad and one.grad is None for one in copied.parameters())


def _require_step(part: base.MemoryModule, inputs: tuple[Any, ...]) -> None:
    """Refuse a sequence [T, 1, …] that a module in single-step mode takes for a batch of T."""
    x = inputs[0] if inputs else None
    if part.step_mode == "s" and isinstance(x, Tensor) and x.dim() > 1 and len(x) != 1:
        raise UsageError(
            f"{type(part).__name__} is in step mode 's' and got a whole sequence, "
            f"{list(x.shape)}, of which each step would count as a sample. Call "
            "functional.set_step_mode(net, 'm')."
        )


def warn_of_schedule(net: nn.Module, schedule: Schedule, epochs: int) -> None:
    """Warn if no epoch is left to anneal σ in, or of shares that do not go together."""
    if delay_layers(net):
        _warn_of_shares(schedule, epochs)
    sigma = schedule.epochs(epochs)[0]
    shares = {"integer_from": schedule.integer_from}
    if schedule.annealed(1.0) != schedule.start:
        shares["until"] = schedule.until
    shares = {name: share for name, share in shares.items() if share * epochs < 1 - 1e-9}
    if not delay_layers(net) or not shares or sigma == schedule.start:
        return
    least = math.ceil(100 / epochs) / 100
    _log.warning(
        "σ is %.2f from the first epoch on, since less than one of %d comes before %s: "
        "delays feel only what is near them. Train for %d epochs or more, or with %s.",
        sigma,
        epochs,
        " and ".join(f"schedule.{name}={share:g}" for name, share in shares.items()),
        math.ceil(1 / min(shares.values()) - 1e-9),
        " and ".join(f"schedule.{name}={least:g}" for name in shares),
    )


def _warn_of_shares(schedule: Schedule, epochs: int) -> None:
    """Warn if σ is still wide where delays begin to rest, or of a share that plays no part."""
    roundings, integer = schedule.roundings(epochs), schedule.integer_from
    first = roundings.index("integer") if "integer" in roundings else 0
    if not first:
        return
    through = schedule.straight_through_from
    if through < 1 and "straight_through" not in roundings:
        _log.warning(
            "schedule.straight_through_from=%g plays no part: delays rest from "
            "schedule.integer_from=%g on.",
            *(through, integer),
        )
    annealed, end = math.floor(schedule.until * epochs + 1e-9), schedule.annealed(1.0)
    if first < annealed and schedule.annealed(first / annealed) != end:
        _log.warning(
            "σ is %.2f when delays begin to act as rounded, and never its end of %.2f, since "
            "schedule.integer_from=%g comes before schedule.until=%g: weights meet integer delays "
            "all at once. Train with schedule.until=%g or less.",
            *(schedule.epochs(epochs)[first - 1], end, integer, schedule.until, integer),
        )
