"""The command lines, as a user types them."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from typed_commands import SHORT, SMALL, Shell

from snn_delays.cli.recipe import RECIPE_DT_MS
from snn_delays.cli.settings import CONF
from snn_delays.data.augmentation import Augmentation
from snn_delays.files.shd_format import write_events
from snn_delays.run.folder import RunFolder


def test_a_run_leaves_its_files(there: Path):
    run = there / "runs/learned"
    for name in ("config.yaml", "summary.json", "metrics.csv", "delays.png"):
        assert (run / name).stat().st_size > 0, name
    for name in ("best", "last"):
        assert (run / f"checkpoints/{name}.ckpt").is_file()
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    summary = json.loads((run / "summary.json").read_text())
    best = rows[summary["best_epoch"] - 1]["valid_accuracy"]
    assert float(best) == summary["best"]["validation"]["rounded"]["accuracy"]
    assert summary["seed"] == 0
    assert summary["split"] == "official"
    assert summary["clean_split"]
    assert summary["wall_time_s"] > 0
    assert set(summary["versions"]) >= {"python", "torch", "spikingjelly", "snn-delays"}
    for part in ("validation", "test"):
        for kind in ("float", "rounded"):
            assert 0 <= summary["best"][part][kind]["accuracy"] <= 1
    # Nothing else is strewn about.
    assert {path.name for path in there.iterdir()} == {"data", "runs"}


def test_tensorboard_has_delays_settings_and_pictures(there: Path):
    run = there / "runs/learned"
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    assert set(found.Tags()["images"]) == {path.stem for path in run.glob("*.png")} >= {"delays"}
    assert [one.step for one in found.Images("delays")] == [2]
    histograms = found.Tags()["histograms"]
    assert histograms
    assert all(name.startswith("delays/") for name in histograms)
    content = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    columns = HParamsPluginData.FromString(content).session_start_info.hparams
    assert columns["model.delays"].string_value == "learned"
    assert columns["trainer.epochs"].number_value == 2


def test_evaluate_reproduces_the_summary(there: Path, shell: Shell):
    out = shell("evaluate", "run=runs/learned")
    assert "differs" not in out
    assert "speakers" not in out  # the built-in task has none
    summary = json.loads((there / "runs/learned/summary.json").read_text())
    assert f"{100 * summary['best']['test']['rounded']['accuracy']:.1f} %" in out


def test_evaluate_says_when_it_does_not_reproduce_the_summary(there: Path, shell: Shell):
    path = there / "runs/none/summary.json"
    summary = json.loads(path.read_text())
    summary["best"]["test"]["rounded"]["accuracy"] += 0.1
    path.write_text(json.dumps(summary))
    assert "differs from its summary.json" in shell("evaluate", "run=runs/none")


def test_evaluate_compares_runs_and_finds_data_that_moved(there: Path, shell: Shell):
    (there / "data").rename(there / "moved")
    out = shell("evaluate", "run=[runs/learned,runs/none]", "checkpoint=last", "root=moved")
    assert "learned" in out
    assert "none" in out


def test_a_run_is_never_overwritten(there: Path, shell: Shell):
    before = (there / "runs/learned/metrics.csv").read_bytes()
    line = shell.fails("train", *SMALL, *SHORT, "run=runs/learned")
    assert "already holds a run" in line
    assert "resume=true" in line
    assert (there / "runs/learned/metrics.csv").read_bytes() == before


def test_a_resumed_run_keeps_its_configuration(there: Path, shell: Shell):
    line = shell.fails("train", "run=runs/learned", "resume=true", "trainer.epochs=9")
    assert "got trainer.epochs=9" in line
    before = json.loads((there / "runs/learned/summary.json").read_text())
    shell("train", "run=runs/learned", "resume=true")
    after = json.loads((there / "runs/learned/summary.json").read_text())
    assert after["best"] == before["best"]
    assert after["last"] == before["last"]


def trained_with(run: Path) -> tuple[dict[str, Any], str]:
    """The augmentation in a run's configuration, and its metrics but for the seconds."""
    config = OmegaConf.load(run / "config.yaml")
    assert isinstance(config, DictConfig)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return dict(config.augmentation), str([{**row, "seconds": ""} for row in rows])


