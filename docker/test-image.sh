#!/bin/sh
# Builds the CPU image without a daemon, looks inside, and serves from it as the platform would: random
# uid, read-only root, read-only model, limited memory and processor. Exit 77: something needed is
# missing, and the message says what.
#
# Usage: docker/test-image.sh [--no-build]      with HD_TEST_MODEL=FILE.gguf
#   HD_IMAGE_WORK    where images and archives are kept (default: a folder under /tmp, removed at the end)
set -eu
cd "$(dirname "$0")/.."
skip() { echo "skipped: $*"; exit 77; }
bad() { echo "FAILED: $*" >&2; exit 1; }
for tool in buildah podman runc skopeo curl python3; do
    command -v $tool >/dev/null || skip "$tool is not installed (apt install buildah podman runc skopeo curl python3 containernetworking-plugins iptables)"
done
[ "$(id -u)" = 0 ] || skip "needs root: chroot isolation of builds"
[ -f "${HD_TEST_MODEL:-}" ] || skip "HD_TEST_MODEL names no model file"

work=${HD_IMAGE_WORK:-}
made=
[ -n "$work" ] || { work=$(mktemp -d /tmp/hadal-image.XXXXXX); made=$work; }
store="--storage-driver overlay --root $work/st --runroot $work/rst"
name=
# shellcheck disable=SC2086
finish() {
    [ -z "$name" ] || podman $store --runtime runc --cgroup-manager=cgroupfs rm -f "$name" >/dev/null 2>&1 || true
    [ -z "$made" ] || { buildah $store rmi -af >/dev/null 2>&1 || true; rm -rf "$made"; }
}
trap finish EXIT

# shellcheck disable=SC2086
{
    if ! buildah $store inspect --type image debian:bookworm-slim >/dev/null 2>&1; then
        command -v mmdebstrap >/dev/null || skip "no base image and no mmdebstrap to make one"
        mkdir -p "$work/base"
        mmdebstrap --quiet --variant=minbase bookworm "$work/base/base.tar" || skip "the package archive cannot be reached"
        printf 'FROM scratch\nADD base.tar /\n' >"$work/base/Dockerfile"
        buildah $store bud --isolation chroot --pull=never -t docker.io/library/debian:bookworm-slim "$work/base"
    fi
    if [ "${1:-}" != --no-build ]; then
        nice -n 10 buildah $store bud --isolation chroot --pull=never --target cpu -t hadal:cpu -f docker/Dockerfile .
    fi
    rm -rf "$work/oci" "$work/rootfs"
    buildah $store push --quiet hadal:cpu "oci:$work/oci:cpu"
}

echo "== size"
bytes=$(skopeo inspect --raw "oci:$work/oci:cpu" |
    python3 -c 'import json,sys; m=json.load(sys.stdin); print(sum(x["size"] for x in m["layers"])+m["config"]["size"])')
echo "compressed: $bytes bytes"
[ "$bytes" -le 20000000 ] || bad "compressed size $bytes, expected at most 20000000"

echo "== contents"
skopeo inspect --config "oci:$work/oci:cpu" | python3 -c '
import json, sys
c = json.load(sys.stdin)["config"]
assert c["Entrypoint"] == ["hadal"], c["Entrypoint"]
assert c["Cmd"] == ["serve"], c["Cmd"]
key = "com.amazonaws.sagemaker.capabilities."
assert c["Labels"][key + "accept-bind-to-port"] == "true", c["Labels"]
assert not any(e.startswith("NVIDIA_REQUIRE_CUDA") for e in c["Env"]), c["Env"]
print("configuration as expected")'
mkdir "$work/rootfs"
python3 - "$work/oci" "$work/rootfs" <<'P'
import json, pathlib, sys, tarfile
oci, root = map(pathlib.Path, sys.argv[1:])
blob = lambda d: oci / "blobs" / d.replace(":", "/")
index = json.loads((oci / "index.json").read_text())
for layer in json.loads(blob(index["manifests"][0]["digest"]).read_text())["layers"]:
    tarfile.open(blob(layer["digest"])).extractall(root)
P
for f in sh bash dash busybox apt apt-get dpkg python3 perl; do
    [ -z "$(find "$work/rootfs" \( -type f -o -type l \) -name "$f")" ] || bad "$f is in the image"
