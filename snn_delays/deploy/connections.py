"""Which layers of synapses a network has, what normalises them, and where they lead."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import fx, nn

from snn_delays.deploy.fold import is_norm, is_synapses
from snn_delays.deploy.parts import NOTHING, follow, torch_model_of
from snn_delays.errors import UsageError


class Connection(NamedTuple):
    """A layer of synapses, by the names of modules.

    Args:
        norm: the normalisation right behind it, if there is one.
        targets: the neuron nodes that it leads to; none where it leads to the output.
    """

    synapses: str
    norm: str | None
    targets: tuple[str, ...]


def connections(module: nn.Module) -> list[Connection]:
    """The layers of synapses of a network that ``trace`` takes, in its order.

    Raises:
        UsageError: a forward that cannot be followed, or normalisation elsewhere than right behind
            one layer of synapses.
    """
    own: Any = getattr(module, "connections", None)
    if own is not None:
        return own()
    graph = follow(module)
    found, folding = [], set()
    for node in graph.nodes:
        if node.op == "call_module" and is_synapses(module.get_submodule(node.target)):
            norm = _norm_behind(module, node)
            folding.add(norm)
            found.append(Connection(str(node.target), norm, _targets(module, node)))
    for node in graph.nodes:
        norm = node.op == "call_module" and is_norm(module.get_submodule(node.target))
        if norm and node.target not in folding:
            raise UsageError(
                f"module {node.target!r} normalises what is no single layer of synapses, and "
                "cannot be folded into one."
            )
    return found


def _norm_behind(module: nn.Module, node: fx.Node) -> str | None:
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module":
            return None
        behind = module.get_submodule(str(node.target))
        if is_norm(behind):
            return str(node.target)
        if type(behind) not in NOTHING:
            return None
    return None


def _targets(module: nn.Module, node: fx.Node) -> tuple[str, ...]:
    """The neuron nodes that a node's numbers flow into."""
    waiting, seen, found = list(node.users), set(), set()
    for one in waiting:  # which grows
        if one.op == "call_module" and torch_model_of(module.get_submodule(str(one.target))):
            found.add(str(one.target))
        elif one not in seen:
            seen.add(one)
            waiting += one.users
    return tuple(sorted(found))
