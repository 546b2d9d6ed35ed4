#!/usr/bin/env bash
# Checks the alert rules, runs their unit tests, and, with a page of /metrics as FILE, checks its
# names and units by Prometheus' conventions. That the rules name only what a relay exports, and that
# each alert has its section in docs/operations.md, is checked by relay/tests/it/e2e/monitoring.rs,
# which calls this script with the page of a running relay.
#
# usage: check.sh [FILE]
set -euo pipefail
page=${1:-}
[ -z "$page" ] || page=$(realpath "$page")
cd "$(dirname "$0")"

promtool=$(./fetch-promtool.sh)
"$promtool" check rules alerts.yaml
"$promtool" test rules alerts.test.yaml
if [ -n "$page" ]; then
  "$promtool" check metrics <"$page"
  echo "$(grep -c '^# TYPE ' "$page") families, no complaints"
fi
