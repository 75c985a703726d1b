"""The parts of a training step, run as they are or as CUDA graphs of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snn_delays.errors import UsageError
from snn_delays.graphs.decided import (
    others_watch,
    settings_of_modules,
    settings_of_optimizer,
    settings_of_torch,
)
from snn_delays.graphs.recordable import Widths, repeatable, unknown_code, watched
from snn_delays.graphs.recordings import CudaRecorder, Graphs, Recorder, Results, Work
from snn_delays.layers.networks import delay_layers
from snn_delays.modules.rest import rest_if_integer
from snn_delays.modules.state import reset_memories
from snn_delays.modules.width import read_anew

_log = logging.getLogger("snn_delays")
# Graphs of a step's passes: a batch of SHD's size has one of 30 lengths. Of its other parts one is
# used for a whole epoch.
MOST, MOST_OTHERS = 64, 3


class Parts:
    """Runs the parts of a step as they are: the reference, and what runs on the CPU."""

    def begin(self) -> None:
        """A step begins."""

    def gradients(self, work: Work, *inputs: Tensor) -> Results:
        """Forward and backward passes; ``inputs`` are all that they take beside the network.

        Gives what ``work`` gives: five results to keep, and gradients until the next run.
        """
        return work(*inputs)

    def moves(self, work: Work, *gradients: Tensor) -> Results:
        """What the optimisers do with the gradients: one result to keep, and what those became."""
        return work(*gradients)

    def ranges(self, work: Work) -> Results:
        """What keeps parameters in their ranges."""
        return work()

    def end(self) -> None:
        """Training is over."""


class RepeatedParts(Parts):
    """Runs them as recordings, from the second time on that all they depend on is the same.

    The first pass after each change of σ runs as it is, since it chooses the method of delays.

    Args:
        recorder: what records.
        net, optimizers: what a step is of.
        called: what else it calls.
        required: as for ``Graphs``.
    """

    def __init__(
        self,
        recorder: Recorder,
        net: nn.Module,
        optimizers: Sequence[Optimizer],
        called: Iterable[Any] = (),
        required: bool = False,
    ) -> None:
        self.net, self.optimizers, self.widths = net, optimizers, Widths(net)
        called = list(called)
        self.called = [one for one in called if isinstance(one, nn.Module)]
        self.others = [one for one in called if not isinstance(one, nn.Module)]
        make: Callable[[int, str], Graphs] = lambda most, what: Graphs(  # noqa: E731
            recorder, most, what, required
        )
        self.passes = make(MOST, "the passes of a training step")
        self.steps = make(MOST_OTHERS, "the optimisers' steps")
        self.limits = make(MOST_OTHERS, "the ranges of parameters")
        # Each state has a number, which no other ever gets.
        self._states: dict[Hashable, int] = {}
        self._numbers = count()
        self._state: int | None = None

    def begin(self) -> None:
        self._state = None
        modules = [module for one in (self.net, *self.called) for module in one.modules()]
        if watched(modules) or others_watch():
            return
        state = settings_of_torch(), settings_of_modules((*modules, *self.others))
        if state not in self._states:
            if len(self._states) > 16 * MOST:
                self._states.clear()
            self._states[state] = next(self._numbers)
        self._state = self._states[state]

    def gradients(self, work: Work, *inputs: Tensor) -> Results:
        chosen = self.widths.chosen
        key = (self._state, self.widths.key()) if self._state is not None and chosen else None
        found = self.passes(key, self._as_recorded(work), *inputs)
        if not chosen:
            self.widths.note_pass()
        # What neurons remember lies where the next step writes, or was never computed.
        reset_memories(self.net)
        return _lasting(found, 5)

    def moves(self, work: Work, *gradients: Tensor) -> Results:
        key = None
        if self._state is not None and all(map(repeatable, self.optimizers)):
            numbers = tuple(map(settings_of_optimizer, self.optimizers))
            key = self._state, self.widths.key(), numbers
        for layer in delay_layers(self.net):  # as its forward pass does, which may not have run
            rest_if_integer(layer)

        def capturable(*gradients: Tensor) -> Results:
            with _capturable(self.optimizers):
                return work(*gradients)

        return _lasting(self.steps(key, capturable, *gradients), 1)

    def ranges(self, work: Work) -> Results:
        return self.limits(self._state, work)

    def end(self) -> None:
        for graphs in (self.passes, self.steps, self.limits):
            graphs.end()

    def _as_recorded(self, work: Work) -> Work:
        if not self.widths.read_anew:
            return work

        def reads_anew(*inputs: Tensor) -> Results:
            with read_anew():
                return work(*inputs)

        return reads_anew


def _lasting(results: Results, some: int) -> Results:
    """The first few as copies, which no later run writes over."""
    return *(one if one is None else one.clone() for one in results[:some]), *results[some:]


@contextmanager
def _capturable(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Tell optimisers that they are recorded, while they are."""
    groups = [group for one in optimizers for group in one.param_groups]
    groups = [group for group in groups if group.get("capturable") is False]
    recorded = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    try:
        for group in groups if recorded else ():
            group["capturable"] = True
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def parts_for(
    graphs: str,
    net: nn.Module,
    optimizers: Sequence[Optimizer],
    fabric: Any,
    accumulate: int,
    **called: Any,
) -> Parts:
    """How to run the parts of a step.

    Args:
        graphs: ``auto``, ``on`` or ``off``, as of ``fit``.
        fabric, accumulate: where and how it trains.
        called: what ``fit`` was given to call, by name.

    Raises:
        UsageError: ``graphs="on"`` where there can be none.
    """
    device = fabric.device
    if graphs == "off" or (graphs == "auto" and device.type != "cuda"):
        return Parts()
    against = {
        f"it needs an NVIDIA GPU, and this trains on {device.type}": device.type != "cuda",
        "several processes train together": fabric.world_size > 1,
        f"accumulate is {accumulate}, more than 1": accumulate > 1,
        "16-mixed asks after every step whether its scale fits": has_scaler(fabric),
    }
    reason = next((words for words, so in against.items() if so), "")
    if reason and graphs == "on":
        raise UsageError(f"fit: graphs=on: {reason}. Use graphs=auto, which does without.")
    if graphs == "auto" and not reason and (own := unknown_code(net, **called)):
        reason = f"{own}, of which a graph leaves out what Python does. If it does nothing that "
        reason += "changes from step to step, take graphs=on"
    if reason:
        _log.info("No CUDA graphs of training steps: %s.", reason)
        return Parts()
    recorder, required = CudaRecorder(device), graphs == "on"
    return RepeatedParts(recorder, net, optimizers, called.values(), required)


def has_scaler(fabric: Any) -> bool:
    """Whether gradients are scaled, as those of ``precision="16-mixed"`` are."""
    return getattr(fabric.strategy.precision, "scaler", None) is not None
