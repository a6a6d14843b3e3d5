#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Stops and removes everything stack.sh made; packages stay. Running it again does no harm.
#
#   devstack/unstack.sh [--keep-installed]
#
#   --keep-installed  keep the virtualenvs and the built guest image: the next stack.sh is quicker
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TREE=$(dirname "$HERE")
VENV=/opt/aerie/venv CLIENT=/opt/aerie/client
PUBLIC_BRIDGE=br-ex PUBLIC_ADDRESS=172.24.4.1/24
KEEP=no
for part in common packages servers cloud; do
    # shellcheck source=/dev/null
    . "$HERE/lib/$part.sh"
done
while [ $# -gt 0 ]; do
    case $1 in
        --keep-installed) KEEP=yes ;;
        *) sed -n '3,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || die "Be root."
exec 9> /run/lock/aerie-devstack
flock -n 9 || die "A stack.sh is at work."

# Each part goes on when one before it failed: what is left is told at the end by the exit status.
FAILED=0
part() {  # part TITLE COMMAND...
    local title=$1 began; shift
    began=$(now_ms)
    printf '%-34s' "$title"
    if "$@"; then printf '%6s s\n' "$(seconds $(($(now_ms) - began)))"
    else printf '%sfailed%s\n' "$RED" "$PLAIN"; FAILED=1; fi
}

stop_daemons() {
    local path units=()
    if has_systemd; then
        for path in "$TREE"/etc/systemd/*.service "$HERE"/templates/aerie-*.service; do units+=("${path##*/}"); done
        # All at once: an agent that stops alone waits for answers from daemons that are gone.
        systemctl disable -q --now "${units[@]}" 2> /dev/null
        systemctl stop aerie.slice 2> /dev/null
        rm -f "${units[@]/#//etc/systemd/system/}" /etc/systemd/system/aerie.slice /etc/tmpfiles.d/aerie.conf
        systemctl daemon-reload
        systemctl reset-failed 'aerie-*' 2> /dev/null
    fi
    stop_parent
}

