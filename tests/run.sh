#!/bin/bash
# tests/run.sh [PRESET [OPTION...]]: installs missing packages, builds and runs all tests.
#
# PRESET is release (default), debug, asan, tsan or clang; OPTIONs are ctest's, such as -R REGEX.
# FILEXFER_JOBS=N runs N tests at once (2). Ends with ctest's own closing line and its exit code.

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-release}
options=("${@:2}")

cmake/install.sh
cmake --preset "$preset"
cmake --build --preset "$preset"

log="build/$preset/Testing/run.log"
mkdir -p "$(dirname "$log")"
status=0
ctest --preset "$preset" --parallel "${FILEXFER_JOBS:-2}" ${options[@]+"${options[@]}"} \
  2>&1 </dev/null | tee "$log" || status=$?

# ctest lists failed and skipped tests after its closing line. Print that line last.
grep -E '^[0-9]+% tests passed' "$log" | tail -n 1
exit "$status"
