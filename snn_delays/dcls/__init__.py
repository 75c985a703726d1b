"""Dilated convolution with learnable spacings (DCLS), in one to three dimensions."""

from snn_delays.dcls.convolution import DclsConv1d, DclsConv2d, DclsConv3d
from snn_delays.dcls.package import from_dcls, replace_dcls
from snn_delays.dcls.replace import Replacement, replace_convs

__all__ = [
    "DclsConv1d",
    "DclsConv2d",
    "DclsConv3d",
    "Replacement",
    "from_dcls",
    "replace_convs",
    "replace_dcls",
]
