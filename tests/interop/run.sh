#!/usr/bin/env bash
# Every interop suite, against Headwater (default) or, to prove the suites, a genuine nats-server:
#
#   tests/interop/run.sh [SUITE ...]           suites: python go js cli differential process durability (all without a name)
#   SERVER=nats-server tests/interop/run.sh
#
# Installs the pinned clients into target/interop; needs python3, go and node, and network to their registries only.
# HEADWATER_BIN names another build than target/release/headwater.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(cd "$here/../.." && pwd)"
tools="${INTEROP_TOOLS:-$repository/target/interop}"
export SERVER="${SERVER:-headwater}"

suites=("$@")
if [ ${#suites[@]} -eq 0 ]; then suites=(python go js cli differential process durability); fi

wants() {
  local suite
  for suite in "${suites[@]}"; do [ "$suite" = "$1" ] && return 0; done
  return 1
}

install_python() {
  # The stamp is the list itself: a changed pin installs again.
  if ! cmp -s "$here/requirements.txt" "$tools/venv/requirements.txt"; then
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/venv/requirements.txt"
  fi
}

install_nats_cli() {
  export NATS_CLI="${NATS_CLI:-$tools/bin/nats}"
  [ -x "$NATS_CLI" ] || GOBIN="$tools/bin" go install github.com/nats-io/natscli/nats@v0.5.1
}

install_js() {
  # npm writes this file when it is done.
  if ! [ "$here/js/node_modules/.package-lock.json" -nt "$here/js/package-lock.json" ]; then
    (cd "$here/js" && npm ci --silent --no-audit --no-fund)
  fi
}

with_server() { (cd "$here" && python3 -m harness.with_server -- "$@"); }

go_tests() {
  local names skip
  names="$(cd "$here/go" && grep -ho '^func Test[A-Za-z]*' ./*_test.go | sed 's/func //' | grep -vx TestMain)"
  # shellcheck disable=SC2086 # names are words
  skip="$(python3 -m harness.pending go $names)"
  # -count=1: a cached result would say nothing about the server.
  with_server go -C go test -v -count=1 -skip "$skip" ./...
}

js_tests() {
  local files
  # shellcheck disable=SC2046 # file names without spaces
  mapfile -t files < <(python3 -m harness.pending js $(cd "$here/js" && ls ./*.test.mjs | sed 's|./||'))
  with_server bash -c 'cd js && node --test "$@"' js "${files[@]}"
}

failed=()
run() {
  local name="$1"
  shift
  echo "=== interop: $name (SERVER=$SERVER)"
  if ! "$@"; then failed+=("$name"); fi
}

mkdir -p "$tools"
install_python
export PATH="$tools/venv/bin:$PATH"
if wants cli; then install_nats_cli; fi
if wants js; then install_js; fi

cd "$here"
for suite in "${suites[@]}"; do
  case "$suite" in
    python | cli | differential | process | durability) run "$suite" python3 -m pytest "$suite" -rxX ;;
    go) run go go_tests ;;
    js) run js js_tests ;;
    *) echo "no suite is called $suite" >&2; exit 2 ;;
  esac
done

echo "interop: $((${#suites[@]} - ${#failed[@]})) passed, ${#failed[@]} failed"
if [ ${#failed[@]} -ne 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
