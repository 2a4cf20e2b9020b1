#!/bin/sh
# Builds an image without a daemon, looks inside, and serves from it as the platform would: random
# uid, read-only root, read-only model, limited memory and processor. Exit 77: something needed is
# missing, and the message says what.
#
# Usage: docker/test-image.sh [--arch amd64|arm64] [--no-build] [--twice]      with HD_TEST_MODEL=FILE.gguf
#        docker/test-image.sh --target cuda [--no-build] [--twice]             the same; needs no GPU
#        docker/test-image.sh --publish [--no-build]      both processors' images into a registry of its own
#   --twice          builds again from nothing and compares the digests (of cuda only the layers')
#   HD_CUDA_HOME     the CUDA toolkit that the base image of --target cuda is made of (/usr/local/cuda)
#   HD_IMAGE_WORK    where images and archives are kept (default: a folder under /tmp, removed at the end)
#   HD_START_MODEL   a larger .gguf whose start is timed too: 100 ms to listening, 1 s to /ping 200
#   HD_TEST_PYTHON   an interpreter with boto3
# Foreign images run under qemu-user (apt install qemu-user-static): minutes, not seconds.
set -eu
cd "$(dirname "$0")/.."
skip() { echo "skipped: $*"; exit 77; }
bad() { echo "FAILED: $*" >&2; exit 1; }
own=$(dpkg --print-architecture)
arch=$own target=cpu build=1 twice='' publish=''
while [ $# -gt 0 ]; do
    case $1 in
    --arch) arch=${2:-}; shift ;;
    --target) target=${2:-}; shift ;;
    --no-build) build= ;;
    --publish) publish=1 ;;
    --twice) twice=1 ;;
    *) sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
    esac
    shift
done
case $target-$arch in
cpu-amd64) cpu=x86_64 tag=cpu ;;
cpu-arm64) cpu=aarch64 tag=cpu-arm64 ;;
cuda-amd64) cpu=x86_64 tag=cuda ;;
*) bad "--target '$target' --arch '$arch': expected cpu with amd64 or arm64, or cuda with amd64" ;;
esac
for tool in buildah podman runc skopeo curl python3; do
    command -v $tool >/dev/null || skip "$tool is not installed (apt install buildah podman runc skopeo curl python3 containernetworking-plugins iptables)"
done
qemu=
[ "$(id -u)" = 0 ] || skip "needs root: chroot isolation of builds"
if [ -n "$publish" ]; then
    command -v docker-registry >/dev/null || skip "docker-registry is not installed (apt install docker-registry)"
else
    [ "$arch" = "$own" ] || qemu=$(command -v qemu-$cpu-static) || skip "qemu-$cpu-static is not installed (apt install qemu-user-static)"
    [ -f "${HD_TEST_MODEL:-}" ] || skip "HD_TEST_MODEL names no model file"
fi
cuda=${HD_CUDA_HOME:-/usr/local/cuda}
[ "$target" = cpu ] || [ -z "$build" ] || [ -x "$cuda/bin/nvcc" ] || skip "no CUDA toolkit in $cuda (HD_CUDA_HOME)"
python=${HD_TEST_PYTHON:-python3}
checks="$python docker/image_checks.py"

work=${HD_IMAGE_WORK:-}
made=
[ -n "$work" ] || { work=$(mktemp -d /tmp/hadal-image.XXXXXX); made=$work; }
store="--storage-driver overlay --root $work/st --runroot $work/rst"
name=hadal-test-$$ registry=''
# shellcheck disable=SC2086
pod() { podman $store --runtime runc --cgroup-manager=cgroupfs "$@"; }
# shellcheck disable=SC2086
finish() {
    [ -z "$registry" ] || kill $registry || true
    pod rm -f $name >/dev/null 2>&1 || true
    [ -z "$made" ] || { buildah $store rmi -af >/dev/null 2>&1 || true; rm -rf "$made"; }
}
trap finish EXIT

