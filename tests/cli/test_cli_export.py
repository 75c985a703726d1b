"""``snn-delays-export``: tables, chips, formats, reports, and what is never overwritten."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typed_commands import Shell

from snn_delays.cli import export as cli_export
from snn_delays.deploy import load_table
from snn_delays.deploy.deployment import Deployment
from snn_delays.deploy.folder import ExportFolder
from snn_delays.errors import UsageError
from snn_delays.table import read_table
from snn_delays.table.equality import same_network
from snn_delays.table.formats import read_csv, read_nir, read_pynn, read_sonata
from snn_delays.table.table import DelayTable


def report_of(folder: Path | str) -> dict[str, Any]:
    return json.loads((Path(folder) / "report.json").read_text())


@pytest.mark.parametrize("delays", ["learned", "none"])
def test_a_table_that_its_simulator_confirms(there: Path, shell: Shell, delays: str):
    out = shell("export", f"run=runs/{delays}")
    folder = there / f"runs/{delays}/export"
    table = read_table(folder / "delays.h5")
    assert list(table.order) == list(report_of(folder)["populations"]) == ["hidden0", "readout"]
    assert (folder / "csv/hidden0_to_readout.csv").is_file()
    assert ": 0 of" in out
    assert "0 of 32 answers" in out
    report = report_of(folder)
    names = [stage["name"] for stage in report["stages"]]
    assert names == ["as trained (σ-kernels)", "delays rounded", "simulated from the file"]
    summary = json.loads((there / f"runs/{delays}/summary.json").read_text())["best"]["test"]
    assert report["stages"][0]["accuracy"] == summary["float"]["accuracy"]
    assert report["stages"][2]["accuracy"] == summary["rounded"]["accuracy"]
    assert report["stages"][2]["changed"] == report["agreement"]["spikes_differing"] == 0
    for one in table.projections:
        row = report["projections"][one.name]
        assert row["synapses"] == sum(row["delay_histogram"]) == len(one)
        if delays == "none":
            assert (one.delay == 0).all()
            assert row["events_in_flight_max"] == 0


def test_integers_only_agree_to_the_bit(there: Path, shell: Shell):
    out = shell(
        *("export", "run=runs/learned", "bits=5", "scale=neuron", "fixed_point=true"),
        *("leak=shift", "folder=whole"),
    )
    report = report_of("whole")
    assert [stage["name"] for stage in report["stages"]][2:] == [
        "5-bit weights",
        "integer neurons",
        "simulated from the file",
    ]
    assert report["agreement"]["potentials_max_difference"] == 0
    assert report["agreement"]["spikes_differing"] == 0
    assert report["agreement"]["spikes_total"] > 10
    assert "Integer potentials took" in out
    table = read_table("whole/delays.h5")
    assert all(one.integer for one in table.populations)
    assert max(int(np.abs(one.weight).max()) for one in table.projections) == 15
    assert load_table("whole/delays.h5").input_channels == 12


def test_every_format_is_the_same_network(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "formats=all", "folder=every", "verify=false")
    table = read_table("every/delays.h5")
    readers = {"csv": read_csv, "pynn": read_pynn, "sonata": read_sonata, "nir": read_nir}
    for name, read in readers.items():
        assert same_network(read(Path("every") / name), table) is None
    with np.load("every/sample.npz") as sample:
        assert sample["counts"].shape[1] == 12


@pytest.mark.parametrize(
    ("chip", "latency", "weights"),
    [("loihi2", 0, np.int8), ("spinnaker1", 2, np.int16), ("nest", 2, np.float32)],
)
def test_chips(there: Path, shell: Shell, chip: str, latency: int, weights: type):
    out = shell("export", "run=runs/learned", f"chip={chip}", f"folder={chip}")
    report, table = report_of(chip), read_table(f"{chip}/delays.h5")
    assert report["chip"]["name"] == chip
    assert report["chip"]["latency_steps"] == latency
    assert report["chip"]["clipped_share"] == 0
    assert report["stages"][-2]["name"] == f"adapted to {chip}"
    assert {one.weight.dtype for one in table.projections} == {np.dtype(weights)}
    assert min(int(one.delay.min()) for one in table.projections) >= latency // 2
    assert f"{chip}: latency + {latency} steps" in out


def test_a_chip_with_short_delays_is_never_silent(there: Path, shell: Shell):
    line = shell.fails("export", "run=runs/learned", "chip=spinnaker2", "folder=short")
    assert "synapses have delays above the 8 steps of spinnaker2" in line
    assert not Path("short").exists()
    for how, factor in (("clip", 1), ("rescale", 7 / 24)):
        out = shell(
            *("export", "run=runs/learned", "chip=spinnaker2", f"delays={how}"),
            *("folder=short", "verify=simulator"),
        )
        chip = report_of("short")["chip"]
        assert chip["rescaled_by"] == pytest.approx(factor, abs=0.02)
        assert (chip["clipped_share"] > 0.3) == (how == "clip")
        assert "delays clipped" in out
        table = read_table("short/delays.h5")
        assert max(int(one.delay.max()) for one in table.projections) == 8


def test_a_chip_of_ones_own(there: Path, shell: Shell):
    from snn_delays.table.chips.profile import FOLDER

    mine = (FOLDER / "generic.toml").read_text().replace('name = "generic"', 'name = "mine"')
    Path("mine.toml").write_text(mine)
    assert "mine: latency + 0 steps" in shell(
        "export", "run=runs/learned", "chip=mine.toml", "folder=own"
    )


def test_another_runs_export_is_not_overwritten(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "folder=kept", "verify=false")
    before = Path("kept/delays.h5").read_bytes()
    line = shell.fails("export", "run=runs/none", "folder=kept")
    assert "kept holds the export of" in line
    assert "force=true" in line
    assert Path("kept/delays.h5").read_bytes() == before
    shell("export", "run=runs/learned", "folder=kept", "verify=false", "bits=4")
    assert Path("kept/delays.h5").read_bytes() != before
    shell("export", "run=runs/none", "folder=kept", "verify=false", "force=true")
    Path("kept/report.json").write_text("{}")
    line = shell.fails("export", "run=runs/none", "folder=kept")
    assert "and no report.json that says whose they are" in line


def test_a_run_that_moved_keeps_its_export(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "folder=here", "verify=false")
    Path("runs/learned").rename("runs/moved")
    shell("export", "run=runs/moved", "folder=here", "verify=false")


def test_a_copy_of_a_run_is_another_run(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "folder=here", "verify=false")
    shell("export", "run=runs/learned", "verify=false")
    shutil.copytree("runs/learned", "runs/copy")
    line = shell.fails("export", "run=runs/copy", "folder=here", "verify=false")
    assert "here holds the export of" in line
    # The export inside the copy is the copy's own.
    shell("export", "run=runs/copy", "verify=false")


# Not imported to find out: NEST's OpenMP in this process breaks what torch compiles later.
@pytest.mark.skipif(find_spec("nest") is None, reason="NEST is not installed")
def test_nest_agrees(there: Path, shell: Shell):
    out = shell("export", "run=runs/learned", "verify=nest", "verify_samples=12", "folder=proof")
    nest = report_of("proof")["nest"]
    assert nest["samples"] == 12
    assert nest["spikes_total"] > 5
    assert nest["spikes_differing"] <= nest["spikes_total"] * 1e-4
    assert "NEST against the simulator, 12 samples" in out


def test_a_run_that_took_anothers_folder_is_another_run(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "folder=kept", "verify=false")
    shutil.copytree("runs/learned", "runs/old")
    config = Path("runs/learned/config.yaml")
    config.write_text(config.read_text() + "# configured anew\n")
    line = shell.fails("export", "run=runs/learned", "folder=kept", "verify=false")
    assert "runs/learned, as it was configured before. Choose another folder=DIR" in line
    shell("export", "run=runs/learned", "verify=false")
    config.write_text(config.read_text() + "# and again\n")
    shell("export", "run=runs/learned", "verify=false")  # in its own folder


def test_an_export_that_came_meanwhile_is_not_overwritten(there: Path):
    origins = [{"run": f"/runs/{name}", "config_sha256": name} for name in "ab"]
    folder = ExportFolder(Path("kept"))

    def export(number: int) -> None:
        with folder.replacing(origins[number], force=False) as made:
            if number == 0:
                export(1)
            (made / "report.json").write_text(json.dumps({"origin": origins[number]}))

    with pytest.raises(UsageError, match="holds the export of /runs/b"):
        export(0)
    assert json.loads(Path("kept/report.json").read_text())["origin"] == origins[1]
    assert not list(Path().glob(".kept*"))


def test_an_export_that_is_killed_leaves_no_report(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """Half of an export never looks like a whole one, and what was there can be found."""
    shell("export", "run=runs/learned", "formats=all", "folder=kept", "verify=false")
    code = (
        "import os, pathlib, sys\nreal, calls = pathlib.Path.rename, []\n"
        "def rename(self, target):\n    calls.append(1)\n"
        "    return os._exit(9) if len(calls) == 5 else real(self, target)\n"
        "pathlib.Path.rename = rename\nfrom snn_delays.cli.export import export\nexport()"
    )
    command = [sys.executable, "-c", code, "run=runs/learned", "folder=kept", "verify=false"]
    done = subprocess.run(command, capture_output=True, timeout=800, check=False)
    assert done.returncode == 9
    assert not Path("kept/report.json").exists()
    line = shell.fails("export", "run=runs/learned", "folder=kept", "verify=false")
    assert "an export that was killed has left files in .kept." in line
    (left,) = Path().glob(".kept.*.tmp/old")
    assert (left / "report.json").is_file()


def test_files_of_ones_own_stay(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "folder=kept", "formats=[csv,pynn]", "verify=false")
    for name in ("csv", "pynn"):
        Path(f"kept/{name}/notes.txt").write_text(name)
    shell("export", "run=runs/learned", "folder=kept", "verify=false")
    assert Path("kept/csv/notes.txt").read_text() == "csv"
    assert [path.name for path in Path("kept/pynn").iterdir()] == ["notes.txt"]


def test_a_wrong_readout_is_never_written(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """The proof sees what no hidden spike tells of."""
    real = cli_export.deploy

    def wrong(*arguments: Any, **settings: Any) -> Deployment:
        made = real(*arguments, **settings)
        *others, last = made.table.projections
        reversed_ = replace(last, weight=last.weight[::-1].copy())
        return replace(made, table=replace(made.table, projections=(*others, reversed_)))

    monkeypatch.setattr(cli_export, "deploy", wrong)
    line = shell.fails("export", "run=runs/learned", "folder=mistake")
    assert "and the readout by up to" in line
    assert not Path("mistake").exists()


def test_a_number_that_no_spike_tells_of_is_never_written(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    """A weight's last digit, in the table and in what a file of it reads back as."""
    real, read = cli_export.deploy, cli_export.read_table

    def nudged(table: DelayTable) -> DelayTable:
        first, *others = table.projections
        weight = first.weight.copy()
        weight[7] = np.nextafter(weight[7], np.float32(9))
        return replace(table, projections=(replace(first, weight=weight), *others))

    def wrong(*arguments: Any, **settings: Any) -> Deployment:
        made = real(*arguments, **settings)
        return replace(made, table=nudged(made.table))

    with monkeypatch.context() as patched:
        patched.setattr(cli_export, "deploy", wrong)
        line = shell.fails("export", "run=runs/learned", "folder=mistake")
    said = "projection input_to_hidden0: weight: 1 of"
    assert f"the table is not the network's: {said}" in line
    with monkeypatch.context() as patched:
        patched.setattr(cli_export, "read_table", lambda path: nudged(read(path)))
        line = shell.fails("export", "run=runs/learned", "folder=mistake", "verify=false")
    assert f"delays.h5 reads back as another network: {said}" in line
    assert not Path("mistake").exists()


