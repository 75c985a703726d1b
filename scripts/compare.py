#!/usr/bin/env python
"""Compare experiments over seeds: the same as the command snn-delays-compare."""

from snn_delays.cli.commands import compare

if __name__ == "__main__":
    compare()
