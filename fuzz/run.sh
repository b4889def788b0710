#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (default 300). Installs cargo-fuzz when it is missing; needs the nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-300}
command -v cargo-fuzz >/dev/null || cargo install --quiet cargo-fuzz
for target in targets/*.rs; do
  name=$(basename "$target" .rs)
  mkdir -p "corpus/$name"
  cargo +nightly fuzz run --fuzz-dir . "$name" "corpus/$name" "seeds/$name" -- -max_total_time="$seconds" -rss_limit_mb=4096
done
