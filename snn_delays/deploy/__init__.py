"""A trained network as a delay table, what that costs, and whether the table acts the same."""

from snn_delays.deploy.adapt import AdaptedDelays, adapt_delays
from snn_delays.deploy.deployment import Deployment, DeploySettings, deploy
from snn_delays.deploy.integer import integer_table
from snn_delays.deploy.loading import load_table
from snn_delays.deploy.quantise import activity, quantised
from snn_delays.deploy.verify import Agreement, compare

__all__ = [
    "AdaptedDelays",
    "Agreement",
    "DeploySettings",
    "Deployment",
    "activity",
    "adapt_delays",
    "compare",
    "deploy",
    "integer_table",
    "load_table",
    "quantised",
]
