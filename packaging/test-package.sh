#!/usr/bin/env bash
# Installs the packages into a throwaway Debian and an empty root, as people would: install, configure, pair, run,
# upgrade, remove, purge. As root on a Debian machine; nothing is left behind. Makes the packages
# first unless DIRECTORY has them.
#
# usage: test-package.sh [DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/debian-root.sh

packages=${1:-}
if [ -z "$packages" ]; then
  packages=$(realpath -m "${CARGO_TARGET_DIR:-target}/package")
  packaging/package.sh "$packages"
fi
packages=$(realpath "$packages")
[ "$(id -u)" = 0 ] || { echo "test-package.sh needs root: it makes a root directory of its own" >&2; exit 1; }

say() { printf '\n== %s\n' "$*"; }
fail() { echo "test-package: $*" >&2; exit 1; }

root=$(mktemp -d /var/tmp/tidegate-root.XXXXXX)
processes=()
stop() {
  local process
  for process in "${processes[@]}"; do
    kill -TERM "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  processes=()
}
clean_up() {
  local status=$?
  trap - EXIT
  stop
  [ "$status" = 0 ] || tail -n 20 "$root"/*.log "$root"/debian/*.log >&2 2>/dev/null || true
  ! mountpoint -q "$root/debian/proc" || umount "$root/debian/proc"
  rm -rf "$root"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need rpm rpm

wait_for() {
  local what=$1
  shift
  for _ in {1..150}; do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  fail "waited 15 s for $what"
}

port() { echo $((20000 + (RANDOM << 1 | RANDOM & 1) % 12000)); }
http_port=$(port)
tunnel_port=$(port)

say "checksums"
(cd "$packages" && sha256sum --quiet -c SHA256SUMS)

say "an empty root: the program, randomness, certificates of authorities, names, and nothing else"
empty=$root/empty
mkdir -p "$empty"/{dev,etc/ssl/certs,tmp,state,agent}
# As containers have them.
mknod -m 666 "$empty/dev/random" c 1 8
mknod -m 666 "$empty/dev/urandom" c 1 9
cp "$packages"/tidegate-*.tar.gz "$root/"
for archive in "$root"/*.tar.gz; do tar -xzf "$archive" -C "$root"; done
cp "$root"/tidegate-agent-*/tidegate-agent "$root"/tidegate-relay-*/tidegate-relay "$empty/"
cp /etc/ssl/certs/ca-certificates.crt "$empty/etc/ssl/certs/"
echo "127.0.0.1 relay.test" >"$empty/etc/hosts"
cp /etc/resolv.conf "$empty/etc/"
# Words and no function where it runs in the background: the process is then the program, and can be stopped.
empty_relay=(env TIDEGATE_DATA_DIR=/state "TIDEGATE_TUNNEL_LISTEN=127.0.0.1:$tunnel_port"
  TIDEGATE_TUNNEL_NAMES=relay.test "TIDEGATE_HTTP_LISTEN=127.0.0.1:$http_port" chroot "$empty" /tidegate-relay)
relay_in_empty() { "${empty_relay[@]}" "$@"; }
"${empty_relay[@]}" serve >"$root/relay.log" 2>&1 &
processes+=("$!")
wait_for "the relay in the empty root" relay_in_empty agent list
echo 'state_dir = "/agent"' >"$empty/agent.toml"
relay_in_empty agent invite office-db >"$empty/token"
# Pairs by name: the static program resolves it.
chroot "$empty" /tidegate-agent --config /agent.toml pair /token
chroot "$empty" /tidegate-agent --config /agent.toml run >"$root/agent.log" 2>&1 &
processes+=("$!")
is_online() { relay_in_empty agent show office-db --json | grep -q '"online"'; }
wait_for "the agent in the empty root" is_online
stop

say "a Debian of its own"
debian=$root/debian
# With what apt would install along with the packages, because they recommend it.
debian_root "$debian" ca-certificates >"$root/debootstrap.log"
mount -t proc proc "$debian/proc"
echo "127.0.0.1 localhost" >"$debian/etc/hosts"
cp "$packages"/*.deb "$debian/tmp/"
in_debian=(chroot "$debian" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root)
inside() { "${in_debian[@]}" "$@"; }

say "install: files, users, and what to do next"
inside sh -c 'dpkg -i /tmp/*.deb' | tee "$root/install.log"
grep -q 'tidegate-agent pair' "$root/install.log" || fail "no next step for the agent"
grep -q 'tidegate-relay agent invite' "$root/install.log" || fail "no next step for the relay"
for name in agent relay; do
  inside "tidegate-$name" --version
  inside "tidegate-$name" --help >/dev/null
  [ "$(inside stat -c '%a %U' "/var/lib/tidegate-$name")" = "700 tidegate-$name" ] || fail "state of $name"
  [ -f "$debian/usr/lib/systemd/system/tidegate-$name.service" ] || fail "no unit of $name"
  inside grep -qx "/etc/tidegate-$name/$name.toml" "/var/lib/dpkg/info/tidegate-$name.conffiles" ||
    fail "$name.toml is no conffile"
done
[ "$(inside stat -c '%a %G' /etc/tidegate-agent)" = "750 tidegate-agent" ] || fail "/etc/tidegate-agent"
inside tidegate-relay check | grep -q 'data_dir = "/var/lib/tidegate-relay"' || fail "the relay's configuration"
! inside tidegate-agent check >"$root/check.log" 2>&1 || fail "an agent without a pairing is said to work"

say "configure, pair, run"
sed -i "s/^#names = .*/names = [\"localhost:$tunnel_port\"]/; s/0\.0\.0\.0:443/127.0.0.1:$tunnel_port/; s/127\.0\.0\.1:8080/127.0.0.1:$http_port/" \
  "$debian/etc/tidegate-relay/relay.toml"
cat >>"$debian/etc/tidegate-agent/agent.toml" <<'TOML'
[[target]]
name = "main"
address = "127.0.0.1:5432"
database = "blog"
user = "tidegate"
TOML
start() {
  local name=$1
  shift
  "${in_debian[@]}" setpriv --reuid "tidegate-$name" --regid "tidegate-$name" --clear-groups \
    "tidegate-$name" "$@" >>"$debian/$name.log" 2>&1 &
  processes+=("$!")
}
start relay serve
# Root finds the relay and its token by the configuration alone.
wait_for "the relay" inside tidegate-relay agent list
inside sh -c 'tidegate-relay agent invite office-db >/tmp/token && tidegate-agent pair /tmp/token'
start agent run
installed_online() { inside tidegate-relay agent show office-db --json | grep -q '"online"'; }
wait_for "the agent" installed_online
inside tidegate-agent status | grep -q 'agent    office-db'

say "backup and restore as root, for the relay's user"
inside tidegate-relay backup /tmp/relay.db
stop
inside sh -c 'rm /var/lib/tidegate-relay/tidegate.db*'
inside tidegate-relay restore /tmp/relay.db
[ -z "$(inside find /var/lib/tidegate-relay ! -user tidegate-relay)" ] || fail "root's files are in the relay's state"
start relay serve
start agent run
wait_for "the agent after the restore" installed_online
stop

say "upgrade: configuration, state and pairing stay"
for name in agent relay; do
  newer_package "$packages"/tidegate-"$name"_*.deb "$debian/tmp/newer-$name.deb"
done
inside sh -c 'dpkg --force-confold -i /tmp/newer-*.deb' >"$root/upgrade.log" 2>&1
! grep -q 'Next:' "$root/upgrade.log" || fail "an upgrade says what a first installation says"
inside grep -q blog /etc/tidegate-agent/agent.toml || fail "the upgrade took the configuration"
start relay serve
start agent run
wait_for "the agent after the upgrade" installed_online
stop

say "remove keeps the state, purge takes it and says what it does not take"
inside dpkg -r tidegate-agent tidegate-relay >"$root/remove.log"
[ -d "$debian/var/lib/tidegate-agent/identity" ] || fail "remove took the agent's key"
inside dpkg -P tidegate-agent tidegate-relay | tee "$root/purge.log"
grep -q 'sync remove NAME --force' "$root/purge.log" || fail "purge does not say what stays in the databases"
for path in /var/lib/tidegate-agent /var/lib/tidegate-relay /etc/tidegate-agent /etc/tidegate-relay; do
  [ ! -e "$debian$path" ] || fail "purge left $path"
done
! inside getent passwd tidegate-agent tidegate-relay || fail "purge left a user"

say "rpm: whole, with the same files and scripts"
for name in agent relay; do
  rpm=$(ls "$packages/tidegate-$name"-*.rpm)
  rpm -K --nosignature "$rpm"
  rpm -qpl "$rpm" | grep -qx "/usr/bin/tidegate-$name" || fail "no program of $name"
  rpm -qp --configfiles "$rpm" | grep -qx "/etc/tidegate-$name/$name.toml" || fail "$name.toml is no config file"
  rpm -qp --requires "$rpm" | grep -q shadow-utils || fail "the rpm needs useradd"
  rpm -qp --scripts "$rpm" | grep -q "useradd --system .*" || fail "the rpm makes no user"
done

say "all of it works"