def test_every_change_can_be_chosen_on_the_command_line(there: Path, shell: Shell):
    narrow = ("augmentation=standard", "augmentation.event_drop=0.25", "run=runs/changed")
    shell("train", *SMALL, *SHORT, *narrow)
    augmentation, _ = trained_with(there / "runs/changed")
    assert augmentation["event_drop"] == 0.25
    assert [name for name, value in augmentation.items() if not value] == ["cutmix"]
    assert set(augmentation) - {"_target_"} == {
        one.name for one in dataclasses.fields(Augmentation)
    }


def test_sparse_training_is_a_setting_and_its_export_has_what_is_left(there: Path, shell: Shell):
    sparse = ("sparsity=deepr", "sparsity.density=0.2", "regulariser=small_delays")
    shell("train", *SMALL, *SHORT, *sparse, "run=runs/sparse")
    assert "differs" not in shell("evaluate", "run=runs/sparse")
    out = shell("export", "run=runs/sparse", "verify=false")
    left, pairs = re.findall(r"([\d,]+) synapses of ([\d,]+) pairs of neurons", out)[0]
    left, pairs = (int(one.replace(",", "")) for one in (left, pairs))
    assert 0 < left <= round(0.2 * pairs) + 1
    network = RunFolder(there / "runs/sparse").load_checkpoint("last")["network"]
    masks = [value for name, value in network.items() if name.endswith(".mask")]
    assert sum(int(mask.sum()) for mask in masks) <= round(0.2 * pairs) + 1


