#!/usr/bin/env bash
# slurm_up.sh [--accounting] [--nodes N] COMMAND [ARGUMENT...]
#
# Runs COMMAND with a real Slurm of its own, as `scripts/test-cluster run` does; without accounting unless it is asked for.
#
# Example: tests/cluster/slurm_up.sh --accounting bash
set -euo pipefail

accounting=(--no-accounting) options=()
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --accounting) accounting=() ;;
    --nodes) options+=("$1" "${2:?slurm_up: --nodes needs a number}") && shift ;;
    *) echo "slurm_up: no option '$1'" >&2 && exit 2 ;;
  esac
  shift
done
exec "$(dirname "${BASH_SOURCE[0]}")/../../scripts/test-cluster" run "${accounting[@]}" "${options[@]}" "$@"
