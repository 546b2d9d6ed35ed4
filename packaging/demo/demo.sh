#!/usr/bin/env bash
# The main job on this machine, with nothing but throwaway data: a private PostgreSQL, an agent
# beside it, a relay, and a two-way sync with a second PostgreSQL that plays the other app.
#
# DEMO_SECONDS=30 stops the edits after 30 seconds, compares both sides and exits 0 if they are
# equal; without it the demo runs until Ctrl-C. Nothing is left behind either way.
set -euo pipefail
cd "$(dirname "$0")/../.."
demo=packaging/demo
seconds=${DEMO_SECONDS:-}
quiet_seconds_max=120

say() { printf '\n== %s\n' "$*"; }
fail() { echo "demo: $*" >&2; exit 1; }

# --- Cleaning up -------------------------------------------------------------------------------

dir=
servers=()
processes=()
token=
printer=

stop_process() {
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in {1..260}; do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.05
  done
  kill -KILL "$1" 2>/dev/null || true
}

show_logs() {
  local log
  for log in "$dir"/*.log; do
    [ -s "$log" ] || continue
    echo "--- the end of $(basename "$log")"
    tail -n 15 "$log"
  done >&2
}

clean_up() {
  local status=$? index
  trap '' INT TERM
  trap - EXIT
  [ -n "$dir" ] || exit "$status"
  case $status in 0 | 130 | 143) ;; *) show_logs ;; esac
  [ -z "$printer" ] || kill "$printer" 2>/dev/null || true
  for ((index = ${#processes[@]} - 1; index >= 0; index--)); do
    stop_process "${processes[index]}"
  done
  for index in "${servers[@]}"; do
    as_server_user "$postgres/pg_ctl" -D "$index" -m immediate -s stop >/dev/null 2>&1 || true
  done
  rm -rf "$dir"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Ctrl-C reaches this script alone, so that everything else is stopped in order.
start() {
  local log=$1
  shift
  setsid "$@" >>"$dir/$log" 2>&1 </dev/null &
  processes+=("$!")
}

# Relay, agent and edits go on until they are stopped.
check_running() {
  local process
  for process in "${processes[@]}"; do
    kill -0 "$process" 2>/dev/null || fail "relay, agent or edits ended by themselves"
  done
}

# --- PostgreSQL --------------------------------------------------------------------------------

# PostgreSQL refuses to run as root.
server_user=$(id -un)
if [ "$(id -u)" = 0 ]; then
  server_user=nobody
  if id -u postgres >/dev/null 2>&1; then server_user=postgres; fi
fi

as_server_user() {
  if [ "$(id -un)" = "$server_user" ]; then
    "$@"
  else
    local group
    group=$(id -g "$server_user")
    (cd / && setpriv --reuid "$server_user" --regid "$group" --clear-groups "$@")
  fi
}

secret() { od -An -tx1 -N16 /dev/urandom | tr -d ' \n'; }

free_port() {
  local port
  while true; do
    port=$((20000 + (RANDOM << 1 | RANDOM & 1) % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# A server of its own: socket and loopback, passwords by SCRAM on every path, logical decoding on.
start_server() {
  local name=$1 port=$2 data="$dir/$1/data"
  install -d -m 755 "$dir/$name"
  secret >"$dir/$name/admin.password"
  [ "$(id -u)" != 0 ] || chown -R "$server_user" "$dir/$name"
  as_server_user "$postgres/initdb" -D "$data" -U postgres -A scram-sha-256 -E UTF8 \
    --locale=C.UTF-8 --no-sync --pwfile "$dir/$name/admin.password" >"$dir/initdb.log"
  rm "$dir/initdb.log"
  cat >"$dir/settings" <<SETTINGS
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir/$name'
wal_level = logical
shared_buffers = 32MB
max_slot_wal_keep_size = 1GB
SETTINGS
  as_server_user tee -a "$data/postgresql.conf" <"$dir/settings" >/dev/null
  servers+=("$data")
  as_server_user "$postgres/pg_ctl" -D "$data" -l "$dir/$name/postgres.log" -w -s start
  echo "*:$port:*:postgres:$(cat "$dir/$name/admin.password")" >>"$PGPASSFILE"
}

sql() {
  local url=$1
  shift
  "$postgres/psql" -X -q -v ON_ERROR_STOP=1 -d "$url" "$@"
}

# The role that syncs: it logs in, reads the change log, owns the synced tables (PostgreSQL lets
# only owners publish a table) and may create in this database; it is no superuser.
make_role() {
  local url=$1 database=$2 schema=$3 password=$4
  sql "$url" <<SQL
create role tidegate login replication password '$password';
grant create on database $database to tidegate;
grant usage on schema $schema to tidegate;
do \$\$ declare t regclass; begin
  for t in select oid from pg_class where relnamespace = '$schema'::regnamespace and relkind = 'r'
  loop execute format('alter table %s owner to tidegate', t); end loop;
end \$\$;
SQL
}

# --- Relay -------------------------------------------------------------------------------------

# One request to the relay; its body, or its lines as they come.
http() {
  local path=$1
  exec 3<>"/dev/tcp/127.0.0.1/$http_port" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n' \
    "$path" "$token" >&3
  cat <&3
}

wait_for() {
  local what=$1
  shift
  for _ in {1..300}; do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  fail "waited 30 s for $what"
}

is_healthy() { http /healthz | head -1 | grep -q ' 200 '; }
is_online() { relay agent show office-db --json | grep -q '"state": *"online"'; }
relay() { TIDEGATE_API=$api TIDEGATE_TOKEN=$token "$bin/tidegate-relay" "$@"; }

# The value of a number or a word in the status document; the first one of that name.
status_of() {
  local status=$1 key=$2
  [[ $status =~ \"$key\":\ *\"?([a-z0-9_.-]+) ]] && echo "${BASH_REMATCH[1]}"
}

# The sum of a number over the status document's tables.
sum_of() {
  local number sum=0
  for number in $(grep -o "\"$2\": *[0-9]*" <<<"$1" | grep -o '[0-9]*$'); do
    sum=$((sum + number))
  done
  echo "$sum"
}

# A bar on a terminal, lines otherwise.
show_progress() {
  local state=$1 copied=$2 total=$3 width=40 done_width
  local line="$state: $copied of $total records"
  if [ -t 1 ]; then
    done_width=$((total > 0 ? width * copied / total : 0))
    printf '\r  [%-*s] %s   ' "$width" "$(printf '%*s' "$done_width" '' | tr ' ' '#')" "$line"
  elif [ "$line" != "${shown:-}" ]; then
    echo "  $line"
    shown=$line
  fi
}

wait_until_live() {
  local status state
  for _ in {1..1200}; do
    status=$(relay sync status blog --json)
    state=$(status_of "$status" state)
    show_progress "$state" "$(sum_of "$status" copied)" "$(sum_of "$status" total)"
    case $state in
      live) [ -t 1 ] && echo; return 0 ;;
      failed) fail "the sync failed: $status" ;;
    esac
    sleep 0.25
  done
  fail "the first copy is not done after 5 minutes"
}

is_quiet() { [[ $(relay sync status blog --json) =~ \"quiet\":\ *true ]]; }

# One line for each change that crosses, as the relay's event stream tells it.
print_changes() {
  local line arrow fields
  local pattern='"table":"([^"]*)","side":"([a-z]*)","kind":"([a-z]*)","key":"([^"]*)","fields":\[([^]]*)\],"latency_ms":([0-9]+|null)'
  http "/api/v1/events?sync=blog" | while IFS= read -r line; do
    [[ $line =~ $pattern ]] || continue
    arrow='office-db -> marketing'
    [ "${BASH_REMATCH[2]}" = right ] || arrow='marketing -> office-db'
    fields=
    [ "${BASH_REMATCH[3]}" != update ] || fields=" ${BASH_REMATCH[5]//\"/}"
    printf '%(%H:%M:%S)T  %s  %-6s %s %s%s (%s ms)\n' -1 "$arrow" "${BASH_REMATCH[3]}" \
      "${BASH_REMATCH[1]}" "${BASH_REMATCH[4]}" "$fields" "${BASH_REMATCH[6]}"
  done
}

# --- The demo ----------------------------------------------------------------------------------

command -v cargo >/dev/null || fail "cargo is missing: see https://rustup.rs"
case $seconds in *[!0-9]*) fail "DEMO_SECONDS must be a number of seconds" ;; esac
postgres=$(packaging/find-postgres.sh)

say "Building relay and agent"
cargo build --locked --release -p tidegate-relay -p tidegate-agent
bin=$PWD/${CARGO_TARGET_DIR:-target}/release
[ -z "${CARGO_TARGET_DIR:-}" ] || bin=$(cd "$CARGO_TARGET_DIR" && pwd)/release

umask 077
dir=$(mktemp -d "${TMPDIR:-/tmp}/tidegate-demo.XXXXXX")
# PostgreSQL runs as another user when this is root; what is secret below has modes of its own.
chmod 711 "$dir"
export PGPASSFILE=$dir/pgpass
: >"$PGPASSFILE"
blog_port=$(free_port)
marketing_port=$(free_port)
http_port=$(free_port)
tunnel_port=$(free_port)
api=http://127.0.0.1:$http_port

say "A private PostgreSQL (blog) and the other app's (marketing), throwaway, in $dir"
start_server blog "$blog_port"
start_server marketing "$marketing_port"
blog="host=127.0.0.1 port=$blog_port user=postgres dbname=blog"
marketing="host=127.0.0.1 port=$marketing_port user=postgres dbname=marketing"
sql "${blog/dbname=blog/dbname=postgres}" -c "create database blog"
sql "${marketing/dbname=marketing/dbname=postgres}" -c "create database marketing"
sql "$blog" -f "$demo/blog.sql"
sql "$marketing" -f "$demo/marketing.sql"
secret >"$dir/blog.password"
make_role "$blog" blog public "$(cat "$dir/blog.password")"
marketing_password=$(secret)
make_role "$marketing" marketing cms "$marketing_password"
echo "postgres://tidegate:$marketing_password@127.0.0.1:$marketing_port/marketing?sslmode=disable" \
  >"$dir/marketing.url"

say "The relay"
cat >"$dir/relay.toml" <<TOML
data_dir = "$dir/relay"
[tunnel]
listen = "127.0.0.1:$tunnel_port"
names  = ["localhost:$tunnel_port"]
[http]
listen = "127.0.0.1:$http_port"
TOML
start relay.log "$bin/tidegate-relay" serve --config "$dir/relay.toml"
wait_for "the relay" is_healthy
token=$(cat "$dir/relay/operator.token")
echo "  its API: $api/api/v1/openapi.json"

say "The agent, beside the private database, paired by a token"
cat >"$dir/agent.toml" <<TOML
state_dir = "$dir/agent"
[[target]]
name = "main"
address = "127.0.0.1:$blog_port"
database = "blog"
user = "tidegate"
password_file = "$dir/blog.password"
sslmode = "disable"
# The demo's role owns the tables, and the relay may make the publication.
allow_ddl = true
TOML
relay agent invite office-db >"$dir/token"
"$bin/tidegate-agent" --config "$dir/agent.toml" pair "$dir/token"
start agent.log "$bin/tidegate-agent" --config "$dir/agent.toml" run
wait_for "the agent to come online" is_online

say "Connections: office-db through the agent, marketing directly"
relay connection add office-db --kind postgres --agent office-db --target main
relay connection add marketing --kind postgres --url-file "$dir/marketing.url"

say "What the sync would do (sync plan $demo/blog.toml, its first lines)"
planned=0
relay sync plan "$demo/blog.toml" >"$dir/plan" || planned=$?
# 3: there is something to do.
[ "$planned" = 0 ] || [ "$planned" = 3 ] || exit "$planned"
head -n 12 "$dir/plan"

say "Starting it"
relay sync apply "$demo/blog.toml" --yes >"$dir/applied"
wait_until_live

say "Live: both sides are edited now, each line is a change that crossed${seconds:+ ($seconds s)}"
[ -n "$seconds" ] || echo "   Ctrl-C stops and removes everything."
export LEFT=$blog RIGHT=$marketing PATH="$postgres:$PATH"
start edits.log "$demo/edits.sh"
edits=${processes[-1]}
print_changes &
printer=$!
trap 'echo; say "Stopping"; exit 0' INT

for ((elapsed = 0; ${#seconds} == 0 || elapsed < seconds; elapsed++)); do
  check_running
  sleep 1
done
check_running
stop_process "$edits"
unset 'processes[-1]'

say "Edits stopped: waiting until both sides are quiet, then comparing them completely"
for ((waited = 0; ; waited++)); do
  check_running
  is_quiet && sleep 1 && is_quiet && break
  [ "$waited" -lt "$quiet_seconds_max" ] || fail "not quiet after $quiet_seconds_max s"
  sleep 1
done
stop_process "$printer"
echo
relay sync status blog
report=$(relay sync verify blog --json) || fail "the sides differ: $report"
echo
echo "both sides equal, $(status_of "$report" records) records"
