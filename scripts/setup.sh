# Sourced by quickstart.sh and test.sh: makes .venv, or reuses it, and installs this project.
# usage: source setup.sh EXTRAS     (EXTRAS as pip writes them: "" or "[dev]")

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or newer is needed, got: $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11." >&2
    exit 1
fi
if [ ! -x .venv/bin/python ]; then
    echo "Making .venv …"
    "$python" -m venv .venv
fi
# Installed once per version of these files: later runs start at once and need no network.
stamp=.venv/installed$1-$(cat pyproject.toml constraints.txt | cksum | tr ' ' '-')
if [ ! -e "$stamp" ]; then
    echo "Installing snn-delays$1 and what it needs into .venv (minutes the first time) …"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".$1"
    touch "$stamp"
fi
