#!/usr/bin/env bash
# Checks that Node is there and new enough to build the console, and installs the distribution's
# packages when there is none.
set -euo pipefail

if ! command -v npm >/dev/null; then
  echo "Node is missing: installing the packages nodejs and npm" >&2
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  {
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends nodejs npm
  } >&2
fi
version=$(node --version)
if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; then
  echo "Node $version is too old for the console: it needs 20.19 or newer (nodejs.org)" >&2
  exit 1
fi
echo "$version"
