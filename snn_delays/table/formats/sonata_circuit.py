"""What SONATA says about a network beside its arrays: names, types and ``circuit_config.json``."""

from __future__ import annotations

import json

from snn_delays.table.formats.header import LayerHeader
from snn_delays.table.table import DelayTable, LayerTable

NODES, EDGES = "nodes.h5", "edges.h5"


def node_population(layer: int | str) -> str:
    """The neurons of a layer, or of the ``"input"``."""
    return layer if isinstance(layer, str) else f"layer_{layer}"


def edge_population(layer: LayerTable | LayerHeader) -> str:
    """The synapses into a layer."""
    return f"{node_population(layer.source)}_to_{node_population(layer.target)}"


def node_types(table: DelayTable) -> bytes:
    """``node_types.csv``: one type for each population."""
    rows = ["node_type_id pop_name model_type model_template", "0 input virtual NULL"]
    rows += [
        f"{index + 1} {node_population(index)} point_neuron snn_delays:{layer.neuron.model}"
        for index, layer in enumerate(table.layers)
    ]
    return "\n".join([*rows, ""]).encode("ascii")


def edge_types(table: DelayTable) -> bytes:
    """``edge_types.csv``: one type for each population."""
    rows = ["edge_type_id source target model_template"]
    rows += [
        f"{index} {node_population(layer.source)} {node_population(layer.target)} static_synapse"
        for index, layer in enumerate(table.layers)
    ]
    return "\n".join([*rows, ""]).encode("ascii")


def circuit_config(table: DelayTable) -> bytes:
    """``circuit_config.json``: where nodes and edges are, and of which kind."""
    layers = {
        node_population(index): {"type": "point_neuron"} for index in range(len(table.layers))
    }
    nodes = {
        "nodes_file": f"$BASE_DIR/{NODES}",
        "node_types_file": "$BASE_DIR/node_types.csv",
        "populations": {"input": {"type": "virtual"}, **layers},
    }
    edges = {
        "edges_file": f"$BASE_DIR/{EDGES}",
        "edge_types_file": "$BASE_DIR/edge_types.csv",
        "populations": {edge_population(layer): {"type": "point"} for layer in table.layers},
    }
    content = {"manifest": {"$BASE_DIR": "."}, "networks": {"nodes": [nodes], "edges": [edges]}}
    return (json.dumps(content, indent=2) + "\n").encode("ascii")
