#!/usr/bin/env bash
# The benchmark's table: units, growth, medians, memory. The expected rows are worked by hand.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cat >"$work/in.json" <<'JSON'
{"benchmarks": [
  {"name": "Score/1000000", "run_name": "Score/1000000", "run_type": "iteration", "real_time": 3.0, "time_unit": "s", "peak_mib": 512.4},
  {"name": "Expand/1000", "run_name": "Expand/1000", "run_type": "iteration", "real_time": 2.0, "time_unit": "ms"},
  {"name": "Expand/100000", "run_name": "Expand/100000", "run_type": "iteration", "real_time": 900.0, "time_unit": "ms"},
  {"name": "Expand/100000", "run_name": "Expand/100000", "run_type": "iteration", "real_time": 300.0, "time_unit": "ms"},
  {"name": "Expand/100000_mean", "run_name": "Expand/100000", "run_type": "aggregate", "aggregate_name": "mean", "real_time": 600.0, "time_unit": "ms"},
  {"name": "Expand/100000_median", "run_name": "Expand/100000", "run_type": "aggregate", "aggregate_name": "median", "real_time": 400.0, "time_unit": "ms"},
  {"name": "Score/7", "run_name": "Score/7", "run_type": "iteration", "cells": 1000.0, "real_time": 1000000.0, "time_unit": "ns"}
]}
JSON
# Expand: 2 ms / 1,000 = 2,000 ns; 400 ms / 100,000 = 4,000 ns, twice as much. Score: 1 ms / 1,000 = 1,000 ns; 3 s / 1M = 3,000 ns.
cat >"$work/expected" <<'TABLE'
| stage | cells | seconds | ns per cell | growth | peak MiB |
|---|---:|---:|---:|---:|---:|
| Score | 1,000 | 0.001 | 1000 |  |  |
| Score | 1,000,000 | 3 | 3000 | 3.00 | 512 |
| Expand | 1,000 | 0.002 | 2000 |  |  |
| Expand | 100,000 | 0.4 | 4000 | 2.00 |  |
TABLE
python3 "$root/scripts/bench_table.py" "$work/in.json" | diff -u "$work/expected" -

# A benchmark that stopped with an error must not become a row.
echo '{"benchmarks": [{"name": "Plan/1000", "error_occurred": true, "error_message": "no catalog"}]}' >"$work/bad.json"
if said="$(python3 "$root/scripts/bench_table.py" "$work/bad.json" 2>&1)"; then
  echo "bench_table_test: an error passed as a result: $said" >&2
  exit 1
fi
[[ "$said" == *"no catalog"* ]] || { echo "bench_table_test: the error is not named: $said" >&2 && exit 1; }
