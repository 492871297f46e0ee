#!/bin/bash
# beside_curl.sh: one big file down and up, by filexfer-client and by curl with md5sum, beside
# md5sum of that file alone, in turns. Prints the median rate of each and the ratios.
#
#   BIN=build/release/bin SIZE_MIB=1024 RUNS=5 tests/bench/beside_curl.sh
#
# Everything is in RAM (/dev/shm). Needs nginx and curl; uses loopback and free ports only, and
# stops its servers. Only the ratios of different runs can be compared, not the times.

set -eu -o pipefail
bin=${BIN:-$(dirname "$0")/../../build/release/bin}
bin=$(cd "$bin" && pwd)
mib=${SIZE_MIB:-1024}
runs=${RUNS:-5}

ram=$(mktemp -d /dev/shm/filexfer-bench.XXXXXX)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$ram"
}
trap finish EXIT
mkdir -p "$ram"/{www,up,tmp,store,out}
head -c "$((mib << 20))" /dev/urandom > "$ram/www/big"
id=$(md5sum < "$ram/www/big" | cut -d' ' -f1)

web_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$ram/nginx.conf" <<END
daemon off; pid $ram/pid; error_log $ram/error.log; worker_processes auto;
events {}
http {
  access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;
  client_body_temp_path $ram/tmp; proxy_temp_path $ram/tmp; fastcgi_temp_path $ram/tmp;
  uwsgi_temp_path $ram/tmp; scgi_temp_path $ram/tmp;
  server {
    listen 127.0.0.1:$web_port;
    location / { root $ram/www; }
    location /up/ { alias $ram/up/; dav_methods PUT; }
  }
}
END
id -u nobody >/dev/null 2>&1 && chmod -R a+rwX "$ram"
nginx -p "$ram" -e "$ram/error.log" -c "$ram/nginx.conf" & pids+=($!)

"$bin/filexfer-server" --listen 127.0.0.1:0 --store "$ram/store" --quiet > "$ram/ready" & pids+=($!)
until [ -s "$ram/ready" ] && curl -sf -o /dev/null -r 0-0 "http://127.0.0.1:$web_port/big"; do
  kill -0 "${pids[1]}"
  sleep 0.05
done
server=$(sed -n 's/^listening on //p' "$ram/ready")
client=("$bin/filexfer-client" --server "$server" --quiet)
"${client[@]}" upload "$ram/www/big" >/dev/null

md5sum_alone() { md5sum "$ram/www/big" >/dev/null; }
filexfer_down() { "${client[@]}" download "$id" -o "$ram/out/ours" >/dev/null; }
curl_down() { [ "$(curl -sf "http://127.0.0.1:$web_port/big" | tee "$ram/out/theirs" | md5sum)" = "$id  -" ]; }
filexfer_up() { "${client[@]}" upload "$ram/www/big" >/dev/null; }
curl_up() {
  curl -sf -T "$ram/www/big" "http://127.0.0.1:$web_port/up/big"
  [ "$(md5sum < "$ram/up/big")" = "$id  -" ]
}
jobs=(md5sum_alone filexfer_down curl_down filexfer_up curl_up)

clean() {
  rm -f "$ram"/out/* "$ram"/up/*
  # The file must not be stored before an upload.
  if [ "$1" = filexfer_up ]; then mv "$ram/store/$id" "$ram/tmp/aside.$RANDOM$RANDOM"; rm -rf "$ram"/tmp/aside.*; fi
}

declare -A seconds
for ((run = 0; run < runs; ++run)); do
  for job in "${jobs[@]}"; do
    clean "$job"
    begin=$EPOCHREALTIME
    "$job"
    end=$EPOCHREALTIME
    seconds[$job]+="$(echo "$end $begin" | awk '{printf "%.4f", $1 - $2}') "
  done
done

median() { tr ' ' '\n' <<< "$1" | grep . | sort -n | awk '{a[NR] = $1} END {print (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2}'; }
alone=$(median "${seconds[md5sum_alone]}")
for job in "${jobs[@]}"; do
  m=$(median "${seconds[$job]}")
  awk -v job="$job" -v m="$m" -v alone="$alone" -v mib="$mib" \
    'BEGIN {printf "%-14s %6.0f MB/s  %5.2f s  %4.2f x md5sum\n", job, mib * 1.048576 / m, m, m / alone}'
done
awk -v a="$(median "${seconds[filexfer_down]}")" -v b="$(median "${seconds[curl_down]}")" \
  -v c="$(median "${seconds[filexfer_up]}")" -v d="$(median "${seconds[curl_up]}")" \
  'BEGIN {printf "filexfer takes %.2f of curl with md5sum down, %.2f up\n", a / b, c / d}'
