#!/bin/bash
# tests/fuzz/run.sh [SECONDS [TARGET...]]: builds the fuzzers and runs each for that long (60).
#
# What they learn is kept in build/fuzz/corpus/TARGET, beside the corpus of the repository, from which
# they begin. An input that fails is build/fuzz/found/TARGET-*. Ends with a table, and exits 1 if one
# was found.

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
targets=("${@:2}")

cmake --preset fuzz >/dev/null
if [ ${#targets[@]} -eq 0 ]; then
  cmake --build --preset fuzz
  for corpus in tests/fuzz/corpus/*/; do targets+=("$(basename "$corpus")"); done
else
  cmake --build --preset fuzz --target "${targets[@]/#/filexfer-fuzz-}"
fi

build=build/fuzz
mkdir -p $build/found
export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
table=()
status=0
for target in "${targets[@]}"; do
  log=$build/found/$target.log
  mkdir -p "$build/corpus/$target"
  outcome=passed
  # One allocation of 16 MiB is more than any of them needs, whatever a peer declares.
  "$build/bin/filexfer-fuzz-$target" -max_total_time="$seconds" -max_len=4096 -len_control=20 \
    -timeout=20 -malloc_limit_mb=16 -print_final_stats=1 -dict=tests/fuzz/words.dict \
    -artifact_prefix="$build/found/$target-" \
    "$build/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1 </dev/null ||
    { outcome="FAILED: $log" && status=1; }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  table+=("$(printf '%-16s %10s runs in %s s  %s' "$target" "${runs:-?}" "$seconds" "$outcome")")
  echo "${table[-1]}"
done

printf '\n##### Fuzzing\n'
printf '%s\n' "${table[@]}"
exit $status
