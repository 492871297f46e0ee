#!/bin/bash
# tests/coverage.sh [OPTION...]: how much of include/ the unit tests execute, by lines and branches.
#
# Builds the preset `coverage`, runs the unit tests (OPTIONs are ctest's), and prints llvm-cov's table;
# what was not executed is in build/coverage/html. Fails below 95 % of the lines, or 85 % of the
# branches. Ten minutes on two cores; needs clang and its runtime (cmake/install.sh all).

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset coverage
cmake --build --preset coverage --target filexfer-tests

build=$PWD/build/coverage
rm -rf "$build/profiles" "$build/html"
export LLVM_PROFILE_FILE="$build/profiles/%m%c.profraw"  # counted at once, by all processes together
ctest --preset coverage --parallel "${FILEXFER_JOBS:-2}" -R '^unit\.' "$@"

tool() { clang++ -print-prog-name="llvm-$1"; }
"$(tool profdata)" merge -sparse "$build"/profiles/*.profraw -o "$build/tests.profdata"
objects=("$build/bin/filexfer-tests" -instr-profile="$build/tests.profdata"
  -ignore-filename-regex='(/tests/|/usr/)')
"$(tool cov)" show "${objects[@]}" -show-branches=count -format=html -output-dir="$build/html"
"$(tool cov)" report "${objects[@]}" --show-branch-summary --show-region-summary=false |
  tee "$build/coverage.txt"
awk '$1 == "TOTAL" { found = 1; lines = $7 + 0; branches = $10 + 0 }
  END {
    printf "lines: %.1f %%, branches: %.1f %%\n", lines, branches
    exit !(found && lines >= 95 && branches >= 85)
  }' "$build/coverage.txt"
