"""Saves where a training stands, so that a process killed at any moment loses an epoch at most.

``last.ckpt`` is written first, and holds all that an epoch's other files are made of; the one
before it is kept in case it is damaged. ``within.ckpt`` also holds where the training stands in the
next epoch; it counts as long as it is ahead of ``last.ckpt``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from snn_delays.errors import UsageError, one_line
from snn_delays.run.folder import Row, RunFolder, Unreadable

_log = logging.getLogger("snn_delays")
DATA = "data"  # in a configuration: what the data are known by, as ``report.run.known_by`` says


@dataclass
class Progress:
    """A run after some epochs: all that it takes to go on, as ``last.ckpt`` holds it, or
    ``within.ckpt`` after some batches more.

    Args:
        network: the network's state dict.
        optimisation: those of the optimisers, then those of their timetables.
        rows: the metrics of every epoch.
        best: what ``best.ckpt`` holds, the ``network`` of the best ``epoch``.
        config: what the run was configured with, as plain values under nested names.
        callbacks: states of callbacks by name.
        within: where it stands within an epoch, see ``Training.within``; ``None`` after one.
        lost: what has become of another checkpoint, in one line.
        damaged: whether that is ``last.ckpt``.
    """

    network: dict[str, Any]
    optimisation: list[dict[str, Any]]
    rows: list[Row]
    best: dict[str, Any]
    config: dict[str, Any]
    callbacks: dict[str, Any] = field(default_factory=dict)
    within: dict[str, Any] | None = None
    lost: str = ""
    damaged: bool = False

    def save(self, run: RunFolder) -> None:
        """Save the epoch that has just ended, or where it stands within one."""
        if self.within is not None:
            run.save_checkpoint("within", vars(self))
            return
        run.save_checkpoint("last", vars(self))
        run.checkpoint("within").unlink(missing_ok=True)
        if self.best["epoch"] == self.rows[-1]["epoch"]:
            run.save_checkpoint("best", self.best)

    def told(self, run: RunFolder) -> str:
        """Which checkpoint it is, in words."""
        if self.within is None:
            return f"{run.checkpoint('last')}, after epoch {len(self.rows)}"
        where = f"in epoch {self.within['epoch']} after batch {self.within['batch']}"
        return f"{run.checkpoint('within')}, {where}"

    def restore(self, run: RunFolder, net: nn.Module, optimisation: Sequence[Any]) -> None:
        """Make the run's files and the objects in training what they were after this epoch.

        Raises:
            UsageError: objects of other kinds than those that were saved.
        """
        try:
            net.load_state_dict(self.network)
            for part, saved in zip(optimisation, self.optimisation, strict=True):
                part.load_state_dict(saved)
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{run.path} was trained with another network: "
                f"{one_line(error, 300)} Restore it, or begin a new run."
            ) from error
        if self.lost:
            _log.warning(self.lost)
        if self.damaged:
            if self.within is None:
                run.checkpoint("previous").replace(run.checkpoint("last"))
            else:  # or the next epoch would keep it as the previous one
                run.checkpoint("last").unlink(missing_ok=True)
            run.summary.unlink(missing_ok=True)  # it says that the run has ended
            self.lost, self.damaged = "", False
        if self.within is None:
            run.checkpoint("within").unlink(missing_ok=True)
        if self.best:
            run.save_checkpoint("best", self.best)

    def require_config(self, config: Mapping[str, Any], source: object) -> None:
        """Refuse to resume with another configuration.

        Args:
            config: without ``data``, which then are left aside, as long as they are not at hand.
            source: where ``config`` comes from, for the message.
        """
        saved = {key: of for key, of in self.config.items() if key != DATA or key in config}
        now, then = dict(_flat(config)), dict(_flat(saved))
        changed = [
            f"{name} is {now.get(name, 'missing')}, was {then.get(name, 'missing')}"
            for name in then | now
            if now.get(name) != then.get(name)
        ]
        if changed:
            more = f", and {len(changed) - 4} more" if changed[4:] else ""
            raise UsageError(
                f"{source} is not what the run was trained with: {', '.join(changed[:4])}{more}. "
                "Restore it, or begin a new run."
            )


def load_progress(run: RunFolder) -> Progress | None:
    """Where a run stands; ``None`` if it was stopped before anything was saved.

    Raises:
        UsageError: no run, results without a checkpoint, or only damaged ones.
    """
    within = _undamaged(run, "within")
    if within is None:
        ended = _after_an_epoch(run)
        if ended and run.checkpoint("within").exists() and not ended.lost:
            ended.lost = (
                f"{run.checkpoint('within')} is damaged: going on from last.ckpt; epoch "
                f"{len(ended.rows) + 1} is trained from its beginning."
            )
        return ended
    last, there = run.checkpoint("last"), _undamaged(run, "last")
    if there and len(there.rows) > len(within.rows):  # killed before within.ckpt was removed
        return there
    within.damaged = there is None and last.exists()
    if within.damaged:
        within.lost = f"{last} is damaged: going on from {within.told(run)}."
    return within


def require_as_trained(run: RunFolder, config: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Refuse a configuration other than a run was trained with, as far as its checkpoints tell;
    warn of other data, on which it may be tried all the same.

    Raises:
        UsageError: see ``Progress.require_config``.
    """
    there = _undamaged(run, "last") or _undamaged(run, "previous")
    if there is None:
        return
    there.require_config(config, run.config)
    trained_on = there.config.get(DATA, data)
    changed = [
        f"{name} is {data.get(name)}, was {was}"
        for name, was in trained_on.items()
        if data.get(name) != was
    ]
    if changed:
        _log.warning(f"{run.path}: its data have changed since training: {'; '.join(changed)}.")


