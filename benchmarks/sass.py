"""How many instructions a warp of a compiled kernel runs, read off its machine code; used by `roofline.py`.

A kernel is either straight, and its warps may leave it early where their row is not read; or one loop over the
rows of a program, in which what was found is handed on, by atomics, when the target changes. Within these parts
every branch is counted as taken: the counts are upper bounds.
"""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;")
_LABEL = re.compile(r"^(\.L_[\w.]+):")
_BRANCH = re.compile(r"\bBRA\b.*?(\.L_[\w.]+)")


@dataclass(frozen=True)
class Part:
    """Instructions of a warp, and how many of them the special function units take."""

    instructions: int
    special: int

    @classmethod
    def of(cls, lines: list[str]) -> "Part":
        """Count the instructions in these lines."""
        return cls(len(lines), sum("MUFU" in line for line in lines))


@dataclass(frozen=True)
class Code:
    """A warp's instructions.

    Args:
        once: Of a straight kernel up to where a row that is not read leaves it; else all outside the loop.
        read: What a row that is read runs besides.
        row: A turn of the loop without `handed_on`.
        handed_on: What a turn runs besides when the target changes.
    """

    once: Part
    read: Part
    row: Part
    handed_on: Part


def code_of(cubin: bytes, nvdisasm: str) -> Code:
    """Disassemble a kernel and count.

    Args:
        cubin: The kernel.
        nvdisasm: The path of NVIDIA's disassembler, which Triton brings along.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        done = subprocess.run([nvdisasm, "-c", str(path)], check=True, capture_output=True, text=True)
    return parse(done.stdout)


def parse(listing: str) -> Code:
    """Count in a listing of nvdisasm.

    Raises:
        ValueError: it has several loops, or no end: not a kernel of the two kinds.
    """
    lines: list[str] = []
    labels: dict[str, int] = {}
    for line in listing.splitlines():
        if found := _LABEL.match(line):
            labels[found[1]] = len(lines)
        elif found := _INSTRUCTION.match(line):
            lines.append(found[2])
    # Behind the last EXIT stand a branch to itself and padding.
    last = max((k for k, line in enumerate(lines) if re.search(r"\bEXIT\b", line)), default=-1)
    branches = [
        (k, labels[found[1]])
        for k, line in enumerate(lines)
        if (found := _BRANCH.search(line)) and labels.get(found[1], k) != k
    ]
    loops = [(to, at) for at, to in branches if to < at]
    if last < 0 or len(loops) > 1:
        raise ValueError(f"{len(loops)} loops and {'an' if last >= 0 else 'no'} end: another kind of kernel")
    none = Part(0, 0)
    if not loops:
        end = last + 1
        leaves = [k for k in range(end) if "EXIT" in lines[k]]
        stores = [k for k in range(end) if "STG" in lines[k]]
        # The first way out behind the product's store is that of rows which are not read.
        first = next((k + 1 for k in leaves if stores and k > stores[0]), end)
        return Code(Part.of(lines[:first]), Part.of(lines[first:end]), none, none)
    [(start, end)] = loops
    atomics = [k for k in range(start, end + 1) if re.search(r"\b(?:RED|REDG|ATOM|ATOMG)\.", lines[k])]
    around = [(at + 1, to) for at, to in branches if start <= at < to <= end and _holds(at, to, atomics)]
    # The widest jump over all atomics goes around what is handed on.
    skip = max(around, key=lambda span: span[1] - span[0], default=(start, start))
    inside = lines[start : skip[0]] + lines[skip[1] : end + 1]
    return Code(
        Part.of(lines[:start] + lines[end + 1 : last + 1]),
        none,
        Part.of(inside),
        Part.of(lines[skip[0] : skip[1]]),
    )


def _holds(start: int, end: int, places: list[int]) -> bool:
    return bool(places) and start < places[0] and places[-1] < end
