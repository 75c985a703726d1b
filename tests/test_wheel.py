"""The wheel works away from a checkout: it carries the Hydra tree and the commands."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def yaml_files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*.yaml")}


def test_an_unpacked_wheel_finds_its_configuration(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=800,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert yaml_files(site / "snn_delays/conf") == yaml_files(ROOT / "conf")
    chips = {path.name for path in (site / "snn_delays/table/chips").glob("*.toml")}
    assert chips == {path.name for path in (ROOT / "snn_delays/table/chips").glob("*.toml")}
    assert "loihi1.toml" in chips
    templates = {path.name for path in (site / "snn_delays/report/page/templates").iterdir()}
    assert templates == {"page.html", "style.css"}
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    for command in ("train", "evaluate", "export", "prepare", "encode", "simulate", "report"):
        assert (
            f"snn-delays-{command} = snn_delays.cli.commands:{command}" in entry_points.read_text()
        )
    where = "from snn_delays.cli.settings import CONF; print(CONF)"
    # From another folder, with the unpacked wheel in place of the checkout.
    done = subprocess.run(
        [
            *(sys.executable, "-c", f"from snn_delays.cli.commands import train; {where}; train()"),
            *("--cfg", "job", "dataset=shd"),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "", "HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.stdout.startswith(str(site))
    assert "hidden" in done.stdout