# One time for everything in the image; the committed sources' own.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
# build_image ARCH TAG [OPTIONS]. The builder's platform must be named to this version of buildah.
# shellcheck disable=SC2086
build_image() {
    platform=$1 as=$2
    shift 2
    [ "$target" = cpu ] || set -- "$@" --build-arg "CUDA=$cuda_image" --build-arg "CUDA_ARCHS=$cuda_archs"
    buildah $store bud --isolation chroot --pull=never --platform "linux/$platform" --timestamp "$epoch" \
        --build-arg "BUILDPLATFORM=linux/$own" --build-arg "SOURCE_DATE_EPOCH=$epoch" \
        --build-arg "SNAPSHOT=${SNAPSHOT:-}" --build-arg "SNAPSHOT_URL=${SNAPSHOT_URL:-}" \
        "$@" --target $target -t "hadal:$as" -f docker/Dockerfile .
}
# shellcheck disable=SC2086
archive() {
    rm -rf "$work/oci-$1"
    buildah $store push --quiet "hadal:$1" "oci:$work/oci-$1:$1"
}
# shellcheck disable=SC2086
if ! buildah $store inspect --type image debian:bookworm-slim >/dev/null 2>&1; then
    command -v mmdebstrap >/dev/null || skip "no base image and no mmdebstrap to make one"
    mkdir -p "$work/base"
    mmdebstrap --quiet --variant=minbase bookworm "$work/base/base.tar" || skip "the package archive cannot be reached"
    printf 'FROM scratch\nADD base.tar /\n' >"$work/base/Dockerfile"
    buildah $store bud --isolation chroot --pull=never -t docker.io/library/debian:bookworm-slim "$work/base"
fi
# The place of NVIDIA's image, which is large and not everywhere to be had: of a toolkit that is here,
# what nvcc needs. It has what must not get into ours: a constraint and a library under the driver's name.
# shellcheck disable=SC2086
cuda_base() {
    version=$("$cuda/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
    cuda_image=localhost/hadal-test-cuda:$version cuda_archs=''
    # shellcheck disable=SC2013
    for a in $(sed -n 's/^ARG CUDA_ARCHS="\(.*\)"/\1/p' docker/Dockerfile); do
        if "$cuda/bin/nvcc" --list-gpu-code | grep -qx "sm_$a"; then cuda_archs="$cuda_archs $a"
        else echo "sm_$a is left out: unknown to CUDA $version"; fi
    done
    ! buildah $store inspect --type image "$cuda_image" >/dev/null 2>&1 || return 0
    echo "== base image with CUDA $version"
    rm -rf "$work/cuda"
    mkdir -p "$work/cuda/lib64/stubs" "$work/cuda/targets/x86_64-linux"
    cp -RL "$cuda/bin" "$cuda/nvvm" "$cuda/include" "$work/cuda/"
    cp -L "$cuda/lib64/libcudart_static.a" "$cuda/lib64/libcudadevrt.a" "$work/cuda/lib64/"
    cp -L "$cuda/lib64/stubs/libcuda.so" "$work/cuda/lib64/stubs/" || : >"$work/cuda/lib64/stubs/libcuda.so"
    ln -s ../../lib64 "$work/cuda/targets/x86_64-linux/lib"
    ln -s ../../include "$work/cuda/targets/x86_64-linux/include"
    cat >"$work/cuda/Dockerfile" <<'END'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /usr/local/cuda
ENV PATH=/usr/local/cuda/bin:/usr/sbin:/usr/bin:/sbin:/bin NVIDIA_REQUIRE_CUDA="cuda>=12.8 brand=tesla,driver>=535"
END
    buildah $store bud --isolation chroot --pull=never -t "$cuda_image" "$work/cuda"
    rm -rf "$work/cuda"
}

# aws.sh's push, with a registry of our own in ECR's place; then what is in it, tag by tag.
publish() {
    if [ -n "$build" ]; then
        build_image amd64 cpu --layers
        build_image arm64 cpu-arm64 --layers
    fi
    echo "== published"
    port=$(free_port)
    rm -rf "$work/registry"
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' \
        "$work/registry" "$port" >"$work/registry.yml"
    docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
    registry=$!
    n=0
    until curl -sf -o /dev/null "http://127.0.0.1:$port/v2/"; do
        n=$((n + 1))
        [ $n -lt 200 ] || { cat "$work/registry.log"; bad "the registry does not answer"; }
        sleep 0.05
    done
    printf '[[registry]]\nlocation = "localhost:%s"\ninsecure = true\n' "$port" >"$work/registries.conf"
    CONTAINERS_REGISTRIES_CONF=$work/registries.conf REGISTRY=localhost:$port \
        CONTAINER_TOOL="podman $store --cgroup-manager=cgroupfs" docker/aws.sh push hadal
    $checks published "localhost:$port/hadal" cpu-all cpu=amd64 cpu-arm64=arm64
    pod rmi "localhost:$port/hadal:cpu" "localhost:$port/hadal:cpu-arm64" >/dev/null
    rm -rf "$work/registry"
}
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }

