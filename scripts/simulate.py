#!/usr/bin/env python
"""Run a delay table on test samples: the same as the command snn-delays-simulate."""

from snn_delays.cli.commands import simulate

if __name__ == "__main__":
    simulate()
