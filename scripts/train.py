#!/usr/bin/env python
"""Train a network: the same as the command snn-delays-train."""

from snn_delays.cli.commands import train

if __name__ == "__main__":
    train()
