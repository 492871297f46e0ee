#!/bin/bash
# tests/coverage.sh [OPTION...]: how much of include/ the tests execute, by lines and branches.
#
# Builds the preset `coverage`, runs all tests (OPTIONs are ctest's), and prints a table of gcovr's
# (Debian: gcovr). Fails below 95 % of the lines, or 85 % of the branches that are not there for
# exceptions alone. About half an hour on two cores.

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v gcovr >/dev/null; then
  echo "coverage.sh: gcovr is missing (Debian: gcovr)" >&2
  exit 1
fi
cmake --preset coverage
cmake --build --preset coverage
find build/coverage -name '*.gcda' -delete
ctest --preset coverage --parallel "${FILEXFER_JOBS:-2}" "$@" || echo "Some tests have failed."
gcovr --root . --filter include/ --exclude-throw-branches --exclude-unreachable-branches \
  --print-summary --fail-under-line 95 --fail-under-branch 85 --html-details \
  build/coverage/coverage.html --txt - build/coverage
