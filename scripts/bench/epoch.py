"""Row f: an epoch of training on recordings in SHD's format, making of batches included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from options import Options
from published import training_step
from recipes import RECIPES, Recipe, our_step, set_both
from timing import Entry, seconds
from torch.utils.data import DataLoader

from snn_delays.data import load_shd

SIGMAS = (12.27, 0.5)  # where the published schedule begins, and where it stays
BOTH = ("ours", "published")


def epochs(options: Options) -> Iterator[Entry]:
    """(f) One pass through the training file; each batch is made once, and both learn from it.

    The last, incomplete batch is left out, as in training; statistics, validation and checkpoints
    are not part of it.
    """
    if options.root is None:
        print("(f) skipped: give --root DIR with shd_train.h5 and shd_test.h5")
        return
    data = load_shd(options.root, split="stratified")
    split = data.train
    shd = RECIPES["shd"].small() if options.small else RECIPES["shd"]
    recipe = replace(shd, sizes=(data.n_channels, *shd.sizes[1:-1], data.n_classes))
    for sigma in SIGMAS:
        torch.manual_seed(0)
        loader = DataLoader(
            split, options.batch, shuffle=True, drop_last=True, collate_fn=split.collate
        )
        entry = _epoch(loader, recipe, sigma, options)
        making = entry.values["batches"][0]
        entry.notes = {f"batches % of {name}": 100 * making / entry.median(name) for name in BOTH}
        yield entry


def _epoch(loader: DataLoader, recipe: Recipe, sigma: float, options: Options) -> Entry:
    device = options.device
    ours, theirs = recipe.ours(device), recipe.published(device)
    set_both(ours, theirs, sigma)
    our_step_ = our_step(ours)
    x, labels = recipe.batch(options.steps, options.batch, device)

    def step() -> None:
        our_step_(x, labels)

    def their_step() -> None:
        training_step(theirs, x, labels)

    step()
    their_step()
    making, our_time, their_time = 0.0, 0.0, 0.0
    began = time.perf_counter()
    for batch in loader:
        x, labels = batch.spikes.to(device), batch.labels.to(device)
        making += time.perf_counter() - began
        our_time += seconds(step, device)
        their_time += seconds(their_step, device)
        began = time.perf_counter()
    values = {"ours": [making + our_time], "published": [making + their_time], "batches": [making]}
    return Entry("f", f"epoch of {len(loader)} batches, σ = {sigma:g}", values)
