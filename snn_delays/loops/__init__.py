"""Compiled loops: how they are kept, shared among threads, and what a process sets for them."""
