#!/usr/bin/env bash
# A throwaway Debian for tests of the packages; sourced by test-package.sh and test-boot.sh.

# need PROGRAM PACKAGE: installs the package where the program is missing.
need() {
  command -v "$1" >/dev/null && return
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$2" >/dev/null
}

# debian_root DIRECTORY [PACKAGES]: from the mirror of this machine.
debian_root() {
  local mirror
  need debootstrap debootstrap
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null |
    sed -n 's/^URIs: *//p; s/^deb \(http[^ ]*\).*/\1/p' | head -n 1 || true)
  debootstrap --variant=minbase --include="${2:-}" bookworm "$1" "${mirror:-http://deb.debian.org/debian}"
}

# newer_package DEB FILE: the same with a later version and a configuration that was changed, so that dpkg has
# to decide about it.
newer_package() {
  local dir name
  dir=$(mktemp -d)
  dpkg-deb -R "$1" "$dir/root"
  name=$(sed -n 's/^Package: tidegate-//p' "$dir/root/DEBIAN/control")
  sed -i 's/^Version: .*/Version: 99.0.0-1/' "$dir/root/DEBIAN/control"
  echo "# newer" >>"$dir/root/etc/tidegate-$name/$name.toml"
  dpkg-deb -Zgzip -b "$dir/root" "$2" >/dev/null
  rm -rf "$dir"
}
