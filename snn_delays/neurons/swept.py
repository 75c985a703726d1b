"""What SpikingJelly's nodes have in common when a whole sequence is one compiled sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor

from snn_delays.arguments import real_number
from snn_delays.errors import UsageError
from snn_delays.modules.bypass import steps_as
from snn_delays.modules.eager import differentiated, readable
from snn_delays.modules.state import Stateful, trainable
from snn_delays.ops import lif as scan
from snn_delays.ops import normalised, surrogates
from snn_delays.ops.adaptive import Cell
from snn_delays.ops.normalised import Norm

# Is told how many of so many neurons fire, of each sample in each step: ``[T, N]``.
Tell = Callable[[Tensor, int], None]


class Swept(Stateful):
    """A SpikingJelly node with the whole sequence in one compiled sweep: by numba on the CPU, by
    Triton on a GPU.

    The same arguments and numbers; a node that is given no surrogate function has one of its own.
    Tensors whose numbers cannot be read (traced, fake, in ``torch.func``: see ``eager.py``) take
    the same loop in torch. What neither covers (other devices, surrogates that
    ``ops/surrogates.py`` lacks, half precision) runs as SpikingJelly runs it.
    """

    v: Tensor | float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool
    decay_input: bool
    step_mode: str
    store_v_seq: bool
    _neuron_precision: object
    _modules: dict[str, Any]
    surrogate_function: surrogate.SurrogateFunctionBase
    _as_theirs: ClassVar[bool]  # whether no subclass has another equation than SpikingJelly's

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        equations = cls.single_step_functional_forward, cls.multi_step_functional_forward  # pyright: ignore[reportAttributeAccessIssue]
        cls._as_theirs = all(one.__module__.startswith("spikingjelly.") for one in equations)

    def __init__(
        self,
        tau: float = 2.0,
        decay_input: bool = True,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate_function: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        if surrogate_function is None:  # SpikingJelly's, but not one object for all nodes
            surrogate_function = surrogate.Sigmoid()
        super().__init__(
            steps(name, tau),  # pyright: ignore[reportCallIssue]
            decay_input,
            real_number(f"{name}: v_threshold", v_threshold),
            None if v_reset is None else real_number(f"{name}: v_reset", v_reset),
            surrogate_function,
            *args,
            **kwargs,
        )

    def multi_step_forward(
        self,
        x_seq: Tensor,
        *args: Tensor,
        norm: Norm | None = None,
        drop: Tensor | None = None,
        tell: Tell | None = None,
        **kwargs: object,
    ) -> Tensor:
        if norm is not None:
            return self._normalised(x_seq, norm, drop, tell)
        run = self._runner(x_seq)
        if run is None:
            return super().multi_step_forward(x_seq, *args, **kwargs)  # pyright: ignore
        return run(x_seq)

    def single_step_forward(self, x: Tensor, *args: Tensor, **kwargs: object) -> Tensor:
        run = self._runner(x)
        if run is None:
            return super().single_step_forward(x, *args, **kwargs)  # pyright: ignore
        before = self.v_seq if self.store_v_seq else None
        spikes = run(x.unsqueeze(0))[0]
        if self.store_v_seq:
            self.v_seq = before
            self._append_v_seq(self.v)  # pyright: ignore[reportAttributeAccessIssue]
        return spikes

    def _runner(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        """What runs a sequence of such x; None for SpikingJelly."""
        # Looked up so, which a step of a stream can tell.
        function: Any = self._modules.get("surrogate_function")
        if not (
            self._as_theirs
            and surrogates.index(function) is not None
            and x.numel() > 0
            and self._neuron_precision is None  # else one of SpikingJelly's own, on GPUs
        ):
            if differentiated():
                self._require_differentiable(function)
            return None
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            known = x.dtype in (torch.float32, torch.float64) and scan.LOOPS.on(x.device.type)
            return self._sweep if known else None
        if scan.LOOPS.take(x):
            return self._sweep
        return None if readable(x) else self._loop

    def _require_differentiable(self, function: Any) -> None:
        """Refuse those surrogates of SpikingJelly that ``torch.func`` takes no gradient of."""
        theirs = isinstance(function, surrogate.SurrogateFunctionBase)
        ours = not theirs or surrogates.index(function) is not None
        if not ours and function.spiking:
            raise UsageError(
                f"{type(self).__name__}: torch.func takes no gradient of "
                f"{type(function).__name__}. Use {', '.join(surrogates.CLASSES)}, or "
                "torch.autograd."
            )

    def _loop(self, x_seq: Tensor) -> Tensor:
        """``_sweep`` in torch alone."""
        v = remembered(self, x_seq, x_seq.shape[1:])
        settings = self._inverse_tau(), self.decay_input, self._firing()
        spikes, _, v = scan.scan(x_seq, v, *settings)
        self._remember(v)
        return spikes

    def _sweep(self, x_seq: Tensor) -> Tensor:
        v, inverse_tau = remembered(self, x_seq, x_seq.shape[1:]), self._inverse_tau()
        if not (torch.is_grad_enabled() or self.store_v_seq or torch.compiler.is_compiling()):
            settings = inverse_tau, self.decay_input, *reset_of(self)
            spikes, _, self.v = scan.sweep(x_seq, v, *settings)
            return spikes
        firing, number = self._firing(), torch.as_tensor(inverse_tau, dtype=torch.float64)
        spikes, h = scan.lif(x_seq, v, number, self.decay_input, list(firing))
        kept = slice(None) if self.store_v_seq else slice(-1, None)
        self._remember(scan.after_reset(h[kept], spikes[kept], firing))
        return spikes

    def covers(self, x: Tensor, norm: Norm) -> bool:
        """Whether the node takes currents x ``[T, N, C]`` that are still to be normalised; not one
        that makes something of them first."""
        return (
            steps_as(self, Swept)
            and self.step_mode == "m"
            and not self.store_v_seq
            and not isinstance(self._inverse_tau(), Tensor)
            and normalised.covers(x, norm)
            and self._runner(x) == self._sweep
        )

    def _normalised(
        self, x_seq: Tensor, norm: Norm, drop: Tensor | None, tell: Tell | None
    ) -> Tensor:
        """What dropout lets through of ``_sweep``, of what the normalisation makes of currents."""
        v, inverse_tau = remembered(self, x_seq, x_seq.shape[1:]), float(self._inverse_tau())
        gain = inverse_tau if self.decay_input else 1.0
        neurons = normalised.Neurons(1 - inverse_tau, gain, self._firing())
        passed, self.v, counts = normalised.sweep(x_seq, v, norm, neurons, drop, tell is not None)
        if tell is not None:
            tell(counts, x_seq.shape[2])
        return passed

    def cell(self, like: Tensor) -> Cell | None:
        """The node as a scan that has its synapses, too, takes it; for currents ``[N, C]``.

        None of one that makes something of its currents first.
        """
        known = steps_as(self, Swept) and not self.store_v_seq
        if not known or self._runner(like) != self._sweep:
            return None
        inverse_tau = torch.as_tensor(self._inverse_tau(), dtype=torch.float64)
        beta, gain = 1 - inverse_tau, inverse_tau if self.decay_input else torch.ones(())
        v, none = remembered(self, like, like.shape), torch.zeros(())
        return Cell(beta, gain, none, none, none, v, none, self._firing(), adapts=False)

    def settle(self, v: Tensor, w: Tensor) -> None:
        """Remember what such a scan has left."""
        self.v = v

    def _remember(self, v: Tensor) -> None:
        """Keep the last of the potentials after each step, or all."""
        if self.store_v_seq:
            self.v_seq = v
        self.v = v[-1]

    def _firing(self) -> scan.Firing:
        return scan.Firing(
            *reset_of(self),
            detach_reset=self.detach_reset,
            surrogate=surrogates.index(self.surrogate_function),  # pyright: ignore[reportArgumentType]
            alpha=float(self.surrogate_function.alpha),  # pyright: ignore[reportArgumentType]
        )

    def _inverse_tau(self) -> Tensor | float:
        """1 / τ."""
        raise NotImplementedError


def remembered(node: Stateful, x: Tensor, shape: torch.Size, name: str = "v") -> Tensor:
    """What a node's state of this name and shape begins with, in the precision of its input x.

    Raises:
        UsageError: a remembered state of another shape.
    """
    v = node._memories[name]
    if not isinstance(v, Tensor):
        return x.new_full((), v).expand(shape)
    v = trainable(v).to(x)
    if v.shape == shape:
        return v
    if v.dim():
        raise UsageError(
            f"{type(node).__name__}: remembers potentials {list(v.shape)}, got an input "
            f"{list(shape)} of a step. Call functional.reset_net(net) between sequences."
        )
    return v.expand(shape)


def reset_of(node: Any) -> tuple[float, float, bool]:
    """v_threshold, v_reset and soft of ``Firing``.

    Raises:
        UsageError: one that is to be learned, of which scans give no gradient.
    """
    for name, value in (("v_threshold", node.v_threshold), ("v_reset", node.v_reset)):
        if isinstance(value, Tensor) and value.requires_grad:
            raise UsageError(
                f"{type(node).__name__}: {name} must be a number, got a {type(value).__name__} to "
                "be learned, of which there is no gradient. Learn the weights' scale or a bias "
                "instead, which act the same."
            )
    v_reset = node.v_reset
    return node.v_threshold, 0.0 if v_reset is None else v_reset, v_reset is None


def steps(owner: str, tau: float, name: str = "tau") -> float:
    """A time constant in steps, by default a membrane's, which must be above one."""
    return real_number(
        f"{owner}: {name}",
        tau,
        above=1,
        must="be above 1 step",
        advice="Use a longer time constant or a smaller dt: steps = ms / dt_ms.",
    )
