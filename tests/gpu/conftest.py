"""What runs on a GPU, and where there is none what can be shown of it on the CPU.

With TRITON_INTERPRET=1 Triton's kernels run on the CPU's tensors, step by step in NumPy: slowly,
but with the numbers that they are to give.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

from snn_delays.ops import adaptive, dense, leaky, lif
from snn_delays.ops.compiled import kernels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED:
    from triton.runtime import interpreter

    patched = interpreter._patch_lang_tensor

    def indexed(tensor: Any, scope: Any) -> None:
        """NumPy 2.4 makes no int of an array of one number, which Triton's bounds of loops are."""
        patched(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = indexed
KERNELS = {lif: "lif_gpu", adaptive: "adaptive_gpu", leaky: "leaky_gpu", dense: "dense_gpu"}

On = Callable[[], AbstractContextManager[str]]


@pytest.fixture
def kernel_device(monkeypatch: pytest.MonkeyPatch) -> On:
    """A context that gives the device on which neurons run as kernels within it."""
    if torch.cuda.is_available() and not INTERPRETED:
        return lambda: _given("cuda")
    if not INTERPRETED:
        pytest.skip("needs a GPU, or Triton's interpreter")

    @contextmanager
    def interpreted() -> Iterator[str]:
        with monkeypatch.context() as patch:
            for module, name in KERNELS.items():
                patch.setitem(module.LOOPS.callers, "cpu", kernels(name))
            yield "cpu"

    return interpreted


@contextmanager
def _given(device: str) -> Iterator[str]:
    yield device


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """A GPU whose products are in full single precision."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    return "cuda"
