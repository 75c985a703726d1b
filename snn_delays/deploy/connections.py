"""Which layers of synapses a network has, what normalises them, and where they lead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import fx, nn

from snn_delays.deploy.fold import is_norm, is_synapses
from snn_delays.deploy.parts import NOTHING, follow, neurons_in, unpacked
from snn_delays.errors import UsageError


class Connection(NamedTuple):
    """A layer of synapses, by the names of modules.

    Args:
        norm: the normalisation right behind it, if there is one.
        targets: the neuron nodes that it leads to; none where it leads to the output.
        through: the layers of synapses that it leads through on the way there.
    """

    synapses: str
    norm: str | None
    targets: tuple[str, ...]
    through: tuple[str, ...] = ()


def connections(module: nn.Module) -> list[Connection]:
    """The layers of synapses of a network that ``trace`` takes, in its order.

    Raises:
        UsageError: a forward that cannot be followed, or normalisation elsewhere than right behind
            one layer of synapses.
    """
    if hasattr(type(module), "connections"):
        return module.connections()  # pyright: ignore[reportCallIssue]
    flow = _Flow(module)
    found, folding = [], set()
    for place, name, called in flow.calls():
        if is_synapses(called):
            norm = flow.norm_behind(place)
            folding.add(norm)
            found.append(Connection(name, norm, *flow.targets(place)))
        elif (neurons := neurons_in(name, called)) and neurons[1] is not called:
            found.append(Connection(name, None, (neurons[0],)))
    for _, name, called in flow.calls():
        if is_norm(called) and name not in folding:
            raise UsageError(
                f"module {name!r} normalises what is no single layer of synapses, and cannot be "
                "folded into one."
            )
    return found


# A node of a graph, and which of the modules that it calls one after another.
Place = tuple[fx.Node, int]


class _Flow:
    """What numbers flow through behind a layer."""

    def __init__(self, module: nn.Module) -> None:
        self._graph = follow(module)
        self._called = {
            node: list(unpacked(str(node.target), module.get_submodule(str(node.target))))
            for node in self._graph.nodes
            if node.op == "call_module"
        }

    def calls(self) -> Iterator[tuple[Place, str, nn.Module]]:
        """Every call of a module, in order."""
        for node, called in self._called.items():
            for index, (name, module) in enumerate(called):
                yield (node, index), name, module

    def norm_behind(self, place: Place) -> str | None:
        """The normalisation that is all that follows."""
        behind = self._behind(place)
        while len(behind) == 1:
            name, module = self._at(behind[0])
            if module is not None and is_norm(module):
                return name
            if type(module) not in NOTHING:
                return None
            behind = self._behind(behind[0])
        return None

    def targets(self, place: Place) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The neuron nodes that come next, and the synapses on the way to them."""
        waiting, seen, found, through = self._behind(place), set(), set(), set()
        for one in waiting:  # which grows
            name, module = self._at(one)
            if module is not None and (neurons := neurons_in(name, module)):
                found.add(neurons[0])
            elif one not in seen:
                seen.add(one)
                waiting += self._behind(one)
                if module is not None and is_synapses(module):
                    through.add(name)
        return tuple(sorted(found)), tuple(sorted(through))

    def _at(self, place: Place) -> tuple[str, nn.Module | None]:
        called = self._called.get(place[0])
        return called[place[1]] if called else ("", None)

    def _behind(self, place: Place) -> list[Place]:
        node, index = place
        if index + 1 < len(self._called.get(node, ())):
            return [(node, index + 1)]
        return [(user, 0) for user in node.users]
