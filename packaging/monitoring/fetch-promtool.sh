#!/usr/bin/env bash
# Prints the path of Prometheus' promtool. Where it is missing it is taken out of Debian's package
# `prometheus`, into target/promtool: installing the package would start a server on this machine.
set -euo pipefail
cd "$(dirname "$0")/../.."

if command -v promtool; then exit 0; fi
home=${CARGO_TARGET_DIR:-target}/promtool
if [ ! -x "$home/usr/bin/promtool" ]; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "promtool is missing: install Prometheus' tools, then try again" >&2
    exit 1
  }
  echo "promtool is missing: taking it out of Debian's package prometheus" >&2
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  download() { (cd "$scratch" && apt-get download -q prometheus >&2); }
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  download || { "${as_root[@]}" apt-get update -q >&2 && download; }
  dpkg-deb -x "$scratch"/prometheus_*.deb "$scratch/root"
  mkdir -p "$home/usr/bin"
  # In one step, for tests that come here at the same time.
  install "$scratch/root/usr/bin/promtool" "$home/usr/bin/promtool.$$"
  mv "$home/usr/bin/promtool.$$" "$home/usr/bin/promtool"
fi
realpath "$home/usr/bin/promtool"
