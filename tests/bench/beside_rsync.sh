#!/bin/bash
# beside_rsync.sh: many small files up and down, by filexfer-client and by rsync from and to its
# daemon, with MD5 of each whole file, in turns. Prints the median rate of each and the ratios.
#
#   BIN=build/release/bin FILES=10000 SIZE=4096 RUNS=5 tests/bench/beside_rsync.sh
#
# Everything is in RAM (/dev/shm). Needs rsync; uses loopback and free ports only, and stops its
# servers. Only the ratios of different runs can be compared, not the times.

set -eu -o pipefail
bin=${BIN:-$(dirname "$0")/../../build/release/bin}
bin=$(cd "$bin" && pwd)
files=${FILES:-10000}
size=${SIZE:-4096}
runs=${RUNS:-5}

ram=$(mktemp -d /dev/shm/filexfer-bench.XXXXXX)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$ram"
}
trap finish EXIT
mkdir -p "$ram"/{src,theirs,out}
python3 - "$ram/src" "$files" "$size" <<'END'
import os, sys
folder, files, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(files):
    with open("%s/%06d" % (folder, number), "wb") as file:
        file.write(os.urandom(size))
END

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
rsync_port=$(free_port)
cat > "$ram/rsyncd.conf" <<END
use chroot = no
uid = $(id -u)
gid = $(id -g)
pid file = $ram/rsyncd.pid
[src]
path = $ram/src
[theirs]
path = $ram/theirs
read only = no
END
rsync --daemon --no-detach --address=127.0.0.1 --port="$rsync_port" --config="$ram/rsyncd.conf" &
pids+=($!)
until rsync "rsync://127.0.0.1:$rsync_port/" >/dev/null 2>&1; do
  kill -0 "${pids[0]}"
  sleep 0.05
done
theirs() { rsync -aW --checksum-choice=md5 "$@"; }

# serve STORE: starts a server on STORE and sets `client`.
serve() {
  : > "$ram/ready"
  "$bin/filexfer-server" --listen 127.0.0.1:0 --store "$1" --quiet > "$ram/ready" & server_pid=$!
  pids+=("$server_pid")
  until [ -s "$ram/ready" ]; do
    kill -0 "$server_pid"
    sleep 0.05
  done
  client=("$bin/filexfer-client" --server "$(sed -n 's/^listening on //p' "$ram/ready")" --quiet)
}

# timed NAME COMMAND...: adds its seconds to those of NAME.
declare -A seconds
timed() {
  local name=$1 begin=$EPOCHREALTIME
  shift
  "$@" >/dev/null
  seconds[$name]+=" $(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')"
}

for ((run = 0; run < runs; ++run)); do
  for options in "" "--parallel 2"; do
    rm -rf "$ram"/out/* "$ram/store"
    serve "$ram/store"
    # shellcheck disable=SC2086
    timed "filexfer-client upload $options" "${client[@]}" upload $options "$ram/src"
    # shellcheck disable=SC2086
    timed "filexfer-client download --all $options" "${client[@]}" download --all $options -o "$ram/out/ours"
    # shellcheck disable=SC2086
    timed "filexfer-client upload --skip-existing $options" "${client[@]}" upload --skip-existing $options "$ram/src"
    diff -r "$ram/src" "$ram/out/ours"
    kill "$server_pid"
    wait "$server_pid" || true
  done
  rm -rf "$ram"/out/* "$ram"/theirs/*
  timed "rsync up" theirs "$ram/src/" "rsync://127.0.0.1:$rsync_port/theirs/"
  timed "rsync down" theirs "rsync://127.0.0.1:$rsync_port/src/" "$ram/out/theirs/"
done

median() { tr ' ' '\n' <<< "$1" | grep . | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
printf '%-46s %10s %10s\n' "$files files of $size bytes" seconds files/s
for name in "${!seconds[@]}"; do
  middle=$(median "${seconds[$name]}")
  printf '%-46s %10.2f %10.0f\n' "$name" "$middle" "$(awk -v n="$files" -v s="$middle" 'BEGIN { print n / s }')"
done | sort
