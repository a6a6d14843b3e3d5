#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the small bootable guest image from Debian packages: a cloud kernel, busybox, dropbear, and devstack/guest/.
# The result is cached by the content of what goes into it; its path is the only line on standard output.
#
#   devstack/build-guest-image.sh [--force] [--cache DIR]
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=/var/cache/aerie
FORCE=
TOOLS=(cpio dropbear-bin mtools qemu-utils syslinux)
# Without dependencies: the builder adds what they need, in loading order.
MODULES=(virtio_pci virtio_net virtio_blk virtio_scsi virtio_rng virtio_balloon virtio_console
         ata_piix sd_mod sr_mod isofs vfat nls_cp437 nls_ascii nls_utf8 button evdev)

while [ $# -gt 0 ]; do
    case "$1" in
        --force) FORCE=1 ;;
        --cache) CACHE=$2; shift ;;
        *) sed -n '3,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done

say() { echo "guest image: $*" >&2; }

HASH=$(cat "$HERE"/guest/* "${BASH_SOURCE[0]}" | sha256sum | cut -c1-12)
IMAGE=$CACHE/aerie-guest-$HASH.qcow2
if [ -z "$FORCE" ] && [ -s "$IMAGE" ]; then
    echo "$IMAGE"
    exit 0
fi

missing=()
for tool in "${TOOLS[@]}"; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$tool" 2>/dev/null | grep -q '^ii' || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2
fi

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$CACHE" "$WORK"/{packages,root,boot}

# -- packages: unpacked, never installed ------------------------------------------------------------------------------
# A kernel on the host would get in its way. Kept for the next build, which then works offline.
fetch() {  # fetch NAME: path of its .deb, downloaded when the cache has none
    local found
    found=$(find "$CACHE" -maxdepth 1 -name "$1_*.deb" | sort | tail -n 1)
    if [ -z "$found" ]; then
        say "downloading $1"
        (cd "$CACHE" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2) || return 1
        found=$(find "$CACHE" -maxdepth 1 -name "$1_*.deb" | sort | tail -n 1)
    fi
    echo "$found"
}

kernel_package() {
    find "$CACHE" -maxdepth 1 -name 'linux-image-*-cloud-amd64_*.deb' -printf '%f\n' | sort -V | tail -n 1 | cut -d_ -f1 | grep . \
        || apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }' | grep .
}

if ! KERNEL=$(kernel_package); then
    apt-get update -qq >&2
    KERNEL=$(kernel_package) || { say "apt knows no linux-image-cloud-amd64: is bookworm main in /etc/apt/sources.list?"; exit 1; }
fi
for package in busybox "$KERNEL"; do
    deb=$(fetch "$package") || { apt-get update -qq >&2; deb=$(fetch "$package"); }
    dpkg -x "$deb" "$WORK/packages"
done
VERSION=${KERNEL#linux-image-}
BUSYBOX=$WORK/packages/bin/busybox

# -- root file system: the initramfs is all there is ------------------------------------------------------------------
ROOT=$WORK/root
mkdir -p "$ROOT"/{bin,sbin,usr/bin,usr/sbin,etc/aerie,etc/acpi/PWRF,lib/modules,lib64,proc,sys,dev,run,tmp,root/.ssh,mnt,var/log,home}
chmod 700 "$ROOT/root" "$ROOT/root/.ssh"
chmod 1777 "$ROOT/tmp"
cp "$BUSYBOX" "$ROOT/bin/busybox"
"$BUSYBOX" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s /bin/busybox "$ROOT/bin/$applet"
done
for applet in acpid getty init insmod ip poweroff reboot halt udhcpc; do
    ln -s /bin/busybox "$ROOT/sbin/$applet"
done
ln -s /sbin/init "$ROOT/init"
ln -s /bin/busybox "$ROOT/usr/bin/env"

# dropbear comes from the host, which has it installed; with busybox it shares the host's libraries.
cp /usr/sbin/dropbear "$ROOT/usr/sbin/"
cp /usr/bin/dropbearkey "$ROOT/usr/bin/"
for program in "$BUSYBOX" /usr/sbin/dropbear /usr/bin/dropbearkey; do
    ldd "$program" | grep -o '/lib[^ ]*' | while read -r library; do
        mkdir -p "$ROOT$(dirname "$library")"
        cp -nL "$library" "$ROOT$library"
    done
done
ln -s dropbear "$ROOT/usr/sbin/sshd"

for file in sysinit boot lease login; do
    install -m 755 "$HERE/guest/$file" "$ROOT/etc/aerie/$file"
done
install -m 644 "$HERE/guest/functions" "$ROOT/etc/aerie/functions"
install -m 755 "$HERE/guest/power" "$ROOT/etc/acpi/PWRF/00000080"
install -m 644 "$HERE/guest/inittab" "$ROOT/etc/inittab"
echo 'root:x:0:0:root:/root:/bin/sh' > "$ROOT/etc/passwd"
echo 'root:*:19000:0:99999:7:::' > "$ROOT/etc/shadow"
printf 'root:x:0:\ntty:x:5:\n' > "$ROOT/etc/group"
echo '/bin/sh' > "$ROOT/etc/shells"
echo 'aerie-guest' > "$ROOT/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$ROOT/etc/hosts"
echo 'hosts: files dns' > "$ROOT/etc/nsswitch.conf"
printf 'PRETTY_NAME="Aerie guest (%s)"\nID=aerie-guest\nVERSION_ID=%s\n' "$HASH" "$HASH" > "$ROOT/etc/os-release"
printf "export PATH=/usr/sbin:/usr/bin:/sbin:/bin PS1='\\\\h:\\\\w# '\n" > "$ROOT/etc/profile"

# Modules, dependencies first, each once.
"$BUSYBOX" depmod -b "$WORK/packages" "$VERSION"
TREE=$WORK/packages/lib/modules/$VERSION
declare -A placed
place() {
    local line path dependency
    [ -z "${placed[$1]:-}" ] || return 0
    line=$(grep -E "(^|/)${1//_/[-_]}\.ko:" "$TREE/modules.dep" | head -n 1)
    if [ -z "$line" ]; then
        say "$VERSION has no module $1 (built in, or gone)"
        return 0
    fi
    placed[$1]=1
    path=${line%%:*}
    for dependency in ${line#*:}; do
        dependency=$(basename "$dependency" .ko)
        place "${dependency//-/_}"
    done
    cp "$TREE/${path#/lib/modules/"$VERSION"/}" "$ROOT/lib/modules/"
    basename "$path" >> "$ROOT/etc/aerie/modules"
}
for module in "${MODULES[@]}"; do place "$module"; done
for module in "$ROOT"/lib/modules/*.ko; do strip --strip-debug "$module" 2>/dev/null || true; done

(cd "$ROOT" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -6 > "$WORK/boot/initrd.gz"

# -- the disk: FAT with syslinux, made without root's help or loop devices --------------------------------------------
cat > "$WORK/boot/syslinux.cfg" <<'CFG'
SERIAL 0 115200
PROMPT 0
TIMEOUT 0
DEFAULT aerie
LABEL aerie
  KERNEL linux
  APPEND initrd=initrd.gz console=tty0 console=ttyS0,115200n8 rdinit=/init loglevel=5 panic=10 net.ifnames=0 no_timer_check
CFG
cp "$WORK/packages/boot/vmlinuz-$VERSION" "$WORK/boot/linux"
DISK=$WORK/disk.img
mformat -C -i "$DISK" -t 32 -h 64 -s 32 -v AERIE ::
for file in linux initrd.gz syslinux.cfg; do mcopy -i "$DISK" "$WORK/boot/$file" "::$file"; done
syslinux --install "$DISK"
qemu-img convert -q -f raw -O qcow2 -c "$DISK" "$WORK/image.qcow2"
mv "$WORK/image.qcow2" "$IMAGE.part.$$"
mv "$IMAGE.part.$$" "$IMAGE"
say "$VERSION, $(du -h "$IMAGE" | cut -f1), initramfs $(du -h "$WORK/boot/initrd.gz" | cut -f1), content $HASH"
echo "$IMAGE"