if [ -n "$publish" ]; then
    publish
    echo "published images: all checks passed"
    exit
fi
[ "$target" = cpu ] || [ -z "$build" ] || cuda_base
cache=--layers
[ -z "$twice" ] || cache=--no-cache # history of older layers would be in the configuration
[ -z "$build" ] || build_image "$arch" $tag $cache
archive $tag
oci=$work/oci-$tag root=$work/root-$tag

if [ -n "$twice" ]; then
    echo "== built twice"
    build_image "$arch" "again-$tag" --no-cache >"$work/again.log" 2>&1 || { tail -n 20 "$work/again.log"; bad "the second build"; }
    archive "again-$tag"
    $checks digests "$oci" >"$work/first"
    $checks digests "$work/oci-again-$tag" >"$work/second"
    if [ "$target" = cuda ]; then # buildah's configuration says by which name it found the stage before
        for f in first second; do sed -i '$d' "$work/$f"; done
    fi
    cat "$work/first"
    cmp "$work/first" "$work/second" || bad "two builds differ"
fi

echo "== contents"
$checks size "$oci"
$checks config "$oci" "$arch"
[ "$target" = cpu ] || $checks gpu "$oci"
rm -rf "$root"
mkdir "$root"
$checks unpack "$oci" "$root"
for f in sh bash dash busybox apt apt-get dpkg python3 perl; do
    [ -z "$(find "$root" \( -type f -o -type l \) -name "$f")" ] || bad "$f is in the image"
done
$checks sbom "$root"
if [ -z "$qemu" ]; then
    loader=$(cd "$root" && echo lib*/ld-linux-*)
    chroot --userspec=23456:23456 "$root" "/$loader" --list /usr/bin/hadal # what ldd would say
    chroot --userspec=23456:23456 "$root" /usr/bin/hadal --version || bad "the unpacked root does not run"
fi
if [ "$target" = cuda ]; then
    ls -l "$root/usr/lib/hadal"
    chroot --userspec=23456:23456 "$root" "/$loader" --list /usr/lib/hadal/libhadal_cuda.so >"$work/needs"
    cat "$work/needs"
    ! grep -vE '^[[:space:]]*(linux-vdso|libc|libm|/lib64/ld-linux-x86-64)\.so' "$work/needs" || bad "the plugin needs more than libc and libm"
fi