def _undamaged(run: RunFolder, name: str) -> Progress | None:
    """A checkpoint; ``None`` where it is missing or damaged.

    Raises:
        UsageError: it cannot be read; it may be whole, and must not be replaced.
    """
    try:
        return Progress(**run.load_checkpoint(name))
    except Unreadable:
        raise
    except (UsageError, TypeError):  # a checkpoint of another kind is as good as none
        return None


def _after_an_epoch(run: RunFolder) -> Progress | None:
    """The last epoch, or the one before it."""
    last, previous = run.checkpoint("last"), run.checkpoint("previous")
    if not last.exists() and not previous.exists():
        if found := [path.name for path in run.results()]:
            raise UsageError(
                f"{last} not found, but {', '.join(found)}: going on would begin anew and replace "
                "what is there. Restore last.ckpt, or choose another run=DIR."
            )
        if not run.config.exists() and not last.parent.exists():
            raise UsageError(
                f"{last} not found: no run was begun in {run.path}. Give the folder of one that "
                "was, or begin it without resume=true."
            )
        return None
    damage: list[str] = []
    for path in (last, previous):
        progress = _undamaged(run, path.stem)
        if progress is None:
            damage.append(f"{path.name} is {'damaged' if path.exists() else 'missing'}")
            continue
        if damage:
            done, progress.damaged = len(progress.rows), True
            progress.lost = (
                f"{last.parent / damage[0]}: going on from {previous.name}, after epoch {done}; "
                f"epoch {done + 1} is lost and trained again."
            )
        return progress
    raise UsageError(
        f"{last.parent / ' and '.join(damage)}: nothing to go on from. Begin a new run in another "
        "run=DIR. If best.ckpt is whole, checkpoint=best may still be evaluated and exported."
    )


def _flat(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every single value, as it is written, under its whole name, such as ``model.hidden.0``."""
    if not node or not isinstance(node, Mapping | list | tuple):
        yield name, repr(node)
        return
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        yield from _flat(value, f"{name}.{key}" if name else str(key))
