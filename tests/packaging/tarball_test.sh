#!/usr/bin/env bash
# tarball_test.sh CPACK BUILD-FOLDER: the tarball runs where it is unpacked, with its own data and its own libraries.
set -euo pipefail

cpack="$1" build="$2"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'tarball_test: %s\n' "$*" >&2
  exit 1
}

"$cpack" --config "$build/CPackConfig.cmake" -B "$work/made" >"$work/cpack.log" 2>&1 || {
  cat "$work/cpack.log" >&2
  fail "cpack made no tarball"
}
tarball=("$work"/made/orch-*.tar.gz)
[[ -f "${tarball[0]}" && ${#tarball[@]} == 1 ]] || fail "expected one tarball, found ${tarball[*]}"

# A name with a space, that no build knew of.
mkdir -p "$work/some where/else"
tar -C "$work/some where/else" -xzf "${tarball[0]}"
tops=("$work/some where/else"/*)
top="${tops[0]}"
[[ ${#tops[@]} == 1 && "$(basename "$top")" == "$(basename "${tarball[0]}" .tar.gz)" ]] ||
  fail "the tarball does not unpack into one folder of its own name: ${tops[*]}"
for file in bin/orchctl bin/orchd bin/orch-worker bin/orch-sandbox share/orch/catalog share/orch/tasks share/orch/policies share/orch/templates \
  share/orch/examples share/doc/orch/LICENSE share/doc/orch/openapi.yaml; do
  [[ -e "$top/$file" ]] || fail "the tarball lacks $file"
done

# Everything but the C library comes out of the tarball.
for program in orchctl orchd; do env -i PATH=/usr/bin:/bin ldd "$top/bin/$program"; done >"$work/ldd"
while read -r line; do
  name="${line%% *}"
  path="$(sed -nE 's/^.* => (.*) \(0x[0-9a-f]+\)$/\1/p' <<<"$line")"
  case "$(basename "$name")" in
    linux-vdso.so.* | ld-linux*.so.* | libc.so.6 | libm.so.6 | libdl.so.2 | librt.so.1 | libpthread.so.0 | libresolv.so.2) continue ;;
  esac
  path="$(readlink -f "${path:-/}")"
  [[ "$path" == "$(readlink -f "$top")"/* ]] || fail "a program takes $name from outside the tarball: $line"
done <"$work/ldd"

# orchctl(ARG...): from a folder that is neither the tarball's nor the source's, with an empty environment.
mkdir "$work/cwd"
orchctl() { (cd "$work/cwd" && env -i "$top/bin/orchctl" "$@"); }

version="$(orchctl --version)"
[[ "$version" =~ [0-9]+\.[0-9]+\.[0-9]+ ]] || fail "--version says '$version'"
[[ "$(basename "$top")" == *"${BASH_REMATCH[0]}"* ]] || fail "--version says '$version', the tarball is $(basename "$top")"

orchctl models --json >"$work/models.json" || fail "models --json left with $?"
# The source tree is on this machine too, so that its being read would go unseen: a change of the unpacked catalog must show.
grep -rlF 'TinyLlama/' "$top/share/orch/catalog" >"$work/with" || fail "the unpacked catalog does not know TinyLlama"
while read -r file; do sed -i 's|TinyLlama/|UnpackedLlama/|' "$file"; done <"$work/with"
orchctl models --json >"$work/changed.json" || fail "models --json left with $? after a change of the catalog"
python3 - "$work/models.json" "$work/changed.json" <<'PYTHON' || fail "the catalog that is read is not the tarball's"
import json, sys
before, after = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
named = lambda models: [m["name"] for m in models]
assert len(before) >= 61 and named(before) == named(after), (len(before), len(after))
assert any(m["hf_id"].startswith("TinyLlama/") for m in before)
assert any(m["hf_id"].startswith("UnpackedLlama/") for m in after)
PYTHON

# By a link from a folder on the PATH, as people install it in their home.
mkdir "$work/bin"
ln -s "$top/bin/orchctl" "$work/bin/orchctl"
(cd "$work/cwd" && env -i PATH="$work/bin" /bin/sh -c 'orchctl models --json') | cmp - "$work/changed.json" ||
  fail "started by a link on the PATH it says something else"

# Installed over an earlier installation, as an upgrade is.
for time in first second; do
  "$(dirname "$cpack")/cmake" --install "$build" --prefix "$work/prefix" >"$work/install.log" 2>&1 || {
    cat "$work/install.log" >&2
    fail "the $time installation into one place failed"
  }
done
[[ "$(cd "$work/cwd" && env -i "$work/prefix/bin/orchctl" --version)" == "$version" ]] || fail "installed twice it does not run"

glibc="$(objdump -T "$top/bin/orchctl" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1 || true)"
echo "tarball_test: $(du -k "${tarball[0]}" | cut -f 1) KiB, needs ${glibc:-no GLIBC symbol}"
