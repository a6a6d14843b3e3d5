#!/usr/bin/env bash
# Runs a command in a throw-away copy of this machine: `tests/sandbox.sh CMD [ARG...]` (root).
#
# Inside: own mounts, network, processes, host name, IPC and cgroup namespaces. The root is an overlay over the
# machine's own root; what the command writes goes to memory and vanishes with it. Services find their standard paths
# and ports free: the loopback is up, nothing of the outside is reachable, no process of the machine is visible, and
# the state directories of the servers (SANDBOX_HIDE) are as on the day of their installation. Everything the command
# started ends with it.
#
#   SANDBOX_TIMEOUT  seconds until all of it is killed (1800)
#   SANDBOX_OUT      a directory of the machine that stays writable under the same path, for logs and artefacts
#   SANDBOX_SIZE     most memory the written files may take (75% of the machine's)
#   SANDBOX_HIDE     further paths of the machine which the inside must not see
#
# The exit status is the command's; 124 when the time was up.
set -euo pipefail

STAGE=${SANDBOX_STAGE:-outer}

outer() {
    [ $# -gt 0 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2; }
    [ "$(id -u)" = 0 ] || { echo "sandbox: only root can make namespaces and mounts here" >&2; exit 2; }
    [ -z "${SANDBOX_OUT:-}" ] || { mkdir -p "$SANDBOX_OUT"; SANDBOX_OUT=$(realpath "$SANDBOX_OUT"); }
    export SANDBOX_OUT=${SANDBOX_OUT:-} SANDBOX_CWD=$PWD SANDBOX_STAGE=inner
    local self; self=$(realpath "${BASH_SOURCE[0]}")
    # Two bounds: process 1 inside ends the command in good order, and the outer one kills all of it. unshare ignores
    # SIGTERM, so it gets SIGKILL, also when this process is killed; --kill-child then ends the process namespace.
    exec timeout --foreground -k 1 $((${SANDBOX_TIMEOUT:-1800} + 60)) setpriv --pdeathsig KILL \
        unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child=KILL --propagation private \
        "$self" "$@"
}

hide() { # PATH: the inside sees nothing there. A whiteout in the upper layer costs nothing, however much is below.
    local path=$1
    [ -e "$path" ] && [ ! -L "$path" ] || return 0
    mkdir -p "$UPPER$(dirname "$path")"
    mknod "$UPPER$path" c 0 0
}

same_directories() { # PATH: PATH and the directories on the way to it have the machine's owner and mode in the upper layer
    local path=$1 part="" piece
    IFS=/ read -ra pieces <<<"${path#/}"
    for piece in "${pieces[@]}"; do
        part+=/$piece
        [ -d "$part" ] && [ -d "$UPPER$part" ] || continue
        chown --reference="$part" "$UPPER$part"
        chmod --reference="$part" "$UPPER$part"
    done
}

empty() { # PATH: a directory of the machine, empty but with its owner and mode
    local path=$1
    [ -d "$path" ] || return 0
    mkdir -p "$UPPER$path"
    setfattr_opaque "$UPPER$path"
    same_directories "$path"
}

setfattr_opaque() {
    /usr/bin/python3 -c 'import os, sys; os.setxattr(sys.argv[1], "trusted.overlay.opaque", b"y")' "$1"
}

inner() {
    # The layers lie in memory, mounted over /mnt of this mount namespace alone.
    local base=/mnt root
    mount -t tmpfs -o "size=${SANDBOX_SIZE:-75%},mode=755" sandbox "$base"
    UPPER=$base/upper root=$base/root
    mkdir "$UPPER" "$base/work" "$root"

    local path
    for path in /var/lib/aerie /etc/aerie /var/log/aerie /run ${SANDBOX_HIDE:-}; do hide "$path"; done
    for path in /var/lib/mysql /var/log/mysql /var/lib/rabbitmq /var/log/rabbitmq /var/lib/powerdns /var/lib/libvirt/images \
        /var/lib/libvirt/dnsmasq /var/lib/libvirt/qemu /var/log/libvirt /var/cache/libvirt /etc/libvirt/qemu/autostart; do
        empty "$path"
    done
    for path in /etc/libvirt/qemu/*.xml /var/lib/pdns/pdns.sqlite3; do [ ! -f "$path" ] || hide "$path"; done
    same_directories /var/lib; same_directories /var/log; same_directories /etc/libvirt/qemu

    # index=off and xino=off: neither is needed, and both refuse some roots. metacopy: chown and chmod copy no data.
    mount -t overlay sandbox -o "lowerdir=/,upperdir=$UPPER,workdir=$base/work,index=off,xino=off,metacopy=on" "$root"

    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mkdir -p "$root/run"
    mount -t tmpfs -o mode=755,size=20% run "$root/run"
    mkdir -p "$root/run/lock"
    chmod 1777 "$root/run/lock"
    devices "$root/dev"
    if [ -n "$SANDBOX_OUT" ]; then
        mkdir -p "$root$SANDBOX_OUT"
        mount --bind "$SANDBOX_OUT" "$root$SANDBOX_OUT"
    fi

    hostname aerie-sandbox
    printf '127.0.0.1 localhost aerie-sandbox\n::1 localhost\n' >"$root/etc/hosts.sandbox"
    mount --bind "$root/etc/hosts.sandbox" "$root/etc/hosts"
    ip link set lo up

    mkdir "$root/.machine"
    cd "$root"
    pivot_root . .machine
    umount -l /.machine
    rmdir /.machine
    services
    cd "$SANDBOX_CWD" 2>/dev/null || cd /
    unset SANDBOX_STAGE SANDBOX_CWD
    export container=aerie-sandbox

    # This shell is process 1: it reaps what daemons leave behind, and the kernel ends everything when it goes.
    local status=0
    timeout -k 10 "${SANDBOX_TIMEOUT:-1800}" "$@" </dev/null &
    wait $! || status=$?
    exit "$status"
}

devices() { # DIR: the device nodes that servers and guests need, and no disk
    local dev=$1 name
    mount -t tmpfs -o mode=755,size=1m dev "$dev"
    mkdir "$dev/pts" "$dev/shm" "$dev/net" "$dev/mapper"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$dev/pts"
    mount -t tmpfs -o mode=1777 shm "$dev/shm"
    for name in null zero full random urandom tty fuse net/tun vhost-net loop-control; do
        [ -c "/dev/$name" ] || continue
        touch "$dev/$name"
        mount --bind "/dev/$name" "$dev/$name"
    done
    # A node of our own, with the owner udev would give it: what is changed here must not change the machine's.
    if [ -c /dev/kvm ]; then
        mknod -m 660 "$dev/kvm" c 10 232
        chgrp kvm "$dev/kvm" 2>/dev/null || true
    fi
    ln -s pts/ptmx "$dev/ptmx"
    ln -s /proc/self/fd "$dev/fd"
    ln -s /proc/self/fd/0 "$dev/stdin"
    ln -s /proc/self/fd/1 "$dev/stdout"
    ln -s /proc/self/fd/2 "$dev/stderr"
}

services() { # what Debian's packages would have made in the directories that were emptied
    if [ -d /var/lib/mysql ] && command -v mariadb-install-db >/dev/null; then
        mariadb-install-db --user=mysql --skip-test-db >/var/log/mariadb-install-db.log 2>&1 ||
            { cat /var/log/mariadb-install-db.log >&2; exit 1; }
    fi
    if [ -d /var/lib/libvirt/qemu ]; then
        install -d -m 0751 /var/lib/libvirt/qemu
    fi
}

case $STAGE in
    outer) outer "$@" ;;
    inner) inner "$@" ;;
esac
