#!/usr/bin/env bash
# scripts/packages on pretended machines: dpkg-query, apt-get, sudo and id are fakes that keep a journal of their calls.
# A line `name` in $work/installed is an installed package; the fake apt-get adds to it.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export WORK="$work"
unset DEBIAN_FRONTEND ORCH_NO_PACKAGES

fail() {
  printf 'packages_test: %s\n' "$*" >&2
  [[ ! -s "$work/journal" ]] || sed 's/^/  journal: /' "$work/journal" >&2
  [[ ! -s "$work/out" ]] || sed 's/^/  out: /' "$work/out" >&2
  [[ ! -s "$work/err" ]] || sed 's/^/  err: /' "$work/err" >&2
  exit 1
}

# The tools that the script may use, and nothing else: a machine without sudo or dpkg-query is one without the file.
mkdir -p "$work/tools" "$work/fake" "$work/sudo"
for tool in bash env awk grep sed cat basename dirname mktemp rm tail sleep printf nproc; do
  ln -s "$(type -P "$tool")" "$work/tools/$tool"
done

cat >"$work/fake/dpkg-query" <<'FAKE'
#!/usr/bin/env bash
# -W -f=FORMAT NAME...: as dpkg-query, 1 if a name is not known. `removed NAME` in the file is a package with only its settings left.
echo "dpkg-query" >>"$WORK/journal"
code=0
for name in "${@:3}"; do
  if grep -Fxq -- "$name" "$WORK/installed"; then printf 'ii \t%s\n' "$name"
  elif grep -Fxq -- "removed $name" "$WORK/installed"; then printf 'rc \t%s\n' "$name"
  else code=1; fi
done
exit $code
FAKE
cat >"$work/fake/apt-get" <<'FAKE'
#!/usr/bin/env bash
words=()
for word in "$@"; do [[ "$word" == -* || "$word" == *::* ]] || words+=("$word"); done
echo "apt-get ${words[*]} as ${AS:-$USER_ID} ${DEBIAN_FRONTEND:-}" >>"$WORK/journal"
if [[ -s "$WORK/failures" ]]; then
  sed -i 1d "$WORK/failures"
  echo "E: Temporary failure resolving the mirror" >&2
  exit 100
fi
[[ "${words[0]}" != install ]] || printf '%s\n' "${words[@]:1}" >>"$WORK/installed"
FAKE
cat >"$work/fake/id" <<'FAKE'
#!/usr/bin/env bash
echo "$USER_ID"
FAKE
cat >"$work/sudo/sudo" <<'FAKE'
#!/usr/bin/env bash
echo "sudo $*" >>"$WORK/journal"
[[ "$1" == -n && "$SUDO_OK" == yes ]] || exit 1
shift
[[ "$1" == true ]] || AS=0 exec "$@"
FAKE
chmod +x "$work"/fake/* "$work/sudo/sudo"

# machine USER-ID SUDO(none, ask, yes) INSTALLED...
machine() {
  export USER_ID="$1" SUDO_OK="$2"
  path="$work/fake:$work/tools"
  if [[ "$2" != none ]]; then path="$work/sudo:$path"; fi
  printf '%s\n' "${@:3}" >"$work/installed"
  : >"$work/failures"
}
# packages EXIT-CODE ARG...
packages() {
  local code=0
  : >"$work/journal"
  (cd / && PATH="$path" ORCH_RETRY_WAIT=0 bash "$root/scripts/packages" "${@:2}") >"$work/out" 2>"$work/err" || code=$?
  [[ $code == "$1" ]] || fail "packages ${*:2} left with $code, expected $1"
}
journal_has() { grep -Eq -- "$1" "$work/journal" || fail "the journal lacks '$1'"; }
journal_lacks() { ! grep -Eq -- "$1" "$work/journal" || fail "the journal has '$1'"; }

mapfile -t all < <("$root/scripts/packages" --list build test)
mapfile -t build < <("$root/scripts/packages" --list build)
((${#build[@]} >= 8 && ${#all[@]} > ${#build[@]})) || fail "the lists are too short: ${all[*]}"
printf '%s\n' "${build[@]}" | grep -Fxq libgtest-dev && fail "the build group must not need a test library"

# Everything is there: dpkg alone is asked, whoever asks.
machine 0 none "${all[@]}"
packages 0
journal_has '^dpkg-query$'
journal_lacks 'apt-get|sudo'
machine 1000 yes "${all[@]}"
packages 0
journal_lacks 'apt-get|sudo'

# Root installs only what is missing, without questions; the second run asks dpkg alone.
machine 0 none "${build[@]:2}" "${all[@]:${#build[@]}}"
packages 0
journal_has '^apt-get update as 0 noninteractive$'
journal_has "^apt-get install ${build[0]//+/\\+} ${build[1]} as 0 noninteractive$"
packages 0
journal_lacks 'apt-get'

# A group is only that group.
machine 0 none "${build[@]}"
packages 0 build
journal_lacks 'apt-get'
packages 1 --check
journal_lacks 'apt-get'
grep -Fq libgtest-dev "$work/err" || fail "--check does not name what is missing"

# A package that was removed but left its settings is missing.
machine 0 none "${build[@]:1}" "removed ${build[0]}"
packages 0 build
journal_has "^apt-get install ${build[0]//+/\\+} as 0"

# No root and no sudo, or a sudo that would ask: the one line, and nothing is tried.
for sudo in none ask; do
  machine 1000 "$sudo" "${build[@]:2}"
  packages 1 build
  journal_lacks 'apt-get'
  [[ "$(cat "$work/out")" == "sudo apt-get install -y ${build[0]} ${build[1]}" ]] || fail "not the one line on standard output"
done

# sudo without a password.
machine 1000 yes "${build[@]:1}"
packages 0 build
journal_has "^sudo -n true$"
journal_has "^apt-get install ${build[0]//+/\\+} as 0 noninteractive$"

# One failure of the network is tried again; two are an error that shows apt's words.
machine 0 none "${build[@]:1}"
echo once >"$work/failures"
packages 0 build
machine 0 none "${build[@]:1}"
printf '%s\n' once twice >"$work/failures"
packages 1 build
grep -Fq 'Temporary failure resolving' "$work/err" || fail "apt's own words are not shown"
[[ "$(grep -c '^apt-get' "$work/journal")" == 2 ]] || fail "expected two tries"

# Not Debian: what is needed is named, and the build goes on.
machine 1000 none
mv "$work/fake/dpkg-query" "$work/dpkg-query"
packages 0 build
grep -Fq libyaml-cpp-dev "$work/err" || fail "what is needed is not named"
packages 1 --check build
journal_lacks 'apt-get'
