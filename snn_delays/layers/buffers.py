"""What a layer stores beside its weights and delays: the width σ, which synapses there are, and
whether its delays act as rounded."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from snn_delays.arguments import choice, shown
from snn_delays.errors import UsageError
from snn_delays.interpolation import ROUNDINGS
from snn_delays.modules.eager import readable
from snn_delays.modules.ranged import stored
from snn_delays.modules.rest import not_seen_yet
from snn_delays.modules.width import Width, outlived


class Buffers(Width):
    """A layer with a width ``sigma`` and a ``weight`` whose synapses need not all be there.

    If some synapses are missing, ``mask`` (as ``weight``) has 1 or 0 of each; numbers, since
    averages of models take no booleans. With ``dense_gradient`` weights of absent
    synapses have the gradients too that they would have if they were there, at 0.
    """

    weight: Tensor
    mask: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", None)  # None has no place in the state dict
        self.dense_gradient = False
        self._rounding = "none"

    @property
    def sigma(self) -> float:
        """True standard deviation of the interpolation kernel, in steps."""
        return self.read_sigma()

    @sigma.setter
    def sigma(self, value: Any) -> None:
        self.write_sigma(value)

    @property
    def rounding(self) -> str:
        """How delays act: interpolated (``"none"``); as rounded, but moved by the slope of their
        interpolation at σ (``"straight_through"``); or as rounded, and at rest (``"integer"``).

        A plain attribute, so that no GPU is asked; in a state dict a number unless ``"none"``.
        """
        return self._rounding

    @rounding.setter
    def rounding(self, value: Any) -> None:
        self._rounding = choice(f"{type(self).__name__}: rounding", value, ROUNDINGS)
        not_seen_yet(self)

    def _width(self) -> float | Tensor:
        """σ as sums take it: a number, or where a graph outlives it, or learns it, a tensor."""
        learned: Any = self._parameters["log_sigma"]
        if learned is not None:
            return learned.exp()
        buffer: Any = self._buffers["_sigma"]
        return self.sigma if readable(buffer) and not outlived() else buffer

    @torch.no_grad()
    def set_mask(self, mask: Bool[Tensor, "post pre *k"] | None) -> None:
        """Say which synapses there are: the others' weights become 0, and count as 0 from then on.

        Saved and loaded with the layer; a state dict without ``mask`` has every synapse. Set it
        before a copy is made that averages buffers (``AveragedModel``).

        Args:
            mask: of ``weight``'s shape, or one that broadcasts to it; None: all are there.

        Raises:
            UsageError: no mask, or one of another shape.
        """
        if mask is None:
            self.mask = None
            return
        shape = list(self.weight.shape)
        if not (isinstance(mask, Tensor) and mask.dtype == torch.bool):
            got = mask.dtype if isinstance(mask, Tensor) else shown(mask)
            raise UsageError(f"set_mask: needs a bool tensor {shape}, got {got}.")
        try:
            self.mask = mask.to(self.weight.device).expand(shape).to(torch.uint8)
        except RuntimeError:
            raise UsageError(
                f"set_mask: needs the shape of weight, {shape}, got {list(mask.shape)}."
            ) from None
        self.clear_absent_()

    @torch.no_grad()
    def clear_absent_(self) -> None:
        """Store 0 for the weights of synapses that are not there, where weights are stored."""
        weight = stored(self, "weight")
        if self.mask is not None and weight is not None and weight.shape == self.mask.shape:
            weight.masked_fill_(self.mask == 0, 0)

    def acting_weight(self) -> Float[Tensor, "post pre *k"]:
        """``weight`` where there is a synapse, 0 elsewhere."""
        mask, weight = self._buffers["mask"], self.weight
        if mask is None:
            return weight
        acting = torch.where(mask != 0, weight, 0)
        return acting.detach() + (weight - weight.detach()) if self.dense_gradient else acting

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._rounding != "none":
            number = torch.tensor(ROUNDINGS.index(self._rounding), dtype=torch.uint8)
            destination[f"{prefix}_rounding"] = number

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A state without a mask has all synapses; one without weights says nothing of them.
        rounding = state_dict.pop(f"{prefix}_rounding", None)
        made = f"{prefix}parametrizations.weight."  # of one tensor, or of several
        if any(name == f"{prefix}weight" or name.startswith(made) for name in state_dict):
            self._rounding = "none" if rounding is None else ROUNDINGS[int(rounding)]
            if f"{prefix}mask" not in state_dict:
                self.mask = None
            elif self.mask is None:
                self.mask = torch.ones_like(self.weight, dtype=torch.uint8)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
