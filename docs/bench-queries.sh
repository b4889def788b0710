#!/usr/bin/env bash
# Repeats the figures of docs/benchmarks.md on queries with the release programs in CARGO_TARGET_DIR: a corpus of SPANS spans is
# stored LOOPS times, with other ids each time, and each request is made RUNS times. Needs about 60 bytes of disk a span, 4 GB of
# memory, and two cores that have nothing else to do.
set -euo pipefail
bin=${CARGO_TARGET_DIR:?}/release
spans=${SPANS:-5000000} loops=${LOOPS:-2} runs=${RUNS:-20}
dir=$(mktemp -d)
pids=()
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; pids=(); }
trap 'stop; rm -rf "$dir"' EXIT

collector=127.0.0.1:25327 web=http://127.0.0.1:25386 tempo=http://127.0.0.1:25320 admin=http://127.0.0.1:25329
start() {
  "$bin/clew-collector" --data "$dir/data" --grpc $collector --http 127.0.0.1:25328 --web 127.0.0.1:25386 \
    --tempo 127.0.0.1:25320 --jaeger 127.0.0.1:25385 --admin 127.0.0.1:25329 --log warn & pids=($!)
  until curl -sf $admin/ready >/dev/null; do sleep 0.02; done
}
cpu() { awk '{print ($14 + $15) / 100}' "/proc/${pids[0]}/stat"; }
# Done is when three looks in a row find nothing at work.
rest() {
  local before=0 quiet=0 now
  until ((quiet == 3)); do
    now=$(cpu)
    if awk -v now="$now" -v before="$before" 'BEGIN {exit !(now - before < 0.2)}'; then quiet=$((quiet + 1)); else quiet=0; fi
    before=$now
    sleep 3
  done
}

# Name, then what curl is to be told. Prints the first time, the median of the others, and the size of the answer.
ask() {
  local name=$1; shift
  for ((run = 0; run <= runs; run++)); do curl -sS -o /dev/null -w '%{time_total} %{http_code} %{size_download}\n' "$@"; done |
    awk -v name="$name" 'NR == 1 {first = $1} {code = $2; size = $3} NR > 1 {print $1 | "sort -n > '"$dir/times"'"}
      END {close("sort -n > '"$dir/times"'"); while ((getline time < "'"$dir/times"'") > 0) all[++count] = time
        printf "%-62s first %6.0f ms   p50 %6.1f ms   %s, %d bytes\n", name, first * 1e3, all[int((count + 1) / 2)] * 1e3, code, size}'
}
search() { ask "$1" -G $tempo/api/search --data-urlencode "q=$1" -d start=0 -d end=4000000000 -d limit=20; }
range() { ask "$1" -G $tempo/api/metrics/query_range --data-urlencode "q=$1" -d since=48h -d step=48m; }
jaeger() {
  local parameters=() parameter
  for parameter; do parameters+=(--data-urlencode "$parameter"); done
  ask "Jaeger ${*}" -G $web/api/traces -d lookback=48h "${parameters[@]}"
}

"$bin/clew" load write "$dir/corpus" --spans "$spans"
start
"$bin/clew" load send "$dir/corpus" --endpoint http://$collector --loops "$loops" --pid "${pids[0]}"
rest
echo "== blocks"
curl -s $admin/metrics | grep -E '^clew_collector_(blocks|block_spans|block_bytes) '

echo "== lookups one after the other"
"$bin/clew" load check "$dir/corpus" --collector http://$collector --sample 5000 --concurrency 1

echo "== TraceQL"
search '{ resource.service.name = "checkout" && status = error }'
search '{ span.http.response.status_code = 500 }'
search '{ duration > 100ms }'
search '{ span.app.request.id = "c13ea42a92416d91" }'
search '{ resource.service.name = "edge-gateway" } >> { resource.service.name = "audit-log" && status = error }'
range '{ } | rate() by (resource.service.name)'
range '{ } | quantile_over_time(duration, .5, .99) by (name)'
for field in resource.service.name name status span.http.route span.http.response.status_code resource.host.name; do
  ask "values of $field" "$tempo/api/v2/search/tag/$field/values?start=0&end=4000000000"
done
ask "names of tags" "$tempo/api/v2/search/tags?start=0&end=4000000000"

echo "== Jaeger"
ask "Jaeger services" $web/api/services
ask "Jaeger operations" "$web/api/operations?service=checkout"
jaeger service=checkout limit=20
jaeger service=checkout limit=20 'tags={"error":"true"}'
jaeger service=checkout limit=20 'tags={"http.response.status_code":"500"}'
jaeger service=checkout limit=20 maxDuration=1ms
jaeger service=checkout limit=20 minDuration=500ms
jaeger service=checkout limit=20 'tags={"app.request.id":"c13ea42a92416d91"}'
ask "Jaeger dependencies" "$web/api/dependencies?endTs=4000000000000&lookback=4000000000000"

echo "== explain"
explain() {
  for ((run = 0; run < 6; run++)); do
    "$bin/clew" explain "$1" --collector http://$collector >"$dir/explained"
  done
}
before=$(cpu)
time explain '{ status = error }'
awk -v before="$before" -v now="$(cpu)" 'BEGIN {printf "%.2f CPU-s each\n", (now - before) / 6}'
head -n 5 "$dir/explained"

echo "== a start"
stop
from=$(date +%s%N)
start
echo "ready after $((($(date +%s%N) - from) / 1000000)) ms"
echo "== lookups after it"
"$bin/clew" load check "$dir/corpus" --collector http://$collector --sample 1 --concurrency 1
"$bin/clew" load check "$dir/corpus" --collector http://$collector --sample 5000 --concurrency 1
stop
