#!/usr/bin/env bash
# Repeats the figures of docs/benchmarks.md with the release programs in CARGO_TARGET_DIR. Needs about 3 GB of disk and
# memory, and two cores that have nothing else to do. SPANS sets the size of the corpus.
set -euo pipefail
bin=${CARGO_TARGET_DIR:?}/release
spans=${SPANS:-2000000}
dir=$(mktemp -d)
pids=()
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; pids=(); }
trap 'stop; rm -rf "$dir"' EXIT

# Ports of their own, so that a running Clew is left alone.
collector=127.0.0.1:24327 agent=127.0.0.1:24317 agent_http=127.0.0.1:24318 agent_admin=127.0.0.1:24319
start() {
  rm -rf "$dir/data"
  "$bin/clew-collector" --data "$dir/data/collector" --grpc $collector --http 127.0.0.1:24328 --web 127.0.0.1:24386 \
    --tempo 127.0.0.1:24320 --jaeger 127.0.0.1:24385 --admin 127.0.0.1:24329 --log warn & pids+=($!)
  until curl -sf http://127.0.0.1:24329/ready >/dev/null; do sleep 0.1; done
  "$bin/clew-agent" --data "$dir/data/agent" --grpc $agent --http $agent_http --admin $agent_admin \
    --collector http://$collector --log warn & pids+=($!)
  until curl -sf http://$agent_admin/ready >/dev/null; do sleep 0.1; done
  sleep 0.5
}
send() { "$bin/clew" load send "$dir/corpus" --endpoint http://$agent --pid "${pids[1]}" --pid "${pids[0]}" "$@"; }
settle() { until curl -s http://$agent_admin/metrics | grep -q '^clew_agent_queue_waiting_batches 0'; do sleep 0.1; done; }
cpu() { awk '{print ($14 + $15) / 100}' "/proc/$1/stat"; }

"$bin/clew" load write "$dir/corpus" --spans "$spans"

echo "== flat out"
start
send
settle
for pid in "${pids[@]}"; do
  echo "$(ps -o comm= -p "$pid"): $(awk -v s="$spans" -v c="$(cpu "$pid")" 'BEGIN {printf "%d spans per CPU-s in all (%.2f CPU-s)", s / c, c}')"
done
echo "== with all merges done"
# Done is when three looks in a row find nothing at work: between two merges it may rest for a while.
before=0 quiet=0
until ((quiet == 3)); do
  now=$(cpu "${pids[0]}")
  if awk -v now="$now" -v before="$before" 'BEGIN {exit !(now - before < 0.2)}'; then quiet=$((quiet + 1)); else quiet=0; fi
  before=$now
  sleep 3
done
for pid in "${pids[@]}"; do
  echo "$(ps -o comm= -p "$pid"): $(awk -v s="$spans" -v c="$(cpu "$pid")" 'BEGIN {printf "%d spans per CPU-s in all (%.2f CPU-s)", s / c, c}')"
done
curl -s http://127.0.0.1:24329/metrics | grep -E '^clew_collector_(blocks|block_spans|block_bytes|memtable_batches) '
echo "== lookups, one after the other, in $spans spans"
"$bin/clew" load check "$dir/corpus" --collector http://$collector --sample 5000 --concurrency 1
stop

echo "== 10,000 spans/s for a minute"
start
send --rate 10000 --duration 60s
echo "== how long after its ack a span is found, at 10,000 spans/s beside it"
send --rate 10000 --duration 60s --from-loop 2 >/dev/null & sending=$!
"$bin/clew" load fresh --endpoint http://$agent_http --collector http://$collector --count 500 --pause 80ms
wait $sending
stop
