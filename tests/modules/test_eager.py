"""Numbers are read where nothing watches, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from snn_delays.modules.eager import for_loops, readable, watched

X = torch.ones(2)


@pytest.mark.parametrize(
    "x",
    [X, nn.Parameter(X), X.double(), X.requires_grad_().clone(), torch.ones(2, 3).T, X[:0]],
)
def test_plain_tensors_go_to_loops(x: Tensor) -> None:
    assert readable(x)
    assert for_loops(x, x)


@pytest.mark.parametrize(
    "x",
    [
        X.half(),
        X.bfloat16(),
        X.long(),
        X.bool(),
        torch.eye(2).to_sparse(),
    ],
)
def test_what_loops_do_not_know_is_readable_all_the_same(x: Tensor) -> None:
    assert readable(x)
    assert not for_loops(x)
    assert not for_loops(X, x)


def test_loops_take_one_precision_at_a_time() -> None:
    assert not for_loops(X, X.double())


def test_what_has_no_numbers_is_not_read() -> None:
    class Other(Tensor):
        pass

    with FakeTensorMode() as mode:
        fake = mode.from_tensor(X)
    for x in (torch.ones(2, device="meta"), fake, X.as_subclass(Other)):
        assert not watched()
        assert not readable(X, x)
        assert not for_loops(X, x)


def under_fake_tensors(look: Callable[[Tensor], Tensor]) -> None:
    with FakeTensorMode() as mode:
        look(mode.from_tensor(X))


def in_a_dispatch_mode(look: Callable[[Tensor], Tensor]) -> None:
    with FlopCounterMode(display=False):
        look(X)


def in_forward_mode(look: Callable[[Tensor], Tensor]) -> None:
    with forward_ad.dual_level():
        look(forward_ad.make_dual(X, X))


@pytest.mark.parametrize(
    "run",
    [
        lambda look: torch.jit.trace(look, X, check_trace=False),
        lambda look: make_fx(look)(X),
        lambda look: torch.compile(look, backend="eager")(X),
        lambda look: torch.func.vmap(look)(X),
        lambda look: torch.func.grad(lambda x: look(x).sum())(X),
        lambda look: torch.func.jvp(look, (X,), (X,)),
        in_forward_mode,
        under_fake_tensors,
        in_a_dispatch_mode,
    ],
)
def test_whoever_follows_torch_sees_torch_alone(run: Callable[[Any], Any]) -> None:
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(watched() and not readable(X) and not for_loops(X))
        return 2 * x

    run(look)
    assert seen
    assert all(seen)
    assert not watched()
