"""NaN and infinity: where in a step they began, and what then becomes of the training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.callbacks.callback import Training
from snn_delays.data import Batch
from snn_delays.errors import UsageError
from snn_delays.graphs.recordings import copy_into
from snn_delays.run.generators import generator_states, restore_generators
from snn_delays.run.late import Late

_log = logging.getLogger("snn_delays")
ON_NAN = ("stop", "skip")
MOST_IN_A_ROW = 10
_LOSS, _GRADIENTS, _PARAMETERS = "the loss", "the gradients", "the parameters"


class Spoilt(Exception):
    """A step has met a number that is not finite, in its loss, gradients or parameters."""


@dataclass
class _Kept:
    """What is needed to find where a step was spoilt, once it is known that it was."""

    epoch: int
    batch: int
    generators: dict[str, Tensor]
    before: dict[str, Tensor]
    counted: dict[str, Tensor]
    inputs: list[Batch] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    finite: dict[str, Tensor] = field(default_factory=dict)
    names: dict[str, list[Any]] = field(default_factory=dict)
    late: dict[str, Late] = field(default_factory=dict)


class Faults:
    """Looks at the loss, then the gradients, then the parameters of every step.

    On the CPU, and where steps are left out, right away. On a GPU one step later, when reading
    costs no wait: ``settle`` looks at once, and must be called before anything is saved.

    Args:
        net: the network, on its device.
        on_nan: ``"stop"`` ends the training, ``"skip"`` leaves the step out, with buffers such as
            those of normalisation as they were before. 10 in a row, or parameters that a step
            itself has spoilt, end it all the same.
        replay: a forward pass of the network on a batch, as training makes it.
        scaler: of gradients in half precision. It leaves steps out by itself while it looks for
            its scale; only where that is down to 1 are gradients looked at.
        advice: the next move, for the message.
        late: whether to look one step later; ``None``: where the network lies on a GPU.
    """

    def __init__(
        self,
        net: nn.Module,
        on_nan: str,
        replay: Callable[[Batch], Any],
        *,
        scaler: Any = None,
        advice: str = "",
        late: bool | None = None,
    ) -> None:
        self.net, self.replay, self.scaler, self.advice = net, replay, scaler, advice
        self.skips = on_nan == "skip"
        self.device = next(net.parameters(), torch.empty(0)).device
        self.late = not self.skips and (self.device.type == "cuda" if late is None else late)
        named = net.named_parameters()
        self.learned = [(name, one) for name, one in named if one.requires_grad and one.numel()]
        self.now: _Kept | None = None
        self.last: _Kept | None = None
        # Copies of this step's, and of the step before, which may still be needed.
        self._rooms: list[dict[str, Tensor]] = [{}, {}]

    def begin(self, training: Training) -> None:
        """A step begins: keep what it may spoil."""
        assert training.so_far is not None
        firing = training.so_far.firing
        # Where a fault is seen before the optimisers' steps, parameters are still what they were.
        named = chain(
            self.net.named_buffers() if self.skips or self.late else (),
            self.net.named_parameters() if self.late else (),
        )
        self.now = _Kept(
            training.epoch,
            training.batch,
            generator_states(self.device),
            before=self._copied(dict(named)),
            counted={"spikes": firing.spikes, "cells": firing.cells},
        )

    def take(self, batch: Batch) -> None:
        """These are samples of the step."""
        assert self.now is not None
        self.now.inputs.append(batch)

    def look_at_loss(self, loss: Tensor) -> None:
        """Of samples of the step.

        Raises:
            Spoilt: it is not finite, and that is told at once; likewise of the next two.
        """
        assert self.now is not None
        self.now.losses.append(loss.detach())
        self._look(_LOSS, list(range(len(self.now.losses))), _finite(self.now.losses))

    def look_at_gradients(self) -> None:
        """All of them, as the optimisers' steps find them."""
        if self.scaler is None or self.scaler.get_scale() <= 1:
            found = [(name, one.grad) for name, one in self.learned if one.grad is not None]
            names, gradients = [name for name, _ in found], [one for _, one in found]
            self._look(_GRADIENTS, names, _finite(gradients))

    def finite_parameters(self) -> Tensor:
        """Which of them are, as the optimisers' steps leave them."""
        return _finite([one.detach() for _, one in self.learned])

    def look_at_parameters(self, finite: Tensor) -> None:
        """Args: ``finite``: what ``finite_parameters`` gave."""
        self._look(_PARAMETERS, [name for name, _ in self.learned], finite)

    def end(self) -> None:
        """The step is done; its numbers that have not been looked at are on their way."""
        assert self.now is not None
        if self.late:
            self.now.late = {what: Late(one.all()) for what, one in self.now.finite.items()}
        self.last, self.now = (self.now if self.late else None), None

    def settle(self, training: Training) -> None:
        """Look at the numbers of the step before that are on their way.

        Raises:
            UsageError: it was spoilt.
        """
        last, self.last = self.last, None
        if last is None:
            return
        for what, finite in last.late.items():
            if not float(finite):
                raise UsageError(self._told(self._found(what, last), last, training))

    def leave_out(self, fault: Spoilt, training: Training) -> None:
        """Undo what the step has done so far.

        Raises:
            UsageError: it is to end the training.
        """
        kept, what, so_far = self.now, str(fault), training.so_far
        assert kept is not None
        assert so_far is not None
        found = self._found(what, kept)
        if not self.skips or what == _PARAMETERS:
            raise UsageError(self._told(found, kept, training))
        so_far.firing.load_state_dict(kept.counted)
        self._put_back(kept)
        so_far.skipped += 1
        so_far.in_a_row += 1
        if so_far.in_a_row >= MOST_IN_A_ROW:
            raise UsageError(
                f"{self._told(found, kept, training)} {MOST_IN_A_ROW} steps in a row were left out."
            )
        _log.warning("%s is left out: %s.", _place(kept, training), found)
        self.now = None

    def _look(self, what: str, names: list[Any], finite: Tensor) -> None:
        assert self.now is not None
        if not names:
            return
        self.now.finite[what], self.now.names[what] = finite, names
        if not self.late and not bool(finite.all()):
            raise Spoilt(what)

    def _copied(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copies, where those of the step before the last one lay."""
        room = self._rooms.pop(0)
        if any(not _alike(room.get(name), one) for name, one in named.items()):
            room = {name: torch.empty_like(one) for name, one in named.items()}
        room = {name: room[name] for name in named}
        self._rooms.append(room)
        copy_into(list(room.values()), list(named.values()))
        return room

    def _put_back(self, kept: _Kept) -> None:
        now = dict(chain(self.net.named_buffers(), self.net.named_parameters()))
        with torch.no_grad():
            for name, before in kept.before.items():
                now[name].copy_(before)

    def _told(self, found: str, kept: _Kept, training: Training) -> str:
        saved = training.saved or "none"
        return (
            f"fit: {found}, in {_place(kept, training)}. Last good checkpoint: {saved}. "
            f"{self.advice}"
        ).rstrip()

    def _found(self, what: str, kept: _Kept) -> str:
        """What is not finite, and where that begins, in words."""
        if what == _LOSS:
            value = float(torch.stack(kept.losses).sum())
            return f"the loss is {value}, first in {self._where(kept)}"
        found = zip(kept.names[what], kept.finite[what].tolist(), strict=True)
        spoilt = [name for name, finite in found if not finite]
        # Gradients come from the last layer to the first.
        return f"{what} are not finite, first in {spoilt[-1 if what == _GRADIENTS else 0]}"

    def _where(self, kept: _Kept) -> str:
        """The first place in the forward pass that is not finite: of the same samples, with the
        same random numbers, from the same parameters."""
        self._put_back(kept)
        for name, one in chain(self.net.named_parameters(), self.net.named_buffers()):
            if _spoilt(one):
                return name
        if any(_spoilt(batch.spikes) for batch in kept.inputs):
            return "the input"
        found: list[str] = []

        def look(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                if not found and _spoilt(output):
                    found.append(f"the output of {name or 'the network'} ({type(module).__name__})")

            return hook

        hooks = [part.register_forward_hook(look(name)) for name, part in self.net.named_modules()]
        now = generator_states(self.device)
        try:
            restore_generators(kept.generators, self.device)
            with torch.no_grad():
                for batch in kept.inputs:
                    self.replay(batch)
        finally:
            restore_generators(now, self.device)
            for hook in hooks:
                hook.remove()
        return found[0] if found else "the loss itself"


def _alike(room: Tensor | None, one: Tensor) -> bool:
    return (
        room is not None
        and (room.shape, room.dtype, room.device) == (one.shape, one.dtype, one.device)
        and room.is_inference() == one.is_inference()
    )


def _finite(tensors: list[Tensor]) -> Tensor:
    """Whether each is, in one pass over all."""
    if not tensors:
        return torch.ones(0, dtype=torch.bool)
    # The largest |number| of each; NaN where there is one.
    largest = torch._foreach_norm(tensors, torch.inf)  # pyright: ignore[reportPrivateImportUsage]
    return torch.stack(largest).isfinite()


def _place(kept: _Kept, training: Training) -> str:
    step = (kept.epoch - 1) * training.batches + kept.batch
    return f"epoch {kept.epoch}, batch {kept.batch} of {training.batches} (step {step})"


def _spoilt(value: Any) -> bool:
    """Whether a tensor, or one among several, has a number that is not finite."""
    if isinstance(value, Tensor):
        return not bool(value.detach().isfinite().all())
    return isinstance(value, tuple | list) and any(map(_spoilt, value))
