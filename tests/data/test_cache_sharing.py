"""One cache for many: what is mapped stays as it is, and processes do not disturb each other."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
from cache_checks import FOLDER, assert_same, entries

from snn_delays.data import load_shd
from snn_delays.data.events import binned as cache_module

pytestmark = pytest.mark.usefixtures("no_other_cache")


def test_writing_to_what_is_mapped_leaves_the_file_alone(shd_root: Path) -> None:
    load_shd(shd_root)
    mapped = load_shd(shd_root, split="paper")
    before = [path.read_bytes() for path in entries(shd_root / FOLDER)]
    mapped.train.steps.fill_(0)
    mapped.test.labels.fill_(0)
    assert [path.read_bytes() for path in entries(shd_root / FOLDER)] == before


def test_who_has_mapped_an_entry_keeps_it_when_it_goes(shd_root: Path) -> None:
    load_shd(shd_root)
    mapped, plain = load_shd(shd_root), load_shd(shd_root, cache=False)
    shutil.rmtree(shd_root / FOLDER)
    load_shd(shd_root)
    assert_same(mapped, plain)


def _load_at(barrier: Any, root: Path, results: Any) -> None:
    barrier.wait(timeout=300)
    data = load_shd(root, split="paper")
    batch = data.train.collate(range(len(data.train)))
    results.put((batch.spikes.double().sum().item(), batch.labels.tolist()))


def test_two_processes_may_prepare_at_once(shd_root: Path) -> None:
    plain = load_shd(shd_root, split="paper", cache=False)
    # Spawned, since a forked child of a process with threads may hang. This process is the other.
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    other = context.Process(target=_load_at, args=(barrier, shd_root, results), daemon=True)
    other.start()
    try:
        barrier.wait(timeout=300)
        assert_same(load_shd(shd_root, split="paper"), plain)
        found = results.get(timeout=300)
        other.join(timeout=300)
        assert other.exitcode == 0
    finally:
        other.kill()
    batch = plain.train.collate(range(len(plain.train)))
    assert found == (batch.spikes.double().sum().item(), batch.labels.tolist())
    assert len(entries(shd_root / FOLDER)) == 2
    assert not list((shd_root / FOLDER).glob(".*.tmp"))


def test_who_comes_second_leaves_the_entry_of_the_first_alone(
    shd_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = cache_module.read_binned
    written: list[int] = []

    def while_another_reads(source: Any, **settings: Any) -> Any:
        monkeypatch.setattr(cache_module, "read_binned", read)
        load_shd(shd_root)
        written.extend(path.stat().st_ino for path in entries(shd_root / FOLDER))
        return read(source, **settings)

    monkeypatch.setattr(cache_module, "read_binned", while_another_reads)
    load_shd(shd_root)
    assert [path.stat().st_ino for path in entries(shd_root / FOLDER)] == written != []
