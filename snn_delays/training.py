"""The training loop."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from snn_delays import losses
from snn_delays.arguments import real_number, whole_number
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.errors import UsageError
from snn_delays.evaluation import evaluate, warn_of_rounding
from snn_delays.layers.delay_layer import clamp_delays_, delay_layers, set_sigma
from snn_delays.layers.groups import parameter_groups
from snn_delays.network import DelaySNN
from snn_delays.progress import Progress, load_progress
from snn_delays.run_folder import Row, RunFolder
from snn_delays.schedules import Schedule

_log = logging.getLogger("snn_delays")

# Weights stay in single precision, so that every checkpoint and table is.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast to learn; the defaults are the published SHD recipe.

    Args:
        epochs, batch_size: an incomplete last batch is dropped, unless it is the only one.
        weight_lr: peak of the weights' one-cycle learning rate.
        weight_decay: of the weights; BatchNorm, scales and delays have none.
        delay_lr: initial learning rate of the delays (steps), cosine to 0.
        augmentation: how training batches are changed at random; everything off is the published
            recipe.
        precision: Lightning Fabric's, one of ``PRECISIONS``.
        accelerator: one of ``ACCELERATORS``; ``"auto"`` takes a GPU if there is one.
        seed: of the initial weights and delays, the order of samples, augmentation and dropout.

    Raises:
        UsageError: values out of range.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670).
    """

    epochs: int = 150
    batch_size: int = 256
    weight_lr: float = 5e-3
    weight_decay: float = 1e-5
    delay_lr: float = 0.1
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "32-true"
    accelerator: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = whole_number(f"trainer.{name}", getattr(self, name), 1)
            object.__setattr__(self, name, value)
        for name in ("weight_lr", "weight_decay", "delay_lr"):
            value = real_number(f"trainer.{name}", getattr(self, name), 0)
            object.__setattr__(self, name, value)
        for name, known in (("precision", PRECISIONS), ("accelerator", ACCELERATORS)):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(
                    f"trainer.{name} must be one of {', '.join(known)}, got {value!r}."
                )
        if (self.accelerator == "cuda" and not torch.cuda.is_available()) or (
            self.accelerator == "mps" and not torch.backends.mps.is_available()
        ):
            raise UsageError(
                f"trainer.accelerator={self.accelerator}: torch finds no such device here. "
                "Use trainer.accelerator=auto."
            )
        must = "be a whole number from 0 to 2^31 − 1"
        object.__setattr__(self, "seed", whole_number("seed", self.seed, 0, 2**31 - 1, must=must))


class Observer(Protocol):
    """Who wants to watch a training run. Epochs and batches count from 1."""

    def batch(self, epoch: int, done: int, batches: int, loss: float, accuracy: float) -> None: ...

    def epoch(self, row: Row) -> None: ...


