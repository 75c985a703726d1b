"""timm, where torchvision's compiled operators do not fit torch."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


@cache
def imported() -> Any:
    """The package timm.

    timm imports torchvision, and torchvision describes its own compiled operators (``nms`` and
    ``qnms``) to torch as soon as it is imported. Beside a CPU build of torch these operators often
    do not load, and the import fails with "operator torchvision::nms does not exist". Nothing here
    calls them, so that it is enough to declare them, without any kernel, before the import.
    """
    if not hasattr(torch.ops.torchvision, "nms"):
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(name + signature)
        _declared.append(library)
    import timm

    return timm


_declared: list[torch.library.Library] = []  # which end with their object
