"""Dilated convolution with learnable spacings (DCLS), in one to three dimensions."""

from snn_delays.dcls.convolution import DclsConv1d, DclsConv2d, DclsConv3d

__all__ = ["DclsConv1d", "DclsConv2d", "DclsConv3d"]