WRONG = {
    "train": [
        ("model.max_dely=3", "no such setting: model.max_dely; did you mean model.max_delay?"),
        ("+model.colour=3", "no such setting: model.colour"),
        ("+foo=1", "no such setting: foo; --help lists them all."),
        ("resume=maybe", "resume must be true or false, got 'maybe'."),
        ("model.bias=yes", "model.bias must be true or false, got 'yes'."),
        ("trust=1", "trust must be true or false, got 1."),
        ("++foo=1", "no such setting: foo; --help lists them all."),
        ("+foo.bar=1", "no such setting: foo;"),
        ("+trainer.foo=1", "no such setting: trainer.foo"),
        ("+trainer.epoch=1", "no such setting: trainer.epoch; did you mean trainer.epochs?"),
        ("+finetune.epochs=3", "finetune.epochs is a setting of finetune=quantise; add that"),
        ("+finetune.foo=3", "no such setting: finetune.foo"),
        ("+export=table", "no such setting: folder"),
        ("+schedule.foo=1", "schedule: a setting is unknown or of the wrong kind"),
        ("+dataset.foo=1", "dataset: a setting is unknown or of the wrong kind"),
        (
            "dataset=shdd",
            "no such dataset: shdd; choose audio, digits, events, gsc, image_folder, shd, ssc or "
            "synthetic",
        ),
        ("trainer.epochs=0", "trainer.epochs must be a whole number >= 1, got 0"),
        ("trainer.epochs=many", "got 'many'"),
        ("augmentation=strong", "no such augmentation: strong; choose audio, none or standard."),
        ("sparsity=deep", "choose deepr, few_delays, fixed, magnitude, none or rigl."),
        ("sparsity=rigl sparsity.density=0", "sparsity.density must lie in (0, 1], as a share of"),
        ("+sparsity.every=10", "sparsity.every is a setting of sparsity=rigl; add that to"),
        ("sparsity=deepr model.delays=none", "needs a network with delay layers, got one without"),
        ("regulariser=small", "choose clustered_delays, none, repulsive or small_delays."),
        ("model.weights=none", "model.weights must be one of learned, fixed, ternary, got 'none'."),
        ("schedule.straight_through_from=2", "straight_through_from must be a share of training"),
        ("augmentation.event_dorp=0.1", "did you mean augmentation.event_drop?"),
        (
            "augmentation.event_drop=1",
            "augmentation.event_drop must be a number >= 0 and < 1, got 1.",
        ),
        ("+augmentation.blend=1", "augmentation: a setting is unknown or of the wrong kind"),
        ("augmentation.channel_shift=far", "must be a share of the channels in [0, 1), got 'far'"),
        ("augmentation.channel_shift=0.99", "less than the input's 12 channels, got 12"),
        ("trainer.precision=64-true", "32-true, bf16-mixed, 16-mixed, got '64-true'"),
        ("neuron.v_reset=low", "v_reset must be null or below neuron.v_threshold, got 'low'"),
        ("dataset.jitter=abc", "jitter must be a number >= 0, got 'abc'"),
        ("dataset.root=null", "dataset.root"),
        ("schedule.end=0.1", "above offset"),
        ("trainer.accelerator=tpu9", "trainer.accelerator must be one of auto, cpu, cuda, mps"),
        ("seed=-1", "seed"),
        ("model.dropout=1.5", "dropout must lie in [0, 1), got 1.5"),
        ("model.delays=some", "must be one of learned, fixed, none, got 'some'"),
        ("model.hidden=8", "model.hidden"),
        ("model.tau_ms=10", "neuron.tau_ms must be above 1 step"),
        ("model.max_delay=-1", "max_delay"),
        ("model.max_delay=two", "max_delay"),
        ("model.recurrent=foo", "model.recurrent must be one of null, synaptic, axonal"),
        ("model.recurrent_layers=[true]", "needs model.recurrent=axonal, or another granularity"),
        (
            "model.recurrent=axonal model.recurrent_first_delays=[0,9]",
            "model.recurrent_first_delays must be a range (low, high) within 1 … 24 steps",
        ),
        (
            "model.recurrent=axonal model.recurrent_max_delay=0",
            "model.recurrent_max_delay must be a whole number of steps >= 1, got 0.",
        ),
        ("model.recurrent=common model.recurrent_dropout=1", "model.recurrent_dropout must lie in"),
        ("model.first_delays=[9,2]", "model.first_delays must be a range (low, high) within 0"),
        ("neuron=silif neuron.tau_v_ms=[4,x]", "neuron.tau_v_ms must be a number of milliseconds"),
        ("model.granularity=neural", "axonal+dendritic, common, got 'neural'"),
        ("schedule.end=-1", "got -1"),
        ("schedule=linear schedule.until=2", "until"),
        ("dataset.dt_ms=0", "dt_ms"),
        ("dataset=shd dataset.root=nowhere", "zenkelab.org"),
        ("run=fresh resume=true", "fresh"),
        ("trainer.epochs", "settings are typed as key=value, got 'trainer.epochs'."),
        ("finetune.epochs=3", "finetune.epochs is a setting of finetune=quantise; add that"),
        ("schedule=constant schedule.offset=0", "is a setting of schedule=exponential; add"),
        ("max_delay=9", "no such setting: max_delay; did you mean model.max_delay?"),
        ("colour=red", "no such setting: colour; --help lists them all."),
    ],
    "evaluate": [
        ("", "run is missing: give run="),
        ("run=nowhere", "nowhere/config.yaml not found"),
        ("run=runs/learned dataset.root=x", "no such setting: dataset.root; did you mean root?"),
        ("run=runs/learned +foo=1", "no such setting: foo"),
        ("run=runs/learned +dataset=shd", "no such setting: dataset;"),
        ("run=runs/learned +trainer.epochs=3", "no such setting: trainer"),
        ("runs/learned", "got 'runs/learned'; did you mean run=runs/learned?"),
        ("run=runs/learned checkpoint=first", "best or last, got 'first'"),
        ("run=runs/learned batch_size=0", "batch_size"),
    ],
    "export": [
        ("run=runs/learned +foo=1", "no such setting: foo"),
        ("run=runs/learned fixed_point=1", "fixed_point must be true or false, got 1."),
    ],
    "report": [
        ("run=runs/learned +foo=1", "no such setting: foo"),
        ("run=runs/learned checkpoint=first", "best or last, got 'first'"),
    ],
    "simulate": [
        ("run=runs/learned +foo=1", "no such setting: foo"),
        (
            "table=t.h5 +dataset.root=x",
            "dataset.root is a setting of dataset=audio, dataset=events",
        ),
    ],
    "prepare": [
        ("+foo=1", "no such setting: foo"),
        ("plot=page.png dataset.root=data", "plot must be true or false, got 'page.png'."),
        ("dataset.check=flase dataset.root=data", "dataset.check must be true or false, got"),
        ("+dataset.chek=true dataset.root=data", "dataset: a setting is unknown"),
    ],
    "encode": [("audio=data output=x.h5 +foo=1", "no such setting: foo")],
}


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [(command, *pair) for command, pairs in WRONG.items() for pair in pairs],
)
def test_a_mistake_ends_in_one_line(
    there: Path, shell: Shell, command: str, arguments: str, expected: str
):
    given = arguments.split()
    if command == "train" and "dataset=" not in arguments and "root=" not in arguments:
        given.append("dataset.root=data")
    if command == "train" and "run=" not in arguments:
        given.append("run=mistake")
    assert expected in shell.fails(command, *given)


