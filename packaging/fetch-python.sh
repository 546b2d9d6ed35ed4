#!/usr/bin/env bash
# Prints the path of a Python program that tests use. Installs it from PyPI once, into
# target/<program>: exactly the versions of packaging/<program>.txt.
#
# usage: fetch-python.sh kinto|schemathesis|aiosmtpd
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:?which program}
lock=packaging/$program.txt
cache=${CARGO_TARGET_DIR:-target}/$program
home=$cache/$(sha256sum "$lock" | cut -c1-16)

install_python() {
  echo "python3 or its venv is missing: installing the distribution's packages" >&2
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  {
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends python3 python3-venv
  } >&2
}

mkdir -p "$cache"
# Tests of one machine may come here at the same time.
exec 9>"$cache/.lock"
flock 9
# Programs name their interpreter by its whole path: where the directory was moved, they start nothing.
if [ ! -e "$home/complete" ] || ! "$home/bin/$program" --help >/dev/null 2>&1; then
  python3 -c 'import venv, ensurepip' 2>/dev/null || install_python
  echo "installing $program from PyPI" >&2
  rm -rf "$home"
  python3 -m venv "$home" >&2
  "$home/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$lock" >&2
  touch "$home/complete"
fi
realpath "$home/bin/$program"
