#!/bin/sh
# Installs what is missing, builds, and runs the whole suite.
#
# Usage: tests/run.sh [PRESET [CTEST-ARGUMENTS...]]
#   PRESET    ci (default), dev, release, asan, tsan or fuzz
set -eu
. "$(dirname "$0")/../server/setup.sh"
HADAL_ROOT=$(cd "$(dirname "$0")/.." && pwd)

preset=${1:-ci}
[ $# -eq 0 ] || shift
# shellcheck disable=SC2086
need_packages $PACKAGES_BUILD $PACKAGES_MODEL $PACKAGES_TEST
build_preset "$preset"

# Tests with the real small model are skipped, with a message, when it cannot be had.
HD_TEST_MODEL=${HD_TEST_MODEL:-$(default_model || true)}
export HD_TEST_MODEL
cd "$HADAL_ROOT"
exec ctest --preset "$preset" "$@"
