#!/usr/bin/env bash
# Runs a command with its temporary files in memory, where this machine has room for them: tests make
# hundreds of databases and stores, each commit of which waits for the disk otherwise. What is left of
# them is gone when the command has ended.
#
# usage: in-memory.sh COMMAND [ARGUMENT…]
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: in-memory.sh COMMAND [ARGUMENT…]" >&2; exit 2; }

memory=/dev/shm
# Tests took 2 GB at most.
needed_kb=$((6 * 1024 * 1024))

# Containers have little of it, and what is there may not be run.
has_room() {
  [ -w "$memory" ] || return 1
  [ "$(df --output=avail "$memory" | tail -n 1)" -ge "$needed_kb" ] || return 1
  [ "$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)" -ge "$needed_kb" ] || return 1
  ! findmnt --noheadings --output OPTIONS --target "$memory" | grep -qw noexec
}

has_room || exec "$@"
TMPDIR=$(mktemp -d "$memory/tidegate-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
# The tests' PostgreSQL runs as another user.
chmod 711 "$TMPDIR"
"$@"
