"""Which convolutions of a model are to be swapped, and why some cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from snn_delays.arguments import shown
from snn_delays.errors import UsageError

Select = str | Callable[[str, Any], bool] | Sequence[str]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks"),
    "_load_state_dict_post_hooks",
)


def selected(model: nn.Module, select: Select) -> dict[str, Any]:
    """The chosen convolutions by name; one that stands in several places by its first.

    Raises:
        UsageError: a choice that chooses nothing, names of other modules, or convolutions that
            something depends on which a swap would lose.
    """
    if isinstance(model, CONVOLUTIONS):
        raise UsageError(
            f"replace_convs: needs a model with convolutions inside, got {type(model).__name__} "
            "itself. Make a DclsConv of its settings."
        )
    modules = dict(model.named_modules())
    found = {name: one for name, one in modules.items() if isinstance(one, CONVOLUTIONS)}
    if isinstance(select, str):
        if select != "depthwise":
            raise UsageError(
                "replace_convs: select must be 'depthwise', a function (name, convolution) → bool "
                f"or a list of names, got {select!r}. Give [{select!r}] for a name."
            )
        chosen = {name: one for name, one in found.items() if _depthwise(one)}
    elif callable(select):
        chosen = {name: one for name, one in found.items() if select(name, one)}
    else:
        named = list(select)
        for name in named:
            if name not in modules:
                raise UsageError(
                    f"replace_convs: select must name modules of the model, got {shown(name)}. Its "
                    f"convolutions are {shown(list(found))}."
                )
        chosen = {name: one for name, one in modules.items() if name in named}
    if not chosen:
        raise UsageError(
            f"replace_convs: select={shown(select)} chooses none of {len(found)} convolutions in "
            f"{type(model).__name__}. Give their names or a function (name, convolution) → bool."
        )
    shares = Counter(
        id(own) for module in set(model.modules()) for own in module._parameters.values()
    )
    for name, one in chosen.items():
        if reason := _refusal(one, shares):
            raise UsageError(f"replace_convs: {name} ({type(one).__name__}) {reason}")
    return chosen


def swap_(model: nn.Module, made: Mapping[nn.Module, nn.Module]) -> list[str]:
    """Put what was made of some modules in all of their places; gives the names of these."""
    names = []
    for prefix, parent in list(model.named_modules()):
        for name, child in parent._modules.items():
            if child is not None and child in made:
                setattr(parent, name, made[child])
                names.append(f"{prefix}.{name}" if prefix else name)
    return names


def _depthwise(conv: Any) -> bool:
    """One filter for each channel, of more than one element; a lazy one may turn out to be so."""
    if isinstance(conv, LazyModuleMixin):
        return getattr(conv, "groups", 1) > 1
    return conv.groups == conv.in_channels > 1 and max(conv.kernel_size) > 1


def _refusal(conv: Any, shares: Counter[int]) -> str:
    """What a swap would lose of a convolution, and the next move; empty if nothing."""
    if getattr(conv, "transposed", False):
        return "is transposed, which DclsConv is not. Leave it out of select."
    if isinstance(conv, LazyModuleMixin):
        return "does not know its channels yet. Run the model once before."
    if is_parametrized(conv):
        return (
            "has a parametrisation, which would be lost. Remove it before "
            "(torch.nn.utils.parametrize.remove_parametrizations)."
        )
    if any(getattr(conv, name, None) for name in _HOOKS):
        return (
            "has hooks, as pruning, weight_norm and spectral_norm set them, which would be lost. "
            "Remove them before."
        )
    if type(conv) not in CONVOLUTIONS or "forward" in conv.__dict__:
        return (
            "must be nn.Conv1d, nn.Conv2d or nn.Conv3d with torch's own forward. Leave it out of "
            "select; one with a step_mode, put into SpikingJelly's SeqToANNContainer as nn.Conv."
        )
    own = [one for one in conv._parameters.values() if one is not None]
    if any(one._backward_hooks or one._post_accumulate_grad_hooks for one in own):
        return "has hooks on its parameters, which would be lost. Remove them before."
    if any(shares[id(one)] > 1 for one in own):
        return "shares a parameter with another module, which would end. Leave it out of select."
    return ""
