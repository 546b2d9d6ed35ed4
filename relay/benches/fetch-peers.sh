#!/usr/bin/env bash
# Installs the programs that `make bench` compares with, into target/bench-peers, and prints where. What
# can't be had is told, and left out.
set -uo pipefail
cd "$(dirname "$0")/../.."
peers="${CARGO_TARGET_DIR:-target}/bench-peers"
mkdir -p "$peers"

from_crates() { # program crate version options…
  local program=$1 crate=$2 version=$3
  shift 3
  if [ -x "$peers/bin/$program" ]; then return; fi
  if ! cargo install --quiet --version "=$version" "$crate" --root "$peers" "$@" >&2; then
    echo "$crate $version could not be built: it is not measured" >&2
  fi
}

from_debian() { # program package
  if [ -x "/usr/sbin/$1" ] || command -v "$1" >/dev/null; then return; fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null ||
    ! DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$2" >&2; then
    echo "$1 is missing (Debian's package $2): it is not measured" >&2
  fi
}

# Not --locked: its lock file names a release of `time` that no compiler since Rust 1.80 takes.
from_crates rathole rathole 0.5.0 --no-default-features --features server,client,tls,noise
from_crates bore bore-cli 0.6.0 --locked
from_debian ssh openssh-client
from_debian sshd openssh-server
from_debian stunnel stunnel4
echo "$peers/bin"