cat "$HD_TEST_MODEL" >/dev/null # into the page cache
port=$(free_port)
# serve OPTIONS: a container of the image with the model in its place, until /ping says 200.
serve() {
    begin=$(date +%s%N)
    emulate='' first=''
    [ -z "$qemu" ] || { emulate="-v $qemu:/qemu:ro --entrypoint /qemu"; first=/usr/bin/hadal; }
    # shellcheck disable=SC2086
    pod run -d --name $name --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network host --read-only \
        --tmpfs /tmp -v "$(readlink -f "$HD_TEST_MODEL"):/opt/ml/model/model.gguf:ro" $emulate "$@" hadal:$tag $first serve >/dev/null
    n=0
    until curl -sf -o /dev/null "http://127.0.0.1:$port/ping"; do
        n=$((n + 1))
        [ $n -lt 6000 ] || { pod logs $name; bad "no 200 from /ping in 300 s"; }
        sleep 0.05
    done
    echo "container start to /ping 200: $((($(date +%s%N) - begin) / 1000000)) ms (podman's own start included)"
}
stop() {
    pod stop -t 30 $name >/dev/null
    code=$(pod inspect -f '{{.State.ExitCode}}' $name)
    [ "$code" = 0 ] || bad "after SIGTERM the exit status is $code, expected 0"
    pod rm $name >/dev/null
    echo "stopped by SIGTERM with status 0"
}
ask() {
    curl -sf "http://127.0.0.1:$port/invocations" -H 'Content-Type: application/json' -d "$1"
}

if [ -z "$qemu" ]; then
    echo "== serve, as on a laptop"
    serve -e HADAL_PORT="$port"
    $checks record "$port" "$work/answers.json"
    stop
fi

echo "== serve, as on an endpoint"
serve --cap-drop all --security-opt no-new-privileges --user 23456:23456 --memory 1g --cpus 1 -e SAGEMAKER_BIND_TO_PORT="$port"
answer=$(ask '{"inputs":"The capital of France is","parameters":{"max_new_tokens":8}}') || bad "/invocations did not answer"
echo "$answer"
case $answer in '[{"generated_text":" Paris'*) ;; *) bad "expected Paris" ;; esac
code=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/invocations" -d '{')
[ "$code" = 400 ] || bad "broken JSON answered $code, expected 400"
if [ -z "$qemu" ]; then
    curl -sfN "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' \
        -d '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":4,"stream":true}' | grep -q '^data: \[DONE\]' || bad "stream without [DONE]"
    if $python -c 'import boto3' 2>/dev/null; then $checks same "$port" "$work/answers.json"
    else echo "skipped: $python has no boto3, so nothing went through the gateway"; fi
fi
pod logs $name >"$work/log" 2>&1
grep -v 'msg=settings' "$work/log" | head -n 20
[ "$arch" != arm64 ] || grep -q 'kernels=neon' "$work/log" || bad "the NEON kernels do not run"
if [ "$target" = cuda ]; then # the plugin was found and loads; it has no device
    grep 'using the CPU' "$work/log" | grep 'level.*warn' | grep -q 'lib/hadal/libhadal_cuda.so: this build offers no device' ||
        bad "no warning says why the CPU is used"
fi
stop

if [ -z "$qemu" ] && [ "$target" = cpu ]; then
    echo "== start time of the unpacked image"
    $checks start "$root" "$HD_TEST_MODEL" "$port" 5

    echo "== contract tests with the image's binary, loader and libraries"
    printf '#!/bin/sh\nexec %s --library-path %s/usr/lib %s/usr/bin/hadal "$@"\n' "$root/$loader" "$root" "$root" >"$work/hadal"
    chmod +x "$work/hadal"
    HD_TEST_SLOW=${HD_TEST_SLOW:-2} python3 tests/contract/run.py "$work/hadal" text. chat. | tail -n 5 >"$work/contract.log"
    cat "$work/contract.log"
    grep -q '^[1-9][0-9]* passed, 0 failed' "$work/contract.log" || bad "contract tests"
fi

if [ -z "$qemu" ] && [ -n "${HD_START_MODEL:-}" ]; then
    echo "== start time with $(du -shL "$HD_START_MODEL" | cut -f1) of model (wants a machine that does nothing else)"
    $checks start "$root" "$HD_START_MODEL" "$port" 7 100 1000
fi

echo "image $tag for $arch: all checks passed"
