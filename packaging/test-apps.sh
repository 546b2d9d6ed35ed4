#!/usr/bin/env bash
# The vendors' own clients against the doubles of their apps (`make test-apps`). The clients are
# installed, pinned, into target/apps; what is missing is an error, nothing is skipped.
#
# usage: test-apps.sh [CLIENT…], of airtable pyairtable notion hubspot webflow
set -euo pipefail
cd "$(dirname "$0")/.."

scripts=relay/tests/apps/clients
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
installed=$target/apps/clients
[ $# -gt 0 ] || set -- airtable pyairtable notion hubspot webflow

install_packages() {
  echo "missing: $*: installing the distribution's packages" >&2
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qy --no-install-recommends "$@" >&2
}

# Again only when what is pinned has changed.
install_npm() {
  command -v npm >/dev/null || install_packages npm
  cp "$scripts"/package.json "$scripts"/package-lock.json "$installed"/
  if ! cmp -s "$scripts/package-lock.json" "$installed/done-package-lock.json"; then
    (cd "$installed" && npm ci --ignore-scripts --no-audit --no-fund)
    cp "$scripts/package-lock.json" "$installed/done-package-lock.json"
  fi
  cp "$scripts"/*.mjs "$installed"/
}

install_pip() {
  python3 -c "import venv, ensurepip" 2>/dev/null || install_packages python3-venv
  if ! cmp -s "$scripts/requirements.txt" "$installed/done-requirements.txt"; then
    rm -rf "$installed/python"
    python3 -m venv "$installed/python"
    "$installed/python/bin/pip" install --quiet --no-deps -r "$scripts/requirements.txt"
    cp "$scripts/requirements.txt" "$installed/done-requirements.txt"
  fi
}

# run APP COMMAND…: starts the double of APP, and the command beside it.
run() {
  local app=$1 out double status=0
  shift
  out=$(mktemp)
  "$target/debug/tidegate-apps" "$app" --rows 250 >"$out" &
  double=$!
  for _ in $(seq 100); do
    grep -q '^control ' "$out" && break
    kill -0 "$double" 2>/dev/null || break
    sleep 0.1
  done
  DOUBLE_ADDRESS=$(awk '/^address/ {print $2}' "$out")
  DOUBLE_TOKEN=$(awk '/^token/ {print $2}' "$out")
  export DOUBLE_ADDRESS DOUBLE_TOKEN
  # A client that waits for ever is a failure, too.
  timeout 180 "$@" || status=$?
  kill "$double" 2>/dev/null || true
  wait "$double" 2>/dev/null || true
  rm -f "$out"
  [ "$status" = 0 ] || { echo "$*: failed with $status" >&2; exit 1; }
}

[ -x "$target/debug/tidegate-apps" ] || { echo "no doubles yet: \`make test-apps\` builds them" >&2; exit 1; }
mkdir -p "$installed"
install_npm
install_pip
for client in "$@"; do
  echo "== $client"
  case "$client" in
    pyairtable) run airtable "$installed/python/bin/python" "$scripts/pyairtable_run.py" ;;
    airtable | notion | hubspot | webflow) run "$client" node "$installed/$client.mjs" ;;
    *) echo "usage: test-apps.sh [airtable pyairtable notion hubspot webflow]" >&2; exit 2 ;;
  esac
done
