#!/usr/bin/env bash
# Prints the directory of PostgreSQL's server binaries; installs them from the distribution's
# packages when there are none. Used by the demo, the tests and CI.
set -euo pipefail

# The newest first.
find_binaries() {
  local dir
  while read -r dir; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && [ -x "$dir/psql" ]; then
      echo "$dir"
      return 0
    fi
  done < <(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -rV)
  if command -v initdb >/dev/null && command -v postgres >/dev/null; then
    dirname "$(readlink -f "$(command -v initdb)")"
    return 0
  fi
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "no PostgreSQL server binaries found: install PostgreSQL 14 or newer, then try again" >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "no PostgreSQL server binaries found: run 'apt-get install postgresql' as root, then try again" >&2
    return 1
  fi
  echo "PostgreSQL's server binaries are missing: installing the package postgresql" >&2
  # The package would start a server on port 5432 of this machine; only its binaries are wanted.
  local keep_quiet=/etc/postgresql-common/createcluster.d/tidegate-find-postgres.conf
  as_root mkdir -p "$(dirname "$keep_quiet")"
  echo "create_main_cluster = false" | as_root tee "$keep_quiet" >/dev/null
  local failed=0
  {
    as_root apt-get update -q &&
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends postgresql postgresql-client
  } >&2 || failed=1
  as_root rm -f "$keep_quiet"
  as_root rmdir --ignore-fail-on-non-empty "$(dirname "$keep_quiet")"
  return "$failed"
}

find_binaries || { install_packages && find_binaries; } || {
  echo "no PostgreSQL server binaries (initdb, postgres, psql) after the installation" >&2
  exit 1
}
