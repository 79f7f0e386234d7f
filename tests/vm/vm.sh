#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Boots a Debian 12 of its own (its kernel, systemd, control groups of version 2 only) and tests there
# what depends on those: that the kernel holds tasks to their limits, as root, as a user, and as a
# service that is started again under running tasks. See README.md in this folder.
#
#   sh tests/vm/vm.sh                  all of it; 0: passed
#   sh tests/vm/vm.sh root             one part (root, user, service), or several
#
# MLQ_VM=DIR        where the machine is kept between runs (default: build/vm)
# MLQ_VM_CPUS=N     its CPUs (2)        MLQ_VM_MEMORY=M    its memory in MiB (4096)
# MLQ_VM_SECONDS=S  how long it may run (5400)
set -eu
cd "$(dirname "$0")/../.."
vm=${MLQ_VM:-$PWD/build/vm}
root=$vm/root
image=$vm/disk.ext4
console=$vm/console.log
say() { printf '== %s\n' "$*"; }

[ "$(id -u)" = 0 ] || { echo "vm.sh: needs root, to make a Debian in a folder (debootstrap, chroot)" >&2; exit 2; }
mkdir -p "$vm"

missing=
for package in qemu-system-x86 debootstrap e2fsprogs; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    say "packages:$missing"
    apt-get -q update >"$vm/apt.log" 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing >>"$vm/apt.log" 2>&1
fi

unmount() {
    umount "$root/proc" 2>/dev/null || true
    umount "$root/dev" 2>/dev/null || true
}
within() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@" </dev/null; }

# The mirror is the one that this machine uses itself.
mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        awk '$1 == "URIs:" { print $2; exit } $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }'
}

if [ ! -e "$root/etc/debian_version" ]; then
    say "a bare Debian 12"
    debootstrap --variant=minbase bookworm "$root" "$(mirror)" >"$vm/debootstrap.log" 2>&1 ||
        { tail -n 20 "$vm/debootstrap.log"; exit 1; }
fi
cp /etc/resolv.conf "$root/etc/"
cp -r /etc/apt/apt.conf.d /etc/apt/sources.list* "$root/etc/apt/" 2>/dev/null || true
trap unmount EXIT
trap 'exit 130' INT TERM
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"

say "its kernel, systemd, and what mlq needs"
mkdir -p "$root/srv/mlq"
git ls-files --cached --others --exclude-standard | tar -c -T - -f - | tar -x -C "$root/srv/mlq" -f -
within sh -ec '
    apt-get -q update
    apt-get -q -y --no-install-recommends install linux-image-cloud-amd64 initramfs-tools systemd-sysv \
        dbus-user-session libpam-systemd procps
    cd /srv/mlq && sh deploy/install-packages.sh --tests' >"$vm/install.log" 2>&1 || { tail -n 20 "$vm/install.log"; exit 1; }

say "build (release, with tests)"
within sh -ec 'cd /srv/mlq && cmake --preset bench && cmake --build --preset bench' >"$vm/build.log" 2>&1 ||
    { tail -n 30 "$vm/build.log"; exit 1; }

say "its disk"
install -m 755 tests/vm/inside.sh "$root/srv/inside.sh"
echo "${*:-root user service}" >"$root/srv/parts"
within sh -ec '
    id mlq >/dev/null 2>&1 || useradd --create-home --shell /bin/bash mlq
    mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/mlq
    chown -R mlq /srv/mlq
    systemctl --quiet mask getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer
    cat >/etc/systemd/system/inside.service <<END
[Unit]
Description=what vm.sh asked for
After=multi-user.target user@1000.service
[Service]
ExecStart=/srv/inside.sh
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS0
Delegate=no
[Install]
WantedBy=multi-user.target
END
    systemctl --quiet enable inside.service' >>"$vm/install.log" 2>&1
unmount
rm -f "$image"
truncate -s 12G "$image"
mke2fs -q -t ext4 -d "$root" -F "$image"

say "boot"
# Not KVM: a nested one is often there in name only, and what is tested has no clock of its own.
timeout "${MLQ_VM_SECONDS:-5400}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "${MLQ_VM_CPUS:-2}" \
    -m "${MLQ_VM_MEMORY:-4096}" -nodefaults -no-reboot -display none -serial stdio -device virtio-rng-pci \
    -drive "file=$image,format=raw,if=virtio,cache=unsafe" \
    -kernel "$(ls "$root"/boot/vmlinuz-* | tail -n 1)" -initrd "$(ls "$root"/boot/initrd.img-* | tail -n 1)" \
    -append "root=/dev/vda rw console=ttyS0 quiet systemd.unified_cgroup_hierarchy=1 systemd.show_status=no panic=-1" \
    </dev/null 2>&1 | sed -u 's/\r$//' | tee "$console"
rm -f "$image"
grep -q '^VM PASSED$' "$console"
