"""The training loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snn_delays.arguments import require
from snn_delays.callbacks import Checkpoints
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.callbacks.stopping import stop_if_asked, stopped_with_others
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.data.splits.change import BatchChange
from snn_delays.errors import UsageError
from snn_delays.evaluation import ReadOut, evaluate, warn_of_rounding
from snn_delays.graphs.parts import has_scaler, parts_for
from snn_delays.interpolation import Rounding, first_sigma
from snn_delays.layers.networks import delay_layers, rounded, set_sigma
from snn_delays.modules.state import kept_from_training, train_all_but
from snn_delays.run import ranks as processes
from snn_delays.run.epoch import Epoch
from snn_delays.run.folder import Row
from snn_delays.run.generators import restore_generators
from snn_delays.schedules import ROUNDING_FROM, Exponential, Schedule
from snn_delays.training import checks as checks
from snn_delays.training import optimisation
from snn_delays.training.batches import EpochBatches
from snn_delays.training.step import TrainingStep

_log = logging.getLogger("snn_delays")


def fit(
    net: nn.Module,
    data: SpikeData,
    *,
    epochs: int,
    schedule: Schedule | None = None,
    batch_size: int = 256,
    weight_lr: float = 5e-3,
    weight_decay: float = 1e-5,
    delay_lr: float = 0.1,
    optimizers: Sequence[Optimizer | optimisation.Timed] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    regulariser: Callable[[nn.Module], Tensor | float] | None = None,
    readout: ReadOut | None = None,
    augmentation: BatchChange | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    on_nan: str = "stop",
    precision: str = "32-true",
    accelerator: str = "auto",
    graphs: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    sync_batch_norm: bool = False,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> list[Row]:
    """Train ``net`` in place and return one row of metrics per epoch, the first of which is 1.

    After every batch delays are brought back into their range; after every epoch the network is
    validated with delays rounded. Nothing is printed or written but by ``callbacks``.

    Args:
        net: any module ``[T, N, *frame] → [T, N, classes]``, with delay layers or without. It is
            reset before every batch. Parts in evaluation, of a network in training, stay so.
        epochs, batch_size: an incomplete last step is dropped, unless it is the only one.
        schedule: of σ, and of when delays act as rounded; those that do so straight through
            already go on with it. ``None`` is the published one, see ``published_schedule``.
        weight_lr: peak of the weights' one-cycle learning rate, with Adam.
        weight_decay: of the weights; norms, scales and delays have none.
        delay_lr: initial learning rate of the delays (steps), with an Adam of their own; cosine
            to 0.
        optimizers: in place of these; a timetable, ``(optimizer, timetable)``, steps per epoch.
        loss: of scores ``[N, classes]`` and labels, or where ``augmentation`` mixes samples their
            probabilities ``[N, classes]``: a mean over samples. ``None`` is that of the data's
            task: cross-entropy.
        regulariser: of the network; what it gives is added to every batch's loss, but not to the
            one in the metrics. See ``regularisers.py``.
        readout: how the output becomes scores, see ``evaluation.class_scores``; ``None`` is the
            network's own, or else the sum over each sample's steps.
        augmentation: how training batches are changed at random, such as an ``Augmentation``;
            ``None`` as published: not at all.
        clip_norm: largest norm of the gradients that each optimiser moves by, of all its parameters
            together: weights and delays have one each. Larger ones are scaled down; ``None``: none.
        accumulate: batches whose gradients one step of the optimisers takes, as the mean over their
            samples; what callbacks call a batch is such a step.
        on_nan: a loss, gradients or parameters that are not finite ``"stop"`` the training, or the
            optimisers ``"skip"`` the step; see ``faults.Faults``.
        precision: Lightning Fabric's: 32-true, bf16-mixed or 16-mixed.
        accelerator: auto (a GPU if there is one), cpu, cuda or mps.
        graphs: whether a GPU's training steps are issued as CUDA graphs: ``"auto"`` where all code
            that they run is known, ``"on"``, or ``"off"``. What a graph repeats, such as the
            network's forward, Python runs no more; see ``graphs/parts.py`` and docs/gpu.md.
        devices, num_nodes: so many processes train together, ``devices`` on each of the nodes; they
            must have been started, see ``run/ranks.py``. ``batch_size`` stays that of all together.
        sync_batch_norm: whether BatchNorm's mean and variance are those of all processes' samples;
            else each takes its own, and the running ones are those of the first process.
        seed: of the order of samples, augmentation and dropout. Every epoch has one of its own, so
            that a resumed run needs no generator's state.
        callbacks: see ``callbacks/``.

    Raises:
        UsageError: values out of range, a network of other inputs or fewer classes than the data
            have, or a loss, gradients or parameters that are not finite.
        Stopped: a signal asked for it, see ``callbacks.StopOnSignals``.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670): these values for SHD.
    """
    rates = {"weight_lr": weight_lr, "weight_decay": weight_decay, "delay_lr": delay_lr}
    settings = checks.checked_settings(
        epochs=epochs,
        batch_size=batch_size,
        **rates,
        clip_norm=clip_norm,
        accumulate=accumulate,
        on_nan=on_nan,
        precision=precision,
        accelerator=accelerator,
        graphs=graphs,
        devices=devices,
        num_nodes=num_nodes,
        sync_batch_norm=sync_batch_norm,
        seed=seed,
    )
    require(isinstance(data, SpikeData), "fit: data", "be a SpikeData", data)
    if not any(one.requires_grad for one in net.parameters()):
        raise UsageError("fit: the network has no parameter that learns (requires_grad).")
    augmentation, schedule = augmentation or Augmentation(), schedule or published_schedule(net)
    task, metric, loss = data.task, data.task.metric, loss or data.task.loss
    sigmas, roundings = schedule.epochs(epochs), schedule.roundings(epochs)
    before_fit, frozen = [one.rounding for one in delay_layers(net)], kept_from_training(net)
    augmentation = checks.require_match(net, data, readout, augmentation)
    checks.require_together(devices * num_nodes, on_nan)
    unused = devices * num_nodes > 1 and checks.leaves_unused(net, data, readout)
    fabric = processes.fabric_of(accelerator, devices, num_nodes, precision, unused=unused)
    ranks = processes.Ranks(fabric)
    if optimizers is None:
        # A fused step undoes a scale of gradients by itself, too late to clip them.
        fused = fabric.device.type == "cuda" and not has_scaler(fabric)
        rated = {name: settings[name] for name in rates}
        timed = optimisation.published(net, epochs, **rated, fused=fused)
    else:
        timed = optimisation.own(optimizers, net)
    timetables = [timetable for _, timetable in timed if timetable is not None]
    # What a resumed run may change.
    idle = ["accelerator", "graphs", "devices", "num_nodes", "on_nan"]
    idle += rates if optimizers else ()
    settings = {name: value for name, value in settings.items() if name not in idle}
    settings |= {"loss": _name(loss), "readout": _name(readout)}
    settings |= {"regulariser": _name(regulariser)}
    settings |= {"augmentation": {"name": _name(type(augmentation))} | asdict(augmentation)}
    learned = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    acting = [{"name": type(one).__name__} | own for one in callbacks if (own := one.settings())]
    rounding = {name: getattr(schedule, name) for name in ROUNDING_FROM}
    config = {"settings": settings, "sigma": sigmas, "rounding": rounding}
    config |= {"learned": learned, "callbacks": acting}
    moved = [optimizer for optimizer, _ in timed]
    model, *steppers = fabric.setup(net, *moved)
    train, valid = data.train.on(fabric.device), data.valid.on(fabric.device)
    asked: dict[str, Any] = {"loss": loss, "regulariser": regulariser, "readout": readout}
    asked |= {"augmentation": augmentation, "n_classes": data.n_classes, "clip_norm": clip_norm}
    rate = "the learning rates" if optimizers else f"weight_lr (now {weight_lr:g})"
    advice = f"Lower {rate} or set clip_norm in a new run, or leave such steps out: on_nan=skip."
    called = {"loss": loss, "regulariser": regulariser, "readout": readout}
    asked["run"] = parts_for(graphs, net, moved, fabric, accumulate, **called)
    step = TrainingStep(net, fabric, model, steppers, **asked, on_nan=on_nan, advice=advice)
    callbacks = [one for one in callbacks if ranks.first or one.everywhere]
    callbacks = sorted(callbacks, key=lambda one: not isinstance(one, Checkpoints))
    after = sorted(callbacks, key=lambda one: isinstance(one, Checkpoints))
    scaling = [part] if (part := fabric.strategy.precision).state_dict() else []
    training = Training(
        net,
        epochs,
        config,
        optimisation=[*moved, *timetables, *scaling],
        metric=metric,
        callbacks=callbacks,
        processes=ranks.count,
        settle=lambda: step.faults.settle(training),
    )
    answers: dict[str, Any] = {"readout": readout, "loss": loss}
    rows, methods = training.rows, []
    with ExitStack() as ends, stopped_with_others(training):
        ends.callback(step.run.end)
        if sync_batch_norm and ranks.count > 1:
            ends.callback(processes.unsync_norms, processes.sync_norms(net))
        restored = False
        for callback in callbacks:
            if not (restored or isinstance(callback, Checkpoints)):
                _restore_alike(ranks, training)
                restored = True
            callback.on_start(training)
            ends.callback(callback.on_end, training)
        if not restored:
            _restore_alike(ranks, training)
        training.restore_callbacks()
        if not rows and ranks.first:
            checks.warn_of_schedule(net, schedule, epochs)
        for training.epoch in range(len(rows) + 1, epochs + 1):
            torch.manual_seed(seed * 1_000_003 + training.epoch - 1)
            set_sigma(net, sigma := sigmas[training.epoch - 1])
            _set_rounding(net, roundings[training.epoch - 1], before_fit)
            train_all_but(net, frozen)
            in_a_row = training.so_far.in_a_row if training.so_far else 0
            training.so_far = epoch = Epoch(net, task, in_a_row)
            within = training.restored.pop("within", None)
            training.batch = within["batch"] if within else 0
            batches = EpochBatches(len(train), batch_size * accumulate, skip=training.batch)
            training.batches = len(batches)
            if within:
                epoch.load_state_dict(within["so_far"])
                restore_generators(within["generators"], fabric.device)
            ranks.seed(seed * 1_000_003 + training.epoch - 1)
            with epoch.firing:
                for indices in batches:
                    training.batch += 1
                    starts = range(0, len(indices), batch_size)
                    shares = [
                        ranks.share(indices[at : at + batch_size], train.lengths) for at in starts
                    ]
                    parts = [train.sparse(one.indices).lasting(one.steps) for one in shares]
                    for callback in callbacks:
                        callback.on_batch_start(training)
                    taken = step(parts, training, len(indices) / ranks.count)
                    for callback in after:
                        (callback.on_batch if taken else callback.on_skip)(training)
                    stop_if_asked(training)
            training.settle()
            now = [layer.method_used for layer in delay_layers(net)]
            if any(now) and now != methods:
                methods = now
                _log.info("σ = %.2f: delays computed by %s.", sigma, ", ".join(map(str, now)))
            epoch.add_up(ranks)
            ranks.require_same(net)
            row: Row = {"epoch": training.epoch, "sigma": sigma}
            row |= epoch.metrics(data.dt_ms) | optimisation.rates(net, timed)
            if ranks.first:
                answering = rounded(net)
                answering.register_forward_pre_hook(lambda *_: stop_if_asked(training))
                validation = evaluate(answering, valid, batch_size, **answers)
                row |= {"valid_loss": validation.loss, f"valid_{metric}": validation.score}
            for timetable in timetables:
                timetable.step()
            row["seconds"] = epoch.seconds
            rows.append(ranks.told(row))
            for callback in callbacks:
                callback.on_epoch(training)
            stop_if_asked(training)
        if delay_layers(net) and ranks.first:
            as_trained = evaluate(net, valid, batch_size, **answers).score
            warn_of_rounding(
                "validation, last epoch", as_trained, rows[-1][f"valid_{metric}"], metric
            )
        stop_if_asked(training)
    return rows


def published_schedule(net: nn.Module) -> Exponential:
    """σ from half the longest kernel to 0.5 steps in a quarter of the epochs."""
    longest = max((layer.max_delay for layer in delay_layers(net)), default=1)
    return Exponential(first_sigma(longest))


def _restore_alike(ranks: processes.Ranks, training: Training) -> None:
    """What the first process goes on from is what all go on from.

    Raises:
        UsageError: one process has stopped within an epoch, where several cannot go on.
    """
    if ranks.count == 1:
        return
    if training.restored.get("within"):
        raise UsageError(
            f"fit: devices × num_nodes is {ranks.count}, but one process stopped within an epoch, "
            "and only one can go on from there. Resume with devices=1, and with more from the end "
            "of an epoch on."
        )
    parts = [training.net, *training.optimisation]
    states = [processes.on_cpu(part.state_dict()) for part in parts] if ranks.first else []
    told = ranks.told((training.rows, training.restored.get("callbacks", {}), states))
    training.rows[:], callbacks, states = told
    if not ranks.first:
        training.restored["callbacks"] = callbacks
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)


def _set_rounding(net: nn.Module, rounding: Rounding, before_fit: list[str]) -> None:
    """As the schedule has it; but straight through where that was so before ``fit``."""
    for layer, first in zip(delay_layers(net), before_fit, strict=True):
        through = rounding == "none" and first == "straight_through"
        layer.rounding = first if through else rounding


def _name(choice: Any) -> str | None:
    """A name or a function as what is saved of it."""
    return getattr(choice, "__qualname__", choice if choice is None else str(choice))
