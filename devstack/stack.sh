#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Turns this machine (Debian 12, root) into a whole cloud. Running it again is safe and quick.
#
#   devstack/stack.sh [--hypervisor libvirt|fake] [--no-demo] [--no-client] [--venv DIR] [--host-ip ADDRESS]
#
#   --hypervisor  libvirt: guests run (default); fake: neither guests nor wires are real, for benchmarks
#   --no-demo     no demo project, network and server
#   --no-client   do not install the openstack command
#   --venv        where to install (/opt/aerie/venv)
#   --host-ip     the address written into the catalog (that of the default route, else 127.0.0.1)
#
# AERIE_VENV names a virtualenv that has the project installed already: it is used as it is.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TREE=$(dirname "$HERE")
HYPERVISOR=libvirt DEMO=yes WITH_CLIENT=yes HOST_IP=${HOST_IP:-} REGION=RegionOne
VENV=${AERIE_VENV:-/opt/aerie/venv} VENV_GIVEN=${AERIE_VENV:+yes}
CLIENT=/opt/aerie/client
PUBLIC_BRIDGE=br-ex PUBLIC_ADDRESS=172.24.4.1/24
export LC_ALL=C.UTF-8
unset OS_CLOUD "${!OS_@}"

for part in common packages servers cloud; do
    # shellcheck source=/dev/null
    . "$HERE/lib/$part.sh"
done

while [ $# -gt 0 ]; do
    case $1 in
        --hypervisor) HYPERVISOR=${2:-}; shift ;;
        --no-demo) DEMO=no ;;
        --no-client) WITH_CLIENT=no ;;
        --venv) VENV=${2:-} VENV_GIVEN=; shift ;;
        --host-ip) HOST_IP=${2:-}; shift ;;
        *) sed -n '3,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
case $HYPERVISOR in libvirt|fake) ;; *) die "--hypervisor is libvirt or fake, not '$HYPERVISOR'." ;; esac

check_machine() {
    [ "$(id -u)" = 0 ] || die "Be root: stack.sh installs packages and makes network devices."
    . /etc/os-release
    [ "${ID:-}:${VERSION_ID:-}" = debian:12 ] || echo "This is ${PRETTY_NAME:-not Debian}; only Debian 12 is tried."
    [ "$(uname -m)" = x86_64 ] || die "This is $(uname -m); the packages and the guest image are for x86_64."
    [ "$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)" -ge 1024 ] \
        || die "Less than 1 GiB of memory is available: the engines, the daemons and a small guest need that much."
    [ "$(df --output=avail -m /var | tail -n 1)" -ge 2048 ] || die "Less than 2 GiB are free in /var."
    # Never somebody else's: a port that is taken shows up here and not as a daemon that keeps dying.
    has_cloud || for port in 5000 6080 8080 8774 8775 8778 9001 9292 9696; do
        listens 127.0.0.1 "$port" && die "Port $port is in use: $(ss -Hltnp "sport = :$port" 2> /dev/null | tail -c 80)"
    done
    return 0
}
has_cloud() { parent_runs || systemctl is-active -q aerie-all 2> /dev/null; }

START=$(now_ms)
check_machine
exec 9> /run/lock/aerie-devstack
flock -n 9 || die "Another stack.sh is at work."
[ -n "$HOST_IP" ] || HOST_IP=$(host_address)
mkdir -p "$INSTALL_LOGS" "$HERE/.state"
chmod 0700 "$INSTALL_LOGS" "$HERE/.state"

APT_HINT="see the log: without a network the packages have to be there already."
step make_account "account, folders, secrets" "is a user 'aerie' made by somebody else in the way? (getent passwd aerie)"
step install_python "Debian packages: Python" "$APT_HINT"
begin make_virtualenv "virtualenv" "remove $VENV and run again; without a network, give one with AERIE_VENV=DIR."
step install_packages "Debian packages: engines" "$APT_HINT"

# Side by side, for they mostly wait: for a disk, for a port to open, for a download.
begin start_rabbitmq "RabbitMQ" "read /var/log/rabbitmq/; a node whose host name changed needs its old name or an empty /var/lib/rabbitmq."
begin start_mariadb "MariaDB" "read /var/log/mysql/error.log or journalctl -u mariadb; root must get in through the socket without a password."
begin start_memcached "memcached" "is something else on port 11211?"
begin start_powerdns "PowerDNS" "run 'pdns_server --config-name=aerie --daemon=no' to see; is something else on port 5300 or 8081?"
if [ "$HYPERVISOR" = libvirt ]; then
    begin start_libvirt "libvirt" "run 'libvirtd' in the foreground, or read journalctl -u libvirtd."
fi
begin unpack_novnc "noVNC" "$APT_HINT"
begin build_image "guest image" "run $HERE/build-guest-image.sh --force to see all it says."

for name in start_mariadb start_memcached start_powerdns; do finish $name; done
[ "$HYPERVISOR" != libvirt ] || finish start_libvirt
step write_configuration "configuration" "see the log: a template in $HERE/templates/ has a value nobody fills in."
finish make_virtualenv
step sync_schemas "database schemas" "'$VENV/bin/aerie db version' shows where each database is."
step bootstrap_identity "first users and catalog" "$VENV/bin/aerie bootstrap --help"
finish start_rabbitmq
finish unpack_novnc
[ "$HYPERVISOR" != libvirt ] || step make_public_bridge "external bridge" "does the kernel have bridges? Try: ip link add $PUBLIC_BRIDGE type bridge"
step start_daemons "daemons" "read $LOGS/ or journalctl -u 'aerie-*', then: $VENV/bin/aerie status"
write_client_files
finish build_image
step fill_cloud "image, flavors, networks, server" "source $HERE/admin-openrc; openstack server list --all-projects; openstack network agent list"
ACTIVE=$(now_ms)
WITH_GUEST=$([ "$HYPERVISOR:$DEMO" = libvirt:yes ] && echo yes || echo no)
[ "$WITH_GUEST" = no ] || begin wait_for_guest "server demo" \
    "source $HERE/openrc; openstack console log show demo; openstack server show demo; and read $LOGS/aerie-network-agent.log"
if [ "$WITH_CLIENT" = yes ]; then
    step install_client "openstack command" "the cloud runs; run again with --no-client, or install python-openstackclient yourself."
fi
[ "$WITH_GUEST" = no ] || finish wait_for_guest

echo
cat "$HERE/.state/summary" 2> /dev/null || true
cat <<TEXT
  dashboard       http://$HOST_IP:8080/ (demo or admin, passwords in devstack/clouds.yaml)
  openstack       source $HERE/openrc; openstack server list
  administrator   source $HERE/admin-openrc
  daemons         $VENV/bin/aerie status
  logs            $(has_systemd && echo "journalctl -u 'aerie-*'" || echo "$LOGS/")

Ready after $(seconds $((ACTIVE - START))) s.
TEXT
