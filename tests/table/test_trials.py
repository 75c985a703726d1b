"""A recording holds every spike of its trials, where its documentation says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_tables import random_table

from snn_delays.errors import UsageError
from snn_delays.table import predict, simulate, synaptic_operations
from snn_delays.table.simulator.trials import Recording, Sample, trials


def draw_samples(channels: int, currents: bool = False) -> list[Sample]:
    """Of unequal length, one of them silent."""
    rng = np.random.default_rng(0)
    samples = []
    for index, steps in enumerate((7, 1, 12)):
        counts = rng.poisson(0.7 * (index != 1), (steps, channels)) * (0.25 if currents else 1)
        samples.append(Sample(10 * index, index, counts.astype(np.float32)))
    return samples


@pytest.mark.parametrize("readout", ["sum_softmax", "spike_count"])
@pytest.mark.parametrize("currents", [False, True])
def test_a_recording_gives_back_inputs_spikes_and_potentials(
    tmp_path: Path, currents: bool, readout: str
) -> None:
    links = ((0, 1), (1, 1), (1, 2), (2, 3), (0, 3))
    table = random_table(12, (6, 8, 7, 3), links=links, readout=readout)
    samples, path = draw_samples(6, currents), tmp_path / "new" / "spikes.npz"
    recording = Recording(table)
    for trial in trials(table, samples):
        recording.add(trial)
    recording.write(path)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["sample"].tolist() == [0, 10, 20]
    assert arrays["label"].tolist() == [0, 1, 2]
    assert arrays["steps"].tolist() == [7 + 4, 1 + 4, 12 + 4]
    assert (float(arrays["dt_ms"]), str(arrays["readout"])) == (2.5, readout)
    assert arrays["class_names"].tolist() == list(table.class_names)
    ends = arrays["steps"].cumsum()
    for n, sample in enumerate(samples):
        expected = simulate(table, sample.counts)
        assert arrays["prediction"][n] == predict(expected, table.readout)
        potentials = arrays["potentials"][ends[n] - arrays["steps"][n] : ends[n]]
        np.testing.assert_array_equal(potentials, expected.potentials)
        for name, spikes in expected.spikes.items():
            found = np.zeros_like(spikes)
            of, steps, neurons = arrays[f"{name}_events"].T
            found[steps[of == n], neurons[of == n]] = True
            np.testing.assert_array_equal(found, spikes)
            assert (of == n).sum() == spikes.sum() > 0
        found = np.zeros_like(sample.counts)
        of, steps, channels = arrays["input_events"].T
        found[steps[of == n], channels[of == n]] = arrays["input_counts"][of == n]
        np.testing.assert_array_equal(found, sample.counts)
    for name in ("input_events", "hidden0_events", "hidden1_events"):
        rows = arrays[name].tolist()
        assert rows == sorted(rows)


def test_a_trial_says_what_it_cost() -> None:
    table, samples = random_table(2, (6, 8, 3)), draw_samples(6)
    found = list(trials(table, samples))
    assert len(found) == 3
    for trial, sample in zip(found, samples, strict=True):
        expected = simulate(table, sample.counts)
        assert trial.sample is sample
        assert trial.operations == synaptic_operations(table, sample.counts, expected)
        assert trial.steps == len(sample.counts) + 4
        assert trial.seconds > 0


def test_one_layer_has_no_hidden_spikes() -> None:
    table = random_table(2, (6, 3))
    recording = Recording(table)
    for trial in trials(table, draw_samples(6)):
        recording.add(trial)
    assert [one for one in recording.arrays() if one.endswith("_events")] == ["input_events"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    table = random_table(2, (6, 3))
    recording = Recording(table)
    for trial in trials(table, draw_samples(6)):
        recording.add(trial)
    with pytest.raises(UsageError, match="cannot write"):
        recording.write(tmp_path / "file" / "spikes.npz")