def test_a_data_set_of_ones_own_has_its_own_settings(there: Path, shell: Shell):
    (there / "conf/dataset").mkdir(parents=True)
    (there / "conf/model").mkdir()
    small = {one[len("dataset.") : one.index("=")]: int(one.split("=")[1]) for one in SMALL[1:]}
    own = {"_target_": "snn_delays.data.load_synthetic", "root": "data", **small}
    OmegaConf.save(own, there / "conf/dataset/mine.yaml")
    given = ("--config-dir=conf", "dataset=mine", *SHORT)
    shell("train", *given, "+dataset.jitter=0.2", "trainer.epochs=1", "run=runs/mine")
    assert "no such setting: colour" in shell.fails("train", *given, "+colour=red", "run=runs/not")
    (there / "conf/model/mine.yaml").write_text("defaults: [delays]\ncolour: red\n")
    line = shell.fails("train", *given, "model=mine", "run=runs/not")
    assert "no such setting: model.colour" in line


@pytest.mark.parametrize(
    "mistake",
    ["trainer.epochs=0", "model.hidden=8", "schedule.end=0.1", "augmentation.channel_shift=0.99"],
)
def test_a_mistake_begins_no_run(there: Path, shell: Shell, mistake: str):
    shell.fails("train", *SMALL, *SHORT, "run=runs/mistaken", mistake)
    assert not (there / "runs/mistaken").exists()


def test_a_run_of_no_delay_steps_is_one_without_delays(there: Path, shell: Shell):
    for delays in ("learned", "none"):
        narrow = ("model.max_delay=0", f"model.delays={delays}", f"run=runs/{delays}-0")
        shell("train", *SMALL, *SHORT, *narrow)
    found = [
        json.loads((there / f"runs/{name}/summary.json").read_text())["best"]
        for name in ("learned-0", "none-0", "none")
    ]
    assert found[0] == found[1] == found[2]
    shell("evaluate", "run=runs/learned-0")
    shell("export", "run=runs/learned-0")


def test_the_log_of_a_run_is_in_its_folder(there: Path, shell: Shell):
    run = there / "runs/logged"
    shell("train", *SMALL, *SHORT, "trainer.epochs=1", "run=runs/logged")
    first = (run / "train.log").read_text()
    assert first.startswith("data: 96 train")
    shell("train", "run=runs/logged", "resume=true")
    both = (run / "train.log").read_text()
    assert both.startswith(first + "data: 96 train")


def test_a_run_that_ended_in_its_first_epoch_starts_again(there: Path, shell: Shell):
    run = there / "runs/early"
    run.mkdir()
    shutil.copy(there / "runs/none/config.yaml", run)
    shell("train", "run=runs/early", "resume=true")
    summaries = [json.loads((of / "summary.json").read_text()) for of in (run, run.parent / "none")]
    assert summaries[0]["best"] == summaries[1]["best"]


@pytest.mark.parametrize("text", ["", "a: [", "just words", "- a list"])
def test_a_damaged_configuration_is_one_line(there: Path, shell: Shell, text: str):
    (there / "runs/none/config.yaml").write_text(text)
    assert "config.yaml" in shell.fails("evaluate", "run=runs/none")


@pytest.mark.parametrize(
    "section", ["model: 3", "model: null", "dataset: null", "dataset: [1]", "model: {}"]
)
def test_a_configuration_without_its_sections_is_one_line(there: Path, shell: Shell, section: str):
    path = there / "runs/none/config.yaml"
    name = section.partition(":")[0]
    path.write_text(re.sub(rf"(?m)^{name}:\n(  .*\n)+", f"{section}\n", path.read_text()))
    line = shell.fails("evaluate", "run=runs/none")
    assert "config.yaml is not the configuration of a run: " in line
    assert "missing. Restore" in line


def test_a_damaged_checkpoint_is_one_line(there: Path, shell: Shell):
    path = there / "runs/none/checkpoints/best.ckpt"
    path.write_bytes(path.read_bytes()[:200])
    assert "damaged" in shell.fails("evaluate", "run=runs/none")


