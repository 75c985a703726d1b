#!/usr/bin/env python
"""What conventional networks make of the same spikes: how much of a gap is due to the data.

    python scripts/study/conventional.py --root DIR [--folds 0 2 3] [--seeds 0 1 2] [--epochs 40]

A bidirectional GRU and a small CNN, with activations that are real numbers, read the logarithm of
the counts that our networks read, changed by the same ``augmentation=standard``. None of their
settings was tuned. Each is judged by speakers held out of the training file, as study.py does, and
trained on the whole of it but for 5 %, by the test file. They run on a GPU if there is one.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn import functional as F

from snn_delays.cli.model import instantiate
from snn_delays.cli.settings import CONF
from snn_delays.data import SpikeData, load_shd
from snn_delays.data.splits.change import BatchChange

BATCH, RATE = 64, 3e-3


def own_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """1 within each sample's own steps ``[T, N, 1]``."""
    return (torch.arange(len(x), device=x.device)[:, None] < lengths)[..., None].float()


class GRU(nn.Module):
    """Two layers in both directions; scores of the mean over each sample's steps."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.gru = nn.GRU(channels, 128, 2, dropout=0.4, bidirectional=True)
        self.scores = nn.Linear(256, classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = self.norm(x.flatten(0, 1)).view_as(x)
        hidden = self.gru(F.dropout(x, 0.2, self.training))[0]
        own = own_steps(x, lengths)
        return self.scores((hidden * own).sum(0) / own.sum(0))


class CNN(nn.Module):
    """Three convolutions over steps and channels, which it takes in eights; the mean over steps."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = ((1, 16, (5, 7), (1, 2)), (16, 32, (5, 5), (2, 2)), (32, 64, (5, 5), (2, 2)))
        for before, after, kernel, stride in sizes:
            padding = (kernel[0] // 2, kernel[1] // 2)
            layers += [nn.Conv2d(before, after, kernel, stride, padding), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(), nn.Dropout2d(0.1)]
            channels = (channels + 1) // 2
        self.maps = nn.Sequential(*layers)
        self.scores = nn.Linear(64 * channels, classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        maps = self.maps(x.transpose(0, 1)[:, None]).permute(2, 0, 1, 3).flatten(2)
        own = own_steps(maps, (lengths + 3) // 4)
        mean = (maps * own).sum(0) / own.sum(0)
        return self.scores(F.dropout(mean, 0.4, self.training))


NETWORKS = {"bidirectional GRU": GRU, "CNN": CNN}


def read(split: Any, indices: Sequence[int], change: BatchChange | None = None, classes: int = 0):
    """Logarithms of counts, lengths and labels."""
    batch = split.sparse(list(indices)).dense()
    if change is not None:
        batch, _ = change(batch, classes)
    return torch.log1p(batch.spikes), batch.lengths, batch.labels


@torch.no_grad()
def right(net: nn.Module, split: Any) -> Tensor:
    """Which answers are."""
    net.eval()
    found = []
    for first in range(0, len(split), 128):
        x, lengths, labels = read(split, range(first, min(first + 128, len(split))))
        found.append((net(x, lengths).argmax(1) == labels).float().cpu())
    return torch.cat(found)


def train(kind: type[nn.Module], data: SpikeData, epochs: int, seed: int, device: str) -> nn.Module:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        change = instantiate(
            "augmentation", compose("train", ["augmentation=standard"]).augmentation
        )
    split, classes = data.train.on(torch.device(device)), data.n_classes
    torch.manual_seed(seed)
    net = kind(data.n_channels, classes).to(device)
    steps = len(split) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps)
    for _ in range(epochs):
        net.train()
        order = torch.randperm(len(split)).tolist()
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            x, lengths, labels = read(split, chosen, change, classes)
            optimizer.zero_grad()
            F.cross_entropy(net(x, lengths), labels).backward()
            optimizer.step()
            rates.step()
    return net


def percent(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="the folder of shd_train.h5")
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 2, 3], help="speakers held out")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="judged by test")
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    held_out, seeds = (", ".join(map(str, one)) for one in (given.folds, given.seeds))
    print(f"| network | speakers {held_out} held out | test, seeds {seeds} | known | unseen |")
    print("| --- | --- | --- | --- | --- |")
    for name, kind in NETWORKS.items():
        held, answers = [], []
        for fold in given.folds:
            data = load_shd(given.root, valid_speakers=[fold])
            net = train(kind, data, given.epochs, fold, device)
            held.append(100 * right(net, data.valid.on(place)).mean().item())
        for seed in given.seeds:
            data = load_shd(given.root, split="stratified", valid_fraction=0.05, seed=seed)
            net = train(kind, data, given.epochs, seed, device)
            heard = torch.isin(data.test.speakers, data.train.speakers)
            found = right(net, data.test.on(place))
            answers.append(
                [100 * one.mean().item() for one in (found, found[heard], found[~heard])]
            )
        judged = map(percent, zip(*answers, strict=True)) if answers else ["–"] * 3
        cells = [" ".join(f"{one:.1f}" for one in held) or "–", *judged]
        print(f"| {' | '.join([name, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
