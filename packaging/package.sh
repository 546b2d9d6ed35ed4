#!/usr/bin/env bash
# Makes everything that is released, in target/package: for each program a .deb, an .rpm, an archive with the static
# program, and the list of what is linked in (CycloneDX); and the checksums of all. The same
# programs give the same bytes: times in them are the commit's.
#
# usage: package.sh [DIRECTORY [DIRECTORY of the programs, if build.sh has made them already]]
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/package}")
# Times within packages: the commit's.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
host=$(rustc -vV | sed -n 's/^host: //p')

need() {
  cargo "${1#cargo-}" --version >/dev/null 2>&1 || {
    echo "installing $1 $2" >&2
    cargo install --locked "$1@$2" >&2
  }
}
need cargo-deb 3.8.0
need cargo-generate-rpm 0.21.1
need cargo-cyclonedx 0.5.9

programs=${2:-$(packaging/build.sh)}
rm -rf "$out"
mkdir -p "$out"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

archive() {
  local name=$1 version=$2 top
  top=tidegate-$name-$version-$host
  mkdir "$scratch/$top"
  cp "$programs/tidegate-$name" "packaging/$name/tidegate-$name.service" "packaging/$name/$name.toml" \
    LICENSE "$scratch/$top/"
  tar --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode=u+rwX,go+rX,go-w -C "$scratch" -cf - "$top" | gzip -n9 >"$out/$top.tar.gz"
}

# It writes beside each Cargo.toml of the workspace, so it gets a copy of these.
bills() {
  local name file
  git ls-files -z '*Cargo.toml' '*.rs' Cargo.lock rust-toolchain.toml |
    xargs -0 cp --parents -t "$scratch/bill"
  (cd "$scratch/bill" && cargo cyclonedx --format json --spec-version 1.5 --target "$host" \
    --no-build-deps --describe crate -q)
  for name in agent relay; do
    file=$(find "$scratch/bill/$name" -maxdepth 1 -name '*.cdx.json')
    sed "s|file://$scratch/bill|file:///tidegate|g" "$file" >"$out/tidegate-$name-$1.cdx.json"
  done
}

for name in agent relay; do
  id=$(cargo pkgid -p "tidegate-$name")
  version=${id##*[#@]}
  cargo deb --no-build --no-strip --target "$host" -p "tidegate-$name" --output "$out/" >&2
  cargo generate-rpm -p "$name" --target "$host" --payload-compress zstd --output "$out/" >&2
  archive "$name" "$version"
done
mkdir "$scratch/bill"
bills "$version"
(cd "$out" && sha256sum -- * >"$scratch/sums" && cp "$scratch/sums" SHA256SUMS)
ls -l "$out"
