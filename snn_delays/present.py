"""Which synapses a layer has: a mask that keeps the others' weights at 0, saved with the layer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn_delays.arguments import shown
from snn_delays.errors import UsageError


class SynapseMask(nn.Module):
    """A layer with a ``weight`` whose synapses need not all be there.

    Its state dict has ``present`` (bool, as ``weight``) if some are not.
    """

    weight: Tensor
    present: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("present", None)  # None has no place in the state dict

    @torch.no_grad()
    def set_present(self, present: Bool[Tensor, "post pre contacts"] | None) -> None:
        """Say which synapses there are: the others' weights become 0, and nothing brings them back.

        Saved and loaded with the layer; a state dict without ``present`` has every synapse.

        Args:
            present: of ``weight``'s shape, or one that broadcasts to it; None: all are there.

        Raises:
            UsageError: no mask, or one of another shape.
        """
        if present is None:
            self.present = None
            return
        shape = tuple(self.weight.shape)
        if not (isinstance(present, Tensor) and present.dtype == torch.bool):
            got = present.dtype if isinstance(present, Tensor) else shown(present)
            raise UsageError(f"set_present: needs a bool tensor {list(shape)}, got {got}.")
        try:
            mask = present.to(self.weight.device).expand(shape).clone()
        except RuntimeError:
            raise UsageError(
                f"set_present: needs the shape of weight, {list(shape)}, got {list(present.shape)}."
            ) from None
        self.present = mask
        stored = self.weight
        if parametrize.is_parametrized(self, "weight"):
            stored = self.get_submodule("parametrizations.weight").original
        stored.masked_fill_(~mask, 0)  # pyright: ignore[reportCallIssue]

    def acting_weight(self) -> Float[Tensor, "post pre contacts"]:
        """``weight`` where there is a synapse, 0 elsewhere."""
        present = self._buffers["present"]
        return self.weight if present is None else torch.where(present, self.weight, 0)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A state without a mask has all synapses; one without weights says nothing of them.
        names = (f"{prefix}weight", f"{prefix}parametrizations.weight.original")
        if any(name in state_dict for name in names):
            if f"{prefix}present" not in state_dict:
                self.present = None
            elif self.present is None:
                self.present = torch.ones_like(self.weight, dtype=torch.bool)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
