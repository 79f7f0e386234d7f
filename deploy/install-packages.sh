#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
#
# Installs the Debian 12 packages that mlq is built from, and nothing else. It does nothing, and
# needs no rights, when they are all there.
#
#   sh deploy/install-packages.sh            what building and running needs
#   sh deploy/install-packages.sh --tests    also what the tests need
#   sh deploy/install-packages.sh --list     print the names (with --tests: of both)
set -eu

build_packages="build-essential cmake ninja-build pkg-config
    protobuf-c-compiler libprotobuf-c-dev libzmq3-dev libuv1-dev
    libpq-dev postgresql libopenblas-pthread-dev libgloo-dev
    libfyaml-dev libjansson-dev libssl-dev libpcre2-dev libonnx-dev libxgboost-dev zlib1g-dev python3"
test_packages="libcmocka-dev bats python3-venv ca-certificates clang libclang-rt-14-dev
    valgrind dataset-fashion-mnist"

say() { printf 'install-packages: %s\n' "$*" >&2; }

packages=$build_packages
list=no
for argument in "$@"; do
    case $argument in
    --tests) packages="$build_packages $test_packages" ;;
    --list) list=yes ;;
    *)
        sed -n '5,10p' "$0" | sed 's/^# \{0,1\}//' >&2
        exit 2
        ;;
    esac
done
if [ "$list" = yes ]; then
    printf '%s\n' $packages
    exit 0
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not Debian: install the like of these, then build with cmake --preset release:"
    say $packages
    exit 1
fi

missing=
for package in $packages; do
    case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root() { env DEBIAN_FRONTEND=noninteractive "$@"; }
elif command -v sudo >/dev/null; then
    as_root() { sudo env DEBIAN_FRONTEND=noninteractive "$@"; }
else
    say "these packages are missing and you are neither root nor have sudo; ask your administrator for"
    say "  apt-get install --no-install-recommends$missing"
    exit 1
fi

# Debian's PostgreSQL starts a server of its own when it is first installed. mlq needs the programs
# only and runs private servers on Unix sockets, so that is left out here (and only here).
no_server=
if [ ! -e /etc/postgresql-common ]; then
    no_server=/etc/postgresql-common/createcluster.d/mlq-install.conf
fi
log=$(mktemp)
tidy_up() {
    rm -f "$log"
    if [ -n "$no_server" ]; then
        as_root rm -f "$no_server"
    fi
}
trap tidy_up EXIT
trap 'exit 130' INT TERM

say "installing$missing"
if [ -n "$no_server" ]; then
    as_root mkdir -p "${no_server%/*}"
    echo "create_main_cluster = false" | as_root tee "$no_server" >/dev/null
fi
run() {
    if ! as_root "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        say "failed: $*"
        exit 1
    fi
}
run apt-get -q update
run apt-get -q -y --no-install-recommends install $missing
say "done"
