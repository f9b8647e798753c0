#!/usr/bin/env python3
"""bench_table.py FILE: the figures of a benchmark, which are JSON, as a Markdown table.

Of Google Benchmark's JSON: how the cost grows with the number of cells. A benchmark is named STAGE/CELLS or says its cells in
a counter `cells`; a counter `peak_mib` is shown where there is one. Of bench_daemon.py's: each figure beside its aim.
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
    print(aims(report["figures"]) if "figures" in report else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
