#!/usr/bin/env python
"""Export a trained run as an integer delay table: the same as the command snn-delays-export."""

from snn_delays.cli.commands import export

if __name__ == "__main__":
    export()
