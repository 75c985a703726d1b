"""What may change a training batch at random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from snn_delays.data.splits.batch import Batch


@dataclass(frozen=True)
class BatchChange(ABC):
    """A random change of training batches that leaves their meaning alone; a frozen dataclass of
    its settings, which ``fit`` keeps with a run.

    Random numbers come from torch's global generator of the batch's device, which training seeds
    anew in every epoch.
    """

    @abstractmethod
    def __call__(self, batch: Batch, n_classes: int) -> tuple[Batch, Tensor]:
        """The changed batch, and what to compare the network's answers with.

        Targets are class probabilities ``[N, n_classes]`` if recordings are mixed, whose batch then
        has the labels of each one's greater part; otherwise the batch's labels.

        Raises:
            UsageError: a batch that it cannot change.
        """

    def suited(self, batch: Batch) -> BatchChange:
        """This change as it suits data such as this batch; ``fit`` asks once, before it trains."""
        return self
