"""``model._target_`` and ``neuron``: networks and neurons of one's own from the command line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from typed_commands import SHORT, SMALL, Shell

from snn_delays.table import read_table

OWN = '''
from spikingjelly.activation_based import layer, neuron
from torch import nn
from snn_delays import DelayLayer

def quick(tau, gain=1.0):
    return neuron.LIFNode(tau=tau, decay_input=False, step_mode="m")

class Skipping(nn.Module):
    """A skip connection and a readout by spike count."""

    def __init__(self, n_channels, n_classes, hidden, tau, width=8):
        super().__init__()
        lif = lambda: neuron.LIFNode(tau=tau, decay_input=False, step_mode="m")
        self.first = nn.Sequential(DelayLayer(n_channels, width, 10), lif())
        self.second = nn.Sequential(DelayLayer(width, width, 10), lif())
        self.last = nn.Sequential(layer.Linear(width, n_classes, step_mode="m"), lif())

    def forward(self, x):
        y = self.first(x)
        return self.last(y + self.second(y))

def chain(n_channels, n_classes, neuron, dt_ms):
    assert dt_ms == 10.0
    return nn.Sequential(DelayLayer(n_channels, n_classes, 5), neuron())
'''
SHORT = [one for one in SHORT if "hidden" not in one]


@pytest.fixture
def own(there: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that lies where the command is typed."""
    (there / "own_nets.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    return "model._target_=own_nets"


def saved(run: str) -> DictConfig:
    config = OmegaConf.load(f"{run}/config.yaml")
    assert isinstance(config, DictConfig)
    return config


def test_a_class_of_ones_own_trains_resumes_and_is_read_with_trust(own: str, shell: Shell):
    given = (*SMALL, *SHORT, f"{own}.Skipping", "model.tau_ms=21", "+model.width=9")
    out = shell("train", *given, "run=runs/own")
    assert "own_nets.Skipping takes no delays, weights, max_delay, dropout, batch_norm, " in out
    assert "Skipping, " in out
    assert "learned delays up to 10 steps (100 ms)" in out
    config = saved("runs/own")
    assert set(config.model) == {"_target_", "hidden", "tau_ms", "width"}
    assert config.neuron is None
    assert config.schedule.start == 10 / 2 + 0.27
    summary = json.loads(Path("runs/own/summary.json").read_text())
    assert summary["delays"] == "learned"
    assert summary["parameters"] == 2 * 9 * (12 + 9) + (9 + 1) * 8
    assert "rate_hz" in Path("runs/own/metrics.csv").read_text()
    refused = shell.fails("evaluate", "run=runs/own")
    assert "model._target_ is 'own_nets.Skipping'" in refused
    assert "Give trust=true" in refused
    assert "differs" not in shell("evaluate", "run=runs/own", "trust=true")
    assert "trust=true" in shell.fails("train", "run=runs/own", "resume=true")
    shell("train", "run=runs/own", "resume=true", "trust=true")
    assert json.loads(Path("runs/own/summary.json").read_text())["best"] == summary["best"]
    shell("evaluate", "run=runs/own", "trust=true", "plot=a.png")
    assert all(map(os.path.exists, ("a.png", "runs/own/delays.png", "runs/own/readout.png")))
    out = shell("export", "run=runs/own", "trust=true", "formats=all", "bits=8")
    assert "simulated from the file" in out
    report = json.loads(Path("runs/own/export/report.json").read_text())
    assert report["agreement"]["spikes_differing"] == 0
    table = read_table("runs/own/export/delays.h5")
    assert [one.name for one in table.populations] == ["first_1", "second_1", "last_1"]
    assert table.readout == "spike_count"
    shell("simulate", "run=runs/own", "trust=true", "samples=5")
    quick = ("finetune=quantise", "finetune.epochs=1", "finetune.max_delay=6")
    shell("train", "run=runs/own", "trust=true", *quick)
    shell("export", "run=runs/own/quantised-4bit", "trust=true")
    tuned = read_table("runs/own/quantised-4bit/export/delays.h5")
    assert [one.name for one in tuned.populations] == ["first_1", "second_1", "last_1"]
    assert all(one.integer and int(one.delay.max()) <= 6 for one in tuned.projections)


def test_a_neuron_is_a_file_and_its_times_are_in_ms(own: str, there: Path, shell: Shell):
    (there / "conf/neuron").mkdir(parents=True)
    (there / "conf/neuron/quick.yaml").write_text("_target_: own_nets.quick\ntau_ms: 30\n")
    mine = ("--config-dir=conf", "neuron=quick", *SMALL, *SHORT, "trainer.epochs=1")
    shell("train", *mine, f"{own}.chain", "run=runs/chain")
    assert dict(saved("runs/chain").neuron) == {"_target_": "own_nets.quick", "tau_ms": 30}
    assert set(saved("runs/chain").model) == {"_target_"}
    shell("train", *mine, "model.hidden=[7]", "+neuron.gain=2", "run=runs/published")
    assert saved("runs/published").model.tau_ms == 10.05
    out = shell("evaluate", "run=[runs/chain,runs/published]", "trust=true")
    assert "published" in out
    assert "neuron._target_" in shell.fails("evaluate", "run=runs/published")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("own_nets.Skipping model.max_delay=3", "no such setting: model.max_delay; own_nets.Skip"),
        ("own_nets.Skipping +model.colour=3", "takes n_channels, n_classes, hidden, tau, width."),
        ("own_nets.Skipping neuron.v_reset=0.1", "takes no neuron, got neuron.v_reset."),
        (
            "own_nets.Skipping model.tau_ms=long",
            "model.tau_ms must be a number of milliseconds, got",
        ),
        ("own_nets.Missing", "model._target_=own_nets.Missing cannot be imported"),
        ("nowhere.Net", "lies in this folder."),
        ("own_nets.nn", "model._target_ must name a class or function of yours, got own_nets.nn."),
        ("builtins.dict", "model._target_ must name a class or function"),
        ("own_nets.Skipping +model.width=0", "Skipping cannot be made|whole number >= 1"),
    ],
)
def test_what_is_no_network_is_one_line(own: str, shell: Shell, given: str, expected: str):
    target, *more = given.split()
    line = shell.fails("train", *SMALL, *SHORT, f"model._target_={target}", *more, "run=runs/no")
    assert any(one in line for one in expected.split("|")), line
    assert not Path("runs/no").exists()
