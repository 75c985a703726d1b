#!/usr/bin/env python
"""Get, check and look at a data set: the same as the command snn-delays-prepare."""

from snn_delays.cli.commands import prepare

if __name__ == "__main__":
    prepare()
