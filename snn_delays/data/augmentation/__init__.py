"""Changes to a training batch that leave its meaning alone."""

from snn_delays.data.augmentation.augmentation import Augmentation

__all__ = ["Augmentation"]
