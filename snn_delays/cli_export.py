"""``snn-delays-export``: a trained run as a delay table, and what that costs."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from snn_delays import console
from snn_delays.checkpoint import RunFolder
from snn_delays.cli_command import command
from snn_delays.cli_runs import load_run
from snn_delays.errors import UsageError
from snn_delays.export import compare, integer_table, read_table, write_csv, write_table
from snn_delays.training import evaluate as measure

log = logging.getLogger("snn_delays")
# Share of spikes that rounding in the last bit may tip over the threshold.
MAX_DIFFERING = 1e-5


def export() -> None:
    """Entry point of ``snn-delays-export``."""
    command("snn-delays-export", "export", _export)


def _export(cfg: DictConfig) -> None:
    run = RunFolder(Path(str(cfg.run)))
    config, data, net = load_run(run, cfg.checkpoint, cfg.root)
    net.eval()
    rounded = net.rounded()
    folder = Path(cfg.export.folder)
    path = folder / "delays.h5"
    write_table(integer_table(rounded, dt_ms=data.dt_ms, class_names=data.class_names), path)
    table = read_table(path)
    if cfg.export.csv:
        write_csv(table, folder)
    synapses = sum(len(layer.synapses.delay) for layer in table.layers)
    log.info(f"{path}: {len(table.layers)} layers, {synapses:,} synapses, read back.")
    if not cfg.export.verify:
        return
    batch_size = config.trainer.batch_size
    before = measure(net, data.test, batch_size).accuracy
    agreement = compare(table, rounded, data.test, batch_size=batch_size)
    console.print_table(
        f"test accuracy, {agreement.samples} samples",
        ["network", "accuracy"],
        [
            ["before rounding (σ-kernels)", console.percent(before)],
            ["delays rounded", console.percent(agreement.accuracy_network)],
            ["the table, in the NumPy simulator", console.percent(agreement.accuracy_table)],
        ],
    )
    log.info(
        f"The table's spikes against the network's: {agreement.spikes_differing} of "
        f"{agreement.spikes_total:,} differ (float ties), "
        f"{agreement.predictions_differing} of {agreement.samples} answers."
    )
    if agreement.spikes_differing >= MAX_DIFFERING * agreement.spikes_total > 0:
        raise UsageError(
            f"{path}: more than 1 spike in {1 / MAX_DIFFERING:,.0f} differs between the table and "
            "the network. Do not deploy this table; please report it with the run's config.yaml."
        )
