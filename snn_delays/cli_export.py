"""``snn-delays-export``: a trained run as a delay table, what that costs, and the proof."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, ListConfig

from snn_delays.atomic import write_atomically
from snn_delays.checkpoint import RunFolder
from snn_delays.cli_command import command
from snn_delays.cli_export_view import print_report
from snn_delays.cli_runs import load_run
from snn_delays.data import SpikeData, Split
from snn_delays.errors import UsageError
from snn_delays.export import read_table, write_table
from snn_delays.export.chips import load_chip
from snn_delays.export.deployment import Deployment, DeploySettings, deploy
from snn_delays.export.deployment_report import deployment_report
from snn_delays.export.formats import FORMATS, write_verified
from snn_delays.export.nest_check import compare_with_nest
from snn_delays.export.sample import write_sample
from snn_delays.export.simulator import predict, simulate
from snn_delays.export.table import DelayTable

log = logging.getLogger("snn_delays")
# Share of spikes that rounding in the last bit may tip over the threshold: between torch, in
# single precision, and the simulator; between the simulator and NEST, which sums in another order.
MAX_DIFFERING = 1e-5
MAX_DIFFERING_NEST = 1e-4


def export() -> None:
    """Entry point of ``snn-delays-export``."""
    command("snn-delays-export", "export", _export)


def _export(cfg: DictConfig) -> None:
    settings, formats = _settings(cfg), _formats(cfg.formats)
    run, folder = RunFolder(Path(str(cfg.run))), Path(str(cfg.folder))
    config, data, net = load_run(run, cfg.checkpoint, cfg.root)
    origin = _origin(run, cfg.checkpoint)
    _require_free(folder, origin, bool(cfg.force))
    net.eval()
    deployment = deploy(
        net,
        settings,
        dt_ms=data.dt_ms,
        class_names=data.class_names,
        samples=_calibration(data, cfg.calibration),
        largest_count=_largest_count(data.test, settings),
    )
    if cfg.verify == "nest":
        _require_float(deployment.table)
    # The claim goes first: what an interrupted export leaves behind is still this run's.
    _write_json(folder / "report.json", {"origin": origin})
    path = folder / "delays.h5"
    write_table(deployment.table, path)
    table = read_table(path)
    write_verified(table, folder, formats)
    counts = data.test.collate([0]).spikes[:, 0].numpy()
    simulation = simulate(table, counts)
    answer = predict(simulation, table.readout)
    write_sample(folder / "sample.npz", counts, int(data.test.labels[0]), simulation, answer)
    synapses = sum(len(layer.synapses) for layer in table.layers)
    also = "".join(f", {name}/" for name in formats)
    size = path.stat().st_size
    log.info(f"{path}{also}: {synapses:,} synapses, {size / 1e6:.2f} MB, read back.")
    if cfg.verify is not False:
        report = {"origin": origin, "table_file_bytes": size}
        report |= _proof(deployment, table, data, settings, config.trainer.batch_size)
        if cfg.verify == "nest":
            report["nest"] = _nest(table, data.test, cfg.verify_samples)
        _write_json(folder / "report.json", report)
        log.info(f"→ {folder / 'report.json'}")


def _settings(cfg: DictConfig) -> DeploySettings:
    choices = {
        "scale": ("layer", "neuron", None),
        "delays": ("refuse", "clip", "rescale"),
        "leak": ("multiplier", "shift"),
        "verify": ("simulator", "nest", False),
        "fixed_point": (True, False),
        "force": (True, False),
    }
    for name, known in choices.items():
        if cfg[name] not in known:
            words = ", ".join("null" if one is None else str(one).lower() for one in known)
            raise UsageError(f"{name} must be one of {words}; got {cfg[name]!r}.")
    for name, least in (("calibration", 0), ("verify_samples", 1)):
        if not isinstance(cfg[name], int) or cfg[name] < least:
            raise UsageError(f"{name} must be a whole number >= {least}, got {cfg[name]!r}.")
    if cfg.chip is None and cfg.delays != "refuse":
        raise UsageError(f"delays={cfg.delays} is for a chip's limits: give chip=NAME as well.")
    return DeploySettings(
        bits=cfg.bits,
        # Chips whose neurons share one threshold are not rare.
        scale=cfg.scale or ("neuron" if cfg.chip is None else "layer"),
        chip=None if cfg.chip is None else load_chip(str(cfg.chip)),
        delays=cfg.delays,
        fixed_point=cfg.fixed_point,
        leak=cfg.leak,
        decay_shift=cfg.decay_shift,
        weight_shift=cfg.weight_shift,
    )


def _formats(given: Any) -> list[str]:
    if given == "all":
        return list(FORMATS)
    formats = [str(one) for one in given] if isinstance(given, ListConfig) else [str(given)]
    for one in formats:
        if one not in FORMATS:
            raise UsageError(
                f"formats must be of {', '.join(FORMATS)}, in brackets, or all; got {one!r}."
            )
    return formats


def _origin(run: RunFolder, checkpoint: str) -> dict[str, str]:
    """Which run a table comes from, wherever its folder may have been moved."""
    digest = hashlib.sha256(run.config.read_bytes()).hexdigest()
    return {"run": str(run.path.resolve()), "config_sha256": digest, "checkpoint": checkpoint}


def _require_free(folder: Path, origin: dict[str, str], force: bool) -> None:
    if force or not (folder / "delays.h5").exists():
        return
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))["origin"]
        same = any(found[key] == origin[key] for key in ("run", "config_sha256"))
        whose = f"the export of {found['run']}"
    except (OSError, ValueError, KeyError, TypeError):
        same, whose = False, "an export that does not say whose it is"
    if not same:
        raise UsageError(
            f"{folder} holds {whose}. Choose another folder=DIR, or overwrite it: force=true."
        )


def _calibration(data: SpikeData, count: int) -> list[NDArray[np.float32]]:
    """Recordings of the training split, evenly spread over it."""
    total = len(data.train)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
    return [data.train.collate([index]).spikes[:, 0].numpy() for index in chosen]


def _largest_count(split: Split, settings: DeploySettings) -> int | None:
    """Most spikes per step and channel, where the chip minds."""
    if settings.chip is None or settings.chip.neuron.multiple_input_spikes is not False:
        return None
    parts = (split.collate(range(at, min(at + 64, len(split)))) for at in range(0, len(split), 64))
    return int(max(float(batch.spikes.max()) for batch in parts))


def _require_float(table: DelayTable) -> None:
    if any(layer.integer for layer in table.layers):
        raise UsageError(
            "verify=nest: NEST's neurons are floating-point ones, the table's are integer ones. "
            "Use verify=simulator, or export with float neurons."
        )


def _proof(
    deployment: Deployment,
    table: DelayTable,
    data: SpikeData,
    settings: DeploySettings,
    batch_size: int,
) -> dict[str, Any]:
    report, agreement = deployment_report(
        deployment,
        table,
        data.test,
        settings.chip,
        batch_size=batch_size,
        progress=lambda what: log.info(f"measuring: {what}"),
    )
    print_report(report, data.dt_ms)
    needed: list[int] = report["membrane_bits"] or []
    exact = bool(needed)
    log.info(
        f"The table's spikes against the network's: {agreement.spikes_differing} of "
        f"{agreement.spikes_total:,} differ"
        + ("" if exact else " (float ties)")
        + f", {agreement.predictions_differing} of {agreement.samples} answers."
    )
    bits = settings.chip.membrane.bits if settings.chip else None
    if exact and bits is not None and max(needed) > bits:
        raise UsageError(
            f"potentials need {max(needed)} bits, the chip has {bits}. Use fewer bits for weights."
        )
    limit = 0 if exact else MAX_DIFFERING * agreement.spikes_total
    if agreement.spikes_differing > limit or (exact and agreement.potentials_max_difference):
        raise UsageError(
            f"{agreement.spikes_differing} of {agreement.spikes_total:,} spikes differ between the "
            "table and the network. Do not deploy this table; please report it with the run's "
            "config.yaml."
        )
    return report


def _nest(table: DelayTable, split: Split, count: int) -> dict[str, Any]:
    """The first test samples in NEST, spike by spike."""
    chosen = range(min(count, len(split)))
    samples = [split.collate([index]).spikes[:, 0].numpy() for index in chosen]
    log.info(f"measuring: {len(samples)} samples in NEST")
    agreement = compare_with_nest(table, samples)
    log.info(
        f"NEST against the simulator, {agreement.samples} samples: {agreement.spikes_differing} of "
        f"{agreement.spikes_total:,} spikes differ, {agreement.predictions_differing} answers; "
        f"NEST's latency of {agreement.latency_steps} steps taken off; "
        f"{agreement.seconds:.1f} s."
    )
    if agreement.spikes_differing > MAX_DIFFERING_NEST * agreement.spikes_total:
        raise UsageError(
            f"{agreement.spikes_differing} of {agreement.spikes_total:,} spikes differ between "
            "NEST and the table. Do not deploy this table; please report it."
        )
    return asdict(agreement)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
