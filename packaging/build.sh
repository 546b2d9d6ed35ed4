#!/usr/bin/env bash
# Builds both programs as packages and images carry them: optimized, static (no C library needed), and
# without a trace of where they were built. Prints the directory of the programs.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
# Naming the target keeps build scripts and procedural macros, which can't be static, as they are.
host=$(rustc -vV | sed -n 's/^host: //p')

# What would differ between two machines: where sources, crates and the toolchain lie. The last one
# that fits counts.
from=("$PWD" "${CARGO_HOME:-$HOME/.cargo}" "$target" "$(rustc --print sysroot)")
to=(/tidegate /cargo /target /rust)
flags=(-C target-feature=+crt-static)
c_flags=()
for place in "${!from[@]}"; do
  flags+=("--remap-path-prefix=${from[place]}=${to[place]}")
  c_flags+=("-ffile-prefix-map=${from[place]}=${to[place]}")
done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
export CFLAGS="${CFLAGS:-} ${c_flags[*]}"
export CARGO_INCREMENTAL=0

# Embedded in the relay.
make --silent console >&2
cargo build --locked --release --target "$host" -p tidegate-agent -p tidegate-relay >&2
echo "$target/$host/release"
