"""Is anything lost when a run is killed? Processes killed at random moments, start-up included.

    python benchmarks/kills.py [--kills 10] [--seed 0] [--examples 4000]

`fastneurons run --resume` on a random model of three small layers, each process killed with SIGKILL: every other one at
a random moment of the time that an undisturbed run takes, the rest at one after its first window. After each kill,
everything that the store says is committed is compared with the undisturbed store. If a store was complete by then, the
next process begins another; the last process is left alone, and its arrays must be equal.
"""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

_WINDOW = 64
# Sums over examples change as a run goes on: they are compared at its end.
_SUMS = ("occupancy",)


def main(
    kills: Annotated[int, typer.Option(min=1, help="Processes that are killed.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    examples: Annotated[int, typer.Option(min=1, help="Examples of the run.")] = 4000,
) -> None:
    """Run, kill, compare, print; exit status 1 if anything differs."""
    from random_model import random_model

    from fastneurons.bench.child import in_a_process

    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        model, data = Path(folder, "model"), Path(folder, "data.jsonl")
        in_a_process(random_model, model)
        data.write_text("".join(_line(rng, index) for index in range(examples)))
        whole, out = Path(folder, "whole.zarr"), Path(folder, "run.zarr")
        start, seconds = _undisturbed(_command(model, data, whole), whole)
        print(
            f"undisturbed: {examples:,} examples in {seconds:.1f} s, the first after {start:.1f} s",
            flush=True,
        )
        for kill in range(kills):
            moment = rng.uniform(start if kill % 2 else 0, seconds)
            process = subprocess.Popen(_command(model, data, out), stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=moment)
                how = "ended before "
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                how = "killed after "
            if how == "ended before " and process.returncode:
                raise SystemExit(f"a resumed run failed with exit status {process.returncode}")
            committed = _compared(out, whole)
            print(f"{kill + 1:>3}  {how} {moment:5.1f} s  {committed:>6,} committed", flush=True)
            if committed == examples:
                out = Path(folder, f"run-{kill + 1}.zarr")
        _finish(_command(model, data, out))
        if _compared(out, whole) != examples:
            raise SystemExit("examples are missing")
        print("all arrays equal")


def _line(rng: np.random.Generator, index: int) -> str:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    prompts = {code: "".join(rng.choice(letters, rng.integers(2, 13))) for code in ("en", "de")}
    return json.dumps({"id": f"e{index}", "prompts": prompts}) + "\n"


def _command(model: Path, data: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "fastneurons", "run", str(model), "--data", str(data), "--languages", "en,de",
        "--out", str(out), "--window", str(_WINDOW), "--dtype", "float32", "--max-model-len", "64", "--resume",
    ]  # fmt: skip


def _undisturbed(command: list[str], out: Path) -> tuple[float, float]:
    """Seconds until a run has written its first window, and until its end."""
    from fastneurons.errors import StoreError
    from fastneurons.store import open_store

    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    start = None
    while process.poll() is None:
        time.sleep(0.1)
        if start is None:
            with contextlib.suppress(StoreError):
                start = time.perf_counter() - began if open_store(str(out)).num_examples else None
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"the undisturbed run failed with exit status {process.returncode}")
    return start or seconds, seconds


def _finish(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)


def _compared(path: Path, whole: Path) -> int:
    """How many examples a store has committed, once they are found equal to those of the undisturbed one."""
    from fastneurons.errors import StoreError
    from fastneurons.store import open_store

    expected = open_store(str(whole))
    try:
        found = open_store(str(path))
    except StoreError:
        if path.exists() and any(path.glob("*/c*")):
            raise
        return 0  # killed before there was anything
    if not found.num_examples:
        return 0  # its arrays may not be there yet
    if set(found) != set(expected):
        raise SystemExit(f"arrays {set(found) ^ set(expected)} differ")
    for name in found:
        if name in _SUMS and not found.is_complete:
            continue
        rows = slice(None) if name in _SUMS else slice(0, found.num_examples)
        if not np.array_equal(found[name][rows], expected[name][rows]):
            raise SystemExit(f"{name} differs in {found.num_examples} committed examples")
    if not found.is_complete:
        # The sum of what is committed, from the bits.
        L = len(found.header.languages)
        bits = found.activated_bits(slice(0, found.num_examples)).sum(1)  # [E, N, I]
        masks = [bits == 0, bits == 1, (bits > 1) & (bits < L), bits == L]
        if not np.array_equal(found["occupancy"][0, 0], np.stack([mask.sum(0) for mask in masks], -1)):
            raise SystemExit(f"occupancy differs from the bits of {found.num_examples} committed examples")
    return found.num_examples


if __name__ == "__main__":
    sys.exit(typer.run(main))