# Guests are known by the namespace of their metadata, not by their names.
remove_guests() {
    local domain
    libvirt_up > /dev/null 2>&1 || return 0
    for domain in $(virsh -q -c qemu:///system list --all --uuid); do
        # Not into grep -q: it would close the pipe at the first hit, which pipefail takes for a failure.
        [[ $(virsh -q -c qemu:///system dumpxml "$domain" 2> /dev/null) == *urn:aerie:compute* ]] || continue
        virsh -q -c qemu:///system destroy "$domain" > /dev/null 2>&1
        virsh -q -c qemu:///system undefine --nvram --managed-save --snapshots-metadata "$domain" > /dev/null || return 1
    done
}

device_names() { ip -o link show | awk -F': ' '{ sub(/@.*/, "", $2); print $2 }'; }

remove_wires() {
    local name pid
    for name in $(ip netns list | awk '{ print $1 }' | grep -E '^q(dhcp|router)-[0-9a-f-]{36}$'); do
        for pid in $(ip netns pids "$name"); do kill "$pid" 2> /dev/null; done
        ip netns delete "$name" || return 1
    done
    for name in $(device_names | grep -E '^(tap|brq|qg-|qr-)[0-9a-f-]{11}$|^vxlan-[0-9]+$'); do
        [ ! -d "/sys/class/net/$name" ] || ip link delete "$name" || return 1
    done
    "$HERE/public-bridge.sh" down "$PUBLIC_BRIDGE" "$PUBLIC_ADDRESS"
    remove_rules
}

# Chains, sets and tables of security groups carry our prefix; jumps to chains go with them.
remove_rules() {
    local tool set family table
    if command -v nft > /dev/null; then
        nft list tables 2> /dev/null | while read -r _ family table; do
            case $table in aerie|aerie-*) nft delete table "$family" "$table" ;; esac
        done
    fi
    for tool in iptables ip6tables; do
        command -v "$tool-save" > /dev/null || continue
        if [[ $("$tool-save" 2> /dev/null) == *aerie-* ]]; then
            "$tool-save" | grep -v 'aerie-' | "$tool-restore" || return 1
        fi
    done
    command -v ipset > /dev/null || return 0
    for set in $(ipset list -n 2> /dev/null | grep -E '^aerie[46]-'); do ipset destroy "$set" || return 1; done
}

drop_databases() {
    local name sql=
    mariadb_up || return 0
    for name in "${DATABASES[@]}"; do
        # Only a database whose user is ours: `network` is a name that others may use.
        [ -n "$(mariadb --socket="$MARIADB_SOCKET" -uroot -Ne "SELECT 1 FROM mysql.user WHERE User = 'aerie_$name'")" ] || continue
        sql+="DROP DATABASE IF EXISTS \`$name\`; DROP USER 'aerie_$name'@'localhost';"
    done
    mariadb --socket="$MARIADB_SOCKET" --user=root <<< "$sql"
}

clean_rabbitmq() {
    listens 127.0.0.1 5672 || return 0
    rabbit_eval '
        case rabbit_vhost:exists(<<"aerie">>) of true -> rabbit_vhost:delete(<<"aerie">>, <<"aerie">>); false -> ok end,
        case rabbit_auth_backend_internal:lookup_user(<<"aerie">>) of
            {ok, _} -> rabbit_auth_backend_internal:delete_user(<<"aerie">>, <<"aerie">>); _ -> ok
        end.' > /dev/null
}

stop_by_pidfile() {  # stop_by_pidfile FILE
    local pid
    pid=$(cat "$1" 2> /dev/null) || return 0
    kill "$pid" 2> /dev/null || return 0
    wait_until 30 bash -c "! kill -0 $pid"
}

stop_server() {
    if has_systemd; then
        if [ "$1" = libvirtd ]; then systemctl stop 'libvirtd*.socket' libvirtd.service; else systemctl stop "$1"; fi
        return
    fi
    case $1 in
        mariadb) mariadb-admin --socket="$MARIADB_SOCKET" --user=root shutdown ;;
        rabbitmq-server)
            RABBITMQ_NODENAME=$(rabbit_node) rabbitmqctl -q stop "/var/lib/rabbitmq/mnesia/$(rabbit_node).pid" > /dev/null || return 1
            # Erlang's port mapper stays behind; it refuses to go while another node needs it.
            epmd -kill > /dev/null 2>&1 || true
            ;;
        memcached) stop_by_pidfile "$RUN/memcached.pid" ;;
        libvirtd) stop_by_pidfile /run/libvirtd.pid; stop_by_pidfile /run/virtlogd.pid ;;
        pdns@aerie) stop_by_pidfile /run/pdns-aerie/pdns-aerie.pid ;;
    esac
}

stop_servers() {
    local name names=() status=0
    ! has_systemd || systemctl disable -q pdns@aerie 2> /dev/null
    [ ! -f "$STARTED" ] || mapfile -t names < "$STARTED"
    for name in "${names[@]}"; do stop_server "$name" || status=1; done
    rm -f "$PDNS_CONF" "$MARIADB_CONF" "$RABBIT_CONF" "$RABBIT_UNIT"
    rmdir --ignore-fail-on-non-empty "${RABBIT_UNIT%/*}" 2> /dev/null
    ! has_systemd || systemctl daemon-reload
    return $status
}

remove_files() {
    rm -rf "$ETC" "$STATE" "$LOGS" "$RUN" /run/pdns-aerie
    rm -rf "$HERE/.state" "$HERE/openrc" "$HERE/admin-openrc" "$HERE/clouds.yaml"
    [ ! -L /usr/local/bin/aerie ] || rm -f /usr/local/bin/aerie
    if [ "$KEEP" = no ]; then
        rm -rf "$VENV" "$CLIENT" "$CACHE"
        rmdir --ignore-fail-on-non-empty "${VENV%/*}" 2> /dev/null
    fi
    if getent passwd aerie > /dev/null; then userdel aerie; fi
}

part "daemons" stop_daemons
part "guests" remove_guests
part "bridges, namespaces, rules" remove_wires
part "databases" drop_databases
part "message broker" clean_rabbitmq
part "engines that stack.sh started" stop_servers
part "files and account" remove_files
exit $FAILED
