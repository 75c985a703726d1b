#!/usr/bin/env bash
# Lint, types and tests. Arguments go to pytest: `bash scripts/test.sh -m slow`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" "[dev]"

# Small tensors everywhere: threads would only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/pyright
# A file's tests stay together: they share trained runs.
.venv/bin/python -m pytest --numprocesses=2 --dist=loadfile "$@"
