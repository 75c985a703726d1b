"""From network to table step by step, and a report whose figures are what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from drawn_tables import assert_same

from snn_delays.cli.export_view import delay_line
from snn_delays.deploy import integer_table
from snn_delays.deploy.deployment import DeploySettings, deploy
from snn_delays.deploy.quantised_training import folded, make_quantisation_aware_
from snn_delays.errors import UsageError
from snn_delays.evaluation import evaluate
from snn_delays.report.deployment import deployment_report
from snn_delays.table import simulate
from snn_delays.table.chips import load_chip
from snn_delays.table.table import IntegerNeuronTable

NAMES = ("a", "b", "c", "d")
SPLIT = random_split(2, 20)
SAMPLES = [SPLIT.collate([n]).spikes[:, 0].numpy() for n in range(8)]


def deployed(net: Any = None, **settings: Any) -> Any:
    net = random_network(1) if net is None else net
    return deploy(net, DeploySettings(**settings), dt_ms=10.0, class_names=NAMES, samples=SAMPLES)


def test_nothing_asked_is_the_rounded_network() -> None:
    net = random_network(1)
    made = deployed(net)
    assert [stage.name for stage in made.stages] == ["as trained (σ-kernels)", "delays rounded"]
    assert_same(made.table, integer_table(net, dt_ms=10.0, class_names=NAMES))
    assert made.adapted is None


def test_loihi_gets_its_own_numbers() -> None:
    made = deployed(chip=load_chip("loihi2"), fixed_point=True, decay_shift=5, weight_shift=1)
    for layer in made.table.layers:
        neuron = layer.neuron
        assert isinstance(neuron, IntegerNeuronTable)
        assert (neuron.decay_shift, neuron.weight_shift) == (12, 6)
        assert np.abs(layer.synapses.weight.astype(int)).max() == 127
        if neuron.spiking:  # above 64 · k means at 64 · k + 1
            assert np.all(neuron.v_threshold % 64 == 1)


def test_powers_of_two_where_a_chip_shifts() -> None:
    made = deployed(chip=load_chip("spinnaker1"))
    assert all(np.log2(layer.weight_scale) % 1 == 0 for layer in made.table.layers)
    assert made.adapted.total_latency == 3
    assert made.table.tail_steps == random_network(1).tail + 3


def test_bits_come_from_whoever_has_a_say() -> None:
    tuned = make_quantisation_aware_(folded(random_network(3)), 6).eval()

    def largest(made: Any) -> int:
        return max(
            int(np.abs(layer.synapses.weight.astype(int)).max()) for layer in made.table.layers
        )

    assert largest(deployed(tuned)) == 31
    assert largest(deployed(tuned, bits=3)) == 3
    assert largest(deployed(tuned, chip=load_chip("spinnaker2"), delays="clip")) == 15
    assert largest(deployed(tuned, chip=load_chip("loihi1"))) == 31
    with pytest.raises(UsageError, match="bits=8: the network was fine-tuned for 6. Leave bits"):
        deployed(tuned, bits=8)
    with pytest.raises(UsageError, match="bits=9: the chip has 8. Leave bits out"):
        deployed(chip=load_chip("loihi1"), bits=9)


def test_contacts_that_share_a_step_stay_as_trained() -> None:
    net = random_network(4, kernel_count=3, granularity="axonal")
    tuned = make_quantisation_aware_(folded(net), 2).eval()
    made = deployed(tuned)
    report, _ = deployment_report(made, made.table, SPLIT, None, batch_size=20)
    assert [row["changed"] for row in report["stages"]] == [0, 0, 0]
    assert {abs(int(n)) for layer in made.table.layers for n in layer.synapses.weight} == {1}


def test_scales_are_the_trained_ones_or_say_so() -> None:
    tuned = make_quantisation_aware_(folded(random_network(3)), 5, "neuron").eval()
    assert np.ptp(deployed(tuned, chip=load_chip("generic")).table.layers[0].neuron.v_threshold)
    with pytest.raises(UsageError, match="scale=layer: .* one scale per neuron. Leave scale out"):
        deployed(tuned, scale="layer")
    # Of fewer bits the scales are others, but of the same kind, unless another is asked for.
    assert np.ptp(deployed(tuned, bits=3).table.layers[0].neuron.v_threshold)
    assert not np.ptp(deployed(tuned, bits=3, scale="layer").table.layers[0].neuron.v_threshold)
    # A chip that shifts cannot keep them, and has the calibration for others.
    made = deployed(tuned, chip=load_chip("spinnaker1"))
    assert all(np.log2(layer.weight_scale) % 1 == 0 for layer in made.table.layers)
    for name in ("loihi2", "spinnaker1"):  # whose neurons may share a threshold
        plain = deployed(chip=load_chip(name))
        assert not np.ptp(plain.table.layers[0].neuron.v_threshold)


def test_currents_are_for_float_neurons_in_software() -> None:
    def with_currents(**settings: Any) -> Any:
        return deploy(
            random_network(1),
            DeploySettings(**settings),
            dt_ms=10.0,
            class_names=NAMES,
            samples=SAMPLES,
            graded=True,
        )

    assert not with_currents(bits=8).table.layers[0].integer
    with pytest.raises(UsageError, match="whole numbers of spikes, and this data set gives curr"):
        with_currents(bits=8, fixed_point=True)
    with pytest.raises(UsageError, match="nest cannot take this network: input: currents"):
        with_currents(chip=load_chip("nest"))


def test_bits_of_v_are_those_of_the_samples_alone() -> None:
    """A batch's padding, in which bias alone would drive v on and on, does not count."""
    net = random_network(6, tau=1e6, bias=True, batch_norm=False, tail=0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("delay.bias"):
                parameter.fill_(-0.5)
    made = deployed(net, bits=4, fixed_point=True)
    one_by_one, _ = deployment_report(made, made.table, SPLIT, None, batch_size=1)
    batches, _ = deployment_report(made, made.table, SPLIT, None, batch_size=20)
    assert batches["membrane_bits"] == one_by_one["membrane_bits"]


def test_what_a_chip_cannot_take_is_refused_with_numbers() -> None:
    with pytest.raises(
        UsageError, match=r"loihi2 cannot take .*: layer 0: reset is soft; the chip"
    ):
        deployed(random_network(1, v_reset=None), chip=load_chip("loihi2"))
    chip = load_chip("generic")
    narrow = replace(chip, fan=replace(chip.fan, fan_in=5))
    with pytest.raises(UsageError, match="neurons are reached by more than 5 others"):
        deployed(chip=narrow)


def test_the_report_counts_what_happened() -> None:
    made = deployed(bits=3, fixed_point=True)
    report, agreement = deployment_report(made, made.table, SPLIT, None, batch_size=7)
    names = [row["name"] for row in report["stages"]]
    assert names == [
        "as trained (σ-kernels)",
        "delays rounded",
        "3-bit weights",
        "integer neurons",
        "simulated from the file",
    ]
    answers = [evaluate(stage.network, SPLIT, 20) for stage in made.stages]
    for row, found in zip(report["stages"], answers, strict=False):
        assert row["accuracy"] == found.accuracy
    changed = (answers[1].predictions != answers[2].predictions).sum()
    assert report["stages"][2]["changed"] == int(changed) > 0
    assert agreement.spikes_differing == agreement.potentials_max_difference == 0

    first = [
        simulate(made.table, SPLIT.collate([n]).spikes[: SPLIT.lengths[n], 0].numpy())
        for n in range(len(SPLIT))
    ]
    for index in range(2):
        spikes = sum(int(one.spikes[index].sum()) for one in first) / len(SPLIT)
        assert report["layers"][index]["spikes_per_sample"] == pytest.approx(spikes)
    fan_out = np.bincount(made.table.layers[1].synapses.pre, minlength=16)
    operations = sum(int((one.spikes[0].sum(0) * fan_out).sum()) for one in first) / len(SPLIT)
    assert report["layers"][1]["synaptic_operations_per_sample"] == pytest.approx(operations)
    assert all(bits <= 32 for bits in report["membrane_bits"])


def test_a_wrong_table_shows() -> None:
    """The table on disk is what is proved, whatever the stages say."""
    made = deployed()
    layer = made.table.layers[0]
    late = replace(
        layer, max_delay=8, synapses=replace(layer.synapses, delay=layer.synapses.delay + 1)
    )
    wrong = replace(made.table, layers=(late, *made.table.layers[1:]))
    _, agreement = deployment_report(made, wrong, SPLIT, None, batch_size=20)
    assert agreement.spikes_differing > agreement.spikes_total / 10


def test_delays_as_a_line_of_bars() -> None:
    line = delay_line([{"delay_histogram": [8, 0, 4]}, {"delay_histogram": [0, 0, 0, 8]}])
    assert line == "delays 0 … 3 steps: |█ ▅█|"
    assert len(delay_line([{"delay_histogram": [1] * 400}])) < 70
