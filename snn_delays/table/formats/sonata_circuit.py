"""What SONATA says about a network beside its arrays: types and ``circuit_config.json``."""

from __future__ import annotations

import json

from snn_delays.table.table import INPUT, DelayTable

NODES, EDGES = "nodes.h5", "edges.h5"


def node_types(table: DelayTable) -> bytes:
    """``node_types.csv``: one type for each population."""
    rows = [f"0 {INPUT} virtual NULL"]
    rows += [
        f"{index} {one.name} point_neuron snn_delays:{one.model.name}"
        for index, one in enumerate(table.populations, start=1)
    ]
    return _lines("node_type_id pop_name model_type model_template", rows)


def edge_types(table: DelayTable) -> bytes:
    """``edge_types.csv``: one type for each population."""
    rows = [
        f"{index} {one.source} {one.target} static_synapse"
        for index, one in enumerate(table.projections)
    ]
    return _lines("edge_type_id source target model_template", rows)


def _lines(header: str, rows: list[str]) -> bytes:
    return "\n".join([header, *rows, ""]).encode("ascii")


def circuit_config(table: DelayTable) -> bytes:
    """``circuit_config.json``: where nodes and edges are, and of which kind."""
    nodes = {INPUT: "virtual", **{one.name: "point_neuron" for one in table.populations}}
    edges = {one.name: "point" for one in table.projections}
    networks = {
        kind: [
            {
                f"{kind}_file": f"$BASE_DIR/{file}",
                f"{kind[:-1]}_types_file": f"$BASE_DIR/{kind[:-1]}_types.csv",
                "populations": {name: {"type": of} for name, of in populations.items()},
            }
        ]
        for kind, file, populations in (("nodes", NODES, nodes), ("edges", EDGES, edges))
    }
    content = {"manifest": {"$BASE_DIR": "."}, "networks": networks}
    return (json.dumps(content, indent=2) + "\n").encode("ascii")
