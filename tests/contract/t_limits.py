"""A slice of a machine: control groups with little memory and processor time, as serverless
endpoints and inference components give them. They need root and groups that can be made."""
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile

import kit
from kit import Server, test
from t_system import as_root, limited, namespaces

ROOT = pathlib.Path("/sys/fs/cgroup")
MIB = 1 << 20


class Group:
    """A control group of version 1 or 2 with limits; what is started inside with .limits stays."""

    def __init__(self, memory, cpus=None):
        as_root()
        if kit.sanitized():
            raise kit.Skip("sanitizers take memory of their own")
        own = dict(line.split(":", 2)[1:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
        name = f"hadal-test-{os.getpid()}-{id(self)}"
        self.folders = []
        try:
            if (ROOT / "memory").is_dir():
                self.memory = self.make(ROOT / "memory" / own["memory"].strip("/") / name)
                self.write(self.memory, "memory.limit_in_bytes", memory)
                self.peak_file = "memory.max_usage_in_bytes"
                if cpus:
                    cpu = next(k for k in own if "cpu" in k.split(","))
                    group = self.make(ROOT / cpu / own[cpu].strip("/") / name)
                    self.write(group, "cpu.cfs_quota_us", int(cpus * 100_000))
            else:
                self.memory = self.make(ROOT / own[""].strip("/") / name)
                self.write(self.memory, "memory.max", memory)
                self.peak_file = "memory.peak"
                if cpus:
                    self.write(self.memory, "cpu.max", f"{int(cpus * 100_000)} 100000")
        except (OSError, KeyError, StopIteration) as e:
            self.__exit__()
            raise kit.Skip(f"control groups cannot be made here: {e}") from e

    def make(self, folder):
        folder.mkdir()
        self.folders.append(folder)
        return folder

    @staticmethod
    def write(folder, name, value):
        (folder / name).write_text(str(value))

    def enter(self):
        for f in self.folders:
            self.write(f, "cgroup.procs", os.getpid())

    def peak(self):
        return int((self.memory / self.peak_file).read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for f in self.folders:
            for pid in (f / "cgroup.procs").read_text().split():
                os.kill(int(pid), 9)
            for _ in range(50):
                try:
                    f.rmdir()
                    break
                except OSError:
                    kit.time.sleep(0.1)


def planned(s):
    return sum(v for k, v in s.metrics().items() if k.startswith("hadal_memory_bytes"))


def generate(s, n, tokens=4):
    answers = kit.parallel(n, lambda i: s.post({"prompt": f"Number {i}:", "max_tokens": tokens, "ignore_eos": True}))
    assert {a.status for a in answers} <= {200, 429}, [a.status for a in answers]
    return [a.status for a in answers].count(200)


@test(own=True)
def SM_10_control_groups_set_threads_and_memory(_):
    free = len(os.sched_getaffinity(0))
    with Server() as s:
        assert s.metric("hadal_threads") <= free
        before = planned(s)
    with Group(600 * MIB, 1) as g, limited(preexec_fn=g.enter) as s:
        assert s.metric("hadal_threads") == 1
        assert planned(s) <= 600 * MIB and planned(s) <= before
        assert generate(s, 16) == 16 and g.peak() <= 600 * MIB
    if free > 1:
        with Group(1024 * MIB, 2) as g, limited(preexec_fn=g.enter) as s:
            assert s.metric("hadal_threads") == 2


@test(own=True)
def SM_142_the_smallest_serverless_endpoint(_):
    """1 GB of memory, one and a half processors, a read-only root, 512 MB of /tmp, 4 MB bodies."""
    script = ("#!/bin/sh\nmount -o remount,bind,ro / && mount -t tmpfs -o size=512m tmpfs /tmp || exit 77\n"
              f'exec {Server.binary} "$@"\n')
    namespaces("--mount")
    with tempfile.TemporaryDirectory() as folder, Group(1024 * MIB, 1.5) as g:
        run = pathlib.Path(folder, "run")
        run.write_text("#!/bin/sh\nexec unshare --mount sh " + folder + '/in "$@"\n')
        pathlib.Path(folder, "in").write_text(script)
        run.chmod(run.stat().st_mode | stat.S_IXUSR)
        model = kit.MODEL
        ours, Server.binary = Server.binary, str(run)
        try:
            with limited(preexec_fn=g.enter, model=model) as s:
                assert kit.time.monotonic() - s.started < 180
                big = {"inputs": "word " * 800_000, "parameters": {"truncate": 100, "max_new_tokens": 2}}
                assert s.post(big).status == 200
                assert generate(s, 200, 2) >= 16
                events = s.events({"prompt": "a", "max_tokens": 3, "stream": True})
                assert events[-1] == "[DONE]"
                assert g.peak() <= 1024 * MIB and s.process.poll() is None
                print(f"         planned {planned(s) / MIB:.0f} MiB, peak of the group "
                      f"{g.peak() / MIB:.0f} of 1024 MiB", flush=True)
                s.signal()
                assert s.wait_exit() == 0
        finally:
            Server.binary = ours


@test(own=True)
def SM_145_too_small_a_control_group_is_an_error(_):
    size = os.path.getsize(kit.MODEL) if os.path.isfile(kit.MODEL) else 0
    if not size:
        raise kit.Skip("the model is a folder")
    with Group(size * 8 // 10) as g:
        p = subprocess.run([Server.binary, "serve", "--port", "0", "--model", kit.MODEL], capture_output=True, text=True,
                           timeout=60 * kit.SLOW, env=kit.clean_env({}), preexec_fn=g.enter)
    last = p.stderr.splitlines()[-1]
    assert p.returncode > 0 and p.returncode != 137 and "level=error" in last and "memory" in last, (p.returncode, last)


@test(own=True)
def SM_151_components_share_a_host(_):
    """Two copies with half of the memory each, one with one processor, one with the least there is."""
    cpus = sorted(os.sched_getaffinity(0))
    with Group(700 * MIB) as one, Group(700 * MIB, 0.25) as two:
        def first():
            one.enter()
            os.sched_setaffinity(0, cpus[:1])
        with limited("--deterministic", preexec_fn=first) as a, limited("--deterministic", preexec_fn=two.enter) as b:
            assert a.metric("hadal_threads") == b.metric("hadal_threads") == 1
            body = {"prompt": "One two three", "max_tokens": 8, "temperature": 0}
            answers = kit.parallel(6, lambda i: (a, b)[i % 2].post(body).json["choices"][0]["text"])
            assert len(set(answers)) == 1, answers
            for s, g in ((a, one), (b, two)):
                assert planned(s) <= 700 * MIB and g.peak() <= 700 * MIB and s.process.poll() is None
            a.process.kill()  # what happens to one is nothing to the other
            a.process.wait()
            assert b.post(body).json["choices"][0]["text"] == answers[0]


@test(own=True)
def SM_57_old_processors(_):
    """The binary on processors that qemu imitates: SSE4.2 only, AVX2, and one that says AVX-512 but
    has, here, no more than AVX2. An instruction that is not there would end it; what it answers is
    what it answers on this machine when told to use no more than that."""
    qemu = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if not qemu or os.uname().machine != "x86_64" or kit.sanitized():
        raise kit.Skip("needs qemu-user, on x86-64, and a build without sanitizers")
    body = {"prompt": "One, two,", "max_tokens": 2, "temperature": 0, "logprobs": 1}
    want = {}
    for level in ("ref", "avx2"):
        with Server("--deterministic", "--cpu", level) as s:
            want[level] = s.post(body).json["choices"][0]
    ours = Server.binary
    try:
        for cpu, level in (("Nehalem", "ref"), ("Haswell", "avx2"), ("Skylake-Server", "avx2")):
            with tempfile.TemporaryDirectory() as folder:
                run = pathlib.Path(folder, "run")
                run.write_text(f'#!/bin/sh\nexec {qemu} -cpu {cpu} {ours} "$@"\n')
                run.chmod(0o755)
                Server.binary = str(run)
                with Server("--deterministic", "--max-context", "256", wait=False) as s:
                    s.wait_ready(300)
                    got = s.post(body).json["choices"][0]
                    assert got["text"] == want[level]["text"], (cpu, got, want[level])
                    pairs = zip(got["logprobs"]["token_logprobs"], want[level]["logprobs"]["token_logprobs"])
                    assert all(abs(a - b) < 1e-4 for a, b in pairs), (cpu, got, want[level])
                    s.signal()
                    assert s.wait_exit(60) == 0, cpu
    finally:
        Server.binary = ours
