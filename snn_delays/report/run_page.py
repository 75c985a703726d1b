"""A run's page: what was trained, what it learned, what it answers, what it costs."""

from __future__ import annotations

from collections.abc import Callable

from snn_delays.report.page.document import Page, Section
from snn_delays.report.sections.answers import answers
from snn_delays.report.sections.chips import chips
from snn_delays.report.sections.delays import delays
from snn_delays.report.sections.firing import firing
from snn_delays.report.sections.kernels import kernels
from snn_delays.report.sections.positions import positions
from snn_delays.report.sections.robustness import robustness
from snn_delays.report.sections.samples import samples
from snn_delays.report.sections.training import about, learning
from snn_delays.report.trained import Trained
from snn_delays.report.words import percent

# In the order of the page; each gives nothing where it has nothing to say.
SECTIONS: dict[str, Callable[[Trained], Section | None]] = {
    "about": about,
    "learning": learning,
    "delays": delays,
    "kernels": kernels,
    "positions": positions,
    "answers": answers,
    "samples": samples,
    "firing": firing,
    "robustness": robustness,
    "chips": chips,
}


def run_page(run: Trained, say: Callable[[str], None] = lambda what: None) -> Page:
    """The page of one run.

    Args:
        say: called with the name of each section before it is made.
    """
    found = []
    for name, make in SECTIONS.items():
        say(name)
        if section := make(run):
            found.append(section)
    return Page(
        f"Run {run.name}",
        f"{run.described}. Network of the {run.checkpoint} epoch ({run.epoch}).",
        found,
        _numbers(run),
        "Made by snn-delays-report. Scores are those with delays rounded, as exported, unless they "
        "say otherwise.",
    )


def _numbers(run: Trained) -> list[tuple[str, str, str]]:
    summary, metric = run.summary, run.metric
    test, valid = (summary[run.checkpoint][name] for name in ("test", "validation"))
    synapses = summary["exported_synapses"][run.checkpoint]
    return [
        (f"test {metric}", percent(test["rounded"][metric]), "delays rounded"),
        (f"test {metric}", percent(test["float"][metric]), "σ-kernels"),
        (f"validation {metric}", percent(valid["rounded"][metric]), "delays rounded"),
        ("by chance", percent(run.chance), ""),
        ("parameters", f"{summary['parameters']:,}", ""),
        ("synapses", "–" if synapses is None else f"{synapses:,}", "in the delay table"),
        ("an epoch takes", f"{summary['seconds_per_epoch']:.1f} s", ""),
    ]
