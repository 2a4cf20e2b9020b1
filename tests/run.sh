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
# Without these kern.arm64 is skipped, and says so.
# shellcheck disable=SC2086
[ "$preset" != ci ] || [ "$(uname -m)" != x86_64 ] || (need_packages $PACKAGES_ARM64) || true
build_preset "$preset"

# Tests with the real small model, and those with SDKs, are skipped, with a message, when these cannot
# be had.
HD_TEST_MODEL=${HD_TEST_MODEL:-$(default_model || true)}
HD_TEST_PYTHON=${HD_TEST_PYTHON:-$(clients_python || true)}
export HD_TEST_MODEL HD_TEST_PYTHON
cd "$HADAL_ROOT"
exec ctest --preset "$preset" "$@"
