"""Several processes that train one network, each on its share of every batch.

Every process holds the whole network and takes the same step: gradients are averaged over all
processes (DDP), weighted so that they are those of the whole batch.
"""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from snn_delays.errors import UsageError
from snn_delays.run.generators import seed_of

_alone = False


@dataclass(frozen=True)
class Share:
    """What one process takes of a batch.

    Args:
        indices: its samples.
        steps: how long the longest sample of the whole batch is; ``None`` if this is all of it.
    """

    indices: list[int]
    steps: int | None = None


class Ranks:
    """The processes of a training, numbered from 0; of one process nothing is asked.

    Args:
        fabric: launched; it has started what they talk by.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank, self.count = fabric.global_rank, fabric.world_size

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and validates."""
        return self.rank == 0

    def share(self, indices: list[int], lengths: Tensor) -> Share:
        """This process's part of a batch: neighbours, as many as others have, or one more or less.

        Raises:
            UsageError: fewer samples than processes.
        """
        if self.count == 1:
            return Share(indices)
        if len(indices) < self.count:
            raise UsageError(
                f"fit: batch_size must be >= {self.count}, a sample for each process, got a batch "
                f"of {len(indices)}. Give a larger one, or fewer devices."
            )
        first, end = (len(indices) * part // self.count for part in (self.rank, self.rank + 1))
        return Share(indices[first:end], int(lengths[indices].max()))

    def seed(self, seed: int) -> None:
        """Let dropout and augmentation draw what no other process draws; the first goes on."""
        if self.rank:
            torch.manual_seed(seed_of(seed, self.rank))

    def told(self, what: Any) -> Any:
        """What the first process gives, on every one."""
        return what if self.count == 1 else self.fabric.broadcast(what)

    def gathered(self, what: Any) -> list[Any]:
        """What each process gives, in their order, on every one."""
        if self.count == 1:
            return [what]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, what)
        return found

    def require_same(self, net: nn.Module) -> None:
        """Refuse to go on with parameters that have come apart, bit by bit.

        Raises:
            UsageError: they have, by what only some processes did.
        """
        if self.count == 1:
            return
        sums = [float(p.detach().double().sum()) for p in net.parameters()]
        sums += [float(p.detach().double().square().sum()) for p in net.parameters()]
        if any(other != sums for other in self.gathered(sums)):
            raise UsageError(
                "fit: the processes' networks have come apart. What changes the network, such as a "
                "callback, must do so in every process alike: set its attribute everywhere = True."
            )


def on_cpu(state: Any) -> Any:
    """A state dict whose tensors any process can take, whatever device is its own."""
    return tree_map(lambda one: one.cpu() if isinstance(one, Tensor) else one, state)


def started() -> int | None:
    """How many processes torchrun, or whoever sets what it sets, has started; ``None`` if that is
    not known."""
    if "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    if "SLURM_PROCID" in os.environ:
        return None
    return 1


def number() -> int:
    """Of this process, as far as the environment tells before training begins."""
    there = "LOCAL_RANK" in os.environ
    return int(os.environ.get("RANK" if there else "SLURM_PROCID", 0))


def fabric_of(
    accelerator: Any, devices: int, num_nodes: int, precision: Any, *, unused: bool = False
) -> Fabric:
    """Fabric, launched: it connects the processes, if there are to be several.

    Args:
        unused: whether the network has parameters that its output does not depend on.

    Raises:
        UsageError: others have been started than ``devices`` × ``num_nodes``.
    """
    asked, there = devices * num_nodes, started()
    if there is not None and asked != there:
        found = f"fit: devices × num_nodes is {asked}, but {there} of its processes were started."
        if asked > there:
            raise UsageError(
                f"{found} Start them with torchrun (--nproc-per-node={devices}) or SLURM's srun, "
                "or give devices=1."
            )
        raise UsageError(f"{found} Give devices, and num_nodes, as torchrun was given them.")
    if asked == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    # Buffers are alike by themselves, but for BatchNorm's, of which the first process's are saved.
    strategy = DDPStrategy(find_unused_parameters=unused, broadcast_buffers=False)
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    atexit.register(_part)
    return fabric


def _part() -> None:
    """End the connection before Python ends: threads of it would be in the way."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The sum of what every process gives; of its gradients, too, since all have gone into it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        summed = own.clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        return _Sum.forward(ctx, grads[0])


def _sum(own: Tensor) -> Tensor:
    summed = _Sum.apply(own)
    assert isinstance(summed, Tensor)
    return summed


class _Synced(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose mean and variance in training are those of the samples of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or _alone:
            return super().forward(input)
        self._check_input_dim(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        x = input.float()  # as torch's own: statistics in single precision, at least
        count = x.new_full((), x.numel() // x.shape[1])
        total, sums = _sum(torch.cat([count[None], x.sum(axes)])).split([1, x.shape[1]])
        shape = [1, -1, *[1] * (x.dim() - 2)]
        centred = x - (mean := sums / total).view(shape)
        variance = _sum(centred.square().sum(axes)) / total
        self._follow(mean.detach(), variance.detach(), total.detach())
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics."""
        if not self.track_running_stats or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked)
        cast(Tensor, self.running_mean).lerp_(mean, share)
        cast(Tensor, self.running_var).lerp_(variance * (count / (count - 1)), share)


@contextmanager
def norms_alone() -> Iterator[None]:
    """For a forward pass that this process alone takes: each BatchNorm has its samples only."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def sync_norms(net: nn.Module) -> list[tuple[nn.Module, type]]:
    """Let every BatchNorm in ``net`` take its statistics over all processes.

    Returns:
        what ``unsync_norms`` takes back: the modules, with what they were.
    """
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    changed = []
    for module in net.modules():
        for norm in norms:
            if isinstance(module, norm):
                kind = type(module)
                # Right before torch's own class: what a subclass does around it stays.
                inner = type("Synced", (_Synced, norm), {})
                bases = (inner,) if kind is norm else (kind, inner)
                module.__class__ = type(kind.__name__, bases, {})
                changed.append((module, kind))
    return changed


def unsync_norms(changed: Sequence[tuple[nn.Module, type]]) -> None:
    """Make them what they were."""
    for module, kind in changed:
        module.__class__ = kind
