#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command on a freshly installed Debian 12 whose process 1 is systemd: `tests/e2e/systemd_container.sh CMD [ARG...]`.
#
# The machine is a container of its own: own processes, own network without a way out, own devices. The project's tree
# is copied to /root/aerie in it, where the command starts (root). Packages are not installed but at hand, in apt's
# cache and as Python wheels, so that what the command installs, it installs as on any bare machine, only faster.
#
#   CONTAINER_TIMEOUT  seconds until the machine is switched off (1200)
#   CONTAINER_OUT      folder of this machine that is /out in the container, for logs (none)
#   CONTAINER_CACHE    where the bare Debian and its packages are kept between runs (/var/cache/aerie-tests)
#   --prepare          fill the cache (needs the package registries) and do nothing else
#
# The exit status is the command's; 124 when the time was up, 125 when the machine did not start.
set -euo pipefail

TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${CONTAINER_CACHE:-/var/cache/aerie-tests}
TIMEOUT=${CONTAINER_TIMEOUT:-1200}
BASE=$CACHE/bookworm
TOOLS=(debootstrap systemd-container)

[ $# -gt 0 ] || { sed -n '3,16s/^# \{0,1\}//p' "$0"; exit 2; }
[ "$(id -u)" = 0 ] || { echo "systemd_container: be root" >&2; exit 2; }

# The packages that stack.sh asks for, from its own lists.
stack_packages() {
    bash -c 'HYPERVISOR=libvirt VENV_GIVEN=; . "$1/devstack/lib/common.sh"; . "$1/devstack/lib/packages.sh"; python_packages; wanted_packages' - "$TREE"
}

STAMP=$CACHE/.prepared
WANTED=$(cat "$TREE/pyproject.toml" "$TREE/devstack/lib/packages.sh" "${BASH_SOURCE[0]}" | sha256sum)
is_prepared() { [ "$(cat "$STAMP" 2>/dev/null)" = "$WANTED" ]; }

prepare() {
    local tool missing=()
    for tool in "${TOOLS[@]}"; do dpkg-query -W -f '${db:Status-Status}' "$tool" 2>/dev/null | grep -qx installed || missing+=("$tool"); done
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    fi
    mkdir -p "$CACHE"
    if [ ! -e "$BASE/.complete" ]; then
        rm -rf "$BASE"
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,apt,ca-certificates,iproute2 bookworm "$BASE" >&2
        touch "$BASE/.complete"
    fi
    # apt in the bare Debian, as this machine reaches its registries.
    cp -L /etc/resolv.conf "$BASE/etc/resolv.conf"
    rm -rf "$BASE/etc/apt/sources.list"*
    cp -aL /etc/apt/. "$BASE/etc/apt/"
    chroot "$BASE" apt-get update -qq >&2
    mapfile -t packages < <(stack_packages)
    chroot "$BASE" apt-get install -y -qq --no-install-recommends --download-only "${packages[@]}" >&2
    mkdir -p "$BASE/var/cache/aerie" "$CACHE/wheels"
    "$TREE/devstack/build-guest-image.sh" > /dev/null
    cp -u /var/cache/aerie/*.deb "$BASE/var/cache/aerie/"
    (cd "$BASE/var/cache/aerie" && apt-get -qq -o APT::Sandbox::User=root download novnc >&2)
    /usr/bin/python3 -m venv "$CACHE/venv"
    "$CACHE/venv/bin/pip" install -q --disable-pip-version-check --upgrade pip
    "$CACHE/venv/bin/pip" wheel -qq --disable-pip-version-check --wheel-dir "$CACHE/wheels" \
        'setuptools>=68' wheel "${TREE}[dashboard]" python-openstackclient python-designateclient >&2
    rm -f "$CACHE"/wheels/aerie-*.whl
    echo "$WANTED" > "$STAMP"
}

# Several machines may run side by side over one bare Debian, which must not change beneath them.
mkdir -p "$CACHE"
exec 8> "$CACHE/.lock"
flock -s 8
if ! is_prepared; then
    flock -x 8
    is_prepared || prepare
    flock -s 8
fi
[ "$1" != --prepare ] || exit 0

STAGE=$(mktemp -d)
cleanup() {
    umount "$STAGE/root" "$STAGE" 2>/dev/null || umount -l "$STAGE/root" "$STAGE" 2>/dev/null || true
    rmdir "$STAGE" 2>/dev/null || true
}
trap cleanup EXIT
mount -t tmpfs -o mode=0755,size=75% aerie-container "$STAGE"
mkdir "$STAGE"/{upper,work,root,out}
mount -t overlay aerie-container -o "lowerdir=$BASE,upperdir=$STAGE/upper,workdir=$STAGE/work,index=off,xino=off" "$STAGE/root"
ROOT=$STAGE/root
OUT=${CONTAINER_OUT:-$STAGE/out}
mkdir -p "$OUT"

mkdir -p "$ROOT/root/aerie" "$ROOT/wheels" "$ROOT/out"
tar -C "$TREE" --exclude=./.git --exclude='*/__pycache__' --exclude=./devstack/.state --exclude=./artifacts -cf - . | tar -C "$ROOT/root/aerie" -xf -
echo aerie-container > "$ROOT/etc/hostname"
printf '127.0.0.1 localhost aerie-container\n::1 localhost\n' > "$ROOT/etc/hosts"
printf '[global]\nno-index = true\nfind-links = /wheels\n' > "$ROOT/etc/pip.conf"
printf '%q ' "$@" > "$ROOT/root/command"
cat > "$ROOT/root/run" <<'RUN'
#!/bin/bash
# The machine's one job: run the command, keep its status, switch off.
# Control groups of the first version are read-only in a container, which libvirt takes for a fault: out of sight with them.
awk '$3 == "cgroup" && $2 !~ /systemd$/ { print $2 }' /proc/mounts | xargs -r -n 1 umount
cd /root/aerie
bash -c "$(cat /root/command)" > /out/output 2>&1 < /dev/null
echo $? > /out/status
journalctl -b --no-pager > /out/journal 2>&1
systemctl poweroff --no-block
RUN
chmod +x "$ROOT/root/run"
cat > "$ROOT/etc/systemd/system/command-under-test.service" <<'UNIT'
[Unit]
Description=The command under test
After=multi-user.target
[Service]
Type=simple
Environment=HOME=/root LANG=C.UTF-8
ExecStart=/root/run
UNIT
mkdir -p "$ROOT/etc/systemd/system/default.target.wants"
ln -sf ../command-under-test.service "$ROOT/etc/systemd/system/default.target.wants/command-under-test.service"
# Nothing here waits for a network that never comes.
ln -sf /dev/null "$ROOT/etc/systemd/system/systemd-networkd-wait-online.service"

rm -f "$OUT/status" "$OUT/output"
touch "$OUT/output"
tail -n +1 -f "$OUT/output" &
TAIL=$!
timeout -k 10 "$TIMEOUT" systemd-nspawn -q -D "$ROOT" --keep-unit --register=no -b --private-network --capability=all \
    --bind=/dev/net/tun --bind-ro="$CACHE/wheels:/wheels" --bind="$OUT:/out" \
    --system-call-filter='@mount @keyring bpf' --machine="aerie-$$" > "$OUT/console" 2>&1 < /dev/null || timed_out=$?
sleep 0.3
kill "$TAIL" 2>/dev/null || true
if [ -s "$OUT/status" ]; then exit "$(cat "$OUT/status")"; fi
[ "${timed_out:-0}" != 124 ] || { echo "systemd_container: the time ($TIMEOUT s) was up" >&2; exit 124; }
echo "systemd_container: the machine did not start or died; the end of its console:" >&2
tail -n 20 "$OUT/console" >&2
exit 125
