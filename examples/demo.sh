#!/bin/sh
# demo.sh [FILE]: builds filexfer, and transfers FILE (if not given, random bytes) there and back:
#
# 1. by the simulation, with server and client in one process, in memory and over TCP;
# 2. by the real server and client: upload, list, download, compare.

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
clean_up() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
  rm -rf "$temporary"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n== %s\n' "$*"; }

fail() {
  echo "demo.sh: $*" >&2
  if [ -s "$temporary/server.log" ]; then
    echo "The server's log:" >&2
    cat "$temporary/server.log" >&2
  fi
  exit 1
}

heading "Installing what is missing, building"
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

heading "The simulation, in memory and over TCP: $file"
"$bin/filexfer-simulation" "$file"

heading "A server"
"$bin/filexfer-server" --listen 127.0.0.1:0 --store "$temporary/store" \
  >"$temporary/ready" 2>"$temporary/server.log" </dev/null &
server=$!
# The server prints its address once it listens.
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

heading "upload"
client upload "$file" >"$temporary/uploaded"
cat "$temporary/uploaded"
id=$(sed -n 's/^Success  *\([0-9a-f]*\)  *.*/\1/p' "$temporary/uploaded")
if [ -z "$id" ]; then fail "the upload printed no id"; fi

heading "list"
client list

heading "download $id"
client download "$id" -o "$temporary/downloaded"
cmp "$file" "$temporary/downloaded"
echo "cmp: the two files are equal"

heading "Stopping the server"
kill -TERM "$server"
status=0
wait "$server" || status=$?
server=
if [ "$status" -ne 0 ]; then fail "the server ended with exit code $status"; fi
echo "It ended in good order. All went well."
