"""The image: docker/test-image.sh builds it, looks inside and serves from it.

That takes minutes, root and tools for containers, so it runs only where HD_TEST_IMAGE names a folder
for images (kept between runs, so that a second run builds little).
"""
import os
import subprocess

import kit
from kit import test


@test(own=True)
def SM_1_6_7_45_48_59_the_image(_):
    folder = os.environ.get("HD_TEST_IMAGE")
    if not folder:
        raise kit.Skip("HD_TEST_IMAGE names no folder; docker/test-image.sh builds and looks into the image")
    os.makedirs(folder, exist_ok=True)
    p = subprocess.run([kit.ROOT / "docker" / "test-image.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       env={**os.environ, "HD_IMAGE_WORK": os.path.abspath(folder)})
    if p.returncode == 77:
        raise kit.Skip(p.stdout.strip().splitlines()[-1])
    assert p.returncode == 0, p.stdout[-3000:]
    assert "configuration as expected" in p.stdout and "stopped by SIGTERM with status 0" in p.stdout, p.stdout
    print("         " + next(x for x in p.stdout.splitlines() if x.startswith("compressed:")), flush=True)