def train(
    net: DelaySNN,
    data: SpikeData,
    schedule: Schedule,
    settings: TrainSettings,
    run: RunFolder,
    observer: Observer,
    *,
    resume: bool = False,
    config: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Train ``net`` in place and return one row of metrics per epoch, the first of which is 1.

    After every epoch ``checkpoints/last.ckpt`` holds all that is needed to go on, and
    ``best.ckpt`` the network with the best accuracy on the validation split, delays rounded.
    A resumed run gives the same numbers as one that was never stopped: every epoch has a seed
    of its own, so that no generator's state needs saving. Should ``last.ckpt`` be damaged, the
    epoch that it stood for is trained again.

    Args:
        run: a folder without a run, or with the one to ``resume``.
        config: all that makes the run what it is, as plain values, to go on with that alone;
            ``None`` takes settings, σ and what is learned.

    Raises:
        UsageError: a folder that holds a run already, nothing to resume, a run that was configured
            otherwise, a network of other inputs or fewer classes than the data have, a schedule
            that rounds delays of another interpolation than the Gaussian,
            or a loss that is not finite.
    """
    sigmas = schedule.epochs(settings.epochs)
    _require_fit(net, data)
    _require_rounding(net, schedule)
    if config is None:
        config = _configuration(net, settings, sigmas)
    progress = load_progress(run) if resume else None
    if progress:
        progress.require_config(config, run.path)
    if not resume:
        run.begin()

    fabric = Fabric(accelerator=settings.accelerator, devices=1, precision=settings.precision)  # pyright: ignore[reportArgumentType]
    weights, delays = _optimizers(net, settings)
    optimizers = [weights, delays] if delays else [weights]
    model, *optimizers = fabric.setup(net, *optimizers)
    timetables: list[Any] = [
        OneCycleLR(weights, max_lr=settings.weight_lr, total_steps=max(settings.epochs, 2))
    ]
    if delays:
        timetables.append(CosineAnnealingLR(delays, T_max=settings.epochs))

    rows: list[Row] = []
    best: dict[str, Any] = {}
    if progress:
        progress.restore(run, net, [*optimizers, *timetables])
        rows, best = progress.rows, progress.best

    if net.max_delay and not rows and sigmas[0] != schedule.start:
        share = "integer_from" if schedule.integer_from < schedule.until else "until"
        _log.warning(
            "σ is %.2f from the first epoch on, since %g × %d epochs is less than one: delays feel "
            "only what is near them. Give trainer.epochs=%d or more, or schedule.%s=%g.",
            *(sigmas[0], getattr(schedule, share), settings.epochs),
            *(math.ceil(1 / getattr(schedule, share) - 1e-9), share),
            math.ceil(100 / settings.epochs) / 100,
        )
    methods: list[str | None] = []
    writer = SummaryWriter(str(run.tensorboard), purge_step=len(rows) + 1)
    for epoch in range(len(rows) + 1, settings.epochs + 1):
        began = time.perf_counter()
        torch.manual_seed(settings.seed * 1_000_003 + epoch - 1)
        sigma = sigmas[epoch - 1]
        set_sigma(net, sigma)
        before = [delay.detach().clone() for delay in net.delay_parameters()]
        row: Row = {"epoch": epoch, "sigma": sigma}
        row |= _train_epoch(fabric, model, net, data, settings, optimizers, observer, epoch)
        if (now := [layer.method_used for layer in delay_layers(net)]) != methods:
            methods = now
            _log.info("σ = %.2f: delays computed by %s.", sigma, ", ".join(map(str, methods)))
        row["delay_change"] = _mean_change(before, net.delay_parameters())
        row["weight_lr"] = weights.param_groups[0]["lr"]
        row["delay_lr"] = delays.param_groups[0]["lr"] if delays else 0.0
        for timetable in timetables:
            timetable.step()
        validation = evaluate(net.rounded(), data.valid, settings.batch_size)
        row |= {"valid_loss": validation.loss, "valid_accuracy": validation.accuracy}
        row["seconds"] = time.perf_counter() - began

        rows.append(row)
        for name, value in row.items():
            writer.add_scalar(name, value, epoch)
        if best_epoch(rows) == epoch:
            best = {"network": copy.deepcopy(net.state_dict()), "epoch": row["epoch"]}
        writer.flush()  # what TensorBoard has beyond last.ckpt is cut when the run goes on
        states = [part.state_dict() for part in [*optimizers, *timetables]]
        Progress(net.state_dict(), states, rows, best, dict(config)).save(run)
        observer.epoch(row)
    writer.close()
    if net.max_delay:
        as_trained = evaluate(net, data.valid, settings.batch_size).accuracy
        warn_of_rounding("validation, last epoch", as_trained, rows[-1]["valid_accuracy"])
    return rows


def best_epoch(rows: list[Row]) -> int:
    """The epoch (from 1) with the best validation accuracy; among equals the last, most settled."""
    return 1 + max(range(len(rows)), key=lambda e: (rows[e]["valid_accuracy"], e))


def _require_fit(net: DelaySNN, data: SpikeData) -> None:
    if net.sizes[0] != data.n_channels or net.sizes[-1] < data.n_classes:
        raise UsageError(
            f"the network must have {data.n_channels} inputs and {data.n_classes} classes, as the "
            f"data have, got sizes {net.sizes}."
        )


def _require_rounding(net: DelaySNN, schedule: Schedule) -> None:
    others = {layer.interpolation for layer in delay_layers(net)} - {"gaussian"}
    if others and schedule.integer_from < 1:
        raise UsageError(
            f"schedule.integer_from={schedule.integer_from:g}: needs interpolation=gaussian, got "
            f"{', '.join(others)}, which at σ = 0 still lies between two steps. "
            "Use model.interpolation=gaussian or schedule.integer_from=1."
        )


def _configuration(net: DelaySNN, settings: TrainSettings, sigmas: list[float]) -> dict[str, Any]:
    """What a run goes on with or not at all; it may do so on another accelerator."""
    own = asdict(settings)
    del own["accelerator"]
    learned = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    return {"settings": own, "sigma": sigmas, "learned": learned}


def _train_epoch(
    fabric: Fabric,
    model: Any,
    net: DelaySNN,
    data: SpikeData,
    settings: TrainSettings,
    optimizers: list[Any],
    observer: Observer,
    epoch: int,
) -> Row:
    """One pass over the training split; means over its samples.

    Of a sample that is mixed of two, the label of the greater part counts as right.
    """
    split = data.train
    loader = DataLoader(
        split,
        settings.batch_size,
        shuffle=True,
        drop_last=len(split) > settings.batch_size,
        collate_fn=split.sparse,
    )
    net.train()
    seen, total_loss, right, spikes, cells = 0, 0.0, 0, 0, 0
    for done, sparse in enumerate(loader, start=1):
        batch, targets = settings.augmentation(fabric.to_device(sparse).dense(), data.n_classes)
        v, fired = model(batch.spikes, return_spikes=True)
        durations = batch.lengths + net.tail
        spikes += sum(losses.count_spikes(layer.detach(), durations) for layer in fired)
        cells += int(durations.sum()) * sum(layer.shape[2] for layer in fired)
        del fired  # a quarter of what the backward pass would otherwise keep
        scores = losses.score(v, durations, net.readout)
        loss = losses.cross_entropy(scores, targets)
        for optimizer in optimizers:
            optimizer.zero_grad()
        fabric.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        size = len(batch.labels)
        seen += size
        total_loss += loss.item() * size
        right += int((scores.argmax(1) == batch.labels).sum())
        if not math.isfinite(total_loss):
            raise UsageError(
                f"The loss is {loss.item()} in epoch {epoch}. Lower trainer.weight_lr "
                f"(now {settings.weight_lr:g}) and train again."
            )
        clamp_delays_(net)
        observer.batch(epoch, done, len(loader), total_loss / seen, right / seen)
    # Spikes per neuron and step, over each sample and its tail, in spikes per second.
    rate = spikes / cells / (data.dt_ms / 1000) if cells else 0.0
    return {"loss": total_loss / seen, "accuracy": right / seen, "rate_hz": rate}


def _optimizers(
    net: DelaySNN, settings: TrainSettings
) -> tuple[torch.optim.Adam, torch.optim.Adam | None]:
    """Adam for weights and Adam for delays, if they are learned, each with its own timetable."""
    groups = parameter_groups(
        net,
        weight_lr=settings.weight_lr,
        weight_decay=settings.weight_decay,
        delay_lr=settings.delay_lr,
    )
    delays = [group for group in groups if group["name"] == "delays"]
    weights = [group for group in groups if group["name"] != "delays"]
    return torch.optim.Adam(weights), torch.optim.Adam(delays) if delays else None


def _mean_change(before: list[Tensor], after: list[nn.Parameter]) -> float:
    """Mean |Δdelay| in steps over all delays; 0 without delays."""
    if not before:
        return 0.0
    moved = torch.cat(
        [(a.detach() - b).abs().flatten() for b, a in zip(before, after, strict=True)]
    )
    return moved.mean().item()
