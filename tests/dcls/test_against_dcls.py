"""DclsConv1d, 2d and 3d against the package that the method was published with, DCLS 0.1.1.

``from_dcls`` makes ours of theirs; values and gradients are then compared. DCLS normalises by
Σ + 1e-7 where we normalise by Σ.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from DCLS.construct import modules as package
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from snn_delays import UsageError
from snn_delays.dcls import DclsConv2d, from_dcls, replace_dcls

VERSIONS = pytest.mark.parametrize("version", ["v0", "v1", "max", "gauss"])
NARROW: Any = {
    "Dcls1d": package.Dcls1d,
    "Dcls2d": package.Dcls2d,
    "Dcls3d": package.Dcls3d,
    "Dcls3_1d": package.Dcls3_1d,
    "Dcls2dK1d": package.Dcls2dK1d,
}
DIMENSIONS = {"Dcls1d": 1, "Dcls2d": 2, "Dcls3d": 3, "Dcls3_1d": 3, "Dcls2dK1d": 2}


@pytest.fixture(autouse=True)
def _without_its_warnings():
    logging.disable(logging.WARNING)  # of a CUDA kernel that is not installed
    yield
    logging.disable(logging.NOTSET)


@st.composite
def theirs(draw: st.DrawFn, version: str) -> tuple[Any, Tensor]:
    """A module of the package where it is right (square, positions within), and an input."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    usable = [one for one in NARROW if version != "v0" or one != "Dcls3_1d"]
    name = draw(st.sampled_from(usable))
    n, groups = DIMENSIONS[name], draw(st.sampled_from([1, 2]))
    size = draw(st.integers(2, 5 if n < 3 else 3))
    settings: dict[str, Any] = {
        "stride": tuple(draw(st.integers(1, 2)) for _ in range(n)),
        "padding": tuple(draw(st.integers(0, 2)) for _ in range(n)),
        "dilated_kernel_size": size,
        "groups": groups,
        "bias": draw(st.booleans()),
        "version": version,
        "padding_mode": draw(st.sampled_from(["zeros", "circular"])),
    }
    if name == "Dcls3_1d":
        settings["dense_kernel_size"] = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    if name == "Dcls2dK1d":
        settings["flat_dim"] = draw(st.integers(0, 1))
    ins, outs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    module = NARROW[name](ins, outs, draw(st.integers(1, 3)), **settings).double()
    with torch.no_grad():
        # Within, and on no kink, where gradients of the two differ by intent.
        low = -(size // 2) + 0.05
        module.P.copy_(torch.rand_like(module.P) * (size - 1.1) + low)
        nearest = module.P.round()
        close = (module.P - nearest).abs() < 0.02
        module.P.add_(close * 0.03)
        if module.SIG is not None:
            module.SIG.uniform_(0.05, 1.0)
    return module, torch.randn(2, ins, *[size + 3] * n, dtype=torch.float64, requires_grad=True)


@VERSIONS
@given(data=st.data())
def test_values_and_gradients_are_those_of_the_package(version: str, data: st.DataObject) -> None:
    module, x = data.draw(theirs(version))
    ours = from_dcls(module)
    y, expected = ours(x), module(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)
    judge = torch.randn_like(y)
    (of_x, *of_ours) = torch.autograd.grad((y * judge).sum(), [x, *ours.parameters()])
    (of_their_x, *of_theirs) = torch.autograd.grad(
        (expected * judge).sum(), [x, *module.parameters()]
    )
    torch.testing.assert_close(of_x, of_their_x, rtol=0, atol=1e-5)
    mine = dict(zip([name for name, _ in ours.named_parameters()], of_ours, strict=True))
    found = dict(zip([name for name, _ in module.named_parameters()], of_theirs, strict=True))
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(mine["weight"].reshape_as(found["weight"]), found["weight"], **close)
    turned = [0, 2, 1] if len(found["P"]) == 3 else slice(None)
    flipped = found["P"][turned] if version == "v0" else found["P"].flip(0)
    torch.testing.assert_close(mine["position"].reshape_as(flipped), flipped, **close)
    if "SIG" in found:
        # σ = |SIG| + offset and log σ is learned: dL/dSIG = dL/d(log σ) / σ.
        width = ours.log_sigma.detach().exp()
        of_sigma = (mine["log_sigma"] / width).reshape_as(found["SIG"])
        torch.testing.assert_close(of_sigma, found["SIG"].flip(0), **close)
    if "bias" in found:
        torch.testing.assert_close(mine["bias"], found["bias"], **close)


@VERSIONS
def test_what_is_initialised_is_taken_over(version: str) -> None:
    torch.manual_seed(0)
    module = package.Dcls2d(4, 6, 5, dilated_kernel_size=7, groups=2, version=version, padding=3)
    module.weight.requires_grad_(False)
    ours = from_dcls(module.eval())
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(ours(x), module(x), rtol=0, atol=1e-5)
    assert not ours.training
    assert not ours.weight.requires_grad
    assert ours.position.requires_grad
    assert (ours.log_sigma is not None) == (version in ("max", "gauss"))
    if module.SIG is not None:
        module.SIG.requires_grad_(False)
        fixed = from_dcls(module)
        assert fixed.sigma == pytest.approx((0.5, 0.5) if version == "gauss" else (0.0, 0.0))
        torch.testing.assert_close(fixed(x), module(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("version", ["v1", "max", "gauss"])
def test_the_package_turns_the_axes_of_rectangular_kernels(version: str) -> None:
    """It clamps P by one axis and places it along the other; ours is right (by hand, see
    ``test_a_rectangular_strided_grouped_kernel_is_right_by_hand``)."""
    settings: Any = {"dilated_kernel_size": (3, 9), "bias": False, "version": version}
    module = package.Dcls2d(1, 1, 1, **settings)
    with torch.no_grad():
        module.weight.fill_(1.0)
        module.P.copy_(torch.tensor([9.0, 9.0]).view(2, 1, 1, 1))
    module.clamp_parameters()
    # The far end of both axes, as its own limits have it, is not the far end of the kernel:
    kernel = module.DCK(module.weight, module.P, module.SIG)[0, 0]
    assert module.P.flatten().tolist() == [1.0, 4.0]
    far = torch.nn.functional.one_hot(torch.tensor(26), 27).view(3, 9).float()
    assert (kernel - far).abs().max() > 0.4
    ours = DclsConv2d(1, 1, 1, extent=(3, 9), bias=False)
    with torch.no_grad():
        ours.weight.fill_(1.0)
        ours.position.fill_(9.0)
    ours.clamp_()
    torch.testing.assert_close(ours.kernel()[0, 0], far)


def test_a_rectangular_kernel_of_the_package_is_converted_where_its_elements_lie_within() -> None:
    torch.manual_seed(0)
    module = package.Dcls2d(2, 2, 3, dilated_kernel_size=(5, 9), version="v1", stride=(2, 1))
    x = torch.randn(1, 2, 12, 12)
    torch.testing.assert_close(from_dcls(module)(x), module(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_elements_beyond_the_extent_keep_the_weight_that_the_package_gives_them(version) -> None:
    """With an even extent the package's own limit lies one place beyond the kernel."""
    module = package.Dcls1d(1, 1, 3, dilated_kernel_size=4, version=version, bias=False)
    with torch.no_grad():
        module.P.copy_(torch.tensor([2.0, 1.4, -2.0]).view(1, 1, 1, 3))
    x = torch.randn(1, 1, 9)
    torch.testing.assert_close(from_dcls(module)(x), module(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("version", ["max", "gauss"])
def test_elements_beyond_the_extent_of_a_wide_kernel_are_refused(version: str) -> None:
    module = package.Dcls1d(1, 1, 2, dilated_kernel_size=4, version=version)
    with torch.no_grad():
        module.P.copy_(torch.tensor([2.0, 0.0]).view(1, 1, 1, 2))
    with pytest.raises(UsageError, match="1 of 2 elements lie up to 1 beyond the extent of 4"):
        from_dcls(module)


def test_where_the_package_is_stuck_or_left_behind_ours_is_not() -> None:
    module = package.Dcls2d(1, 1, 1, dilated_kernel_size=5, version="v1", padding=2)
    with torch.no_grad():
        module.P.fill_(2.0)  # clamped at the edge
    x = torch.arange(49.0).view(1, 1, 7, 7)
    ours = from_dcls(module)
    module(x).square().sum().backward()
    ours(x).square().sum().backward()
    assert module.P.grad is not None
    assert ours.position.grad is not None
    assert (module.P.grad == 0).all()
    assert (ours.position.grad != 0).all()
    # Its index tensors are no buffers: a copy in another precision or place keeps the old ones.
    assert not list(module.buffers())
    assert module.to("meta").DCK.lim.device.type == "cpu"
    assert all(one.device.type == "meta" for one in ours.to("meta").state_dict().values())


def test_replace_dcls_swaps_every_module_of_the_package_in_a_model() -> None:
    torch.manual_seed(0)
    shared = package.Dcls2d(3, 3, 2, dilated_kernel_size=5, padding=2, groups=3, version="gauss")
    model = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared, nn.Conv2d(3, 2, 1)))
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    before = copy.deepcopy(model)
    assert replace_dcls(model) == ["0", "2.0"]
    assert model[0] is model[2][0]
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
    assert replace_dcls(model) == []
    with torch.no_grad():
        before[0].P.fill_(9.0)
    with pytest.raises(UsageError, match=r"^0: from_dcls: 18 of 18|^0: from_dcls: 6 of 6"):
        replace_dcls(before)
    assert isinstance(before[0], package.Dcls2d)
    with pytest.raises(UsageError, match="Use from_dcls"):
        replace_dcls(shared)
    with pytest.raises(UsageError, match="needs a Dcls1d, .* of the package DCLS, got Conv2d"):
        from_dcls(nn.Conv2d(1, 1, 1))
