#!/usr/bin/env python
"""A run as one page: the same as the command snn-delays-report."""

from snn_delays.cli.commands import report

if __name__ == "__main__":
    report()
