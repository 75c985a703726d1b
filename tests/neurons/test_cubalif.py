"""CuBaLIF: its equation, gradients, and the whole way from the command line to a proved table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_networks import random_split
from torch import nn
from typed_commands import SHORT, SMALL, Shell, shell  # noqa: F401

from snn_delays.deploy import compare, integer_table, quantised
from snn_delays.deploy.fixed_point import fixed_point
from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.deploy.table_network import TableNetwork
from snn_delays.errors import UsageError
from snn_delays.layers import DelayLayer, rounded
from snn_delays.neurons import LeakyReadout
from snn_delays.neurons.cubalif import CuBaLIFNode, cubalif
from snn_delays.table import read_table
from snn_delays.table.equality import same_network
from snn_delays.table.formats import from_nir, to_nir
from snn_delays.table.models import MODELS
from snn_delays.table.simulator import run_in_nest


@pytest.mark.parametrize("v_reset", [0.0, -0.2, None])
def test_a_sequence_is_the_described_step_again_and_again(v_reset: float | None) -> None:
    torch.manual_seed(0)
    node = cubalif(3.0, tau_syn=1.6, v_reset=v_reset).double()
    x = torch.randn(30, 2, 4, dtype=torch.float64) + 0.3
    spikes = node(x)
    step, rest = MODELS["CuBaLIF"].step, v_reset or 0.0
    for n, c in np.ndindex(2, 4):
        v, i = rest, 0.0
        for t in range(30):
            current = float(x[t, n, c])
            constants = (1 - 1 / 1.6, 1 - 1 / 3.0, 1.0, rest, int(v_reset is None))
            v, i, fired = step(v, i, current, *constants)
            assert bool(spikes[t, n, c]) == fired
    assert 0 < float(spikes.mean()) < 1


def test_gradients_are_those_of_single_steps() -> None:
    torch.manual_seed(1)
    x, judge = torch.randn(2, 15, 3, 5, dtype=torch.float64)
    found = []
    for mode in ("m", "s"):
        node = cubalif(2.5, tau_syn=1.8).double()
        node.step_mode = mode
        leaf = x.clone().requires_grad_()
        y = node(leaf) if mode == "m" else torch.stack([node(now) for now in leaf])
        (y * judge).sum().backward()
        found.append((y.detach(), leaf.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert float(found[0][1].abs().max()) > 0


def test_time_constants_above_one_step() -> None:
    with pytest.raises(UsageError, match="cubalif: tau must be above 1 step"):
        cubalif(1.0)
    for make in (cubalif, CuBaLIFNode):
        with pytest.raises(UsageError, match=f"{make.__name__}: tau_syn must be above 1 step"):
            make(2.0, tau_syn=0.5)


def network() -> nn.Sequential:
    torch.manual_seed(2)
    net = nn.Sequential(
        *(DelayLayer(6, 9, 7), cubalif(3.0, tau_syn=1.5, v_reset=-0.1)),
        *(DelayLayer(9, 7, 5), cubalif(2.0, tau_syn=2.5, v_reset=None)),
        *(DelayLayer(7, 3, 4), LeakyReadout(4.0)),
    )
    with torch.no_grad():
        for one in net:
            if isinstance(one, DelayLayer):
                one.weight.abs_()
    return net.eval()


def test_to_a_table_in_whole_numbers_and_back() -> None:
    net, split = network(), random_split(3, 12, channels=6, classes=3)
    table = integer_table(net, dt_ms=1.0)
    for other in (rounded(net), LoadedNetwork(table)):
        found = compare(table, other, split)
        assert found.spikes_total > 200
        assert found.spikes_differing == 0
    small = quantised(table, 8)
    whole = fixed_point(small)
    assert {one.model.name for one in whole.populations} == {"IntCuBaLIF", "IntLI"}
    for one in (small, whole):
        found = compare(one, TableNetwork(one), split)
        assert found.spikes_differing == 0
    assert found.potentials_max_difference == 0
    assert same_network(integer_table(LoadedNetwork(table), dt_ms=1.0), table) is None


def test_nir_and_back_with_and_without_our_metadata() -> None:
    table = integer_table(network()[:2], dt_ms=1.0)
    graph = to_nir(table)
    assert {type(node).__name__ for node in graph.nodes.values()} >= {"CubaLIF"}
    assert same_network(from_nir(graph), table) is None
    graph.metadata.clear()
    again = from_nir(graph, dt_ms=1.0)
    (mine,), (theirs,) = again.populations, table.populations
    assert mine.model is theirs.model
    for name, values in theirs.parameters.items():
        np.testing.assert_allclose(mine.parameters[name], values, rtol=1e-5)
    (one,), (other,) = again.projections, table.projections
    np.testing.assert_allclose(np.sort(one.weight), np.sort(other.weight), rtol=1e-5)


def test_nest_has_none() -> None:
    table = integer_table(network(), dt_ms=1.0)
    with pytest.raises(UsageError, match="NEST has no equal of CuBaLIF neurons"):
        run_in_nest(table, [np.zeros((4, 6))])


def test_from_the_command_line(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    shell("train", *SMALL, *SHORT, "neuron=cubalif", "neuron.tau_syn_ms=20", "run=runs/one")
    shell("export", "run=runs/one", "formats=all", "bits=8", "fixed_point=true")
    report = json.loads(Path("runs/one/export/report.json").read_text())
    assert report["agreement"]["spikes_differing"] == 0
    table = read_table("runs/one/export/delays.h5")
    assert table["hidden0"].model.name == "IntCuBaLIF"
    line = shell.fails("export", "run=runs/one", "verify=nest", "folder=nest")
    assert "NEST has no equal of CuBaLIF neurons" in line
