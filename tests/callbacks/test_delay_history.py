"""Where delays stand after every epoch: what is counted, and that a resumed run goes on with it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from small_runs import SCHEDULE, SETTINGS, Silent, data, network  # noqa: F401

from snn_delays import DelayLayer, UsageError
from snn_delays.callbacks import Checkpoints
from snn_delays.callbacks.delay_history import DelayHistory, counted, read_history
from snn_delays.data import SpikeData
from snn_delays.training import fit


def test_a_count_is_of_synapses_that_are_there_and_of_their_weights():
    layer = DelayLayer(2, 2, max_delay=3)
    with torch.no_grad():
        layer.delay.copy_(torch.tensor([[0.2, 1.4], [2.6, 9.0]]).view_as(layer.delay))
        layer.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]).view_as(layer.weight))
    found = counted(layer, 5, "a")
    assert [(one.epoch, one.layer, one.first, one.last) for one in found] == [
        (5, "a", at, at) for at in range(4)
    ]
    assert [one.synapses for one in found] == [1, 1, 0, 2]
    assert [one.weight for one in found] == pytest.approx([0.1, 0.2, 0.0, 0.7])
    layer.set_mask(torch.tensor([[True, True], [True, False]]).view_as(layer.weight))
    assert [one.synapses for one in counted(layer, 5, "a")] == [1, 1, 0, 1]


@pytest.mark.parametrize(("max_delay", "ranges"), [(63, 64), (64, 33), (1000, 63)])
def test_long_delays_are_counted_in_ranges(max_delay: int, ranges: int):
    layer = DelayLayer(20, 20, max_delay=max_delay)
    found = counted(layer, 0, "a")
    assert len(found) == ranges
    assert (found[0].first, found[-1].last) == (0, max_delay)
    assert all(one.last + 1 == then.first for one, then in itertools.pairwise(found))
    assert sum(one.synapses for one in found) == 400
    assert sum(one.weight for one in found) == pytest.approx(1, abs=1e-5)


def trained(data: SpikeData, folder: Path, stop_at: int | None = None, resume: bool = False):  # noqa: F811
    beside = [Checkpoints(folder, resume=resume), DelayHistory(folder / "delays.csv")]
    fit(
        network(data),
        data,
        schedule=SCHEDULE,
        callbacks=[*beside, Silent(stop_at)],
        **SETTINGS,
    )


def test_a_resumed_run_has_the_history_of_one_that_was_never_stopped(
    data: SpikeData,  # noqa: F811
    tmp_path: Path,
):
    trained(data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "stopped", stop_at=2)
    path = tmp_path / "stopped/delays.csv"
    ahead = [replace_epoch(one, 3) for one in path.read_text().splitlines() if one[0] == "2"]
    with path.open("a") as file:  # as one that was killed before its checkpoint leaves it
        file.write("\n".join(ahead) + "\n")
    trained(data, tmp_path / "stopped", resume=True)
    found = read_history(path)
    assert found == read_history(tmp_path / "whole/delays.csv")
    assert sorted({one.epoch for one in found}) == [0, 1, 2, 3, 4]
    layers = {one.layer for one in found}
    assert layers == {"blocks.0.synapses", "blocks.1.synapses"}
    total = sum(one.synapses for one in found if one.epoch == 0)
    assert total == 16 * (data.n_channels + data.n_classes)


def replace_epoch(line: str, epoch: int) -> str:
    return f"{epoch},{line.partition(',')[2]}"


def test_a_network_without_delays_leaves_no_file(data: SpikeData, tmp_path: Path):  # noqa: F811
    net = network(data, max_delay=0)
    fit(net, data, callbacks=[DelayHistory(tmp_path / "d.csv")], **{**SETTINGS, "epochs": 1})
    assert not (tmp_path / "d.csv").exists()


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "delays.csv"
    for text in ("", "a,b\n1,2\n", "epoch,layer,first,last,synapses,weight\n1,a,x,2,3,0.5\n"):
        path.write_text(text)
        with pytest.raises(UsageError, match="is no history of delays"):
            read_history(path)
