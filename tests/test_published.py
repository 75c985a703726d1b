"""State dicts of SNN-delays against the same network made of DCLS and SpikingJelly's modules.

The published network here is written anew from its description (arXiv:2306.17670): a chain of
DCLS layers behind D − 1 steps of silence, each followed by D // 2 steps more, BatchNorm, neurons
and dropout, and neurons at the end whose potentials are the output.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from DCLS.construct.modules import Dcls1d
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

from snn_delays.errors import UsageError
from snn_delays.published import load_snn_delays_checkpoint


class Published(nn.Module):
    """The published network: its modules in one list, as its state dicts name them."""

    def __init__(
        self,
        sizes: tuple[int, ...] = (14, 24, 20, 20),
        taps: int = 25,
        *,
        version: str = "gauss",
        kernel_count: int = 1,
        bias: bool = False,
        norm: bool = True,
        tau: float = 1.005,
        plif: bool = False,
        synapse_filter: bool = False,
        last_threshold: float = 1e9,
        gain: float = 16.0,
    ) -> None:
        super().__init__()
        self.gain = gain * (1 if norm else 2)
        self.taps, self.ends, made = taps, [], []
        for index, (pre, post) in enumerate(itertools.pairwise(sizes)):
            last = index == len(sizes) - 2
            made.append(
                Dcls1d(
                    pre, post, kernel_count, dilated_kernel_size=taps, bias=bias, version=version
                )
            )
            if norm and not last:
                made.append(layer.BatchNorm1d(post, step_mode="m"))
            kind: Any = neuron.ParametricLIFNode if plif else neuron.LIFNode
            made.append(
                kind(
                    tau,
                    decay_input=False,
                    v_threshold=last_threshold if last else 1.0,
                    surrogate_function=surrogate.ATan(5.0),
                    detach_reset=True,
                    step_mode="m",
                    store_v_seq=True,
                )
            )
            if not last:
                made.append(layer.Dropout(0.4, step_mode="m"))
            if synapse_filter and not last:
                made.append(layer.SynapseFilter(tau=2.0, step_mode="m"))
        self.model = nn.Sequential(*made)
        self._as_if_trained()
        self.eval()

    @torch.no_grad()
    def _as_if_trained(self) -> None:
        for one in self.model:
            if isinstance(one, Dcls1d):
                nn.init.uniform_(one.weight, -1, 1)
                one.weight *= self.gain / one.in_channels
                nn.init.uniform_(one.P, -(self.taps + 1) / 2, self.taps / 2)
                one.clamp_parameters()
                if one.SIG is not None:
                    nn.init.constant_(one.SIG, 0.23)
                if one.bias is not None:
                    nn.init.normal_(one.bias, 0.0, 0.1)
            elif isinstance(one, layer.BatchNorm1d):
                nn.init.normal_(one.running_mean, 0.0, 0.2)
                nn.init.uniform_(one.running_var, 0.2, 1.0)
                nn.init.uniform_(one.weight, 0.3, 1.5)
                nn.init.normal_(one.bias, 0.1, 0.2)
            elif isinstance(one, neuron.ParametricLIFNode):
                nn.init.normal_(one.w, 0.3, 0.5)

    @torch.no_grad()
    def widen(self, sig: float) -> None:
        for one in self.model:
            if isinstance(one, Dcls1d):
                one.SIG.fill_(sig)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        functional.reset_net(self)
        padding = (self.taps - 1, self.taps // 2)
        for one in self.model:
            if isinstance(one, Dcls1d):
                silence = nn.functional.pad(x.permute(1, 2, 0), padding)
                x = one(silence).permute(2, 0, 1)
            elif isinstance(one, layer.BatchNorm1d):
                x = one(x.unsqueeze(3)).squeeze(3)
            else:
                x = one(x)
        last: Any = self.model[-1]
        return last.v_seq if last.v_threshold > 1e8 else x


def saved(net: nn.Module, folder: Path) -> Path:
    torch.save(net.state_dict(), folder / "net.pt")
    return folder / "net.pt"


def spikes(steps: int, channels: int = 14, silence: int = 0, rate: float = 0.2) -> torch.Tensor:
    fired = (torch.rand(steps, 3, channels) < rate).float()
    return torch.cat([fired, torch.zeros(silence, 3, channels)])


def assert_equal_outputs(theirs: Published, ours: Any, steps: int = 30) -> None:
    """For a recording behind silence, every step; without it, until half a kernel later."""
    x = spikes(steps, theirs.model[0].in_channels)
    silence = torch.zeros(ours.tail, *x.shape[1:])
    with torch.no_grad():
        found, bare, silent = ours(x), theirs(x), theirs(torch.cat([x, silence]))
    assert found.shape == bare.shape
    assert found.std() > 0.05  # something comes through
    torch.testing.assert_close(found, silent[: len(found)], rtol=0, atol=1e-5)
    same = steps + theirs.taps // 2
    torch.testing.assert_close(found[:same], bare[:same], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sig", [0.23, 3.0, 12.0])
@pytest.mark.parametrize("kernel_count", [1, 2])
def test_outputs_are_the_published_networks(sig: float, kernel_count: int, tmp_path: Path) -> None:
    theirs = Published(kernel_count=kernel_count)
    theirs.widen(sig)
    ours = load_snn_delays_checkpoint(saved(theirs, tmp_path))
    assert (ours.max_delay, ours.tail, ours.training) == (24, 36, False)
    for block in ours.blocks:
        assert block.synapses.sigma == pytest.approx(sig + 0.27)
    assert_equal_outputs(theirs, ours)


def test_the_delay_is_half_a_kernel_less_the_position(tmp_path: Path) -> None:
    theirs = Published((1, 1, 20), norm=False, version="max")
    with torch.no_grad():
        for one in (theirs.model[0], theirs.model[3]):
            one.weight.fill_(2.0)
            one.P.fill_(0.0)
            one.SIG.fill_(0.0)
        theirs.model[0].P.fill_(5.0)  # later in the kernel: nearer in time
        theirs.model[3].P.fill_(-12.0)
    ours = load_snn_delays_checkpoint(saved(theirs, tmp_path), interpolation="triangle")
    assert [block.synapses.delay[0].item() for block in ours.blocks] == [7.0, 24.0]
    x = torch.zeros(40, 1, 1)
    x[3] = 1.0
    with torch.no_grad():
        for net in (theirs, ours):
            assert int((net(x)[:, 0, 0] > 1).float().argmax()) == 3 + 7 + 24


@pytest.mark.parametrize(
    "options",
    [
        {"bias": True},
        {"norm": False},
        {"norm": False, "bias": True},
        {"plif": True},
        {"sizes": (14, 20, 20)},
        {"sizes": (5, 18, 17, 16, 35), "taps": 31, "tau": 1.5},
        {"taps": 7},
        {"last_threshold": 2.0, "gain": 40.0},
    ],
    ids=str,
)
def test_outputs_of_other_settings(options: dict[str, Any], tmp_path: Path) -> None:
    theirs = Published(**options)
    readout = "spike_count" if "last_threshold" in options else "sum_softmax"
    ours = load_snn_delays_checkpoint(saved(theirs, tmp_path), readout=readout)
    assert (ours.max_delay, ours.readout) == (theirs.taps - 1, readout)
    assert_equal_outputs(theirs, ours)


@pytest.mark.parametrize(
    ("version", "interpolation"), [("gauss", "gaussian"), ("max", "triangle"), ("v1", "gaussian")]
)
def test_outputs_of_every_version(version: str, interpolation: Any, tmp_path: Path) -> None:
    theirs = Published(version=version)
    if version != "v1":
        theirs.widen(1.3)
    ours = load_snn_delays_checkpoint(saved(theirs, tmp_path), interpolation=interpolation)
    assert_equal_outputs(theirs, ours)


def test_settings_that_the_file_lacks(tmp_path: Path) -> None:
    theirs = Published((6, 8, 4), 9, tau=3.0)
    path = saved(theirs, tmp_path)
    with pytest.raises(UsageError, match=r"got 4. Give tau=…, in steps"):
        load_snn_delays_checkpoint(path)
    ours = load_snn_delays_checkpoint(path, tau=3.0, dropout=0.1)
    assert_equal_outputs(theirs, ours)
    assert (ours.blocks[0].neuron.tau, ours.blocks[0].dropout.p) == (3.0, 0.1)
    for classes, expected in ((20, (1.005, 0.4)), (35, (1.5, 0.25))):
        ours = load_snn_delays_checkpoint(saved(Published((6, 8, classes), 9), tmp_path))
        assert (ours.blocks[0].neuron.tau, ours.blocks[0].dropout.p) == expected


def test_max_delay_is_asked_for_where_positions_do_not_say(tmp_path: Path) -> None:
    theirs = Published(taps=11)
    with torch.no_grad():
        for index in (0, 4, 8):
            theirs.model[index].P.mul_(0.7)
    path = saved(theirs, tmp_path)
    with pytest.raises(UsageError, match=r"the farthest is 3.500. Give max_delay=…"):
        load_snn_delays_checkpoint(path)
    with pytest.raises(UsageError, match=r"from 0 to max_delay=4 steps, got -1.5"):
        load_snn_delays_checkpoint(path, max_delay=4)
    assert_equal_outputs(theirs, load_snn_delays_checkpoint(path, max_delay=10))


def test_even_kernels_are_told_and_placed(tmp_path: Path) -> None:
    theirs = Published(taps=12)
    with torch.no_grad():
        for index in (0, 4, 8):
            theirs.model[index].P.clamp_(-6, 5)  # at 6 an even kernel has no tap
    ours = load_snn_delays_checkpoint(saved(theirs, tmp_path), max_delay=11)
    x = spikes(30)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[:30], theirs(x)[:30], rtol=0, atol=1e-5)


def change(state: dict[str, Any], kind: str) -> Any:
    if kind == "width":
        state["model.4.SIG"][0, 0, 0, 0] = 5.0
    elif kind == "position":
        state["model.4.P"][0, 0, 0, 0] = float("nan")
    elif kind == "weight":
        del state["model.4.weight"]
    elif kind == "chain":
        state["model.8.weight"] = state["model.8.weight"][:, :7]
        state["model.8.P"] = state["model.8.P"][:, :, :7]
    elif kind == "more":
        state["classifier.weight"] = torch.zeros(2)
    elif kind == "other":
        return {"weight": torch.zeros(2)}
    elif kind == "list":
        return [torch.zeros(2)]
    elif kind == "values":
        return {"epoch": 3, "state": state}
    elif kind == "code":
        return {"net": torch.nn.Linear(2, 2), **state}
    return state


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("width", "one width for all synapses, as a schedule sets it, got SIG from 0.23 to 5."),
        ("position", "got nan to nan"),
        ("weight", r"model.4 must have a weight \[post, pre, k\]"),
        ("chain", r"\[20, 24, 1\] and then \[20, 7, 1\]"),
        ("more", "also ['classifier.weight']"),
        ("other", "DCLS's layers of one SNN-delays network"),
        ("list", "damaged or nothing that torch.save wrote"),
        ("values", "must hold a state dict"),
        ("code", "could run code when it is loaded (['torch.nn.modules.linear.Linear"),
    ],
)
def test_refusals_in_one_line(kind: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(change(Published().state_dict(), kind), path)
    with pytest.raises(UsageError) as caught:
        load_snn_delays_checkpoint(path, max_delay=24)
    assert said.replace("\\", "") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_synapse_filters_and_taus_of_plif_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no synapse filter"):
        load_snn_delays_checkpoint(saved(Published(synapse_filter=True), tmp_path))
    with pytest.raises(UsageError, match="Leave out tau=2.0"):
        load_snn_delays_checkpoint(saved(Published(plif=True), tmp_path), tau=2.0)
    with pytest.raises(UsageError, match="not found"):
        load_snn_delays_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(UsageError, match="damaged or nothing"):
        load_snn_delays_checkpoint(tmp_path / "text.pt")


def test_the_network_trains_on_and_is_exported(tmp_path: Path) -> None:
    from snn_delays.deploy import integer_table
    from snn_delays.layers import rounded

    ours = load_snn_delays_checkpoint(saved(Published(), tmp_path)).train()
    ours(spikes(20)).square().sum().backward()
    assert all(own.grad is not None for own in ours.parameters())
    table = integer_table(rounded(ours.eval()), dt_ms=10.0)
    assert table.synapses > 0
