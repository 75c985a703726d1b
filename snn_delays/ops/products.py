"""Many matrix products at once, for tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from snn_delays.eager import for_loops
from snn_delays.ops.compiled import loops, use_torch_threads

products_cpu = loops("products_cpu")  # None: torch's serve.


def multiply(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """out[r] = a[r] @ b[r]: ``[R, M, K]`` of any strides, ``[R, K, N]``, contiguous, as ``out``
    is; no gradients."""
    if products_cpu is None or b.shape[2] < products_cpu.LANES or not for_loops(a, b, out):
        return torch.bmm(a, b, out=out)
    if not out.numel():
        return out
    use_torch_threads()
    # All that a reaches, whatever its strides are.
    reach = sum((size - 1) * step for size, step in zip(a.shape, a.stride(), strict=True)) + 1
    row = a.as_strided((reach,), (1,))
    products_cpu.multiply(out.numpy(), row.numpy(), a.stride(), b.numpy())
    return out
