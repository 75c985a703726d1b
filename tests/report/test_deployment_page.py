"""An export's page: what was checked, what it costs, and how it is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

from browser import require_drawn, require_whole
from typed_commands import Shell

from snn_delays.report.deployment.limits import partners
from snn_delays.table import read_table


def test_an_export_leaves_its_page(there: Path, shell: Shell):
    given = ("chip=spinnaker2", "delays=clip", "formats=[csv,nir]")
    assert "report.html" in shell("export", "run=runs/learned", *given)
    folder = there / "runs/learned/export"
    page = (folder / "report.html").read_text(encoding="utf-8")
    outline = require_whole(page)
    assert outline.ids[1:] == [
        *("about", "checks", "stages", "limits", "costs", "delays", "loading"),
    ]
    report = json.loads((folder / "report.json").read_text())
    last = report["stages"][-1]
    assert f"{100 * last['accuracy']:.1f} % from the file" in page
    assert "Yes: every spike is the same" in page
    assert "1 … 8</td>" in page  # the delays that it has
    assert "not known</td>" in page
    assert "csv/, nir/" in page
    for width in (1400, 380):
        require_drawn(folder / "report.html", width)


def test_the_code_of_the_page_runs(there: Path, shell: Shell, capsys):
    shell("export", "run=runs/learned")
    page = (there / "runs/learned/export/report.html").read_text(encoding="utf-8")
    blocks = [
        one.replace("&#34;", '"').replace("&gt;", ">")
        for one in re.findall(r"<code>(.*?)</code>", page, re.DOTALL)
    ]
    assert len(blocks) == 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, "report.html", "exec"), names)
    assert names["sample"]["counts"].shape[1] == names["table"].input_channels
    assert "input_to_hidden0" in capsys.readouterr().out


def test_what_was_not_checked_is_said(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "verify=false", "chip=loihi2", "delays=clip")
    page = (there / "runs/learned/export/report.html").read_text(encoding="utf-8")
    outline = require_whole(page)
    assert "nothing proves this table" in page
    assert "stages" not in outline.ids
    assert "not measured</td>" in page


def test_partners_are_counted_once(there: Path, shell: Shell):
    shell("export", "run=runs/learned", "verify=false")
    table = read_table("runs/learned/export/delays.h5")
    pairs = {
        (one.target, post): {
            (other.source, pre)
            for other in table.into(one.target)
            for pre, to in zip(other.pre, other.post, strict=True)
            if to == post
        }
        for one in table.projections
        for post in one.post
    }
    into, out = partners(table)
    assert into == max(map(len, pairs.values()))
    assert out == max(
        len(
            {
                (one.target, post)
                for one in table.projections
                if one.source == source
                for at, post in zip(one.pre, one.post, strict=True)
                if at == pre
            }
        )
        for source in ("input", *table.order)
        for pre in range(table.size(source))
    )
