"""Set up the process around vLLM: environment variables that it reads when it is imported or started."""

import ctypes
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4

# oneDNN compiles a matrix product for each number of rows that it meets, and keeps the last 1,024: 270 kB each on a
# CPU with AVX2, so that memory grew by 200 MB and more over a long run. vLLM keeps 32 for each weight besides, and
# layers of one shape share theirs as long as oneDNN has them when the next layer asks. Compiling one takes 0.3 ms.
_PRODUCTS_KEPT = 64


def allowed_cores() -> list[int]:
    """One logical CPU for each physical core that this process may run on.

    Two threads of one core share its vector units: matrix products gain nothing from the second.
    """
    cores: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        cores.setdefault(_core_of(cpu), cpu)
    return sorted(cores.values())


def threads_of_core(cpu: int) -> list[int]:
    """The logical CPUs of the physical core that has this one, as far as this process may run on them."""
    core = _core_of(cpu)
    return [other for other in sorted(os.sched_getaffinity(0)) if _core_of(other) == core]


def _core_of(cpu: int) -> str:
    """A name for the physical core that has a logical CPU."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def thread_binding(cores: list[int], num_workers: int) -> str:
    """A value of `VLLM_CPU_OMP_THREADS_BIND` that divides all cores among the workers.

    vLLM's own choice keeps one core a worker for its scheduler, which costs half the rate on two
    cores; and it gives a worker a whole NUMA node or refuses. With fewer cores than workers, each
    still gets one alone: several threads of several workers would wait for each other, spinning.
    """
    if len(cores) < num_workers:
        return "|".join(str(cores[worker % len(cores)]) for worker in range(num_workers))
    share = len(cores) // num_workers
    return "|".join(",".join(map(str, cores[i * share : (i + 1) * share])) for i in range(num_workers))


# vLLM defaults that the session relies on.
_SET_BACK = {
    # vLLM 0.32's older executor for Ray runs steps past the worker, so that nothing would be read.
    "VLLM_USE_RAY_V2_EXECUTOR_BACKEND": "1",
    # Memory that an earlier engine measured is remembered by the key of compiled graphs, which buffers are not part of.
    "VLLM_ENABLE_STARTUP_PLAN": "0",
}


@contextmanager
def engine_environment(num_workers: int, verbose: bool) -> Iterator[None]:
    """Set the variables that vLLM reads while an engine is made; keep those that users have set.

    A single worker runs in this process: it starts in half the time, and its arrays need no copy.
    Several run in processes of their own.
    """
    wanted = {
        "VLLM_NO_USAGE_STATS": "1",
        # Warnings go to the log; in a notebook, which shows what Python writes, they would be in the way.
        "VLLM_LOGGING_LEVEL": "INFO" if verbose else "WARNING" if sys.stdout is sys.__stdout__ else "ERROR",
        "TOKENIZERS_PARALLELISM": "true",
        "VLLM_CPU_OMP_THREADS_BIND": thread_binding(allowed_cores(), num_workers),
    }
    wanted = {name: value for name, value in wanted.items() if name not in os.environ}
    wanted |= cache_places()
    # Stays: vLLM and PyTorch have a oneDNN each, which reads it with its first product, and that may come later.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PRODUCTS_KEPT))
    # Not a user's to choose: the session relies on it.
    wanted["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if num_workers == 1 else "1"
    # Set back where a user has set them; a release that does not know one would warn of it.
    wanted |= {name: value for name, value in _SET_BACK.items() if name in os.environ}
    # vLLM starts children with `python -m`, which would run a vllm.py or json.py of the working folder.
    wanted["PYTHONSAFEPATH"] = "1"
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# Caches of libraries for compiled or downloaded files: the variable, and the folder if it is not set.
_CACHES = {
    "VLLM_CACHE_ROOT": "vllm",
    "VLLM_CONFIG_ROOT": "vllm-config",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "HF_HOME": "huggingface",
    "MPLCONFIGDIR": "matplotlib",
}
_private_folder: tempfile.TemporaryDirectory[str] | None = None


def cache_places() -> dict[str, str]:
    """Variables that move caches to a private folder which ends with the process; none where HOME can be written."""
    if os.environ.get("XDG_CACHE_HOME") or _is_writable(Path("~").expanduser()):
        return {}
    global _private_folder
    if _private_folder is None:
        _private_folder = tempfile.TemporaryDirectory(prefix="fastneurons-cache-", ignore_cleanup_errors=True)
    folder = Path(_private_folder.name)
    return {name: str(folder / place) for name, place in _CACHES.items() if name not in os.environ}


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be made there. Tried out, since root may write where the mode forbids it."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fastneurons-"):
            return True
    except OSError:
        return False


def cpu_computes_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware.

    x86 without AVX512-BF16 or AMX emulates them: 15 against 97 GFLOP/s in float32 were measured on
    two Zen 3 cores (4096 x 576 by 576 x 3072), so float32 is the better choice there.
    """
    import platform

    import torch

    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def keep_freed_memory() -> None:
    """Have the C library keep freed memory, so that the next layer's arrays use pages that are already mapped.

    By itself glibc maps each large array anew, page by page, zeroed by the kernel: 600,000 page faults and 3 s of the
    first 10 s of a small model, and in every step where arrays exceed 32 MiB. Where it is not glibc, nothing happens.
    """
    c_library = _c_library()
    if c_library is not None:
        c_library.mallopt(_M_MMAP_MAX, 0)
        c_library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        c_library.mallopt(_M_TOP_PAD, 64 << 20)


def give_freed_memory_back() -> None:
    """Return to the system what `keep_freed_memory` kept."""
    c_library = _c_library()
    if c_library is not None:
        c_library.malloc_trim(0)


def _c_library() -> ctypes.CDLL | None:
    """glibc, where this process runs on it."""
    c_library = ctypes.CDLL(None)
    return c_library if hasattr(c_library, "gnu_get_libc_version") else None


def vllm_version() -> str | None:
    """Name and version of the installed engine; None if there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
