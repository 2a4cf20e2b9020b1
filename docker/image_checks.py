#!/usr/bin/env python3
"""What docker/test-image.sh looks at in an image and in what it answers. Standard library, and boto3
for `same`.

Usage: image_checks.py size OCI            compressed bytes; fails above 20 MB
       image_checks.py digests OCI         digests of the layers and of the configuration
       image_checks.py config OCI ARCH     entry point, labels, environment, processor
       image_checks.py gpu OCI             what GPU hosts look at, and that the driver stays theirs
       image_checks.py published REPOSITORY INDEX TAG=ARCH...       what a registry holds, with skopeo
       image_checks.py unpack OCI ROOT     the image's root as files
       image_checks.py sbom ROOT           the list of packages against the libraries that are there
       image_checks.py start ROOT MODEL PORT RUNS [MS MS]   time to listening and to /ping 200
       image_checks.py record PORT FILE    answers of a server, as curl sees them
       image_checks.py same PORT FILE      the same requests through the local gateway with boto3
"""
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import time

LIMIT = 20_000_000
REQUESTS = [
    {"inputs": "The capital of France is", "parameters": {"max_new_tokens": 12}},
    {"inputs": "Once upon a time", "parameters": {"max_new_tokens": 16, "do_sample": True, "temperature": 0.7, "seed": 7}},
    {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 16, "temperature": 0},
    {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0.7, "seed": 7},
]


# ---- the image as files --------------------------------------------------------------------

class Image:
    def __init__(self, oci):
        self.oci = pathlib.Path(oci)
        index = json.loads((self.oci / "index.json").read_text())
        self.manifest = json.loads(self.blob(index["manifests"][0]["digest"]).read_text())
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]).read_text())

    def blob(self, digest):
        return self.oci / "blobs" / digest.replace(":", "/")


def size(oci):
    m = Image(oci).manifest
    n = sum(x["size"] for x in m["layers"]) + m["config"]["size"]
    print(f"compressed: {n} bytes")
    assert n <= LIMIT, f"expected at most {LIMIT}"


def digests(oci):
    m = Image(oci).manifest
    print(*[x["digest"] for x in m["layers"]], m["config"]["digest"], sep="\n")


