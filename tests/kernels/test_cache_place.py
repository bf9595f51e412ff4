"""numba's machine code for an account that can write neither beside the package nor in a home."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
import numba, numpy, torch, triton, numba.core.caching, tempfile, uuid, shutil, atexit
import triton.language, torch.library, torch._inductor, sysconfig
@numba.njit(nogil=True)
def double(x):
    return 2 * x
assert double(1) == 2  # whatever numba imports when it compiles, while this process may still read it
os.environ["HOME"] = "/nonexistent"
os.environ.pop("NUMBA_CACHE_DIR", None)
os.environ.pop("XDG_CACHE_HOME", None)
if {give_up_root}:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
from fastneurons_kernels import activation_cpu  # its functions are given a cache while it is imported
print(numba.config.CACHE_DIR)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root's rights")
def test_without_a_place_of_its_own_it_is_a_folder_that_ends_with_the_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(give_up_root=True))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    folder = done.stdout.strip()
    assert "fastneurons-numba-" in folder
    assert not os.path.exists(folder)  # noqa: PTH110 - a name, which may be empty


def test_where_there_is_a_place_it_is_used(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(give_up_root=False))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fastneurons-numba-" not in done.stdout
