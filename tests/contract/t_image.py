"""The images: docker/test-image.sh builds them, looks inside, serves from them and publishes them.

That takes minutes, root and tools for containers, so it runs only where HD_TEST_IMAGE names a folder
for images (kept between runs, so that a second run builds little).
"""
import os
import subprocess

import kit
from kit import test


def checked(*args):
    """What docker/test-image.sh prints."""
    folder = os.environ.get("HD_TEST_IMAGE")
    if not folder:
        raise kit.Skip("HD_TEST_IMAGE names no folder; docker/test-image.sh builds and looks into the image")
    os.makedirs(folder, exist_ok=True)
    p = subprocess.run([kit.ROOT / "docker" / "test-image.sh", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, env={**os.environ, "HD_IMAGE_WORK": os.path.abspath(folder)})
    if p.returncode == 77:
        raise kit.Skip(p.stdout.strip().splitlines()[-1].removeprefix("skipped: "))
    assert p.returncode == 0, p.stdout[-3000:]
    return p.stdout


def show(printed, *beginnings):
    for line in printed.splitlines():
        if line.startswith(beginnings):
            print("         " + line, flush=True)


@test(own=True)
def SM_1_6_7_45_48_59_the_image(_):
    printed = checked()
    assert "configuration as expected" in printed and "stopped by SIGTERM with status 0" in printed, printed
    show(printed, "compressed:")


@test(own=True)
def SM_48_50_51_52_55_the_image_with_the_cuda_plugin(_):
    printed = checked("--target", "cuda")
    assert "no driver among" in printed and "stopped by SIGTERM with status 0" in printed, printed
    show(printed, "compressed:", "NVIDIA_")


@test(own=True)
def SM_49_a_tag_for_each_platform_beside_the_index(_):
    printed = checked("--publish")
    assert "each found by its processor" in printed, printed
    show(printed, "cpu: ", "cpu-arm64: ", "cpu-all: ")
