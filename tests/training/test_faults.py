"""Losses, gradients and parameters that are not finite: told where they began, or left out."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import small_runs
import torch
from small_runs import SETTINGS, network, require_equal
from torch import Tensor, nn

from snn_delays import rewiring
from snn_delays.callbacks import Checkpoints
from snn_delays.callbacks.callback import Callback, Training
from snn_delays.data import SpikeData
from snn_delays.errors import UsageError
from snn_delays.losses import cross_entropy
from snn_delays.run.folder import RunFolder
from snn_delays.training import fit
from snn_delays.training.faults import Faults

data = small_runs.data
SHORT = SETTINGS | {"epochs": 2, "batch_size": 20}  # 5 batches of an epoch


class Spoils(nn.Module):
    """Between layers: the identity, but in the chosen passes of training NaN, forward or back."""

    def __init__(self, *passes: int, backward: bool = False) -> None:
        super().__init__()
        self.passes, self.backward, self.count = passes, backward, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not torch.is_grad_enabled():
            return x * math.nan if self.training and self.now else x
        self.count += 1
        if not self.now:
            return x
        return _BackwardNan.apply(x) if self.backward else x * math.nan

    @property
    def now(self) -> bool:
        return self.count in self.passes


class _BackwardNan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * math.nan


def spoiled(data: SpikeData, *passes: int, backward: bool = False) -> nn.Module:
    """Delays, normalisation, NaN, readout: NaN comes behind what has buffers."""
    net = network(data)
    net.blocks[1].add_module("spoils", Spoils(*passes, backward=backward))
    synapses = net.blocks[1].synapses
    spoils = net.blocks[1].spoils
    synapses.register_forward_hook(
        lambda module, inputs, output: spoils(output) if module.training else output
    )
    return net


@pytest.fixture(params=[False, True], ids=["at once", "a step later"])
def late(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """As on the CPU, and as on a GPU."""
    begun = Faults.__init__

    def begin(self: Faults, *args: Any, **settings: Any) -> None:
        begun(self, *args, **settings, late=request.param)

    monkeypatch.setattr(Faults, "__init__", begin)
    return request.param


class Counts(Callback):
    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []
        self.skipped: list[tuple[int, int]] = []

    def on_batch(self, training: Training) -> None:
        self.taken.append((training.epoch, training.batch))

    def on_skip(self, training: Training) -> None:
        self.skipped.append((training.epoch, training.batch))


@pytest.mark.parametrize("at", [1, 7, 10])
def test_a_loss_that_is_not_finite_stops_and_nothing_spoilt_is_saved(
    data: SpikeData, tmp_path: Path, late: bool, at: int
):
    kept = Checkpoints(tmp_path / "run", minutes=1e-9)
    with pytest.raises(UsageError) as stopped:
        fit(spoiled(data, at), data, callbacks=[kept], **SHORT)
    line = str(stopped.value)
    epoch, batch = divmod(at - 1, 5)
    assert line.startswith(
        "fit: the loss is nan, first in the output of blocks.1.spoils (Spoils), "
        f"in epoch {epoch + 1}, batch {batch + 1} of 5 (step {at}). Last good checkpoint: "
    )
    saved = "checkpoints/within.ckpt, in epoch 2 after batch" if at > 6 else "none. "
    assert saved in line
    assert line.endswith(
        "Lower weight_lr (now 0.005) or set clip_norm in a new run, or leave such steps out: "
        "on_nan=skip."
    )
    for path in (tmp_path / "run/checkpoints").iterdir():
        network = RunFolder(tmp_path / "run").load_checkpoint(path.stem)["network"]
        assert all(bool(one.isfinite().all()) for one in network.values() if hasattr(one, "dim"))


def test_gradients_that_are_not_finite_are_told_from_the_last_layer(data: SpikeData, late: bool):
    with pytest.raises(UsageError) as stopped:
        fit(spoiled(data, 3, backward=True), data, clip_norm=1.0, **SHORT)
    said = "fit: the gradients are not finite, first in blocks.1.synapses."
    assert str(stopped.value).startswith(said)
    assert "in epoch 1, batch 3 of 5 (step 3). Last good checkpoint: none." in str(stopped.value)


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_parameters_that_a_step_spoils_stop_in_any_case(data: SpikeData, on_nan: str):
    class Explodes(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            self.param_groups[0]["params"][0].data.fill_(math.inf)

    net = network(data)
    own = Explodes([net.blocks[0].synapses.weight], lr=1.0)
    with pytest.raises(UsageError) as stopped:
        fit(net, data, optimizers=[own], on_nan=on_nan, **SHORT)
    said = (
        "fit: the parameters are not finite, first in blocks.0.synapses.weight, in epoch 1, batch"
    )
    assert str(stopped.value).startswith(said)
    assert "Lower the learning rates or set clip_norm" in str(stopped.value)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("weight", "first in blocks.1.synapses.weight,"),
        ("loss", "first in the loss itself,"),
        ("regulariser", "the loss is inf, first in the loss itself,"),
    ],
)
def test_other_places_are_named(data: SpikeData, late: bool, place: str, said: str):
    net, settings = network(data), {}
    if place == "weight":
        with torch.no_grad():
            net.blocks[1].synapses.weight[0] = math.nan
    elif place == "loss":
        settings = {"loss": lambda scores, labels: cross_entropy(scores, labels) * math.nan}
    else:
        settings = {"regulariser": lambda net: math.inf}
    with pytest.raises(UsageError, match="in epoch 1, batch 1 of 5") as stopped:
        fit(net, data, **settings, **SHORT)
    assert said in str(stopped.value)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_steps_are_left_out_as_if_their_samples_were_not_there(
    data: SpikeData, backward: bool, caplog: pytest.LogCaptureFixture
):
    """Nothing of such a step stays: no parameter, optimiser's moment, buffer, or count."""
    counts, seen = Counts(), []

    class Sees(Callback):
        def on_skip(self, training: Training) -> None:
            seen.append((states(training), int(training.so_far.firing.cells)))  # pyright: ignore[reportOptionalMemberAccess]

        def on_batch_start(self, training: Training) -> None:
            before.append((states(training), int(training.so_far.firing.cells)))  # pyright: ignore[reportOptionalMemberAccess]

    before: list[Any] = []
    net = spoiled(data, 2, 3, 7, backward=backward)
    with caplog.at_level(logging.WARNING, logger="snn_delays"):
        rows = fit(net, data, on_nan="skip", callbacks=[counts, Sees()], **SHORT)
    assert counts.skipped == [(1, 2), (1, 3), (2, 2)]
    assert counts.taken == [(1, 1), (1, 4), (1, 5), *((2, batch) for batch in (1, 3, 4, 5))]
    assert [row["skipped"] for row in rows] == [2, 1]
    assert all(math.isfinite(row["loss"]) for row in rows)
    for number, at in enumerate((1, 2, 6)):
        require_equal(before[at][0], seen[number][0])
        assert before[at][1] == seen[number][1]
    lines = [one.getMessage() for one in caplog.records if "left out" in one.getMessage()]
    assert [line.partition(":")[0] for line in lines] == [
        f"epoch {epoch}, batch {batch} of 5 (step {step}) is left out"
        for epoch, batch, step in ((1, 2, 2), (1, 3, 3), (2, 2, 7))
    ]
    what = "the gradients are" if backward else "the loss is nan, first in the output of blocks.1."
    assert all(what in line for line in lines)


