"""``snn-delays-export``: a trained run as a delay table, what that costs, and the proof."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, ListConfig

from snn_delays.arguments import choice, whole_number
from snn_delays.cli.command import entry
from snn_delays.cli.export_view import print_chip, print_report
from snn_delays.cli.runs import input_range, load_run, run_folder
from snn_delays.cli.settings import path_of, typed
from snn_delays.cli.sweep import in_sweep
from snn_delays.data import SpikeData
from snn_delays.deploy.deployment import (
    Deployment,
    DeploySettings,
    calibration_samples,
    deploy,
)
from snn_delays.deploy.folder import ExportFolder
from snn_delays.deploy.quantise import require_bits
from snn_delays.deploy.verify import Agreement
from snn_delays.errors import UsageError
from snn_delays.evaluation import warn_of_rounding
from snn_delays.files.atomic import write_atomically
from snn_delays.report.deployment.numbers import chip_report, deployment_report
from snn_delays.report.deployment.page import deployment_page
from snn_delays.run.folder import RunFolder
from snn_delays.table import read_table, write_table
from snn_delays.table.chips import load_chip
from snn_delays.table.equality import same_network
from snn_delays.table.formats import FORMATS, write_verified
from snn_delays.table.simulator import predict, simulate
from snn_delays.table.simulator.nest_check import NestAgreement, compare_with_nest, require_nest
from snn_delays.table.simulator.trials import write_sample
from snn_delays.table.table import DelayTable

log = logging.getLogger("snn_delays")
# Share of spikes that rounding in the last bit may tip over the threshold: between torch, in
# single precision, and the simulator; between the simulator and NEST, which sums in another order.
MAX_DIFFERING = 1e-5
MAX_DIFFERING_NEST = 1e-4
_CHOICES = {
    "scale": ("population", "neuron", None),
    "delays": ("refuse", "clip", "rescale"),
    "leak": ("multiplier", "shift"),
    "verify": ("simulator", "nest", False),
}


def _export(cfg: DictConfig) -> None:
    run = RunFolder(run_folder(cfg.run))
    settings, formats = _settings(cfg), _formats(cfg.formats)
    folder = ExportFolder(path_of(cfg, "folder"))
    if in_sweep() and "folder" not in typed():
        raise UsageError(
            "of several exports (-m) each needs a folder of its own: give one that names what "
            "differs, such as folder='${run}/export-${bits}'."
        )
    config, data, net = load_run(run, cfg.checkpoint, cfg.root, trust=cfg.trust)
    origin = _origin(run, cfg.checkpoint)
    folder.require_free(origin, force=cfg.force)
    net.eval()
    graded, largest_count = input_range(data.test)
    deployment = deploy(
        net,
        settings,
        dt_ms=data.dt_ms,
        class_names=data.class_names,
        samples=calibration_samples(data.train, cfg.calibration),
        largest_count=largest_count,
        graded=graded,
    )
    _require_integers(deployment.table)
    chosen = range(min(cfg.verify_samples, len(data.test))) if cfg.verify == "nest" else ()
    for_nest = [data.test.collate([index]).spikes[:, 0].flatten(1).numpy() for index in chosen]
    if cfg.verify == "nest":
        require_nest(deployment.table, for_nest)
    try:
        # Files are moved into place only once all of them are verified.
        with folder.replacing(origin, force=cfg.force) as unproved:
            table = _write(deployment.table, unproved, formats, data)
            size = (unproved / "delays.h5").stat().st_size
            report: dict[str, Any] = {"origin": origin, "table_file_bytes": size}
            report["chip"] = chip_report(deployment, table, settings.chip)
            if report["chip"]:
                print_chip(report["chip"])
            if cfg.verify is not False:
                report |= _proof(deployment, table, data, settings, config.trainer.batch_size)
            if cfg.verify == "nest":
                report["nest"] = _nest(table, for_nest)
            text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
            # A path that is not valid text is escaped: JSON's escapes are Python's.
            write_atomically(unproved / "report.json", text.encode(errors="backslashreplace"))
            about: dict[str, Any] = {"folder": str(folder.path), "metric": data.task.metric}
            page = deployment_page(report, table, settings.chip, formats, **about)
            page.write(unproved / "report.html")
    except KeyboardInterrupt:
        log.info(f"Interrupted. {folder.path} is as it was.")
        raise
    files = ", ".join([f"→ {folder.path / 'delays.h5'}", *(f"{one}/" for one in formats)])
    pairs = sum(table.size(one.source) * table.size(one.target) for one in table.projections)
    log.info(
        f"{files}, sample.npz, report.json, report.html: {table.synapses:,} synapses of "
        f"{pairs:,} pairs of neurons, {size / 1e6:.2f} MB"
    )


export = entry(_export)


def _write(table: DelayTable, folder: Path, formats: list[str], data: SpikeData) -> DelayTable:
    """All files but the report; the table as read back."""
    write_table(table, folder / "delays.h5")
    written, table = table, read_table(folder / "delays.h5")
    _require_same("delays.h5 reads back as another network", same_network(written, table))
    write_verified(table, folder, formats)
    counts = data.test.collate([0]).spikes[:, 0].flatten(1).numpy()
    simulation = simulate(table, counts)
    answer = predict(simulation, table.readout)
    write_sample(folder / "sample.npz", counts, int(data.test.labels[0]), simulation, answer)
    return table


def _settings(cfg: DictConfig) -> DeploySettings:
    """The deployment settings as typed; one that would change nothing is refused."""
    for name, known in _CHOICES.items():
        choice(name, cfg[name], known)
    for name, least in (("calibration", 0), ("verify_samples", 1)):
        whole_number(name, cfg[name], least)
    if cfg.bits is not None:
        require_bits(cfg.bits)
    chip = None if cfg.chip is None else load_chip(str(cfg.chip))
    if chip is None and cfg.delays != "refuse":
        raise UsageError(f"delays={cfg.delays} is for a chip's limits: give chip=NAME as well.")
    own = chip.membrane if chip and chip.membrane.arithmetic == "integer" else None
    for name in typed().keys() & {"leak", "beta_shift", "weight_shift"}:
        if own is None and not cfg.fixed_point:
            raise UsageError(f"{name}={cfg[name]} is for integer neurons: give fixed_point=true.")
        if getattr(own, name, None) is not None:
            raise UsageError(f"{name}={cfg[name]}: {cfg.chip} has its own. Leave {name} out.")
    if "verify_samples" in typed() and cfg.verify != "nest":
        raise UsageError(f"verify_samples={cfg.verify_samples} is for verify=nest.")
    given: dict[str, Any] = {field.name: cfg[field.name] for field in fields(DeploySettings)}
    return DeploySettings(**{**given, "chip": chip})


def _require_integers(table: DelayTable) -> None:
    """Refuse settings of integer weights, typed for a table without them."""
    unused = sorted(typed().keys() & {"scale", "calibration"})
    if unused and not any(one.integer for one in table.projections):
        raise UsageError(f"{' and '.join(unused)} are for integer weights: give bits=8, or fewer.")


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
    """The run that a table comes from, even if its folder has been moved."""
    digest = hashlib.sha256(run.config.read_bytes()).hexdigest()
    return {"run": str(run.path.resolve()), "config_sha256": digest, "checkpoint": checkpoint}


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
    print_report(report)
    first, second, *_ = report["stages"]
    if second["name"] == "delays rounded":  # not of a network that was fine-tuned as rounded
        warn_of_rounding("test", first["accuracy"], second["accuracy"])
    exact = agreement.membrane_bits is not None
    apart = " (float32 against float64)" if agreement.spikes_differing else ""
    log.info(
        f"The table's spikes against the network's: {agreement.spikes_differing} of "
        f"{agreement.spikes_total:,} differ{apart}, {agreement.predictions_differing} of "
        f"{agreement.samples} answers."
    )
    chip, needed = settings.chip, agreement.membrane_bits or {}
    for name, bits in needed.items():
        if chip and chip.membrane.bits is not None and bits > chip.membrane.bits:
            raise UsageError(
                f"v needs {bits} bits in population {name}, {chip.name} has {chip.membrane.bits}. "
                "Use fewer bits for weights: bits=…"
            )
    _require_agreement("table and network", agreement, MAX_DIFFERING, exact=exact)
    _require_same("the table is not the network's", agreement.difference)
    return report


def _require_same(said: str, difference: str | None) -> None:
    if difference:
        raise UsageError(
            f"{said}: {difference}. Nothing was written; please report it with the run's "
            "config.yaml."
        )


def _nest(table: DelayTable, samples: list[NDArray[np.float32]]) -> dict[str, Any]:
    """The first test samples in NEST, spike by spike."""
    log.info(f"measuring: {len(samples)} samples in NEST")
    agreement = compare_with_nest(table, samples)
    log.info(
        f"NEST against the simulator, {agreement.samples} samples: {agreement.spikes_differing} of "
        f"{agreement.spikes_total:,} spikes differ, {agreement.predictions_differing} answers; "
        f"NEST's latency of {agreement.latency_steps} steps taken off; "
        f"{agreement.seconds:.1f} s."
    )
    _require_agreement("NEST and the table", agreement, MAX_DIFFERING_NEST)
    return asdict(agreement)


def _require_agreement(
    between: str, found: Agreement | NestAgreement, share: float, *, exact: bool = False
) -> None:
    """Refuse to export what differs by more than rounding; by anything, if ``exact``."""
    limit = 0 if exact else max(1, share * found.spikes_total)
    inexact = exact and found.potentials_max_difference > 0
    if found.spikes_differing > limit or found.readouts_differing or inexact:
        raise UsageError(
            f"{found.spikes_differing} of {found.spikes_total:,} spikes differ between {between}, "
            f"and the readout by up to {found.potentials_max_difference:.3g} (in "
            f"{found.readouts_differing} samples whose spikes agree by more than rounding). "
            "Nothing was written; please report it with the run's config.yaml."
        )