def test_a_chip_is_reported_without_measuring_too(there: Path, shell: Shell):
    arguments = ("run=runs/learned", "chip=spinnaker2", "delays=clip", "verify=false")
    out = shell("export", *arguments, "folder=short")
    assert "delays clipped" in out
    assert "Not checked, since no public source says" in out
    assert any(report_of("short")["chip"]["clipped"].values())


def test_a_refused_export_leaves_the_last_one(there: Path, shell: Shell):
    """Proof comes first: potentials that a chip cannot hold end the command, and change nothing."""
    from snn_delays.table.chips.profile import FOLDER

    shell("export", "run=runs/learned", "folder=good", "verify=false", "formats=all")
    files = {file: file.read_bytes() for file in Path("good").rglob("*") if file.is_file()}
    text = (FOLDER / "generic.toml").read_text().replace("\nbits = 32", "\nbits = 12")
    Path("narrow.toml").write_text(text)
    line = shell.fails("export", "run=runs/learned", "folder=good", "chip=narrow.toml")
    assert "bits, the chip has 12" in line or "do not fit the 12 bits of v" in line
    assert {file: file.read_bytes() for file in Path("good").rglob("*") if file.is_file()} == files
    assert not list(Path().glob(".good*"))
    # The next one takes its place as a whole: no format of the last is left beside it.
    shell("export", "run=runs/learned", "folder=good", "verify=false", "bits=4")
    assert {path.name for path in Path("good").iterdir()} == {
        *("delays.h5", "sample.npz", "report.json", "report.html", "csv"),
    }


