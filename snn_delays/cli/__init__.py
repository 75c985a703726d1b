"""The command line: one file per command. Hydra lives here and in conf/ only."""
