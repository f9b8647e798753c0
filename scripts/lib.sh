# shellcheck shell=bash
# What every script needs: the root of the tree, how to speak, how many jobs, one compiler cache. Sourced, never run.

set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE: for what stops the script.
die() {
  say "$(basename "$0"): $*"
  exit 1
}

# bad_usage MESSAGE: for a call that cannot be understood.
bad_usage() {
  say "$(basename "$0"): $*; see scripts/$(basename "$0") --help"
  exit 2
}

# Every script's help is the comment at its top, from the second line to the first that is no comment.
print_help() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# Compile jobs at once: one a CPU, but 2 GiB of memory for each. ORCH_JOBS overrides.
jobs() {
  if [[ -n "${ORCH_JOBS:-}" ]]; then
    [[ "$ORCH_JOBS" =~ ^[1-9][0-9]*$ ]] || die "ORCH_JOBS is '$ORCH_JOBS', expected a number from 1"
    echo "$ORCH_JOBS"
    return
  fi
  local cpus kib limit
  cpus="$(nproc)"
  kib="$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo 2>/dev/null || true)"
  limit="$(cat /sys/fs/cgroup/memory.max 2>/dev/null || true)"
  if [[ "$limit" =~ ^[0-9]+$ && -n "$kib" ]] && ((limit / 1024 < kib)); then kib=$((limit / 1024)); fi
  if [[ -n "$kib" ]] && ((kib / 2097152 < cpus)); then cpus=$((kib / 2097152)); fi
  echo $((cpus > 0 ? cpus : 1))
}

# Build folders of one tree, and trees in different places, share what they compiled.
use_ccache() {
  export CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE="${CCACHE_MAXSIZE:-10G}"  # four presets of objects
  export CCACHE_SLOPPINESS="${CCACHE_SLOPPINESS:-pch_defines,time_macros,locale}"
  if [[ -z "${CCACHE_DIR:-}" && ! -w "${HOME:-/nowhere}" ]]; then export CCACHE_DIR="$root/build/ccache"; fi
}

# packages GROUP...: makes sure that they are there. ORCH_NO_PACKAGES=1 leaves that to you (a site's own modules).
need_packages() {
  if [[ "${ORCH_NO_PACKAGES:-}" == 1 ]]; then return; fi
  "$root/scripts/packages" "$@"
}

# print_circumstances COMPILER: of which commit, when and where something was measured, the head of a page in docs/results.
print_circumstances() {
  echo "- Commit: $(git -C "$root" describe --always --dirty 2>/dev/null || echo 'not known')"
  echo "- Date: $(date -u +%Y-%m-%d)"
  echo "- Machine: $(awk -F': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs," \
    "$(awk '$1 == "MemTotal:" { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
  echo "- Compiler: $("$1" --version | head -n 1)"
}

# configure PRESET FOLDER [OPTION...]: quiet, unless it fails.
configure() {
  local preset="$1" folder="$2" log
  shift 2
  mkdir -p "$root/build"
  log="$root/build/$(basename "$folder").configure.log"
  command -v cmake >/dev/null || die "no cmake on the PATH; docs/install.md says what a build needs"
  if ! (cd "$root" && cmake --preset "$preset" -B "$folder" "$@") >"$log" 2>&1; then
    cat "$log" >&2
    die "cmake could not configure $folder (above); docs/install.md says what a build needs"
  fi
}

# build FOLDER TARGET...: silent when there is nothing to do.
build() {
  local folder="$1"
  shift
  if [[ -t 1 ]]; then
    cmake --build "$folder" --parallel "$(jobs)" --target "$@"
  else
    cmake --build "$folder" --parallel "$(jobs)" --target "$@" |
      { grep --line-buffered -vE '^ninja: no work to do|Re-checking globbed' || true; }
  fi
}

# clang_tool NAME: Debian 12's plain clang is 14, which cannot read GCC 12's <ranges>; 16 can.
clang_tool() { command -v "$1-16" || command -v "$1" || die "no $1 on the PATH; scripts/packages tools installs it"; }

# transformers_python: one with torch, transformers and PEFT, from PyPI in build/record-models (some GB), or the one that
# ORCH_TRANSFORMERS_PYTHON names.
transformers_python() {
  local python="${ORCH_TRANSFORMERS_PYTHON:-}"
  if [[ -z "$python" ]]; then
    python="$root/build/record-models/bin/python"
    mkdir -p "$root/build"
    [[ -x "$python" ]] || python3 -m venv "$root/build/record-models" >&2 || die "python3 -m venv failed"
    "$python" -m pip install --quiet torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 peft==0.21.2 >&2 ||
      die "torch, transformers and PEFT cannot be installed; ORCH_TRANSFORMERS_PYTHON names a Python that has them"
  fi
  echo "$python"
}
