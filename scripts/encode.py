#!/usr/bin/env python
"""Encode recordings of sound as spikes: the same as the command snn-delays-encode."""

from snn_delays.cli.commands import encode

if __name__ == "__main__":
    encode()
