"""Which parameters learn at which rate, and which of them decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList

from snn_delays.arguments import real_number
from snn_delays.modules.ranged import Spread

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(
    module: nn.Module,
    *,
    weight_lr: float = 1e-3,
    weight_decay: float = 1e-5,
    delay_lr: float = 0.1,
    position_lr: float | None = None,
) -> list[dict[str, Any]]:
    """The parameters of ``module`` as an optimiser's groups: delays and positions learn fast and
    never decay.

    A decay would pull them towards 0, which is no neutral value for a delay. Where all parameters
    are in one group with ``torch.optim.AdamW``'s own decay of 0.01, it does.

    Args:
        weight_lr, weight_decay: of weights and whatever else there is. Norms, neurons' constants,
            and what a parametrisation adds to a weight, do not decay; nor do learned widths σ.
        delay_lr: rate of the delays, in steps.
        position_lr: rate of the positions of DCLS's kernels, in elements; ``None`` is 5 times
            ``weight_lr``.

    Returns:
        Groups named ``"weights"``, ``"undecayed"``, ``"delays"`` and ``"positions"``, without those
        that are empty; of delays and positions only those that are learned.

    Raises:
        UsageError: a rate or decay that is negative or no number.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670): these values, with
        Adam. Khalfaoui-Hassani, Pellegrini, Masquelier (2023, arXiv:2112.03740): the positions'.
    """
    weight_lr = real_number("parameter_groups: weight_lr", weight_lr, 0)
    weight_decay = real_number("parameter_groups: weight_decay", weight_decay, 0)
    delay_lr = real_number("parameter_groups: delay_lr", delay_lr, 0)
    if position_lr is None:
        position_lr = 5 * weight_lr
    position_lr = real_number("parameter_groups: position_lr", position_lr, 0)
    parts = list(module.modules())
    spread = [part for part in parts if isinstance(part, Spread)]
    places: dict[str, list[nn.Parameter]] = {"delays": [], "positions": []}
    for layer in spread:
        kept = layer.stored_places()
        places[layer.moves] += [own for own in kept if isinstance(own, nn.Parameter)]
    norms = [
        part for part in parts if isinstance(part, _NORMS) or not getattr(part, "decays", True)
    ]
    lists = [part for part in parts if isinstance(part, ParametrizationList)]
    added = [mapping for mappings in lists for mapping in mappings]
    undecayed = [own for part in [*norms, *added] for own in part.parameters()]
    undecayed += [own for layer in spread for own in layer.learned_widths()]
    moved = {id(own) for own in [*places["delays"], *places["positions"]]}
    undecayed = [own for own in undecayed if id(own) not in moved]
    apart = moved | {id(own) for own in undecayed}
    weights = [own for own in module.parameters() if id(own) not in apart]
    learned = {name: [p for p in _once(own) if p.requires_grad] for name, own in places.items()}
    groups = (
        ("weights", weights, weight_lr, weight_decay),
        ("undecayed", _once(undecayed), weight_lr, 0.0),
        ("delays", learned["delays"], delay_lr, 0.0),
        ("positions", learned["positions"], position_lr, 0.0),
    )
    names = ("name", "params", "lr", "weight_decay")
    return [dict(zip(names, group, strict=True)) for group in groups if group[1]]


def _once(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(own): own for own in parameters}.values())
