#!/usr/bin/env python3
"""bench_table.py FILE: the figures of a benchmark, which are JSON, as a Markdown table.

Of Google Benchmark's JSON: how the cost grows with the number of cells. A benchmark is named STAGE/CELLS or says its cells in
a counter `cells`; a counter `peak_mib` is shown where there is one. Of orch_bench_kernels: each op beside what the machine can do,
then the libraries' products beside each other. Of what bench_daemon.py, bench_worker.py and bench_training.py write: each figure beside its aim.
"""
import json
import re
import sys

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def rows(report):
    """(stage, cells, seconds, peak MiB or None) of each benchmark: the median where it was repeated, else the run."""
    runs = report["benchmarks"]
    medians = {run["run_name"] for run in runs if run.get("aggregate_name") == "median"}
    for run in runs:
        if run.get("error_occurred"):
            raise SystemExit(f"{run['name']}: {run.get('error_message', 'stopped with an error')}")
        name = run.get("run_name", run["name"])
        if run.get("aggregate_name", "median") != "median" or (name in medians and "aggregate_name" not in run):
            continue
        size = re.search(r"/(\d+)", name)
        cells = int(run["cells"]) if "cells" in run else int(size.group(1)) if size else None
        if cells:
            yield name.split("/")[0], cells, run["real_time"] * SECONDS[run["time_unit"]], run.get("peak_mib")


def table(report):
    lines = ["| stage | cells | seconds | ns per cell | growth | peak MiB |", "|---|---:|---:|---:|---:|---:|"]
    order = []
    stages = {}
    for stage, cells, seconds, peak in rows(report):
        if stage not in stages:
            order.append(stage)
        stages.setdefault(stage, []).append((cells, seconds, peak))
    for stage in order:
        before = None
        for cells, seconds, peak in sorted(stages[stage], key=lambda row: row[0]):
            each = seconds / cells
            growth = f"{each / before:.2f}" if before else ""
            memory = f"{peak:.0f}" if peak is not None else ""
            lines.append(f"| {stage} | {cells:,} | {seconds:.4g} | {each * 1e9:.0f} | {growth} | {memory} |")
            before = each
    return "\n".join(lines)


def ops(report):
    """Of orch_bench_kernels."""
    context = report["context"]
    lines = [f"{context['threads']} threads read {float(context['read_gb_s']):.1f} GB/s from memory; the best products have "
             + ", ".join(f"{float(context['product_gflop_s_' + dtype]):.0f} GFLOP/s in {dtype}" for dtype in ("fp32", "bf16")) + ".",
             "", "| op | µs | GB/s | of reading | GFLOP/s | of the best product |", "|---|---:|---:|---:|---:|---:|"]
    products = {}
    for run in report["benchmarks"]:
        name = run["name"].split("/")[0]
        if name.startswith("Product_"):
            _, library, dtype, shape = name.split("_")
            products.setdefault((dtype, shape), {})[library] = run["GFLOP/s"]
            continue
        cells = [f"{run[key]:,.1f}" if key in run and not share else f"{100 * run[key]:.0f} %" if key in run else ""
                 for key, share in (("GB/s", False), ("of_reads", True), ("GFLOP/s", False), ("of_product", True))]
        lines.append(f"| {name} | {run['real_time'] * SECONDS[run['time_unit']] * 1e6:,.1f} | " + " | ".join(cells) + " |")
    if products:
        onednn = f"oneDNN {context['onednn']}" if context.get("onednn") else "oneDNN"
        lines += ["", f"| product | our own, GFLOP/s | {onednn}, GFLOP/s | our own beside it |", "|---|---:|---:|---:|"]
        for (dtype, shape), speeds in products.items():
            other = speeds.get("onednn")
            beside = f"{other:,.0f} | {speeds['own'] / other:.2f}" if other else " | "
            lines.append(f"| {shape}, {dtype} | {speeds['own']:,.0f} | {beside} |")
    return "\n".join(lines)


def number(value):
    """Three digits that count, whatever the size."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def aims(figures):
    lines = ["| figure | measured | aim | | |", "|---|---:|---:|---|---|"]
    for row in figures:
        aim = verdict = ""
        if "aim" in row:
            aim = ("under " if row["below"] else "") + number(row["aim"])
            verdict = "met" if row["met"] else "**missed**"
        lines.append(f"| {row['figure']} | {number(row['value'])} {row['unit']} | {aim} | {verdict} | {row.get('note', '')} |")
    return "\n".join(lines)


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if len(sys.argv) == 2 else 2
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    print(aims(report["figures"]) if "figures" in report else ops(report) if "read_gb_s" in report.get("context", {}) else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
