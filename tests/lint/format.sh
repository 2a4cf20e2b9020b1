#!/bin/sh
# Checks clang-format (version 14) on every C file. Usage: format.sh ROOT
set -eu
cd "$1"
fmt=clang-format-14
command -v $fmt >/dev/null || fmt=clang-format
command -v $fmt >/dev/null || { echo "skipped: clang-format 14 is not installed"; exit 77; }
$fmt --version | grep -q 'version 14' || { echo "skipped: clang-format is not version 14"; exit 77; }
find kernels models engine server tests -name '*.[ch]' | sort | xargs $fmt --dry-run -Werror
echo "formatting: clean"
