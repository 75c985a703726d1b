"""Which parameters learn at which rate, and which of them decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList

from snn_delays.arguments import real_number
from snn_delays.layers.networks import delay_layers

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(
    module: nn.Module, *, weight_lr: float = 1e-3, weight_decay: float = 1e-5, delay_lr: float = 0.1
) -> list[dict[str, Any]]:
    """The parameters of ``module`` as an optimiser's groups: delays learn fast and never decay.

    A decay would pull delays towards 0, which is no neutral value for them. Where all parameters
    are in one group with ``torch.optim.AdamW``'s own decay of 0.01, it does.

    Args:
        weight_lr, weight_decay: of weights and whatever else there is. Norms, neurons' constants,
            and what a parametrisation adds to a weight, do not decay; nor do learned widths σ.
        delay_lr: rate of the delays, in steps.

    Returns:
        Groups named ``"weights"``, ``"undecayed"`` and ``"delays"``, without those that are empty;
        of delays only those that are learned.

    Raises:
        UsageError: a rate or decay that is negative or no number.

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier (2024, arXiv:2306.17670): these values, with Adam.
    """
    weight_lr = real_number("parameter_groups: weight_lr", weight_lr, 0)
    weight_decay = real_number("parameter_groups: weight_decay", weight_decay, 0)
    delay_lr = real_number("parameter_groups: delay_lr", delay_lr, 0)
    kept = [delay for layer in delay_layers(module) for delay in layer.stored_delays()]
    delays = [delay for delay in kept if isinstance(delay, nn.Parameter)]
    parts = list(module.modules())
    norms = [
        part for part in parts if isinstance(part, _NORMS) or not getattr(part, "decays", True)
    ]
    lists = [part for part in parts if isinstance(part, ParametrizationList)]
    added = [mapping for mappings in lists for mapping in mappings]
    undecayed = [own for part in [*norms, *added] for own in part.parameters()]
    widths = [layer.log_sigma for layer in delay_layers(module)]
    undecayed += [own for own in widths if own is not None]
    apart = {id(own) for own in [*undecayed, *delays]}
    weights = [own for own in module.parameters() if id(own) not in apart]
    learned = [delay for delay in _once(delays) if delay.requires_grad]
    groups = (
        ("weights", weights, weight_lr, weight_decay),
        ("undecayed", _once(undecayed), weight_lr, 0.0),
        ("delays", learned, delay_lr, 0.0),
    )
    names = ("name", "params", "lr", "weight_decay")
    return [dict(zip(names, group, strict=True)) for group in groups if group[1]]


def _once(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(own): own for own in parameters}.values())