def states(training: Training) -> dict[str, Any]:
    found = {name: one.clone() for name, one in training.net.state_dict().items() if _is(one)}
    for number, optimizer in enumerate(training.optimisation[:2]):
        for at, state in optimizer.state_dict()["state"].items():
            found |= {f"{number}.{at}.{name}": one.clone() for name, one in state.items()}
    return found


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)


def test_skipped_steps_are_the_same_after_a_stop_in_between(data: SpikeData, tmp_path: Path):
    """What was skipped, and how many in a row, is kept within the epoch."""

    class Stops(Callback):
        def on_skip(self, training: Training) -> None:
            training.stopping = "SIGTERM"

    whole = fit(spoiled(data, 2, 3, 4), data, on_nan="skip", **SHORT)
    net = spoiled(data, 2)
    kept = Checkpoints(tmp_path / "run")
    with pytest.raises(SystemExit):
        fit(net, data, on_nan="skip", callbacks=[kept, Stops()], **SHORT)
    saved = RunFolder(tmp_path / "run").load_checkpoint("within")["within"]["so_far"]
    assert (saved["skipped"], saved["in_a_row"]) == (1, 1)
    go_on = Checkpoints(tmp_path / "run", resume=True)
    rows = fit(spoiled(data, 1, 2), data, on_nan="skip", callbacks=[go_on], **SHORT)
    assert small_runs.timeless(rows) == small_runs.timeless(whole)
    assert rows[0]["skipped"] == 3


def test_ten_in_a_row_stop(data: SpikeData):
    passes = (*range(3, 12), *range(20, 30))  # nine, and ten of two epochs
    settings = SHORT | {"batch_size": 4}
    with pytest.raises(UsageError) as stopped:
        fit(spoiled(data, *passes), data, on_nan="skip", **settings)
    assert "in epoch 2, batch 4 of 25 (step 29)." in str(stopped.value)
    assert str(stopped.value).endswith(" 10 steps in a row were left out.")


def test_an_epoch_of_nothing_stops(data: SpikeData):
    with pytest.raises(UsageError, match="fit: all 5 steps of an epoch were left out, since they"):
        fit(spoiled(data, *range(1, 6)), data, on_nan="skip", **SHORT)


@pytest.mark.parametrize(
    "method", [rewiring.RigL(0.5, every=2), rewiring.DeepR(0.5), rewiring.FewDelays(2, since=0.4)]
)
def test_rewiring_stays_in_step(data: SpikeData, method: rewiring.Rewiring):
    """Steps 2 and 6 are left out, in which RigL would have exchanged synapses."""
    net = spoiled(data, 2, 6)
    rows = fit(net, data, on_nan="skip", callbacks=[method], **SHORT)
    assert [row["skipped"] for row in rows] == [1, 1]
    for block in net.blocks:
        assert not block.synapses.dense_gradient
        if not isinstance(method, rewiring.FewDelays):
            mask = block.synapses.mask if hasattr(block.synapses, "mask") else None
            assert mask is None or int(mask.sum()) == round(0.5 * mask.numel())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("on_nan", "ignore", "fit: on_nan must be one of stop, skip, got 'ignore'"),
        ("clip_norm", 0, "fit: clip_norm must be a number > 0, or none, got 0"),
        ("clip_norm", "much", "fit: clip_norm must be a number > 0, or none, got 'much'"),
        ("accumulate", 0, "fit: accumulate must be a whole number >= 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(data: SpikeData, name: str, value: Any, said: str):
    with pytest.raises(UsageError, match=said):
        fit(network(data), data, **{**SHORT, name: value})
