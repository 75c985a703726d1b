"""Which synapses a layer has: a mask that keeps the others' weights at 0, saved with the layer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snn_delays.arguments import shown
from snn_delays.errors import UsageError
from snn_delays.layers.stored import stored


class SynapseMask(nn.Module):
    """A layer with a ``weight`` whose synapses need not all be there.

    Its state dict has ``present`` (1 or 0, as ``weight``) if some are not; numbers, since averages
    of models take no booleans.
    """

    weight: Tensor
    present: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("present", None)  # None has no place in the state dict

    @torch.no_grad()
    def set_present(self, present: Bool[Tensor, "post pre k"] | None) -> None:
        """Say which synapses there are: the others' weights become 0, and count as 0 from then on.

        Saved and loaded with the layer; a state dict without ``present`` has every synapse. Set it
        before a copy is made that averages buffers (``AveragedModel``).

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
            mask = present.to(self.weight.device).expand(shape).to(torch.uint8)
        except RuntimeError:
            raise UsageError(
                f"set_present: needs the shape of weight, {list(shape)}, got {list(present.shape)}."
            ) from None
        self.present = mask
        self.clear_absent_()

    @torch.no_grad()
    def clear_absent_(self) -> None:
        """Store 0 for the weights of synapses that are not there, where weights are stored."""
        if self.present is not None and (weight := stored(self, "weight")) is not None:
            weight.masked_fill_(self.present == 0, 0)

    def acting_weight(self) -> Float[Tensor, "post pre k"]:
        """``weight`` where there is a synapse, 0 elsewhere."""
        present = self._buffers["present"]
        return self.weight if present is None else torch.where(present != 0, self.weight, 0)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A state without a mask has all synapses; one without weights says nothing of them.
        names = (f"{prefix}weight", f"{prefix}parametrizations.weight.original")
        if any(name in state_dict for name in names):
            if f"{prefix}present" not in state_dict:
                self.present = None
            elif self.present is None:
                self.present = torch.ones_like(self.weight, dtype=torch.uint8)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
