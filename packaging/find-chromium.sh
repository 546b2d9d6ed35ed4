#!/usr/bin/env bash
# Prints the path of Chromium; installs it from the distribution's packages when there is none. Used by
# the tests of the console.
set -euo pipefail

find_chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

if ! find_chromium >/dev/null; then
  echo "Chromium is missing: installing the package chromium" >&2
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  {
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends chromium fonts-dejavu-core
  } >&2
fi
find_chromium
