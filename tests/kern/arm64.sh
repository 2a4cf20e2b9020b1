#!/bin/sh
# Cross compiles checkkern for arm64 and runs it under emulation: all of it on the oldest processor that
# the NEON level is for, a part on one with every feature, and on one without dot products, where the
# reference must be what runs. Speeds say nothing there.
# Usage: arm64.sh ROOT FOLDER (of what is built). Exit 77: something is missing here.
set -eu
cd "$1"
out=$2
cc=aarch64-linux-gnu-gcc
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)
if [ -z "$qemu" ] || ! command -v $cc >/dev/null || [ ! -e /usr/aarch64-linux-gnu/include/stdio.h ]; then
    echo "skipped: apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"
    exit 77
fi
rm -rf "$out"
mkdir -p "$out"

# The level with kernels/CMakeLists.txt's flags. Of the rest all but what needs libraries: cJSON, BLAS.
neon="-O3 -g1 -march=armv8.2-a+dotprod -fno-schedule-insns -fno-split-loops"
{
    for f in kernels/cpu/arm/*.c; do echo "$neon -c $f"; done
    for f in kernels/cpu/ref/*.c kernels/dtype.c tests/kern/*.c; do echo "-O2 -c $f"; done
    for f in kernels/[!d]*.c kernels/dry/*.c kernels/cpu/*.c kernels/base/*.c; do
        case $f in kernels/base/json*) ;; *) echo "-O1 -c $f" ;; esac
    done
} | while read -r step; do
    object=${step##* }
    echo "$step -o $out/$(echo "${object%.c}" | tr / _).o"
done >"$out/steps"
xargs -P 2 -L 1 $cc -std=c11 -D_GNU_SOURCE -DHADAL_ISA_ARM64=1 -I. -ffp-contract=off \
    -Wall -Wextra -Wshadow -Wcast-qual -Wundef -Werror <"$out/steps"
$cc -o "$out/checkkern" "$out"/*.o -lm -lpthread

run() { # CPU LEVEL [part of a test's name]: every test passes and LEVEL is the highest that ran
    echo "== $1"
    QEMU_LD_PREFIX=/usr/aarch64-linux-gnu "$qemu" -cpu "$1" "$out/checkkern" ${3+"$3"} >"$out/$1" || {
        cat "$out/$1"
        exit 1
    }
    cat "$out/$1"
    level=$(sed -n 's/^level \(.*\): [0-9]* kernels$/\1/p' "$out/$1" | tail -1)
    [ "$level" = "$2" ] || { echo "error: the highest level on $1 is $level, expected $2"; exit 1; }
}
run neoverse-n1 neon
run max neon mm.q
run cortex-a57 ref quant_act
