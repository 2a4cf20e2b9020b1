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
    url=${SNAPSHOT_URL:-http://snapshot.debian.org/archive} checked=' [check-valid-until=no]'
    if [ -z "${SNAPSHOT:-}" ]; then url=http://deb.debian.org checked=''; fi
    rm -f /etc/apt/sources.list.d/debian.sources
    for kind in deb deb-src; do
        echo "$kind$checked $url/debian/${SNAPSHOT:-} bookworm main"
        echo "$kind$checked $url/debian/${SNAPSHOT:-} bookworm-updates main"
        echo "$kind$checked $url/debian-security/${SNAPSHOT:-} bookworm-security main"
    done >/etc/apt/sources.list
    compiler=gcc
    [ "$target" = "$host" ] || { dpkg --add-architecture "$target"; compiler=gcc-$(echo $cpu | tr _ -)-linux-gnu; }
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "$compiler" make cmake ninja-build pkg-config dpkg-dev "libc6-dev:$target" "libopenblas-serial-dev:$target" \
        "libcjson-dev:$target" "libpcre2-dev:$target" "libutf8proc-dev:$target" "libedit-dev:$target"
    plain_microhttpd
    rm -rf /var/lib/apt/lists/*
}

# Debian's libmicrohttpd, patches and all, without the TLS that nothing here speaks: GnuTLS and what it
# needs would be a quarter of the image and half of its libraries.
plain_microhttpd() {
    mkdir -p /mhd
    cd /mhd
    apt-get source libmicrohttpd
    cd libmicrohttpd-*/
    ./configure --host=$triple --prefix=/mhd --disable-static --disable-https --disable-doc --disable-examples \
        --disable-curl --disable-postprocessor --disable-bauth --disable-dauth \
        CFLAGS='-O2 -g0 -ffile-prefix-map=/mhd=.'
    make -j "${JOBS:-2}" install-strip
    cp debian/copyright /mhd/
    dpkg-parsechangelog -S Version >/mhd/version
    cd /
}

# OpenBLAS is linked statically: of its 35 MB the linker takes the routines that are called, for every
# processor of the family. The serial build is enough, because hadal calls it one-threaded from its
# own pool.
compile() {
    cross=
    [ "$target" = "$host" ] || cross="-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=$cpu"
    export PKG_CONFIG_LIBDIR=/mhd/lib/pkgconfig:/usr/lib/$triple/pkgconfig:/usr/share/pkgconfig
    # shellcheck disable=SC2086
    cmake -S . -B /build -G Ninja $cross -DCMAKE_C_COMPILER=$triple-gcc -DCMAKE_BUILD_TYPE=Release \
        -DHADAL_LTO=ON -DHADAL_TESTS=OFF -DHADAL_CUDA=OFF -DCMAKE_SKIP_RPATH=ON -DCMAKE_EXE_LINKER_FLAGS=-Wl,--gc-sections \
        -Dpkgcfg_lib_OPENBLAS_openblas=/usr/lib/$triple/openblas-serial/libopenblas.a
    cmake --build /build -j "${JOBS:-2}" --target hadal
    docker/collect-root.sh /build/server/hadal "$1" $triple
}

case ${1:-} in
packages) packages ;;
compile) [ $# -eq 2 ] || { echo "error: compile needs ROOT" >&2; exit 64; }; compile "$2" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
