#!/bin/sh
# Compiles every header alone, as C11 and (public ones) as C++17. Those of kernels/cpu/x86 and arm are
# left out: they need the flags of their instruction set, some also a vocabulary included before them.
# Usage: headers.sh ROOT
set -eu
cd "$1"
n=0
for h in $(find kernels models engine server -name '*.h' -not -path 'kernels/cpu/x86/*' -not -path 'kernels/cpu/arm/*' | sort); do
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -x c -fsyntax-only "$h"
    case $h in
    kernels/cpu/* | server/*) ;; # private: C only
    *) ${CXX:-c++} -std=c++17 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -x c++ -fsyntax-only "$h" ;;
    esac
    n=$((n + 1))
done
echo "$n headers compile alone"
