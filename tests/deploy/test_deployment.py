"""From network to table step by step, and a report whose figures are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import random_network, random_split
from drawn_tables import assert_same
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from snn_delays import DelayLayer, LIFNode
from snn_delays.cli.export_view import delay_line
from snn_delays.deploy import integer_table
from snn_delays.deploy.deployment import DeploySettings, deploy
from snn_delays.deploy.quantised_training import folded, make_quantisation_aware_
from snn_delays.errors import UsageError
from snn_delays.evaluation import evaluate
from snn_delays.report.deployment.numbers import deployment_report
from snn_delays.table.chips import load_chip
from snn_delays.table.simulator import simulate

NAMES = ("a", "b", "c", "d")
SPLIT = random_split(2, 20)
SAMPLES = [SPLIT.collate([n]).spikes[:, 0].numpy() for n in range(8)]


def deployed(net: Any = None, *, tail_steps: int | None = None, **settings: Any) -> Any:
    net = random_network(1) if net is None else net
    return deploy(
        net,
        DeploySettings(**settings),
        dt_ms=10.0,
        class_names=NAMES,
        samples=SAMPLES,
        tail_steps=tail_steps,
    )


def test_nothing_asked_is_the_rounded_network() -> None:
    net = random_network(1)
    made = deployed(net)
    assert [stage.name for stage in made.stages] == ["as trained (σ-kernels)", "delays rounded"]
    assert_same(made.table, integer_table(net, dt_ms=10.0, class_names=NAMES))
    assert made.adapted is None


def largest(made: Any) -> int:
    """The largest number among the weights."""
    return max(int(np.abs(one.weight.astype(int)).max()) for one in made.table.projections)


def thresholds(made: Any) -> np.ndarray:
    return made.table["hidden0"].parameters["v_threshold"]


def test_loihi_gets_its_own_numbers() -> None:
    made = deployed(chip=load_chip("loihi2"), fixed_point=True, beta_shift=5, weight_shift=1)
    assert all(np.abs(one.weight.astype(int)).max() == 127 for one in made.table.projections)
    for one in made.table.populations:
        assert one.integer
        assert (one.scalars["beta_shift"], one.scalars["weight_shift"]) == (12, 6)
        if one.spiking:  # above 64 · k means at 64 · k + 1
            assert np.all(one.parameters["v_threshold"] % 64 == 1)


def test_powers_of_two_where_a_chip_shifts() -> None:
    made = deployed(chip=load_chip("spinnaker1"))
    assert all(np.log2(one.weight_scale) % 1 == 0 for one in made.table.projections)
    assert made.adapted.total_latency == 3
    assert made.table.tail_steps == random_network(1).tail + 3


def test_bits_come_from_whoever_has_a_say() -> None:
    tuned = make_quantisation_aware_(folded(random_network(3)), 6).eval()
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
    assert {abs(int(n)) for one in made.table.projections for n in one.weight} == {1}


def test_scales_are_the_trained_ones_or_say_so() -> None:
    tuned = make_quantisation_aware_(folded(random_network(3)), 5, "neuron").eval()
    assert np.ptp(thresholds(deployed(tuned, chip=load_chip("generic"))))
    with pytest.raises(UsageError, match="scale=population: .* one scale per neuron. Leave scale"):
        deployed(tuned, scale="population")
    # Of fewer bits the scales are others, but of the same kind, unless another is asked for.
    assert np.ptp(thresholds(deployed(tuned, bits=3)))
    assert not np.ptp(thresholds(deployed(tuned, bits=3, scale="population")))
    # A chip that shifts cannot keep them, and has the calibration for others.
    made = deployed(tuned, chip=load_chip("spinnaker1"))
    assert all(np.log2(one.weight_scale) % 1 == 0 for one in made.table.projections)
    for name in ("loihi2", "spinnaker1"):  # whose neurons may share a threshold
        assert not np.ptp(thresholds(deployed(chip=load_chip(name))))


def test_a_network_of_ones_own() -> None:
    """With a skip connection, and read by its last neurons' spikes."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.skip = DelayLayer(12, 16, 6), DelayLayer(12, 4, 6)
            self.second = layer.Linear(16, 4, step_mode="m")
            self.lif = LIFNode(tau=2.0, decay_input=False, step_mode="m")
            self.out = LIFNode(tau=3.0, decay_input=False, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.second(self.lif(self.first(x))) + self.skip(x))

    torch.manual_seed(0)
    net = Own().eval()
    made = deployed(net, bits=6, fixed_point=True, tail_steps=4)
    assert {one.name for one in made.table.projections} == {
        "input_to_lif", "lif_to_out", "input_to_out"
    }  # fmt: skip
    assert len({one.weight_scale for one in made.table.into("out")}) == 1
    report, agreement = deployment_report(made, made.table, SPLIT, None, batch_size=7)
    assert agreement.spikes_total > 100
    assert agreement.spikes_differing == agreement.predictions_differing == 0
    assert len(report["stages"]) == 5
    chip = deployed(net, chip=load_chip("spinnaker1"), tail_steps=4)
    assert chip.adapted.shift == {"input_to_lif": 1, "lif_to_out": 1, "input_to_out": 2}
    report, agreement = deployment_report(chip, chip.table, SPLIT, None, batch_size=7)
    assert agreement.spikes_differing == 0


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

    assert not with_currents(bits=8).table["hidden0"].integer
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
    assert batches["populations"] == one_by_one["populations"]


def test_what_a_chip_cannot_take_is_refused_with_numbers() -> None:
    with pytest.raises(
        UsageError, match=r"loihi2 cannot take .*: population hidden0: reset is soft; the chip"
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
        assert row["accuracy"] == found.score
    changed = (answers[1].predictions != answers[2].predictions).sum()
    assert report["stages"][2]["changed"] == int(changed) > 0
    assert agreement.spikes_differing == agreement.potentials_max_difference == 0

    first = [
        simulate(made.table, SPLIT.collate([n]).spikes[: SPLIT.lengths[n], 0].numpy())
        for n in range(len(SPLIT))
    ]
    for name in ("hidden0", "hidden1"):
        spikes = sum(one.spike_counts[name] for one in first) / len(SPLIT)
        assert report["populations"][name]["spikes_per_sample"] == pytest.approx(spikes)
    fan_out = np.bincount(made.table.into("hidden1")[0].pre, minlength=16)
    sent = (one.spikes["hidden0"].sum(0) * fan_out for one in first)
    operations = sum(int(one.sum()) for one in sent) / len(SPLIT)
    row = report["projections"]["hidden0_to_hidden1"]
    assert row["synaptic_operations_per_sample"] == pytest.approx(operations)
    assert all(one["membrane_bits"] <= 32 for one in report["populations"].values())
    json.dumps(report)


def test_a_wrong_table_shows() -> None:
    """The table on disk is what is proved, whatever the stages say."""
    made = deployed()
    first, *others = made.table.projections
    late = replace(first, max_delay=8, delay=first.delay + np.int32(1))
    wrong = replace(made.table, projections=(late, *others))
    _, agreement = deployment_report(made, wrong, SPLIT, None, batch_size=20)
    assert agreement.spikes_differing > agreement.spikes_total / 10


def test_delays_as_a_line_of_bars() -> None:
    line = delay_line([[8, 0, 4], [0, 0, 0, 8]])
    assert line == "delays 0 … 3 steps: |█ ▅█|"
    assert len(delay_line([[1] * 400])) < 70
