# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian packages and the virtualenv. Both do nothing, and need no network, when nothing changed.

# First, and by themselves: while the others are installed, the virtualenv is made with them.
PACKAGES_PYTHON=(python3 python3-venv)
# Bindings of C libraries, for a virtualenv that is made here: see link_bindings.
PACKAGES_BINDINGS=(python3-ldap)
PACKAGES_BINDINGS_LIBVIRT=(python3-libvirt)
PACKAGES_BASE=(
    procps iproute2 iputils-ping bind9-dnsutils openssh-client qemu-utils
    mariadb-server rabbitmq-server memcached pdns-server pdns-backend-sqlite3
)
PACKAGES_LIBVIRT=(
    qemu-system-x86 libvirt-daemon-system libvirt-clients
    dnsmasq-base iptables nftables ipset conntrack radvd
    cpio mtools syslinux dropbear-bin
)
POLICY=/usr/sbin/policy-rc.d

python_packages() {
    printf '%s\n' "${PACKAGES_PYTHON[@]}"
    [ -z "$VENV_GIVEN" ] || return 0  # whoever gave it installed them too
    printf '%s\n' "${PACKAGES_BINDINGS[@]}"
    if [ "$HYPERVISOR" = libvirt ]; then printf '%s\n' "${PACKAGES_BINDINGS_LIBVIRT[@]}"; fi
}

wanted_packages() {
    printf '%s\n' "${PACKAGES_BASE[@]}"
    if [ "$HYPERVISOR" = libvirt ]; then printf '%s\n' "${PACKAGES_LIBVIRT[@]}"; fi
}

# apt's lists are good enough for a day; where they turn out not to be, they are fetched and it is tried again.
fresh_lists() { [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mmin -1440 -print -quit)" ]; }
update_lists() { apt-get update -qq || echo "going on with the package lists there are"; }

apt_install() {  # apt_install PACKAGE...: those that are missing
    local missing=() package command
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    if [ ${#missing[@]} -eq 0 ]; then
        note "all $# are there"
        return 0
    fi
    export DEBIAN_FRONTEND=noninteractive
    command=(apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Options::=--force-unsafe-io
             -o DPkg::Lock::Timeout=120 "${missing[@]}")
    fresh_lists || update_lists
    "${command[@]}" || { update_lists; "${command[@]}"; }
    note "${#missing[@]} installed"
}

install_python() {
    local wanted
    mapfile -t wanted < <(python_packages)
    apt_install "${wanted[@]}"
}

install_packages() {
    local wanted unwanted=() name
    mapfile -t wanted < <(wanted_packages)
    # Debian enables them with a configuration that is of no use: ours are other instances.
    installed pdns-server || unwanted+=(pdns.service)
    installed radvd || unwanted+=(radvd.service)
    configure_mariadb || true
    configure_rabbitmq || true
    # Packages that start their servers one by one take longer than starting them side by side afterwards.
    if [ ! -e "$POLICY" ]; then
        trap 'rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\n# Made by devstack/stack.sh while it installs packages.\nexit 101\n' > "$POLICY"
        chmod 0755 "$POLICY"
    fi
    apt_install "${wanted[@]}"
    ! has_systemd || for name in "${unwanted[@]}"; do systemctl disable -q "$name" || true; done
}

# noVNC's files are all that is wanted of its package, which would bring Node.js along: unpacked, not installed.
NOVNC=/usr/share/novnc
[ -d "$NOVNC" ] || NOVNC=$STATE/novnc

unpack_novnc() {
    local work deb
    if [ -e "$NOVNC/vnc_lite.html" ]; then
        note "$NOVNC"
        return 0
    fi
    mkdir -p "$CACHE"
    deb=$(find "$CACHE" -maxdepth 1 -name 'novnc_*.deb' | head -n 1)
    if [ -z "$deb" ]; then
        (cd "$CACHE" && apt-get -qq -o APT::Sandbox::User=root download novnc)
        deb=$(find "$CACHE" -maxdepth 1 -name 'novnc_*.deb' | head -n 1)
    fi
    work=$(mktemp -d)
    dpkg -x "$deb" "$work"
    mv "$work/usr/share/novnc" "$NOVNC"
    rm -rf "$work"
    chmod -R a+rX "$NOVNC"
    note "$NOVNC"
}

# Python's bindings of C libraries come from Debian, built for the very libraries that are installed: nothing to compile.
link_binding() {  # link_binding PATTERN...: these of Debian's files into the virtualenv
    local site system=/usr/lib/python3/dist-packages pattern file
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    for pattern in "$@"; do
        for file in "$system"/$pattern; do
            if [ -e "$file" ]; then ln -sfn "$file" "$site/"; fi
        done
    done
}

link_bindings() {
    # Debian's python-ldap does not tell pip what it needs itself.
    link_binding 'ldap' '_ldap.*.so' 'ldapurl.py' 'ldif.py' 'python_ldap-*.egg-info' \
        'pyasn1' 'pyasn1-*.egg-info' 'pyasn1_modules' 'pyasn1_modules-*.egg-info'
    if [ "$HYPERVISOR" = libvirt ]; then link_binding 'libvirt*.py' 'libvirtmod*.so' 'libvirt_python-*.egg-info'; fi
}

# Daemons import after they gave up root: a tree that only root can read (below /root, say) is installed as a copy.
tree_is_public() { setpriv --reuid aerie --regid aerie --clear-groups test -r "$TREE/pyproject.toml" -a -x "$TREE/common"; }

# What an installation depends on: an editable one on its metadata, a copy on every file.
tree_fingerprint() {
    if tree_is_public; then
        cat "$TREE/pyproject.toml" "$TREE/setup.py"
    else
        # Not the whole tree: building the package leaves copies in it.
        find "$TREE"/*/aerie_* "$TREE/etc/aerie" "$TREE/pyproject.toml" "$TREE/setup.py" -type f ! -name '*.pyc' -print0 \
            | sort -z | xargs -0 cat
    fi | sha256sum | cut -c1-16
}

make_virtualenv() {
    local stamp=$VENV/.aerie wanted extras=dashboard,ldap bindings=ldap editable=()
    if [ "$VENV_GIVEN" = yes ]; then
        [ -x "$VENV/bin/aerie" ] || die "$VENV/bin/aerie does not exist: AERIE_VENV must have the project installed."
        note "$VENV, as given"
        return 0
    fi
    if [ "$HYPERVISOR" = libvirt ]; then extras+=,libvirt bindings+=,libvirt; fi
    wanted="$TREE $(tree_fingerprint) $extras"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        note "$VENV is current"
        return 0
    fi
    [ -x "$VENV/bin/python" ] || /usr/bin/python3 -m venv "$VENV"
    link_bindings
    if tree_is_public; then editable=(--editable); fi
    "$VENV/bin/pip" install -q --disable-pip-version-check --no-input --prefer-binary --root-user-action=ignore \
        "${editable[@]}" "${TREE}[$extras]"
    "$VENV/bin/python" -c "import $bindings"
    echo "$wanted" > "$stamp"
    note "$VENV"
}
