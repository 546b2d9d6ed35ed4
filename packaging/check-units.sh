#!/usr/bin/env bash
# Checks the systemd units: that systemd understands every line, and that the sandbox leaves no more open than is
# agreed (`systemd-analyze security`: 0 is closed, 10 is open). Starts nothing.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v systemd-analyze >/dev/null; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  echo "systemd-analyze is missing: installing the distribution's package systemd" >&2
  "${as_root[@]}" apt-get update -q >&2
  "${as_root[@]}" apt-get install -qy --no-install-recommends systemd >&2
fi

# verify looks for the programs, and for what every service depends on.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -D -m 0755 /dev/null "$root/bin/sh"
install -D -m 0644 -t "$root/usr/lib/systemd/system" /usr/lib/systemd/system/{*.target,*.slice}
failed=0
check() {
  local name=$1 exposure_max=$2 unit=tidegate-$1.service said exposure
  install -D -m 0644 "$name/$unit" "$root/etc/systemd/system/$unit"
  install -D -m 0755 /dev/null "$root/usr/bin/tidegate-$name"
  said=$(systemd-analyze verify --root="$root" "$unit" 2>&1 | grep -F "$unit" || true)
  if [ -n "$said" ]; then
    echo "$said" >&2
    failed=1
  fi
  exposure=$(systemd-analyze security --offline=true "$name/$unit" --no-pager 2>/dev/null |
    sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p')
  echo "$unit: exposure $exposure, at most $exposure_max"
  if ! awk -v is="$exposure" -v max="$exposure_max" 'BEGIN { exit !(is != "" && is + 0 <= max + 0) }'; then
    echo "$unit leaves too much open: systemd-analyze security --offline=true $PWD/$name/$unit" >&2
    failed=1
  fi
}
check agent 1.5
check relay 2.0
exit "$failed"
