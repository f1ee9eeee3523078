#!/usr/bin/env bash
# Starts Z-Image: bash scripts/start_app.sh [flags of app.py]
# The first start makes .venv beside pyproject.toml and installs the tested packages; later ones start at once.
# PYTHON names the interpreter to build with, ZIMAGE_VENV another place for the environment.
set -euo pipefail

# shellcheck source=scripts/_setup.sh
. "$(dirname -- "$(readlink -f -- "$0")")/_setup.sh"

set_up app
say "Starting $ROOT/app.py"
exec "$VENV/bin/python" "$ROOT/app.py" "$@"
