#!/bin/sh
# demo.sh [FILE]: builds filexfer and shows its main job, on FILE or on a file that it makes.
#
# 1. the simulation of the whole dialogue in one process, in memory and over TCP;
# 2. a real server and a real client: upload, list, download, compare.

set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
file=
if [ $# -gt 0 ]; then
  if [ ! -f "$1" ] || [ ! -r "$1" ]; then
    echo "demo.sh: $1: no file that can be read" >&2
    exit 2
  fi
  file=$(realpath "$1")
fi

temporary=$(mktemp -d "${TMPDIR:-/tmp}/filexfer-demo.XXXXXX")
server=
finish() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
  rm -rf "$temporary"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n== %s\n' "$*"; }

fail() {
  echo "demo.sh: $*" >&2
  if [ -s "$temporary/server.log" ]; then
    echo "The server's log:" >&2
    cat "$temporary/server.log" >&2
  fi
  exit 1
}

say "Installing what is missing, building"
"$root/cmake/install.sh"
cd "$root"
cmake --preset release >"$temporary/configure.log" 2>&1 || {
  cat "$temporary/configure.log" >&2
  exit 1
}
cmake --build --preset release --target filexfer-server filexfer-client filexfer-simulation
bin=$root/build/release/bin

if [ -z "$file" ]; then
  file="$temporary/a file of random bytes.bin"
  head -c 5000000 /dev/urandom >"$file"
fi

say "The simulation, in memory and over TCP: $file"
"$bin/filexfer-simulation" "$file"

say "A server"
"$bin/filexfer-server" --listen 127.0.0.1:0 --store "$temporary/store" \
  >"$temporary/ready" 2>"$temporary/server.log" </dev/null &
server=$!
# It prints where it listens once it does.
tries=0
while ! grep -q '^listening on ' "$temporary/ready"; do
  if ! kill -0 "$server" 2>/dev/null; then
    server=
    fail "the server did not start"
  fi
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ]; then fail "the server is not ready after 10 seconds"; fi
  sleep 0.1
done
cat "$temporary/ready"
address=$(sed -n 's/^listening on //p' "$temporary/ready")
client() { "$bin/filexfer-client" --server "$address" "$@"; }

say "upload"
client upload "$file" >"$temporary/uploaded"
cat "$temporary/uploaded"
id=$(sed -n 's/^Success  *\([0-9a-f]*\)  *.*/\1/p' "$temporary/uploaded")
if [ -z "$id" ]; then fail "the upload printed no id"; fi

say "list"
client list

say "download $id"
client download "$id" -o "$temporary/downloaded"
cmp "$file" "$temporary/downloaded"
echo "cmp: the two files are equal"

say "Stopping the server"
kill -TERM "$server"
status=0
wait "$server" || status=$?
server=
if [ "$status" -ne 0 ]; then fail "the server ended with exit code $status"; fi
echo "It ended in good order. All went well."
