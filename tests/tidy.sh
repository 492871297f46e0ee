#!/bin/bash
# tests/tidy.sh [BASE]: runs clang-tidy on the C++ files that differ from the commit BASE, also those
# that are not committed. BASE is the state of origin/main, or, where that is HEAD, the commit before.
# Of a large change, all headers and the first FILEXFER_TIDY_UNITS (40) source files are checked: each
# takes ten seconds of a core.
#
# Exits 77 if clang-tidy or git's history is missing.

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
  echo "skipped: $1"
  exit 77
}
command -v clang-tidy >/dev/null || skip "no clang-tidy"
git rev-parse -q --verify HEAD >/dev/null 2>&1 || skip "no git repository"

head=$(git rev-parse HEAD)
base=${1:-$(git merge-base HEAD origin/main 2>/dev/null || true)}
if [ -z "$base" ] || [ "$base" = "$head" ]; then
  base=$(git rev-parse -q --verify HEAD~1) || skip "no commit before this one"
fi

# Deleted files are left out, and those that only have another name.
changed() {
  {
    git diff --name-only -M90% --diff-filter=AM "$base"
    git ls-files --others --exclude-standard
  } | grep -E "^(include|examples|tests)/.*\.$1\$" || true
}

# All headers make one translation unit, as parsing Asio takes longer than checking a header. It lies
# in the tree so that clang-tidy finds its configuration.
unit=$(mktemp -p . .tidy.XXXXXX.cpp)
trap 'rm -f "$unit"' EXIT
mapfile -t headers < <(changed hpp)
mapfile -t sources < <(changed cpp)
most=${FILEXFER_TIDY_UNITS:-40}
if [ "${#sources[@]}" -gt "$most" ]; then
  echo "clang-tidy: $((${#sources[@]} - most)) source files are left out"
  sources=("${sources[@]:0:most}")
fi
if [ "${#headers[@]}" -gt 0 ]; then
  printf '#include "%s"\n' "${headers[@]}" >"$unit"
  sources=("$unit" "${sources[@]}")
fi
echo "clang-tidy: ${#headers[@]} headers and ${#sources[@]} translation units since $base"
if [ "${#sources[@]}" -eq 0 ]; then exit 0; fi

options=(-std=c++20 -I. -Iinclude -Iexamples -Itests -Itests/unit
  -DASIO_STANDALONE -DASIO_NO_DEPRECATED -DASIO_HAS_CO_AWAIT=1 -DASIO_HAS_STD_COROUTINE=1
  -DPROGRAMS_WITH_TLS '-DFILEXFER_SANITIZE=""' '-DFILEXFER_BUILD_TYPE=""')
printf '%s\0' "${sources[@]}" |
  xargs -0 -P "$(nproc)" -I{} \
    clang-tidy --quiet --warnings-as-errors='*' {} -- "${options[@]}" 2>&1 |
  { grep -vE '^[0-9]+ warnings? generated\.$|^Suppressed |^Use -header-filter' || true; }