done
python3 - "$work/rootfs/usr/share/sbom/hadal.spdx.json" <<'P'
import json, sys
d = json.load(open(sys.argv[1]))
names = [p["name"] + " " + p.get("versionInfo", "") for p in d["packages"]]
assert any(n.startswith("libc6 ") for n in names) and any(n.startswith("libopenblas") for n in names), names
print(f"SBOM, {len(names)} packages:", ", ".join(names))
P
chroot --userspec=23456:23456 "$work/rootfs" /usr/bin/hadal --version || bad "the unpacked root does not run"

echo "== serve"
name=hadal-test-$$
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
cat "$HD_TEST_MODEL" >/dev/null # into the page cache
start=$(date +%s%N)
# shellcheck disable=SC2086
podman $store --runtime runc --cgroup-manager=cgroupfs run -d --name $name \
    --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network host --read-only --tmpfs /tmp \
    --cap-drop all --security-opt no-new-privileges --user 23456:23456 --memory 1g --cpus 1 \
    -e SAGEMAKER_BIND_TO_PORT="$port" -v "$(readlink -f "$HD_TEST_MODEL"):/opt/ml/model/model.gguf:ro" \
    hadal:cpu serve >/dev/null
n=0
until curl -sf -o /dev/null "http://127.0.0.1:$port/ping"; do
    n=$((n + 1))
    # shellcheck disable=SC2086
    [ $n -lt 600 ] || { podman $store logs $name; bad "no 200 from /ping in 60 s"; }
    sleep 0.05
done
echo "container start to /ping 200: $((($(date +%s%N) - start) / 1000000)) ms (podman's own start included)"
ask() {
    curl -sf "http://127.0.0.1:$port/invocations" -H 'Content-Type: application/json' -d "$1"
}
answer=$(ask '{"inputs":"The capital of France is","parameters":{"max_new_tokens":8}}') || bad "/invocations did not answer"
echo "$answer"
case $answer in '[{"generated_text":" Paris'*) ;; *) bad "expected Paris" ;; esac
curl -sfN "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' \
    -d '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":4,"stream":true}' | grep -q '^data: \[DONE\]' || bad "stream without [DONE]"
code=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/invocations" -d '{')
[ "$code" = 400 ] || bad "broken JSON answered $code, expected 400"
# shellcheck disable=SC2086
{
    podman $store logs $name 2>&1 | head -n 20
    podman $store --runtime runc --cgroup-manager=cgroupfs stop -t 30 $name >/dev/null
    code=$(podman $store inspect -f '{{.State.ExitCode}}' $name)
}
[ "$code" = 0 ] || bad "after SIGTERM the exit status is $code, expected 0"
echo "stopped by SIGTERM with status 0"

echo "== start time of the unpacked binary"
python3 - "$work/rootfs" "$HD_TEST_MODEL" "$port" <<'P'
import os, shutil, subprocess, sys, time, urllib.request, urllib.error
root, model, port = sys.argv[1:]
target = os.path.join(root, "opt/ml/model/model.gguf")
shutil.copyfile(model, target)
os.chmod(target, 0o444)
t0 = time.monotonic()
p = subprocess.Popen(["chroot", "--userspec=23456:23456", root, "/usr/bin/hadal", "serve"],
                     env={"PATH": os.environ["PATH"] + ":/usr/sbin:/usr/bin", "SAGEMAKER_BIND_TO_PORT": port}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
listening = None
while True:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").read()
        break
    except urllib.error.HTTPError:
        listening = listening or time.monotonic()
    except OSError:
        pass
    if p.poll() is not None or time.monotonic() - t0 > 60:
        p.kill()
        sys.exit(f"FAILED: no 200, exit status {p.poll()}")
    time.sleep(0.002)
ready = time.monotonic()
p.terminate()
code = p.wait(40)
os.unlink(target)
print(f"exec to first answer {((listening or ready) - t0) * 1000:.0f} ms, to /ping 200 {(ready - t0) * 1000:.0f} ms, exit {code}")
sys.exit(code)
P
echo "== contract tests with the image's binary, loader and libraries"
cat >"$work/hadal" <<W
#!/bin/sh
exec $(echo "$work"/rootfs/lib*/ld-linux-*) --library-path $work/rootfs/usr/lib $work/rootfs/usr/bin/hadal "\$@"
W
chmod +x "$work/hadal"
HD_TEST_SLOW=${HD_TEST_SLOW:-2} python3 tests/contract/run.py "$work/hadal" text. chat. | tail -n 5 >"$work/contract.log"
cat "$work/contract.log"
grep -q '^[1-9][0-9]* passed, 0 failed' "$work/contract.log" || bad "contract tests"

echo "image: all checks passed"
