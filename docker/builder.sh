#!/bin/sh
# The steps of the image's build stage: installs compiler and libraries, then compiles. The target may
# be another processor than the builder's: Debian has the cross compiler and the foreign libraries, so
# nothing runs under emulation.
#
# Usage: builder.sh packages | compile ROOT        (as root, in a Debian 12 container)
#   TARGETARCH     amd64 or arm64 (default: the builder's own)
#   SNAPSHOT       packages as they were at this time, 20261101T000000Z (packages; default: today's)
#   SNAPSHOT_URL   where the snapshots are        JOBS   compilers at a time (default 2)
set -eu
host=$(dpkg --print-architecture)
target=${TARGETARCH:-$host}
case $target in
amd64) cpu=x86_64 ;;
arm64) cpu=aarch64 ;;
*) echo "error: TARGETARCH $target: expected amd64 or arm64" >&2; exit 64 ;;
esac
triple=$cpu-linux-gnu

packages() {
    if [ -n "${SNAPSHOT:-}" ]; then
        rm -f /etc/apt/sources.list.d/debian.sources
        url=${SNAPSHOT_URL:-http://snapshot.debian.org/archive}
        {
            echo "deb [check-valid-until=no] $url/debian/$SNAPSHOT bookworm main"
            echo "deb [check-valid-until=no] $url/debian/$SNAPSHOT bookworm-updates main"
            echo "deb [check-valid-until=no] $url/debian-security/$SNAPSHOT bookworm-security main"
        } >/etc/apt/sources.list
    fi
    compiler=gcc
    [ "$target" = "$host" ] || { dpkg --add-architecture "$target"; compiler=gcc-$(echo $cpu | tr _ -)-linux-gnu; }
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "$compiler" cmake ninja-build pkg-config "libc6-dev:$target" "libopenblas-serial-dev:$target" \
        "libmicrohttpd-dev:$target" "libcjson-dev:$target" "libpcre2-dev:$target" \
        "libutf8proc-dev:$target" "libedit-dev:$target"
    rm -rf /var/lib/apt/lists/*
}

# OpenBLAS is linked statically: of its 35 MB the linker takes the routines that are called, for every
# processor of the family. The serial build is enough, because hadal calls it one-threaded from its
# own pool.
compile() {
    cross=
    [ "$target" = "$host" ] || cross="-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=$cpu"
    export PKG_CONFIG_LIBDIR=/usr/lib/$triple/pkgconfig:/usr/share/pkgconfig
    # shellcheck disable=SC2086
    cmake -S . -B /build -G Ninja $cross -DCMAKE_C_COMPILER=$triple-gcc -DCMAKE_BUILD_TYPE=Release \
        -DHADAL_LTO=ON -DHADAL_TESTS=OFF -DHADAL_CUDA=OFF -DCMAKE_EXE_LINKER_FLAGS=-Wl,--gc-sections \
        -Dpkgcfg_lib_OPENBLAS_openblas=/usr/lib/$triple/openblas-serial/libopenblas.a
    cmake --build /build -j "${JOBS:-2}" --target hadal
    docker/collect-root.sh /build/server/hadal "$1" $triple
}

case ${1:-} in
packages) packages ;;
compile) [ $# -eq 2 ] || { echo "error: compile needs ROOT" >&2; exit 64; }; compile "$2" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