def config(oci, arch):
    image = Image(oci).config
    c = image["config"]
    assert image["architecture"] == arch, image["architecture"]
    assert c["Entrypoint"] == ["hadal"], c["Entrypoint"]
    assert c["Cmd"] == ["serve"], c["Cmd"]
    assert c["Labels"]["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true", c["Labels"]
    assert not any(e.startswith("NVIDIA_REQUIRE_CUDA") for e in c["Env"]), c["Env"]
    print("configuration as expected, for", arch)


def gpu(oci):
    image = Image(oci)
    c = image.config["config"]
    nvidia = {k: v for k, _, v in (e.partition("=") for e in c["Env"]) if k.startswith("NVIDIA_")}
    expected = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility", "NVIDIA_DISABLE_REQUIRE": "1"}
    assert nvidia == expected, f"{nvidia}, expected {expected}"
    assert c["Labels"]["com.amazonaws.sagemaker.inference.cuda.verified_versions"] == "12.2", c["Labels"]
    names = []
    for layer in image.manifest["layers"]:  # a file that a later layer removes counts as well
        with tarfile.open(image.blob(layer["digest"])) as t:
            names += t.getnames()
    driver = [n for n in names if re.match(r"libcuda\.so|libcudadebugger|libnvcuvid|libnvidia-", pathlib.PurePath(n).name)]
    assert not driver, f"the driver's libraries come from the host: {driver}"
    assert "usr/lib/hadal/libhadal_cuda.so" in names, "no plugin"
    print(f"{', '.join(f'{k}={v}' for k, v in nvidia.items())}; no driver among {len(names)} files of",
          len(image.manifest["layers"]), "layers")


def skopeo(*args):
    return subprocess.run(["skopeo", "inspect", "--tls-verify=false", *args], capture_output=True, check=True).stdout


def published(repository, index, *tags):
    """Each tag is the manifest of one platform; the index lists exactly these."""
    expected = set()
    for tag, arch in (t.split("=") for t in tags):
        at = f"docker://{repository}:{tag}"
        raw = skopeo("--raw", at)
        manifest, conf = json.loads(raw), json.loads(skopeo("--config", at))
        assert "manifests" not in manifest and manifest["layers"], f"{tag} is an index: {manifest}"
        platform = conf["os"], conf["architecture"]
        assert platform == ("linux", arch), f"{tag} is for {platform}, expected linux, {arch}"
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        expected.add((digest, "linux", arch))
        print(f"{tag}: {manifest['mediaType']}, linux/{arch}, {digest}")
    at = f"docker://{repository}:{index}"
    raw = json.loads(skopeo("--raw", at))
    listed = {(m["digest"], m["platform"]["os"], m["platform"]["architecture"]) for m in raw["manifests"]}
    assert listed == expected and len(raw["manifests"]) == len(tags), f"{index} lists {listed}, expected {expected}"
    for _, arch in (t.split("=") for t in tags):
        got = json.loads(skopeo("--override-arch", arch, at))["Architecture"]
        assert got == arch, f"{index} for {arch} gives {got}"
    print(f"{index}: {raw['mediaType']} of {len(listed)}, each found by its processor")


def unpack(oci, root):
    image = Image(oci)
    for layer in image.manifest["layers"]:
        with tarfile.open(image.blob(layer["digest"])) as t:
            t.extractall(root)


def sbom(root):
    document = json.loads(pathlib.Path(root, "usr/share/sbom/hadal.spdx.json").read_text())
    names = [p["name"] + " " + p.get("versionInfo", "") for p in document["packages"]]
    assert any(n.startswith("libc6 ") for n in names) and any(n.startswith("libopenblas") for n in names), names
    documented = {p.name for p in pathlib.Path(root, "usr/share/doc").iterdir()}
    listed = {p["name"] for p in document["packages"]}
    assert documented == listed, f"licences without package or the other way round: {documented ^ listed}"
    print(f"SBOM, {len(names)} packages:", ", ".join(names))
    print("libraries:", " ".join(sorted(p.name for p in pathlib.Path(root, "usr").glob("lib*/*.so*"))))


# ---- time to start -------------------------------------------------------------------------

def ping(port):
    """Status of /ping, or None while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            return int(s.recv(64).split()[1])
    except (OSError, IndexError):
        return None


def one_start(root, port):
    env = {"PATH": os.environ["PATH"] + ":/usr/sbin:/usr/bin", "SAGEMAKER_BIND_TO_PORT": str(port)}
    begin = time.monotonic()
    p = subprocess.Popen(["chroot", "--userspec=23456:23456", root, "/usr/bin/hadal", "serve"], env=env,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listening = None
    try:
        while True:
            status, now = ping(port), time.monotonic() - begin
            if status and listening is None:
                listening = now
            if status == 200:
                return listening * 1000, now * 1000
            assert p.poll() is None, f"ended with {p.returncode}"
            assert now < 120, "no 200 from /ping in 120 s"
            time.sleep(0.002)
    finally:
        p.terminate()
        code = p.wait(40)
        assert code == 0, f"exit status {code} after SIGTERM"


def start(root, model, port, runs, most_listening="inf", most_ready="inf"):
    target = pathlib.Path(root, "opt/ml/model/model.gguf")
    shutil.copyfile(model, target)  # which also brings it into the page cache
    target.chmod(0o444)
    try:
        times = [one_start(root, int(port)) for _ in range(int(runs))]
    finally:
        target.unlink()
    for what, values, most in zip(("listening", "/ping 200"), zip(*times), (most_listening, most_ready)):
        middle = statistics.median(values)
        print(f"exec to {what}: median {middle:.0f} ms of", *[f"{v:.0f}" for v in values])
        assert middle <= float(most), f"expected at most {most} ms"


# ---- the same answers ----------------------------------------------------------------------

def plain(data):
    """Without what differs between any two answers: ids and clock."""
    data = re.sub(rb'"(id|request_id)":"[^"]*"', rb'"\1":""', data)
    return re.sub(rb'"created":\d+', b'"created":0', data).decode()


def bodies():
    for request in REQUESTS:
        for stream in (False, True):
            yield json.dumps({**request, "stream": True} if stream else request), stream


def record(port, file):
    answers = []
    for body, _ in bodies():
        done = subprocess.run(["curl", "-sfN", f"http://127.0.0.1:{port}/invocations", "-H",
                               "Content-Type: application/json", "-d", body], capture_output=True, check=True)
        answers.append(plain(done.stdout))
    pathlib.Path(file).write_text(json.dumps(answers))


def same(port, file):
    import boto3
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "contract"))
    import gateway
    recorded = json.loads(pathlib.Path(file).read_text())
    with gateway.Gateway(gateway.Container("127.0.0.1", int(port)), parts="random") as g:
        client = boto3.client("sagemaker-runtime", endpoint_url=g.url, region_name="us-east-1",
                              aws_access_key_id="x", aws_secret_access_key="x")
        for (body, stream), expected in zip(bodies(), recorded, strict=True):
            call = client.invoke_endpoint_with_response_stream if stream else client.invoke_endpoint
            answer = call(EndpointName="any", ContentType="application/json", Body=body)["Body"]
            data = b"".join(e["PayloadPart"]["Bytes"] for e in answer) if stream else answer.read()
            assert plain(data) == expected, f"{body}: locally\n{expected}\nthrough the gateway\n{plain(data)}"
    print(f"{len(recorded)} answers, {sum(len(x) for x in recorded)} characters: the same from curl and through boto3")


def main():
    what, *args = sys.argv[1:] or ["help"]
    known = {f.__name__: f for f in (size, digests, config, gpu, published, unpack, sbom, start, record, same)}
    if what not in known:
        sys.exit(__doc__)
    try:
        known[what](*args)
    except AssertionError as e:
        sys.exit(f"FAILED: {what}: {e}")


if __name__ == "__main__":
    main()
