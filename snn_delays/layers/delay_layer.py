"""The delay layer: a linear map in which every synapse also has a learnable delay."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snn_delays.arguments import whole_number
from snn_delays.errors import UsageError
from snn_delays.interpolation import Interpolation, dense_kernel
from snn_delays.layers.delayed import Delayed
from snn_delays.layers.granularity import First, Granularity
from snn_delays.modules.inputs import require_sequence
from snn_delays.modules.width import outlived
from snn_delays.ops import factored, plan, streaming
from snn_delays.ops.factored import Stages
from snn_delays.ops.plan import METHODS, ONE_END, Method


class DelayLayer(Delayed):
    """Fully connected synapses with learnable delays.

        y[t, post] = b[post] + Σ_pre Σ_k w[post, pre, k]·Σ_j g_σ(j − d[post, pre, k])·x[t − j, pre]

    A SpikingJelly module: it stands between neurons where ``layer.Linear`` would. It remembers
    the last ``max_delay`` inputs between calls, as a neuron remembers its membrane, until
    ``functional.reset_net``; so a sequence may come whole (``step_mode="m"``), in pieces, or
    step by step (``step_mode="s"``), with the same result.

    Args:
        in_features, out_features: number of pre- and postsynaptic neurons.
        max_delay: largest delay, in steps; the kernel has ``max_delay + 1`` taps.
        kernel_count: how many synapses, each with its delay, one (post, pre) pair has.
        granularity: one delay per ``"synaptic"`` pair, per pre (``"axonal"``), per post
            (``"dendritic"``), for all (``"common"``), or the sum of one per pre and one per post
            (``"axonal+dendritic"``), each spread over taps and rounded on its own.
        interpolation: ``"gaussian"`` or ``"triangle"``.
        sigma: width of the interpolation in steps; ``None`` starts at half the kernel, as
            published (max_delay / 2 + 0.27). A schedule shrinks it; at 0 Gaussian delays act as
            integers and rest: their gradient is 0, and an optimiser's step leaves them where they
            are, whatever its momentum or decay (``rest.py``). Attribute ``rounding`` does so of
            every interpolation (``"integer"``), or lets rounded delays move by their slopes
            (``"straight_through"``; Bengio, Léonard, Courville, 2013, arXiv:1308.3432).
        sigma_learned: whether σ is learned (as its logarithm, ``log_sigma``); schedules then leave
            it alone, and the method is ``dense``.
        first_delays: where delays start, in steps: uniform between two, or half-normal of one
            width; ``None`` is uniform over the kernel.
        bias: adds a learnable current to every postsynaptic neuron, at first 0.
        method: how to compute it; see ``ops/plan.py``.

    Shape:
        ``[T, N, in] → [T, N, out]``, or ``[N, in] → [N, out]`` with ``step_mode="s"``, in the
        precision of the weights: under autocast only products are in half.
        ``weight`` is ``[out, in, kernel_count]``; ``delay`` (steps) is the same, but
        ``[1, in, kernel_count]`` if axonal, ``[out, 1, kernel_count]`` if dendritic and
        ``[1, 1, kernel_count]`` if common. Of both ends it is the sum of the learned ``delay_pre``
        and ``delay_post``, shaped as axonal and dendritic ones.
        The state dict holds these, σ (``_sigma``), a ``mask`` (0 or 1, as ``weight``) after
        ``set_mask``, and ``rounding`` if there is any.

    Raises:
        UsageError: sizes, ranges or names that make no layer; an input of another width; a batch
            of another size than the remembered one; delays that are NaN or infinite (on a GPU
            when they are rounded; before that the output is NaN).

    Reference:
        Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks
        using dilated convolutions with learnable spacings" (2024, arXiv:2306.17670).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        max_delay: int,
        *,
        kernel_count: int = 1,
        granularity: Granularity = "synaptic",
        interpolation: Interpolation = "gaussian",
        sigma: float | None = None,
        sigma_learned: bool = False,
        first_delays: First | None = None,
        bias: bool = False,
        step_mode: Literal["s", "m"] = "m",
        method: Method = "auto",
    ) -> None:
        super().__init__()
        self.in_features = whole_number("DelayLayer: in_features", in_features, 1)
        self.out_features = whole_number("DelayLayer: out_features", out_features, 1)
        settings = {"kernel_count": kernel_count, "max_delay": max_delay, "method": method}
        settings |= {"granularity": granularity, "interpolation": interpolation, "sigma": sigma}
        settings |= {"first_delays": first_delays, "step_mode": step_mode}
        self._settle("DelayLayer", (*METHODS, *ONE_END), settings)
        self._stream = streaming.Stream()
        sizes = (self.out_features, self.in_features, self.kernel_count)
        self._make(*sizes, bias=bias, sigma_learned=sigma_learned)

    @classmethod
    def from_linear(cls, linear: nn.Linear, max_delay: int, **settings: Any) -> DelayLayer:
        """A delay layer with the weights and bias of a linear one, and delays drawn anew.

        With delays of 0 and σ = 0 it computes what the linear layer does.

        Args:
            linear: a Linear layer, of torch or SpikingJelly; left as it is.
            max_delay, settings: as for the class.

        Raises:
            UsageError: no Linear layer, or as the class.
        """
        if not isinstance(linear, nn.Linear):
            raise UsageError(
                f"DelayLayer.from_linear: needs a Linear layer, got {type(linear).__name__}."
            )
        settings = {"step_mode": getattr(linear, "step_mode", "m"), **settings}
        bias = linear.bias is not None
        layer = cls(linear.in_features, linear.out_features, max_delay, bias=bias, **settings)
        layer.to(linear.weight)
        with torch.no_grad():
            # Contacts of one pair share its weight.
            layer.weight.copy_(linear.weight.unsqueeze(2) / layer.kernel_count)
            if layer.bias is not None:
                layer.bias.copy_(linear.bias)
        return layer

    def carried(self) -> dict[str, Any]:
        return {**super().carried(), "_stream": streaming.Stream()}

    @property
    def ends(self) -> str:
        return f"{self.in_features} → {self.out_features}"

    def _require_shape(self, x: Tensor, axes: tuple[str, ...]) -> None:
        require_sequence(type(self).__name__, x, self.in_features, axes)

    def _convolved(
        self, x: Tensor, weight: Tensor, delay: Tensor | Stages, sigma: float | Tensor
    ) -> tuple[Tensor, str]:
        limits: dict[str, Any] = {"max_delay": self.reach, "interpolation": self.interpolation}
        limits["mask"] = None if self.dense_gradient else self.mask
        # Whoever reads σ anew has seen which method the present one takes.
        method = (outlived() and self.method_used) or self.method
        method = plan.method_for(x, weight, delay, sigma, **limits, method=method)
        y = plan.delay_convolution(x, weight, delay, sigma=sigma, **limits, method=method)
        return y, method

    def _streamed(
        self,
        x: Float[Tensor, "batch pre"],
        history: Float[Tensor, "taps_before batch pre"],
        weight: Tensor,
        delay: Tensor | Stages,
        sigma: float | Tensor,
    ) -> tuple[Tensor, Tensor] | None:
        learned = self._parameters["log_sigma"] is not None and torch.is_grad_enabled()
        if learned or not isinstance(delay, Tensor):
            return None
        if not streaming.covers(x, weight, delay, history):
            return None
        return self._stream.step(x, history, weight, delay, float(sigma), self.interpolation)

    def _latest(
        self, x: Tensor, weight: Tensor, delay: Tensor | Stages, sigma: float | Tensor
    ) -> Float[Tensor, "batch post"]:
        if isinstance(delay, Tensor) and delay.shape[0] == 1:
            delay = factored.of_one_end(delay, "axonal", self.reach)
        if isinstance(delay, Stages):
            return factored.last(x, weight, delay, sigma, self.interpolation)
        kernel = dense_kernel(weight, delay, sigma, self.reach, self.interpolation)
        return torch.einsum("jni,oij->no", x.flip(0), kernel)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self._settings_repr()}"
