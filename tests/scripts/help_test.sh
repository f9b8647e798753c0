#!/usr/bin/env bash
# Every script in scripts/ explains itself from any folder, and refuses what it does not know before it does anything.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd /

fail() {
  printf 'help_test: %s\n' "$*" >&2
  exit 1
}

seen=0
for script in "$root"/scripts/*; do
  name="$(basename "$script")"
  if [[ ! -f "$script" || "$(head -c 2 "$script")" != '#!' ]]; then continue; fi  # lib.sh is sourced
  [[ -x "$script" ]] || fail "$name cannot be executed"
  help="$("$script" --help)" || fail "$name --help left with $?"
  [[ "$(head -n 1 <<<"$help")" == *"$name"* ]] || fail "$name --help does not begin with its name: $help"
  [[ "$(wc -l <<<"$help")" -ge 3 ]] || fail "$name --help says too little: $help"
  seen=$((seen + 1))
done
((seen >= 6)) || fail "expected at least 6 scripts, found $seen"

for call in "packages nonsense" "packages --nonsense" "quickstart nonsense" "fuzz --seconds x" "fuzz --nonsense" "lint nonsense" \
  "nightly --nonsense" "nightly no-such-file" "make-small-models nonsense" "record-harness-scores nonsense" \
  "record-train-losses nonsense" "check-parquet nonsense"; do
  read -ra words <<<"$call"
  code=0
  said="$("$root/scripts/${words[0]}" "${words[@]:1}" 2>&1)" || code=$?
  [[ $code == 2 ]] || fail "'$call' left with $code, expected 2: $said"
  [[ "$said" == *--help* ]] || fail "'$call' does not say where the help is: $said"
done
