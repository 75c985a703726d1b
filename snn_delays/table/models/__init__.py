"""Neuron models, each described once."""

from __future__ import annotations

from importlib import import_module

from snn_delays.errors import UsageError
from snn_delays.table.models.model import Model, Parameter, Scalar, whole_form

# A model's name in lower case: its description is models/NAME.py, its torch node neurons/NAME.py.
NAMES = ("lif", "li", "cubalif", "adlif")

MODELS: dict[str, Model] = {
    model.name: model
    for name in NAMES
    for model in import_module(f"snn_delays.table.models.{name}").MODELS
}

__all__ = ["MODELS", "NAMES", "Model", "Parameter", "Scalar", "model_named", "whole_form"]


def model_named(name: str) -> Model:
    """The model of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in MODELS:
        raise UsageError(f"model must be one of {', '.join(MODELS)}; got {name!r:.60}.")
    return MODELS[name]
