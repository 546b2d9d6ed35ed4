#!/usr/bin/env bash
# Builds both images and runs them: paired, connected, healthy, as no root, and stopped in order. As root; uses a
# Docker daemon of its own, without bridge and firewall rules, and removes everything.
#
# usage: test.sh [DIRECTORY of the static programs]
set -euo pipefail
here=$(realpath "$(dirname "$0")")
[ "$(id -u)" = 0 ] || { echo "test.sh needs root: it starts a Docker daemon" >&2; exit 1; }
programs=${1:-}
[ -n "$programs" ] || programs=$("$here/../build.sh")

say() { printf '\n== %s\n' "$*"; }
fail() { echo "container test: $*" >&2; exit 1; }

command -v dockerd >/dev/null || {
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends docker.io >/dev/null
}
dir=$(mktemp -d /var/tmp/tidegate-docker.XXXXXX)
daemon=
clean_up() {
  local status=$?
  trap - EXIT
  if [ "$status" != 0 ]; then
    for name in relay agent; do docker logs "$name" 2>&1 | tail -n 15 || true; done
    tail -n 5 "$dir/dockerd.log" || true
  fi >&2
  docker rm -f relay agent >/dev/null 2>&1 || true
  [ -z "$daemon" ] || { kill -TERM "$daemon"; wait "$daemon" 2>/dev/null || true; }
  umount "$dir/exec/netns/default" 2>/dev/null || true
  rm -rf "$dir"
  exit "$status"
}
trap clean_up EXIT

say "a Docker daemon of its own"
export DOCKER_HOST=unix://$dir/docker.sock DOCKER_BUILDKIT=0
dockerd --iptables=false --bridge=none --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
  --host "$DOCKER_HOST" >"$dir/dockerd.log" 2>&1 &
daemon=$!
for _ in {1..300}; do
  ! docker version >/dev/null 2>&1 || break
  kill -0 "$daemon" || fail "the daemon ended: $(tail -n 3 "$dir/dockerd.log")"
  sleep 0.1
done

say "compose.yaml is understood (its databases' images can't be pulled here)"
command -v docker-compose >/dev/null ||
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends docker-compose >/dev/null
PASSWORD=any docker-compose --file "$here/compose.yaml" config --quiet

say "images"
"$here/build.sh" "$programs"
docker images

wait_for() {
  local what=$1
  shift
  for _ in {1..300}; do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  fail "waited 30 s for $what"
}
port() { echo $((20000 + (RANDOM << 1 | RANDOM & 1) % 12000)); }
tunnel_port=$(port)
http_port=$(port)

say "a relay, without a file of its own"
docker run --detach --name relay --network host --read-only --cap-drop ALL --security-opt no-new-privileges \
  --volume relay:/var/lib/tidegate-relay --health-interval 1s \
  --env "TIDEGATE_TUNNEL_LISTEN=127.0.0.1:$tunnel_port" --env "TIDEGATE_TUNNEL_NAMES=localhost:$tunnel_port" \
  --env "TIDEGATE_HTTP_LISTEN=127.0.0.1:$http_port" tidegate-relay
relay() { docker exec relay /usr/bin/tidegate-relay "$@"; }
wait_for "the relay" relay agent list

say "an agent: paired through stdin, then running"
cat >"$dir/agent.toml" <<'TOML'
[[target]]
name = "main"
address = "127.0.0.1:5432"
database = "blog"
user = "tidegate"
TOML
agent=(--network host --read-only --cap-drop ALL --security-opt no-new-privileges
  --volume agent:/var/lib/tidegate-agent --volume "$dir/agent.toml:/etc/tidegate-agent/agent.toml:ro")
relay agent invite office-db | docker run --rm --interactive "${agent[@]}" tidegate-agent pair -
docker run --detach --name agent --health-interval 1s "${agent[@]}" tidegate-agent
is_online() { relay agent show office-db --json | grep -q '"online"'; }
wait_for "the agent" is_online
docker exec agent /usr/bin/tidegate-agent status

say "healthy, no root, nothing but the program"
for name in relay agent; do
  is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$name")" = healthy ]; }
  wait_for "$name to be healthy" is_healthy
  [ "$(docker inspect --format '{{.Config.User}}' "$name")" = 65532:65532 ] || fail "$name runs as somebody else"
  grep -q '^Uid:.65532' "/proc/$(docker inspect --format '{{.State.Pid}}' "$name")/status" || fail "$name is root"
  ! docker exec "$name" /bin/sh -c true 2>/dev/null || fail "there is a shell in $name"
done

say "stopped in order, and back with the same identity"
docker stop --time 30 relay >/dev/null
[ "$(docker inspect --format '{{.State.ExitCode}}' relay)" = 0 ] || fail "the relay did not drain"
docker start relay >/dev/null
wait_for "the agent to come back" is_online
docker stop --time 30 agent >/dev/null
[ "$(docker inspect --format '{{.State.ExitCode}}' agent)" = 0 ] || fail "the agent did not drain"

say "all of it works"
