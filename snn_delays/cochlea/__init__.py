"""From sound to the spikes of SHD: a cochlea model.

Reference:
    Cramer, Stradmann, Schemmel, Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks" (2020, arXiv:1910.07407).
"""

from snn_delays.cochlea.ear import Ear, presented
from snn_delays.cochlea.encode import Encoder
from snn_delays.cochlea.filters import FilterBank, filter_table
from snn_delays.cochlea.recordings import Collection, Recording, find_recordings, official_parts

__all__ = [
    "Collection",
    "Ear",
    "Encoder",
    "FilterBank",
    "Recording",
    "filter_table",
    "find_recordings",
    "official_parts",
    "presented",
]
