"""The command lines. Hydra lives only here: everything below takes plain Python arguments."""

from __future__ import annotations

import copy
import difflib
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, MissingMandatoryValue, OmegaConf
from yaml import YAMLError

from snn_delays import console, report
from snn_delays.checkpoint import RunFolder
from snn_delays.data import SpikeData
from snn_delays.data.augmentation import Augmentation
from snn_delays.errors import UsageError
from snn_delays.export import compare, integer_table, read_table, write_csv, write_table
from snn_delays.network import DelaySNN
from snn_delays.processor import prepare_cpu
from snn_delays.training import TrainSettings, best_epoch
from snn_delays.training import evaluate as measure
from snn_delays.training import train as fit

log = logging.getLogger("snn_delays")
# Share of spikes that rounding in the last bit may tip over the threshold.
MAX_DIFFERING = 1e-5

# The wheel carries conf/ inside the package; in a checkout it stands beside it.
_PACKAGE = Path(__file__).parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def train() -> None:
    """Entry point of ``snn-delays-train``."""
    _command("snn-delays-train", "train", _train)


def evaluate() -> None:
    """Entry point of ``snn-delays-evaluate``."""
    _command("snn-delays-evaluate", "evaluate", _evaluate)


def export() -> None:
    """Entry point of ``snn-delays-export``."""
    _command("snn-delays-export", "export", _export)


