#!/bin/sh
# tests/reliability/run.sh [--full] [--harness NAME] [--scenario NAME] [--point POINT]
#
# Runs the harnesses in a temporary folder, and prints a table of what they found: see run.py.
# FILEXFER_BIN is the folder of the programs, build/release/bin by default.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
FILEXFER_BIN=$(cd "${FILEXFER_BIN:-$here/../../build/release/bin}" && pwd)
export FILEXFER_BIN
exec "$here/../in_temporary_folder.sh" "$here/run.py" "$@"
