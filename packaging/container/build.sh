#!/usr/bin/env bash
# Builds the images tidegate-agent and tidegate-relay from the static programs in DIRECTORY, which are built first
# unless it is given. No image is pulled. Needs docker, and a daemon that it reaches.
#
# usage: build.sh [DIRECTORY]
set -euo pipefail
here=$(realpath "$(dirname "$0")")
programs=${1:-}
[ -n "$programs" ] || programs=$("$here/../build.sh")
authorities=/etc/ssl/certs/ca-certificates.crt
[ -e "$authorities" ] || { echo "$authorities is missing: install ca-certificates" >&2; exit 1; }

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
for name in agent relay; do
  mkdir -p "$context/$name/state"
  chmod 0700 "$context/$name/state"
  cp "$programs/tidegate-$name" "$authorities" "$context/$name/"
  docker build --quiet --file "$here/$name.Dockerfile" --tag "tidegate-$name" "$context/$name"
done
