#!/usr/bin/env bash
# What the emulated machine of test-boot.sh does as root: the first boot sets up a sync, disturbs it, upgrades; the second
# one finds everything running again and purges. The last words go to the console.
set -euo pipefail
cd ~root

say() { printf 'boot-test: %s\n' "$*"; }
leave() {
  local status=$?
  trap - EXIT
  if [ "$status" != 0 ]; then
    say "failed at line $line: $BASH_COMMAND"
    systemctl status --no-pager --lines=0 tidegate-relay tidegate-agent || true
    journalctl --no-pager -o cat -n 30 -u tidegate-relay -u tidegate-agent || true
  fi
  systemctl --no-block "${next:-poweroff}"
}
line=
trap 'line=$LINENO' ERR
trap leave EXIT

wait_for() {
  local what=$1
  shift
  # An emulated machine is slow.
  for _ in {1..240}; do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 1
  done
  say "waited 240 s for $what"
  "$@"
}
sql() { runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
is_online() { tidegate-agent status | grep -q "state    connected"; }
has() { [ "$(sql -d marketing -c "select title from posts where slug = '$1'")" = "$2" ]; }
# edit SLUG TITLE: of the private side; waits until the other side has it.
edit() {
  sql -d office -c "insert into posts values ('$1', '$2') on conflict (slug) do update set title = '$2'"
  wait_for "an edit to cross" has "$1" "$2"
}
of_unit() { systemctl show --value -p "$2" "tidegate-$1"; }

first_boot() {
  say "the relay runs at boot, on port 443, as no root"
  wait_for "the relay" systemctl is-active -q tidegate-relay
  [ "$(stat -c %U "/proc/$(of_unit relay MainPID)")" = tidegate-relay ]

  say "two databases, a role with a password from systemd's credentials"
  wait_for "PostgreSQL" sql -c "select 1"
  umask 077
  od -An -tx1 -N16 /dev/urandom | tr -d ' \n' >/etc/tidegate-agent/main.password
  sql -c "create role tidegate_try login replication password '$(cat /etc/tidegate-agent/main.password)'"
  for database in office marketing; do
    sql -c "create database $database owner tidegate_try"
    sql -d "$database" -c "create table posts (slug text primary key, title text not null)" \
      -c "alter table posts owner to tidegate_try"
  done
  sql -d office -c "insert into posts select 'old-' || n, 'title ' || n from generate_series(1, 500) n"
  cat >>/etc/tidegate-agent/agent.toml <<'TOML'
[[target]]
name = "main"
address = "127.0.0.1:5432"
database = "office"
user = "tidegate_try"
sslmode = "prefer"
allow_ddl = true
TOML
  mkdir -p /etc/systemd/system/tidegate-agent.service.d
  cat >/etc/systemd/system/tidegate-agent.service.d/test.conf <<'UNIT'
[Service]
LoadCredential=main.password:/etc/tidegate-agent/main.password
WatchdogSec=20
UNIT
  systemctl daemon-reload

  say "pair, start, sync"
  tidegate-relay agent invite office-db >token
  tidegate-agent pair token
  systemctl enable -q --now tidegate-agent
  wait_for "the agent" is_online
  tidegate-relay connection add office-db --kind postgres --agent office-db --target main >/dev/null
  echo "postgres://tidegate_try:$(cat /etc/tidegate-agent/main.password)@127.0.0.1:5432/marketing?sslmode=prefer" >url
  # A relay on the machine of its other side.
  tidegate-relay connection add marketing --kind postgres --url-file url >/dev/null
  cat >posts.toml <<'TOML'
name  = "posts"
left  = "office-db"
right = "marketing"
[[table]]
left  = "public.posts"
right = "public.posts"
key   = [["slug", "slug"]]
fields = [{ left = "slug", right = "slug" }, { left = "title", right = "title" }]
TOML
  tidegate-relay sync apply posts.toml --yes --wait >/dev/null
  edit hello "Hello"
  tidegate-relay sync verify posts >/dev/null

  say "a reload keeps the agent, a stuck one is started anew by the watchdog"
  local agent
  agent=$(of_unit agent MainPID)
  systemctl reload tidegate-agent
  edit hello "after the reload"
  [ "$(of_unit agent MainPID)" = "$agent" ]
  [ "$(of_unit agent NRestarts)" = 0 ]
  kill -STOP "$agent"
  another_runs() { [ "$(of_unit agent MainPID)" != "$agent" ] && is_online; }
  wait_for "the watchdog" another_runs
  [ "$(of_unit agent NRestarts)" = 1 ]
  edit hello "after the watchdog"

  say "a killed relay comes back"
  kill -KILL "$(of_unit relay MainPID)"
  edit hello "after the kill"

  say "an upgrade restarts both and keeps the configuration"
  agent=$(of_unit agent MainPID)
  dpkg --force-confold -i newer/*.deb >/dev/null 2>&1
  wait_for "the upgraded agent" another_runs
  edit hello "after the upgrade"

  say "a stop drains"
  systemctl stop tidegate-agent tidegate-relay
  for name in agent relay; do
    [ "$(of_unit "$name" Result)" = success ]
  done
  sql -d office -c "update posts set title = 'while both were away' where slug = 'hello'"
}

second_boot() {
  say "after a reboot all of it runs again by itself"
  wait_for "PostgreSQL" sql -c "select 1"
  wait_for "the agent" is_online
  wait_for "what changed meanwhile" has hello "while both were away"
  edit hello "after the reboot"
  tidegate-relay sync verify posts >/dev/null

  for name in agent relay; do
    say "$(systemd-analyze security --no-pager "tidegate-$name.service" | sed -n 's/.*Overall exposure/exposure/p')"
  done
  systemd-analyze verify tidegate-agent.service tidegate-relay.service

  say "a purge stops both and leaves nothing but what is in the databases"
  tidegate-relay sync remove posts >/dev/null
  [ "$(sql -d office -c "select count(*) from pg_replication_slots")" = 0 ]
  rm -r /etc/systemd/system/tidegate-agent.service.d
  dpkg -P tidegate-agent tidegate-relay >/dev/null 2>&1
  ! systemctl is-active -q tidegate-agent
  ! systemctl is-active -q tidegate-relay
  [ ! -e /var/lib/tidegate-agent ] && [ ! -e /var/lib/tidegate-relay ]
  say "all of it works"
}

if [ ! -e first ]; then
  touch first
  first_boot
  next=reboot
else
  second_boot
fi
