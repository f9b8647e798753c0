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

# Ops beside the machine, and products beside each other: 300 of 200 GFLOP/s are 1.50.
cat >"$work/ops.json" <<'JSON'
{"context": {"threads": "2", "read_gb_s": "40.04", "product_gflop_s_fp32": "199.6", "product_gflop_s_bf16": "400", "onednn": "2.6.3"},
 "benchmarks": [
  {"name": "Rotary/real_time", "real_time": 1500.0, "time_unit": "ns", "GB/s": 20.02, "of_reads": 0.5},
  {"name": "Linear/real_time", "real_time": 2.0, "time_unit": "ms", "GB/s": 1.0, "of_reads": 0.025, "GFLOP/s": 1234.5, "of_product": 0.75},
  {"name": "Product_own_bf16_1x2x3/iterations:1/manual_time", "real_time": 1.0, "time_unit": "us", "GFLOP/s": 300.0},
  {"name": "Product_onednn_bf16_1x2x3/iterations:1/manual_time", "real_time": 1.0, "time_unit": "us", "GFLOP/s": 200.0}
]}
JSON
cat >"$work/expected" <<'TABLE'
2 threads read 40.0 GB/s from memory; the best products have 200 GFLOP/s in fp32, 400 GFLOP/s in bf16.

| op | µs | GB/s | of reading | GFLOP/s | of the best product |
|---|---:|---:|---:|---:|---:|
| Rotary | 1.5 | 20.0 | 50 % |  |  |
| Linear | 2,000.0 | 1.0 | 2 % | 1,234.5 | 75 % |

| product | our own, GFLOP/s | oneDNN 2.6.3, GFLOP/s | our own beside it |
|---|---:|---:|---:|
| 1x2x3, bf16 | 300 | 200 | 1.50 |
TABLE
python3 "$root/scripts/bench_table.py" "$work/ops.json" | diff -u "$work/expected" -

# A benchmark that stopped with an error must not become a row.
echo '{"benchmarks": [{"name": "Plan/1000", "error_occurred": true, "error_message": "no catalog"}]}' >"$work/bad.json"
if said="$(python3 "$root/scripts/bench_table.py" "$work/bad.json" 2>&1)"; then
  echo "bench_table_test: an error passed as a result: $said" >&2
  exit 1
fi
[[ "$said" == *"no catalog"* ]] || { echo "bench_table_test: the error is not named: $said" >&2 && exit 1; }