def test_a_checkpoint_of_another_network_is_one_line(there: Path, shell: Shell):
    path = there / "runs/none/config.yaml"
    path.write_text(path.read_text().replace("- 8\n", "- 9\n"))
    assert "does not fit" in shell.fails("evaluate", "run=runs/none")


@pytest.mark.parametrize("command", ["evaluate", "export", "report"])
def test_another_configuration_than_was_trained_is_refused(there: Path, shell: Shell, command: str):
    path = there / "runs/none/config.yaml"
    path.write_text(path.read_text().replace("v_threshold: 1.0\n", "v_threshold: 1.5\n"))
    line = shell.fails(command, "run=runs/none")
    assert "runs/none/config.yaml is not what the run was trained with: " in line
    assert "neuron.v_threshold is 1.5, was 1.0" in line


def test_another_time_step_is_told_what_counts_steps(there: Path, shell: Shell):
    files = ("dataset=shd", "dataset.root=.", "dataset.valid_fraction=0.5", "run=runs/fine")
    for name in ("train", "test"):
        write_events(
            there / f"shd_{name}.h5",
            times=np.linspace(0, 0.4, 60),
            units=np.arange(60) * 7,
            offsets=np.arange(0, 61, 10),
            labels=np.arange(6) % 2,
            speakers=np.arange(6) % 3,
            class_names=["zero", "one"],
        )
    short = (*SHORT, "trainer.epochs=1")
    out = shell("train", *files, *short, "dataset.dt_ms=5", "augmentation.time_mask=3")
    assert "learned delays up to 24 steps (120 ms)" in out
    assert "Steps of 5 ms, where the recipe has 10: " in out
    assert "lasts 0.5 times as long. For the same times give model.max_delay=48." in out
    for step, own in (("dt_ms=5", "model.max_delay=48"), ("dt_ms=10", "seed=1")):
        out = shell("train", *files[:-1], *short, f"dataset.{step}", own, f"run=runs/{own}"[:-3])
        assert "where the recipe has" not in out
    (there / "conf/dataset").mkdir(parents=True)
    (there / "conf/dataset/mine.yaml").write_text("defaults: [shd]\ndt_ms: 5\n")
    mine = ("--config-dir=conf", "dataset=mine", *files[1:-1], *short, "run=runs/mine")
    assert "give model.max_delay=48." in shell("train", *mine)  # there is no recipe of that name
    assert "augmentation.time_mask=16." in shell(
        *("train", *files[:-1], *short, "dataset.dt_ms=5", "augmentation=standard"),
        *("run=runs/masked", "model.delays=none"),
    )


IDLE = {
    "model.recurrent_max_delay=40": "model.recurrent=null",
    "model.recurrent_dropout=0.5": "model.recurrent=null",
    "model.delays=none model.max_delay=12": "model.delays=none",
    "model.delays=none model.granularity=axonal": "model.delays=none",
    "model.delays=none schedule.until=0.5": "nothing has delays",
    "model.delays=none model.kernel_count=2": "nothing has delays",
    "model.delays=none trainer.delay_lr=0.3": "nothing has delays",
    "model.delays=fixed trainer.delay_lr=0.3": "no delay is learned",
    "schedule=constant schedule.end=1": "schedule=constant",
}


@pytest.mark.parametrize("given", IDLE)
def test_what_changes_nothing_is_told(given: str, there: Path, shell: Shell):
    typed = given.split()
    out = shell("train", *SHORT, "trainer.epochs=1", "run=runs/idle", *typed)
    assert f"{typed[-1]} changes nothing, since {IDLE[given]}." in " ".join(out.split())


def test_of_what_changes_something_nothing_is_told(there: Path, shell: Shell):
    """Delays of recurrent synapses alone are delays."""
    typed = ("model.delays=none", "model.recurrent=axonal", "model.recurrent_max_delay=9")
    typed += ("trainer.delay_lr=0.3", "schedule.until=0.5", "model.kernel_count=2")
    assert "changes nothing" not in shell(
        "train", *SHORT, "trainer.epochs=1", "run=runs/idle", *typed
    )


def test_all_recipes_have_the_time_step_that_others_are_compared_with():
    for path in (CONF / "dataset").glob("*.yaml"):
        # Images are a step each, however long.
        assert OmegaConf.load(path).get("dt_ms", RECIPE_DT_MS) == RECIPE_DT_MS, path
