#!/usr/bin/env bash
# What touches PostgreSQL, and one whole sync from end to end, with each of the versions (`make test-pg`).
# They run at the same time, because they wait more than they compute; what each one said is printed when
# it has ended. Servers are downloaded once (fetch-postgres.sh).
#
# usage: test-pg.sh MAJOR…, of 13 to 18
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { echo "usage: test-pg.sh MAJOR…, of 13 to 18" >&2; exit 2; }
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-2}
ladder=endpoint::ladder

said=$(mktemp -d)
trap 'rm -rf "$said"; kill $(jobs -p) 2>/dev/null || true' EXIT
declare -A running
for major in "$@"; do
  bin=$(./packaging/fetch-postgres.sh "$major")
  claims="endpoint:: e2e::two_way::existing_rows e2e::two_way::triggers"
  # Before 14 there is capture by triggers and by looks.
  [ "$major" -ge 14 ] ||
    claims="$ladder::outbox $ladder::triggers $ladder::poll $ladder::compare $ladder::looks e2e::looks"
  # shellcheck disable=SC2086
  TIDEGATE_PG_BIN=$bin cargo test --locked --workspace --test it -- $claims >"$said/$major" 2>&1 &
  running[$major]=$!
done

failed=()
for major in "$@"; do
  wait "${running[$major]}" || failed+=("$major")
  echo "== PostgreSQL $major"
  cat "$said/$major"
done
[ ${#failed[@]} = 0 ] || { echo "failed with PostgreSQL ${failed[*]}" >&2; exit 1; }