def _train(cfg: DictConfig) -> None:
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    resumed = bool(cfg.resume)
    if resumed:
        cfg = _resumed_config(run)
    # A run that was stopped in its first epoch has nothing but its configuration to go on with.
    resume = resumed and run.checkpoint("last").exists()
    settings = _train_settings(cfg)
    if not isinstance(cfg.dataset.root, str):
        raise UsageError(f"dataset.root must be a folder, got {cfg.dataset.root!r}.")
    cfg.dataset.root = str(Path(cfg.dataset.root).expanduser().resolve())
    data = _load_data(cfg.dataset)
    torch.manual_seed(settings.seed)
    net = build_network(_plain(cfg.model), data)
    if cfg.schedule.start is None:
        cfg.schedule.start = cfg.model.max_delay / 2 + 0.27
    schedule = _instantiate("schedule", cfg.schedule)
    initial = copy.deepcopy(net)
    if not resumed:
        run.save_config(OmegaConf.to_yaml(_without(cfg, "run", "resume")))
    parameters = sum(parameter.numel() for parameter in net.parameters())
    log.info(
        f"{' – '.join(map(str, net.sizes))} neurons, {parameters:,} parameters, "
        + (
            f"{cfg.model.delays} delays up to {net.max_delay} steps"
            if net.max_delay
            else "no delays"
        )
        + f" → {run.path}"
    )

    first = len(run.load_checkpoint("last")["rows"]) if resume else 0
    try:
        with console.TrainingView(settings.epochs, first) as view:
            rows = fit(net, data, schedule, settings, run, view, resume=resume)
    except KeyboardInterrupt:
        if run.checkpoint("last").exists():
            log.info(f"Interrupted. Go on with: snn-delays-train run={run.path} resume=true")
        raise

    summary: dict[str, Any] = {
        "split": data.split,
        "clean_split": data.clean_split,
        "delays": cfg.model.delays,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "best_epoch": best_epoch(rows),
        "parameters": parameters,
        "invalid_events": data.invalid_events,
        "skipped_recordings": data.skipped_recordings,
    }
    # On the CPU, as snn-delays-evaluate does it, so that it finds the same numbers.
    net.cpu()
    for name in ("best", "last"):
        net.load_state_dict(run.load_checkpoint(name)["network"])
        summary[name] = report.accuracies(net, data, settings.batch_size)
    seconds = sorted(row["seconds"] for row in rows)
    summary |= {
        "seconds_per_epoch": seconds[len(seconds) // 2],
        "wall_time_s": sum(seconds),
        "threads": torch.get_num_threads(),
        "versions": report.versions(),
    }
    run.save_summary(summary)
    net.load_state_dict(run.load_checkpoint("best")["network"])
    if net.max_delay:
        report.draw_delays(net, initial, data.dt_ms, run.path / "delays.png")
        report.draw_readout(net, data, run.path / "readout.png")
    _print_accuracies([(run, summary["best"], summary)])


def _evaluate(cfg: DictConfig) -> None:
    folders = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    rows = []
    for folder in folders:
        run = RunFolder(Path(str(folder)))
        config, data, net = _load_run(run, cfg.checkpoint, cfg.root)
        batch_size = config.trainer.batch_size if cfg.batch_size is None else cfg.batch_size
        found = report.accuracies(net, data, batch_size)
        if run.summary.exists() and found != run.load_summary()[cfg.checkpoint]:
            log.warning(
                f"{folder}: differs from its summary.json, which this command should reproduce. "
                "Were the data, the versions, the batch size or the number of threads the same?"
            )
        about = {
            "delays": config.model.delays,
            "seed": config.seed,
            "clean_split": data.clean_split,
        }
        rows.append((run, found, about))
    _print_accuracies(rows)


def _export(cfg: DictConfig) -> None:
    run = RunFolder(Path(str(cfg.run)))
    config, data, net = _load_run(run, cfg.checkpoint, cfg.root)
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


def build_network(model: dict[str, Any], data: SpikeData) -> DelaySNN:
    """The network of ``conf/model`` for the channels, classes and time step of ``data``."""
    model = dict(model)
    delays = model.pop("delays")
    if delays not in ("learned", "fixed", "none"):
        raise UsageError(f"model.delays must be learned, fixed or none, got {delays!r}.")
    hidden = model.pop("hidden")
    if not isinstance(hidden, list):
        raise UsageError(f"model.hidden must be a list such as [256,256], got {hidden!r}.")
    sizes = [data.n_channels, *hidden, data.n_classes]
    tau_ms, max_delay = model.pop("tau_ms"), model.pop("max_delay")
    if not isinstance(tau_ms, int | float):
        raise UsageError(f"model.tau_ms must be a number of milliseconds, got {tau_ms!r}.")
    return DelaySNN(
        sizes,
        0 if delays == "none" else max_delay,
        learn_delays=delays == "learned",
        tau=tau_ms / data.dt_ms,
        **model,
    )


def _train_settings(cfg: DictConfig) -> TrainSettings:
    """trainer, augmentation and seed; a run from before there was augmentation has none.

    ``trainer.channel_shift`` is the older name of ``augmentation.channel_shift`` and, where it is
    given, decides; ``cfg`` is left with the newer name alone.
    """
    if cfg.trainer.get("channel_shift") is not None:
        shift = cfg.trainer.channel_shift
        OmegaConf.update(cfg, "augmentation.channel_shift", shift, force_add=True)
        cfg.trainer.channel_shift = None
    trainer = _plain(cfg.trainer)
    trainer.pop("channel_shift", None)
    changes = _plain(cfg.augmentation) if cfg.get("augmentation") else {}
    return TrainSettings(**trainer, augmentation=Augmentation(**changes), seed=cfg.seed)


def _load_run(
    run: RunFolder, checkpoint: str, root: str | None
) -> tuple[DictConfig, SpikeData, DelaySNN]:
    """Configuration, data and trained network of a run."""
    if checkpoint not in ("best", "last"):
        raise UsageError(f"checkpoint must be best or last, got {checkpoint!r}.")
    config = _load_config(run)
    saved = run.load_checkpoint(checkpoint)
    if root is not None:
        config.dataset.root = root
    data = _load_data(config.dataset)
    net = build_network(_plain(config.model), data)
    try:
        net.load_state_dict(saved["network"])
    except (KeyError, RuntimeError) as error:
        raise UsageError(
            f"{run.checkpoint(checkpoint)} does not fit {run.config} and its data: "
            f"{_one_line(error)}"
        ) from error
    return config, data, net


def _load_config(run: RunFolder) -> DictConfig:
    if not run.config.is_file():
        raise UsageError(
            f"{run.config} not found. Give run=DIR, a folder that snn-delays-train has written."
        )
    try:
        config = OmegaConf.load(run.config)
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{run.config} is not readable as YAML: {_one_line(error)}") from error
    if not isinstance(config, DictConfig) or not {"dataset", "model", "trainer"} <= set(config):
        raise UsageError(
            f"{run.config} is not the configuration of a run: expected dataset, model and trainer. "
            "Restore the file that snn-delays-train wrote there."
        )
    return config


def _resumed_config(run: RunFolder) -> DictConfig:
    """The run's own configuration: a resumed run is the run that was interrupted."""
    given = [o for o in HydraConfig.get().overrides.task if not o.startswith(("run=", "resume="))]
    if given:
        raise UsageError(
            f"resume=true goes on with {run.path} as it was configured, got {' '.join(given)}. "
            "Leave that out, or start a new run."
        )
    return _load_config(run)


def _load_data(dataset: DictConfig) -> SpikeData:
    data: SpikeData = _instantiate("dataset", dataset)
    log.info(
        f"data: {len(data.train)} train, {len(data.valid)} validation "
        f"({data.split}), {len(data.test)} test; {data.n_channels} channels, "
        f"{data.n_classes} classes, steps of {data.dt_ms:g} ms"
    )
    return data


def _instantiate(section: str, settings: DictConfig) -> Any:
    """The object that a section of the configuration stands for."""
    try:
        return hydra.utils.instantiate(settings)
    except InstantiationException as error:
        if not isinstance(error.__cause__, TypeError | ValueError) or isinstance(
            error.__cause__, UsageError
        ):
            raise
        given = ", ".join(f"{key}={value}" for key, value in settings.items() if key != "_target_")
        raise UsageError(
            f"{section}: a setting is unknown or of the wrong kind ({_one_line(error.__cause__)}), "
            f"got {given}. --help shows what each should look like."
        ) from error


def _print_accuracies(rows: list[tuple[RunFolder, dict[str, Any], dict[str, Any]]]) -> None:
    """One line per run: its accuracies and what it was."""
    lines = []
    for _, found, about in rows:
        test = found["test"]
        shares = [
            found["validation"]["rounded"]["accuracy"],
            test["float"]["accuracy"],
            *(test["rounded"][of] for of in ("accuracy", "known_speakers", "unseen_speakers")),
        ]
        lines.append([about["delays"], str(about["seed"]), *(console.percent(x) for x in shares)])
    console.print_table(
        "accuracy; rounded = integer delays, as exported",
        ["delays", "seed", "validation", "test float", "test rounded", "known", "unseen speakers"],
        lines,
    )
    for run, *_ in rows:
        log.info(f"→ {run.path}")
    if not all(about["clean_split"] for *_, about in rows):
        log.warning("split=paper selects on the test set: its test accuracy is no honest estimate.")


def command(program: str, config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Run ``task`` under Hydra; whatever the user got wrong ends in one line and exit code 2."""
    prepare_cpu()
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    traceback_wanted = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing by itself.

    def guarded(run: Callable[..., None], *args: DictConfig) -> None:
        try:
            run(*args)
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:
            if traceback_wanted:
                raise
            print(f"{program}: error: {_explain(error)}", file=sys.stderr)
            sys.exit(2)

    # Guarded twice: inside Hydra, which comments on an exception that passes through it, and
    # around it, for what Hydra itself finds wrong.
    def job(cfg: DictConfig) -> None:
        guarded(task, cfg)

    guarded(hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job))


_command = command


def _explain(error: BaseException) -> str:
    """One line for the person who typed the command."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UsageError):
            return _one_line(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing: give {error.full_key}=…; --help shows how."
    if unknown := re.match(r"Could not override '([^']+)'", str(error)):
        return _unknown_key(unknown[1], error)
    if unknown := re.match(r".*Could not find '(\w+)/([^']+)'", str(error)):
        options = sorted(file.stem for file in (CONF / unknown[1]).glob("*.yaml"))
        known = f"{', '.join(options[:-1])} or {options[-1]}" if options[1:] else "".join(options)
        return f"no such {unknown[1]}: {unknown[2]}; choose {known}."
    if unknown := re.search(r"unexpected keyword argument '([^']+)'", str(error)):
        return _unknown_key(unknown[1], None)
    if type(error).__module__.startswith(("hydra", "omegaconf")):
        return _one_line(error)
    return (
        f"{type(error).__name__}: {_one_line(error)} "
        "(unexpected; set HYDRA_FULL_ERROR=1 to see where, and please report it)"
    )


def _unknown_key(key: str, error: BaseException | None) -> str:
    """Name the key that does not exist, and the nearest one that does."""
    reason = _one_line(error.__cause__) if error and error.__cause__ else ""
    if reason and "is not in struct" not in reason:
        return f"cannot set {key}: {reason}"
    near = difflib.get_close_matches(key, _known_keys(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "--help lists them all."
    return f"no such setting: {key}; {hint}"


def _known_keys() -> list[str]:
    """Every setting that any file of the Hydra tree defines, as it is typed."""
    keys = []
    for file in CONF.rglob("*.yaml"):
        group = file.parent.relative_to(CONF).as_posix()
        prefix = "" if group in (".", "experiment") else f"{group}."
        keys += [
            f"{prefix}{key}" for key in OmegaConf.load(file) if key not in ("defaults", "hydra")
        ]
    return keys


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _plain(section: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(section, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _without(cfg: DictConfig, *keys: str) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in keys])
