#!/bin/sh
# Compiles every header alone, as C11 and (public ones) as C++17. Those of kernels/cpu/x86 and arm are
# left out: they need the flags of their instruction set, some also a vocabulary included before them.
# Usage: headers.sh ROOT
set -eu
cd "$1"
n=0
for h in $(find kernels models engine server -name '*.h' -not -path 'kernels/cpu/x86/*' -not -path 'kernels/cpu/arm/*' | sort); do
    isa=
    case $h in
    kernels/cpu/x86/*) [ "$(uname -m)" = x86_64 ] || continue ;;
    esac
    case $h in # what the files that include them are compiled with
    kernels/cpu/x86/*avx512*) isa="-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl" ;;
    kernels/cpu/x86/*) isa="-mavx2 -mfma -mf16c -mbmi2" ;;
    esac
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -I. $isa -Wall -Wextra -Werror -x c -fsyntax-only "$h"
    case $h in
    kernels/cpu/* | server/*) ;; # private: C only
    *) ${CXX:-c++} -std=c++17 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -x c++ -fsyntax-only "$h" ;;
    esac
    n=$((n + 1))
done
echo "$n headers compile alone"