def test_what_somebody_else_put_there_is_not_overwritten(there: Path, shell: Shell):
    mine = Path("mine/csv/layer_0.csv")
    mine.parent.mkdir(parents=True)
    mine.write_text("my own")
    Path("mine/notes.txt").write_text("kept")
    line = shell.fails("export", "run=runs/learned", "folder=mine", "verify=false")
    assert "mine holds csv, and no report.json that says whose they are" in line
    assert mine.read_text() == "my own"
    shell("export", "run=runs/learned", "folder=mine", "verify=false", "force=true")
    assert Path("mine/notes.txt").read_text() == "kept"


def test_nest_is_asked_before_anything_is_measured(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = shell.fails("export", "run=runs/learned", "folder=mistake", "verify=nest")
    assert "NEST cannot be imported" in line
    assert "pip install 'snn-delays[verify]'" in line
    assert not Path("mistake").exists()


def test_data_that_have_moved_are_asked_for(there: Path, shell: Shell):
    """The built-in task would be made again; files of others cannot be."""
    config = Path("runs/learned/config.yaml")
    real = "_target_: snn_delays.data.load_shd\n  root: gone"
    text = re.sub(r"dataset:\n(  .*\n)+", f"dataset:\n  {real}\n", config.read_text())
    config.write_text(text)
    for command in ("export", "evaluate"):
        line = shell.fails(command, "run=runs/learned")
        assert "the run's data was in gone, and is not there. Give root=DIR" in line
    line = shell.fails("train", "run=runs/learned", "finetune=quantise")
    assert "Give dataset.root=DIR" in line


def test_an_interrupted_export_says_what_is_left(
    there: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    shell("export", "run=runs/learned", "verify=false")
    before = Path("runs/learned/export/delays.h5").read_bytes()
    monkeypatch.setattr("snn_delays.cli.export.deployment_report", stop)
    with pytest.raises(SystemExit) as stopped:
        shell("export", "run=runs/learned", "bits=4")
    assert stopped.value.code == 130
    printed = capsys.readouterr()
    assert "Interrupted. runs/learned/export is as it was." in printed.out
    assert printed.err == "snn-delays-export: interrupted\n"
    assert Path("runs/learned/export/delays.h5").read_bytes() == before


def test_what_the_simulation_leaves_out_is_said(there: Path, shell: Shell):
    out = shell("export", "run=runs/learned", "chip=spinnaker1", "folder=float")
    assert "v: floating point in the simulation, fixed point of 32 bits on the chip" in out
    assert "held in 16 bits and saturate" in out
    out = shell("export", "run=runs/learned", "chip=spinnaker1", "fixed_point=true", "folder=whole")
    assert "v: floating point" not in out
    assert "integer neurons" in out
    out = shell("export", "run=runs/learned", "chip=loihi2", "folder=loihi")
    assert "latency: 1 more per projection, whatever the delays" in out
    stages = report_of("loihi")["stages"]
    assert [row["synapses"] for row in stages] == sorted(
        (row["synapses"] for row in stages), reverse=True
    )
    assert stages[0]["synapses"] == 12 * 8 + 8 * 8 > stages[-1]["synapses"]


def test_paths_with_letters_of_any_language(there: Path, shell: Shell):
    Path("runs/learned").rename("runs/müde")
    shell("export", "run=runs/müde", "folder=für Bär", "verify=false")
    assert read_table("für Bär/delays.h5").input_channels == 12
    line = shell.fails("export", "run=runs/müde", "folder=(x)")
    assert "cannot read folder=(x)" in line
    assert """'key="value"'""" in line


def test_several_exports_want_a_folder_each(there: Path, shell: Shell):
    several = ("-m", "run=runs/learned", "bits=4,8", "verify=false", "hydra.sweep.dir=sweep")
    code, out, err = shell.ends("export", *several)
    assert code == 2
    told = [line for line in out.splitlines() if " failed: " in line]
    assert ["each needs a folder of its own" in line for line in told] == [True, True]
    assert err.splitlines()[-1] == "snn-delays-export: error: 2 of 2 jobs failed."
    shell("export", *several, "folder='${run}/export-${bits}'")
    for bits in (4, 8):
        assert (there / f"runs/learned/export-{bits}/delays.h5").is_file()


def test_a_missing_checkpoint_names_the_other_one(there: Path, shell: Shell):
    Path("runs/learned/checkpoints/best.ckpt").unlink()
    line = shell.fails("export", "run=runs/learned")
    assert "best.ckpt not found. Use checkpoint=last, or give run=DIR" in line


MISTAKES = [
    ("run=runs/learned root=elsewher", "root=elsewher: no such folder. Give the one that holds"),
    ("run=runs/learned folder=runs/learned", "runs/learned: it is a run's own folder"),
    ("run=runs/learned chip=spinnaker2", "Clip or rescale them (delays=clip, delays=rescale)"),
    ("", "run is missing: give run="),
    ("runs/learned", "settings are typed as key=value, got 'runs/learned'; did you mean run="),
    ("run=runs/learned samples=3", "no such setting: samples; did you mean verify_samples?"),
    ("run=runs/learned folder=runs/learned/config.yaml", "runs/learned/config.yaml is a file"),
    ("run=runs/learned folder=runs/learned/config.yaml/x", "runs/learned/config.yaml is a file"),
    ("run=runs/learned chip=mine.toml", "got 'mine.toml', and there is no such file"),
    (
        "run=runs/learned chip=truenorth",
        "neurons have beta 0.00497512 (share of v kept per step); the chip takes a constant away",
    ),
    ("run=runs/learned chip=truenorth", "No setting of an export changes that"),
    ("run=nowhere", "nowhere/config.yaml not found"),
    ("run=[runs/learned,runs/none]", "config.yaml not found. Give run=DIR"),
    ("run=runs/learned folder=/proc/nothing", "cannot write /proc/nothing"),
    ("run=runs/learned export.folder=x", "no such setting: export.folder; did you mean"),
    ("run=runs/learned chip=loihi9", "chip must be one of loihi1, loihi2"),
    ("run=runs/learned chip=truenorth delays=clip", "one delay per axon"),
    ("run=runs/learned bits=1", "bits must be a whole number from 2 (ternary) to 16, got 1"),
    ("run=runs/learned bits=many chip=loihi2", "bits must be a whole number from 2"),
    ("run=runs/learned bits=4.0", "bits must be a whole number from 2 (ternary) to 16, got 4.0"),
    ("run=runs/learned scale=population", "scale are for integer weights: give bits=8, or fewer."),
    ("run=runs/learned scale=population calibration=5", "calibration and scale are for integer"),
    ("run=runs/learned verify_samples=5", "verify_samples=5 is for verify=nest."),
    ("run=runs/learned leak=shift", "leak=shift is for integer neurons: give fixed_point=true"),
    ("run=runs/learned chip=loihi2 beta_shift=9", "beta_shift=9: loihi2 has its own. Leave"),
    ("run=runs/learned chip=nest bits=8 fixed_point=true", "the chip in floating point"),
    ("run=runs/learned folder=null", "folder must be a path, got None"),
    ("run=runs/learned bits=9 chip=loihi2", "bits=9: the chip has 8. Leave bits out"),
    ("run=runs/learned scale=row", "scale must be one of population, neuron, null, got 'row'"),
    ("run=runs/learned delays=clip", "delays=clip is for a chip's limits: give chip=NAME"),
    ("run=runs/learned fixed_point=true", "fixed_point=true needs integer weights: give bits=8"),
    ("run=runs/learned bits=8 fixed_point=true weight_shift=99", "weight_shift must be"),
    ("run=runs/learned bits=8 fixed_point=true leak=half", "leak must be one of multiplier"),
    ("run=runs/learned formats=[xml]", "formats must be of csv, pynn, sonata, nir"),
    ("run=runs/learned verify=brian", "verify must be one of simulator, nest, false"),
    ("run=runs/learned bits=8 fixed_point=true verify=nest", "NEST has no equal of IntLIF neurons"),
    ("run=runs/learned calibration=-1", "calibration must be a whole number >= 0, got -1"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
def test_a_mistake_ends_in_one_line(there: Path, shell: Shell, arguments: str, expected: str):
    given = arguments.split()
    if "folder=" not in arguments:
        given.append("folder=mistake")
    assert expected in shell.fails("export", *given)
    assert not Path("mistake").exists()
