#!/usr/bin/env bash
# Installs what the tests need and runs them all: `tests/run.sh [SUITE...] [-- PYTEST-ARG...]` (root, Debian 12).
#
# Suites: lint types unit api flows drivers clients tempest e2e faults; without one named, all of them in this order.
# The last line is pytest's own; the exit status is not 0 when any suite failed.
#
#   AERIE_TEST_VENV  the virtualenv to use and to keep current (/opt/aerie-test)
#   ARTIFACTS        where logs, screenshots and guest consoles of failed tests go (artifacts/ in the checkout)
set -euo pipefail
cd "$(dirname "$0")/.."

ALL=(lint types unit api flows drivers clients tempest e2e faults)
VENV=${AERIE_TEST_VENV:-/opt/aerie-test}
export AERIE_VENV=$VENV AERIE_ANSIBLE=$VENV/ansible AERIE_TEMPEST=$VENV/tempest ARTIFACTS=${ARTIFACTS:-$PWD/artifacts}
unset PYTHONDONTWRITEBYTECODE  # daemons are started many times: compile once

PACKAGES=(
    # to build libvirt-python, and the rest of the virtualenv
    python3 python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev libldap-dev libsasl2-dev
    # the servers
    mariadb-server rabbitmq-server memcached pdns-server pdns-backend-sqlite3 python3-swift python3-keystonemiddleware
    slapd nginx-light haproxy
    libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils
    # the network
    dnsmasq-base iptables nftables ipset conntrack radvd tcpdump iproute2 iputils-ping bridge-utils dnsutils
    # the guest image, and getting into the guest
    cpio mtools dosfstools syslinux dropbear-bin openssh-client genisoimage
    # the dashboard's browser and consoles
    chromium chromium-driver novnc
    curl procps
)

step() { printf '\n== %s (%s)\n' "$1" "$(date +%T)"; }

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    step "Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/tmp/aerie-test-apt.log 2>&1 ||
        { tail -n 40 /tmp/aerie-test-apt.log; exit 1; }
}

# In the sandbox nothing can be downloaded: what stack.sh builds or unpacks there has to be at hand before.
prepare_images() {
    step "guest image"
    devstack/build-guest-image.sh
}

# What the extra $1 of pyproject.toml lists, in a virtualenv of its own.
install_extra() {
    local packages
    [ -x "$VENV/$1/bin/python" ] || /usr/bin/python3 -m venv "$VENV/$1"
    read -ra packages < <("$VENV/bin/python" -c 'import sys, tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]])' "$1")
    "$VENV/$1/bin/pip" install -q --disable-pip-version-check "${packages[@]}"
}

install_virtualenv() {
    local stamp wanted
    stamp=$VENV/.installed
    wanted="$PWD $(cat pyproject.toml setup.py | sha256sum)"
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    step "virtualenv $VENV"
    [ -x "$VENV/bin/python" ] || /usr/bin/python3 -m venv "$VENV"
    "$VENV/bin/pip" install -q --disable-pip-version-check -e '.[dashboard,ldap,libvirt,test,clients]'
    # Ansible's collection for OpenStack needs an older SDK than the command line; Tempest wants nothing of ours.
    install_extra ansible
    install_extra tempest
    echo "$wanted" >"$stamp"
}

main() {
    local suites=() folders=() failed=() suite
    while [ $# -gt 0 ] && [ "$1" != -- ]; do suites+=("$1"); shift; done
    [ $# -eq 0 ] || shift
    [ ${#suites[@]} -gt 0 ] || suites=("${ALL[@]}")

    [ "$(id -u)" = 0 ] || { echo "tests/run.sh: be root: it installs packages and makes network namespaces" >&2; exit 2; }
    install_packages
    install_virtualenv
    prepare_images
    export PATH=$VENV/bin:$PATH

    for suite in "${suites[@]}"; do
        case $suite in
            lint) step lint; ruff check . || failed+=(lint) ;;
            types) step types; mypy || failed+=(types) ;;
            *) if [ -d "tests/$suite" ]; then folders+=("tests/$suite"); else failed+=("$suite (no such suite)"); fi ;;
        esac
    done
    if [ ${#folders[@]} -gt 0 ]; then
        step "${folders[*]}"
        [ ${#failed[@]} -eq 0 ] || echo "failed before: ${failed[*]}"
        pytest "${folders[@]}" "$@" || failed+=(pytest)
    fi
    [ ${#failed[@]} -eq 0 ]
}

main "$@"
