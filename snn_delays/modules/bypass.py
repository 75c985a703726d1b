"""Whether a fast path may do a module's work without calling it.

Of hooks, and of methods that someone has put in between, it would know nothing.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def must_be_called(module: nn.Module, but: tuple[type, ...] = ()) -> bool:
    """Whether someone has hooked on to ``module``, or put a forward of their own into it.

    Args:
        but: kinds of forward hooks that do not count.
    """
    own = module.__dict__
    return bool(
        own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
        or any(not isinstance(hook, but) for hook in own["_forward_hooks"].values())
        or "forward" in own
        or nn.modules.module._has_any_global_hook()
    )


def steps_as(module: Any, kind: type) -> bool:
    """Whether ``module`` takes its steps as the class ``kind`` does.

    Then no subclass, and nobody who wrote to the module, has put a method of its own in between.
    """
    names = ("forward", "multi_step_forward", "single_step_forward")
    own = vars(module)
    return all(
        getattr(type(module), name) is getattr(kind, name) and name not in own for name in names
    )
