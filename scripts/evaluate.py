#!/usr/bin/env python
"""Evaluate trained runs: the same as the command snn-delays-evaluate."""

from snn_delays.cli.commands import evaluate

if __name__ == "__main__":
    evaluate()
