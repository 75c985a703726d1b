"""A run's numbers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
from typing import Any

import torch
from torch import nn

from snn_delays.data import SpikeData
from snn_delays.deploy import integer_table
from snn_delays.errors import UsageError
from snn_delays.evaluation import Evaluation, evaluate
from snn_delays.layers.networks import delay_layers, rounded

PACKAGES = ("snn-delays", "torch", "spikingjelly", "lightning-fabric", "numpy", "h5py")


def kind_of_delays(net: nn.Module) -> str:
    """``learned``, ``fixed`` or ``none``."""
    delays = [own for one in delay_layers(net) if one.max_delay for own in one.stored_places()]
    learned = any(one is None or one.requires_grad for one in delays)
    return ("learned" if learned else "fixed") if delays else "none"


def accuracies(net: nn.Module, data: SpikeData, batch_size: int) -> dict[str, Any]:
    """Scores on validation and test, with σ-kernels (``float``) and with delays ``rounded``.

    On test also for speakers of the training recordings and for the others, where these are known.
    """
    deployed = rounded(net)
    result: dict[str, Any] = {}
    for name, split in (("validation", data.valid), ("test", data.test)):
        result[name] = {
            "float": by_speaker(evaluate(net, split, batch_size), data),
            "rounded": by_speaker(evaluate(deployed, split, batch_size), data),
        }
    return result


def by_speaker(evaluation: Evaluation, data: SpikeData) -> dict[str, float | None]:
    """Score of all samples, of those of speakers known before the test, and of the others."""
    # Those of validation, which chose the epoch, are known too, unless that was the test set.
    before = [data.train, data.valid] if data.clean_split else [data.train]
    known = torch.isin(evaluation.speakers, torch.cat([split.speakers for split in before]))
    named = evaluation.speakers >= 0
    return {
        evaluation.task.metric: evaluation.score,
        "known_speakers": _number(evaluation.score_where(known & named)),
        "unseen_speakers": _number(evaluation.score_where(~known & named)),
    }


def asked(data: SpikeData) -> dict[str, Any]:
    """What the task's score is called, and what it is on the test set by chance."""
    chance = data.task.chance(data.test.labels, data.n_classes)
    return {"metric": data.task.metric, "chance": chance}


def exported_synapses(net: nn.Module, dt_ms: float) -> int | None:
    """How many synapses the delay table has; ``None`` for a network that cannot be exported."""
    try:
        return integer_table(net, dt_ms=dt_ms).synapses
    except UsageError:
        return None


def test_set(data: SpikeData) -> dict[str, Any]:
    """What tells test sets apart: number of recordings, digest of classes, labels and speakers.

    The digest depends neither on ``dt_ms`` nor on how channels are pooled.
    """
    split = data.test
    asked = [list(data.class_names), split.labels.tolist(), split.speakers.tolist()]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return {"samples": len(split), "sha256": digest}


def known_by(data: SpikeData) -> dict[str, str]:
    """What tells the data of a run apart: of every split how many recordings it has, and a digest
    of their labels, speakers and steps."""
    found = {}
    for name in ("train", "valid", "test"):
        split = getattr(data, name)
        columns = [one.tolist() for one in (split.labels, split.speakers, split.lengths)]
        digest = hashlib.sha256(json.dumps([list(data.class_names), *columns]).encode()).hexdigest()
        found[name] = f"{len(split)} recordings, SHA-256 {digest[:16]}"
    return found


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def _number(value: float) -> float | None:
    """NaN has no place in JSON."""
    return None if math.isnan(value) else value
