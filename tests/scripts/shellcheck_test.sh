#!/usr/bin/env bash
# Every shell script of the tree, found by its first line or its .sh, passes shellcheck.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root"

command -v shellcheck >/dev/null || {
  echo "shellcheck_test: no shellcheck on the PATH; scripts/packages test installs it" >&2
  exit 1
}

scripts=()
while IFS= read -r -d '' file; do
  first=''
  IFS= read -r first <"$file" 2>/dev/null || true
  if [[ "$file" == *.sh || "$first" =~ ^'#!'.*[/\ ](ba|da|k)?sh( |$) ]]; then scripts+=("$file"); fi
done < <(find . \( -path ./.git -o -path ./build -o -path ./dist -o -path ./templates -o -path ./tests/fuzz/corpus \) -prune -o \
  -type f ! -name '*.sbatch' -size -256k -print0 2>/dev/null)

# A search that finds nothing must not pass.
for known in ./scripts/lib.sh ./scripts/packages ./scripts/test ./.ci/run; do
  printf '%s\n' "${scripts[@]}" | grep -Fxq "$known" || {
    echo "shellcheck_test: did not find $known" >&2
    exit 1
  }
done
shellcheck -x -P SCRIPTDIR "${scripts[@]}"
echo "shellcheck_test: ${#scripts[@]} scripts"
