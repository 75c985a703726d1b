"""A page of pictures of a data set: what its recordings look like, and how they are spread."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator

from snn_delays.data import SpikeData, Split
from snn_delays.report.figure import saved_figure, whole_numbers

_COLOURS = {"train": "#4477aa", "validation": "#ccbb44", "test": "#ee6677"}
_PER_CLASS = 3
# Recordings of each split that the means over time and over counts are taken from.
_SAMPLED = 2_000
_BATCH = 64
# Above this, speakers are counted by how many recordings they have.
_MOST_SPEAKERS = 40


def draw_page(data: SpikeData, path: Path, *, title: str, seed: int = 0) -> None:
    """Write a PNG page: rasters of some recordings of each class, and five distributions.

    Args:
        data: of any loader.
        title: stands on top.
        seed: of which recordings are shown, and which are counted where all would be too many.
    """
    splits = _splits(data)
    rng = np.random.default_rng(seed)
    columns = min(data.n_classes, 5 if data.n_classes <= 20 else 7)
    rows = math.ceil(data.n_classes / columns)
    tops = 0.4 + 1.45 * rows
    with saved_figure(path, 13, tops + 6.4, dpi=110) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[tops, 6.0]).flat
        _draw_rasters(upper, data, rows, columns, rng)
        middle, bottom = lower.subfigures(2, 1, squeeze=False).flat
        time, bins, duration = middle.subplots(1, 3)
        classes, speakers = bottom.subplots(1, 2, width_ratios=[1.5, 1])
        found = {name: _statistics(split, rng) for name, split in splits.items()}
        what = "spikes" if all(one.counts for one in found.values()) else "input"
        _draw_over_time(time, found, what, data.dt_ms)
        _draw_bins(bins, found, what)
        _draw_durations(duration, splits, data.dt_ms)
        _draw_classes(classes, splits, data.class_names)
        _draw_speakers(speakers, splits, data.speaker_sex)


def _splits(data: SpikeData) -> dict[str, Split]:
    """Those that differ: validation on the test recordings is the test split again."""
    splits = {"train": data.train, "validation": data.valid, "test": data.test}
    if not data.clean_split:
        del splits["validation"]
    return splits


def _draw_rasters(
    figure: SubFigure, data: SpikeData, rows: int, columns: int, rng: np.random.Generator
) -> None:
    """One panel per class: some of its training recordings one after the other, on one scale."""
    labels, lengths = data.train.labels.numpy(), data.train.lengths.numpy()
    of_class = [np.flatnonzero(labels == label) for label in range(data.n_classes)]
    chosen = [rng.permutation(one)[:_PER_CLASS] for one in of_class]
    steps = int(lengths[np.concatenate(chosen)].max(initial=1))
    starts = [place * steps for place in range(_PER_CLASS)]
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for label, axis in enumerate(axes.flat):
        if label >= data.n_classes:
            axis.set_visible(False)
            continue
        axis.set_title(data.class_names[label], fontsize=9, fontweight="bold", pad=3)
        for place, index in enumerate(chosen[label]):
            counts = data.train.collate([int(index)]).spikes[:, 0].numpy().T
            largest = max(float(counts.max(initial=0)), 1e-12)
            axis.imshow(
                np.sqrt(np.maximum(counts, 0) / largest),
                **{"cmap": "Greys", "vmin": 0, "vmax": 1, "interpolation": "antialiased"},
                origin="lower",
                aspect="auto",
                extent=(starts[place], starts[place] + counts.shape[1], 0, data.n_channels),
            )
        for start in starts[1:]:
            axis.axvline(start, color="0.8", linewidth=0.8)
        axis.set(xlim=(0, _PER_CLASS * steps), ylim=(0, data.n_channels))
        axis.set_xticks(starts, ["0"] * _PER_CLASS)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    what = f"up to {_PER_CLASS} training recordings of each class, each from its own 0 to"
    figure.supxlabel(f"{what} {steps * data.dt_ms / 1000:.2f} s", fontsize=9)
    figure.supylabel("channel", fontsize=9)


@dataclass(frozen=True)
class _Statistics:
    """Mean spikes per recording in each step; shares of cells (step × channel) by their value."""

    per_step: np.ndarray
    values: np.ndarray
    shares: np.ndarray

    @property
    def counts(self) -> bool:
        """Whether the input is spikes; else it is a current."""
        return bool((self.values > 0).all() and (self.values % 1 == 0).all())


def _statistics(split: Split, rng: np.random.Generator) -> _Statistics:
    some = np.sort(rng.permutation(len(split))[:_SAMPLED])
    per_step = np.zeros(int(split.lengths[some].max()))
    cells: Counter[float] = Counter()
    total = 0
    for first in range(0, len(some), _BATCH):
        batch = split.collate(some[first : first + _BATCH])
        spikes = batch.spikes.numpy()
        per_step[: len(spikes)] += spikes.sum((1, 2), dtype=np.float64)
        total += int(batch.lengths.sum()) * split.n_channels
        # To half a spike: input may be a current, and then there is no end of different values.
        values, counts = np.unique(np.rint(2 * spikes[spikes != 0]) / 2, return_counts=True)
        cells.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    values = np.array(sorted(cells))
    shares = np.array([cells[value] for value in values]) / total
    return _Statistics(per_step / len(some), values, shares)


def _draw_over_time(axis: Axes, found: dict[str, _Statistics], what: str, dt_ms: float) -> None:
    for name, statistics in found.items():
        seconds = (np.arange(len(statistics.per_step)) + 0.5) * dt_ms / 1000
        axis.plot(seconds, statistics.per_step, color=_COLOURS[name], label=name, linewidth=1.4)
    axis.set(title="when they fire" if what == "spikes" else "input over time")
    axis.set(xlabel="time (s)", ylabel=f"{what} per step of {dt_ms:g} ms", xlim=(0, None))
    if what == "spikes":
        axis.set_ylim(0)
    axis.legend()


def _draw_bins(axis: Axes, found: dict[str, _Statistics], what: str) -> None:
    for name, statistics in found.items():
        shares, style = 100 * statistics.shares, {"color": _COLOURS[name], "linewidth": 1}
        label = f"{name}: {abs(100 - shares.sum()):.1f} % silent"
        axis.plot(statistics.values, shares, "o-", markersize=3, label=label, **style)
    axis.set(title=f"{what} per bin (step × channel)", xlabel=f"{what} in a bin")
    axis.set(ylabel="share of bins (%)", yscale="log")
    if what == "spikes":
        axis.set_xlim(0)
    whole_numbers(axis.xaxis)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.legend()


def _draw_durations(axis: Axes, splits: dict[str, Split], dt_ms: float) -> None:
    seconds = {name: split.lengths.numpy() * dt_ms / 1000 for name, split in splits.items()}
    edges = np.linspace(0, max(float(of.max()) for of in seconds.values()), 41)
    for name, of in seconds.items():
        counts, _ = np.histogram(of, edges)
        axis.stairs(100 * counts / len(of), edges, color=_COLOURS[name], linewidth=1.4)
        axis.axvline(float(np.median(of)), color=_COLOURS[name], linewidth=0.8, linestyle=":")
    axis.set(title="duration (median dotted)", xlim=(0, None))
    axis.set(xlabel="last spike (s)", ylabel="recordings (%)")


def _draw_classes(axis: Axes, splits: dict[str, Split], class_names: Sequence[str]) -> None:
    labels = {name: split.labels.numpy() for name, split in splits.items()}
    _stack(axis, labels, np.arange(len(class_names)), list(class_names))
    axis.set(title="recordings per class", ylabel="recordings")
    above: dict[str, Any] = {
        "ncols": 3,
        "loc": "lower right",
        "bbox_to_anchor": (1, 1),
        "borderaxespad": 0,
    }
    axis.legend([f"{name}: {len(split):,}" for name, split in splits.items()], **above)


def _draw_speakers(axis: Axes, splits: dict[str, Split], speaker_sex: dict[int, str]) -> None:
    known = {name: split.speakers[split.speakers >= 0].numpy() for name, split in splits.items()}
    everybody = np.unique(np.concatenate(list(known.values())))
    if not len(everybody):
        axis.set_axis_off()
        axis.text(0.5, 0.5, "speakers unknown", ha="center", color="0.5")
        return
    if len(everybody) <= _MOST_SPEAKERS:
        names = [f"{who}{speaker_sex.get(int(who), '')[:1]}" for who in everybody]
        _stack(axis, known, everybody, names)
        sexes = ", ".join(f"{sex[:1]}: {sex}" for sex in sorted(set(speaker_sex.values())))
        axis.set(title="recordings per speaker", ylabel="recordings")
        axis.set_xlabel(f"speaker ({sexes})" if sexes else "speaker")
        return
    for name, of in known.items():
        if len(of):
            each = np.unique(of, return_counts=True)[1]
            axis.ecdf(each, complementary=True, color=_COLOURS[name], label=f"{len(each)} speakers")
    axis.set(title=f"recordings per speaker ({len(everybody):,} speakers)", ylim=(0, 1))
    axis.set(xlabel="at least so many recordings", ylabel="share of speakers", xscale="log")
    axis.legend()


def _stack(axis: Axes, found: dict[str, np.ndarray], kinds: np.ndarray, names: list[str]) -> None:
    """Bars of how many of each kind the splits have, one upon the other."""
    places, bottom = np.arange(len(names)), np.zeros(len(names))
    for split, of in found.items():
        counts = (of[:, None] == kinds).sum(0)
        axis.bar(places, counts, 0.8, bottom, color=_COLOURS[split])
        bottom += counts
    whole_numbers(axis.yaxis)
    long = sum(map(len, names)) > 70
    axis.set_xticks(places, names, rotation=90 if long else 0)
    axis.set_xlim(-0.6, len(names) - 0.4)
