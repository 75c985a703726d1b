"""From a trained torch network to its delay table: trace, fold, round, merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from snn_delays.deploy.loading import LoadedNetwork
from snn_delays.deploy.recorded import RecordedNetwork
from snn_delays.deploy.trace import Traced, trace
from snn_delays.errors import UsageError
from snn_delays.table.table import DelayTable


def integer_table(
    net: nn.Module,
    *,
    dt_ms: float,
    class_names: Sequence[str] | None = None,
    example: Tensor | None = None,
    readout: str | None = None,
    tail_steps: int | None = None,
) -> DelayTable:
    """The network as it acts in evaluation with rounded delays, as a table.

    The network itself is left as it is; its delays need not be rounded before.

    Args:
        net: ``DelaySNN``, or any network that ``trace`` takes.
        dt_ms: duration of a step.
        class_names: one per neuron of the output; numbers unless given.
        example: an input, where the network does not say how many channels it has.
        readout, tail_steps: how the output is read, and for how long after a sample; as the network
            has it (its attributes ``readout`` and ``tail``, a sum or mean over time in its
            forward) unless given.

    Raises:
        UsageError: as ``trace``, or a readout that does not go with the output's neurons.
    """
    traced = trace(net, example)
    readout, tail_steps = read_out(net, traced, readout, tail_steps)
    return traced.table(
        dt_ms=dt_ms, class_names=class_names, readout=readout, tail_steps=tail_steps
    )


def recorded(
    net: nn.Module,
    *,
    example: Tensor | None = None,
    readout: str | None = None,
    tail_steps: int | None = None,
) -> RecordedNetwork | LoadedNetwork:
    """The same network, ready to be compared with its table; arguments as ``integer_table``."""
    if isinstance(net, LoadedNetwork):
        return net
    traced = trace(net, example)
    readout, tail_steps = read_out(net, traced, readout, tail_steps)
    return RecordedNetwork(net, traced, readout=readout, tail=tail_steps)


def read_out(
    net: nn.Module, traced: Traced, readout: str | None, tail_steps: int | None
) -> tuple[str, int]:
    """How a network is read, and its tail: as given, else as it says itself."""
    own: Any = getattr(net, "readout", None) if readout is None else readout
    if not isinstance(own, str):  # none, or a module of that name
        own = traced.readout
    tail = getattr(net, "tail", 0) if tail_steps is None else tail_steps
    if not isinstance(tail, int) or tail < 0:
        raise UsageError(f"tail_steps must be a whole number >= 0, got {tail!r}.")
    return own, tail
