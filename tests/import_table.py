"""Which part of fastneurons may import which: the table, the imports as they are, and the picture for the docs.

python -m tests.import_table            # print the picture
python -m tests.import_table --write    # write it into docs/architecture.md
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- imports: begin -->\n", "<!-- imports: end -->\n"

# Single modules that packages of any level use; each with the leaves that it may import itself.
LEAVES: dict[str, set[str]] = {
    "arrays": set(),
    "config": {"engine_arguments", "errors", "shards"},
    "console": {"visible"},
    "engine_arguments": {"errors"},
    "errors": set(),
    "language_table": set(),
    "language_tags": set(),
    "language_families": {"languages"},
    "languages": {"errors", "language_table", "language_tags"},
    "model_name": set(),
    "neuron_sets": {"errors"},
    "progress": {"console", "visible"},
    "shards": {"errors"},
    "streams": {"errors", "visible"},
    "visible": set(),
}

# Packages, and modules that join several; each with what it may import apart from itself and the leaves named
# beside it. A part that does not exist yet is one to come.
PARTS: dict[str, tuple[set[str], set[str]]] = {
    # part: (other parts, leaves)
    "__main__": ({"cli"}, set()),
    "cli": (
        {"analysis", "api", "bench", "data", "engine", "exchange", "executors", "experiments", "harness", "machine",
         "planning", "report", "scores", "store", "training"},
        set(LEAVES),
    ),
    "api": ({"data", "executors", "experiments", "report", "store", "training"}, set(LEAVES)),
    "bench": ({"data", "engine", "experiments", "machine", "report", "store"}, set(LEAVES)),
    "executors": ({"data", "engine", "experiments", "store"}, set(LEAVES) - {"console", "streams"}),
    "experiments": ({"data", "engine", "scores", "store"}, set(LEAVES) - {"console", "streams"}),
    "harness": (
        {"data", "engine", "experiments", "report"},
        {"arrays", "config", "console", "errors", "neuron_sets", "streams", "visible"},
    ),
    "machine": ({"engine"}, {"errors", "visible"}),
    "training": ({"data"}, {"config", "console", "errors", "languages", "neuron_sets", "progress", "visible"}),
    "exchange": ({"store"}, {"errors", "languages", "neuron_sets"}),
    "planning": ({"engine", "store"}, {"config", "errors"}),
    "report": ({"analysis", "scores", "store"}, {"arrays", "console", "errors", "languages", "model_name", "visible"}),
    "analysis": ({"store"}, {"arrays", "errors", "language_families", "languages", "neuron_sets", "visible"}),
    "engine": (
        {"data", "kernels"},
        {"arrays", "config", "errors", "languages", "model_name", "neuron_sets", "shards", "visible"},
    ),
    "data": (set(), {"errors", "languages", "language_table", "language_tags", "visible"}),
    "scores": (set(), {"errors", "languages", "visible"}),
    "store": (set(), {"arrays", "errors", "shards", "visible"}),
    "kernels": (set(), set()),
}  # fmt: skip

# Everything that may take the version, `fastneurons.__version__`, from the package itself.
VERSION = {"analysis", "api", "cli", "exchange", "experiments", "machine", "report"}

# Libraries that only some may import, inside functions too.
LIBRARIES: dict[str, set[str]] = {
    "vllm": {"engine", "bench", "harness", "machine"},
    "torch": {"engine", "bench", "exchange", "kernels", "training"},
    "triton": {"kernels"},
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "transformers": {"bench", "data", "engine", "training"},
    "peft": {"training"},
    "accelerate": {"training"},
    "ray": {"executors"},
    "lm_eval": {"harness"},
    "zarr": {"store"},
    "scipy": {"analysis", "harness", "report"},
    "threadpoolctl": {"analysis"},
    "xarray": {"analysis", "cli", "report", "store"},
    "matplotlib": {"bench", "report"},
    "rich": {"bench", "cli", "console", "progress", "report", "training"},
    "typer": {"cli"},
}

_MODULE = re.compile(r"fastneurons(_kernels)?\.[a-z_]\w*(\.[\w.:]*)?")


def allowed(part: str) -> set[str]:
    """The parts and leaves that a part may import."""
    if part in LEAVES:
        return LEAVES[part] | {part}
    parts, leaves = PARTS[part]
    return parts | leaves | {part}


def parts_there(root: Path = ROOT) -> set[str]:
    """The parts and leaves that exist: packages and modules of fastneurons, but for its `__init__.py`."""
    found = {path.stem for path in (root / "fastneurons").glob("*.py")} - {"__init__"}
    found |= {path.parent.name for path in (root / "fastneurons").glob("*/__init__.py")}
    return found | {"kernels"}


def files_of(part: str) -> list[Path]:
    """The source files of a part."""
    folder = ROOT / "kernels" if part == "kernels" else ROOT / "fastneurons" / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def imported_modules(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Dotted names of everything that a module's source imports, anywhere in it.

    `import a.b`, `from a import b` (as a.b), relative imports, names used as `fastneurons.x.y` after
    `import fastneurons`, and modules named by a string, such as for `import_module`.

    Args:
        source: Its text.
        module: Its dotted name.
        is_package: Whether it is a package's `__init__.py`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[
                    : None if is_package and node.level == 1 else is_package - node.level
                ]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield from [f"fastneurons.{node.attr}"] if node.value.id == "fastneurons" else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from [node.value] if _MODULE.fullmatch(node.value) else []


def imports_of(part: str) -> dict[str, set[str]]:
    """The parts and leaves, and the libraries of `LIBRARIES`, that a part imports: each with the files that do.

    The package itself stands as "fastneurons", of which a part may take `__version__` alone.
    """
    found: dict[str, set[str]] = {}
    for file in files_of(part):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        is_package = file.name == "__init__.py"
        name = name.removesuffix(".__init__") if is_package else name
        for module in imported_modules(file.read_text(), name, is_package):
            target = target_of(module)
            if target is not None:
                found.setdefault(target, set()).add(str(file.relative_to(ROOT)))
    return found


def target_of(module: str) -> str | None:
    """The part, leaf or library that a dotted name is of; None for others."""
    first, _, rest = module.partition(".")
    second = rest.partition(".")[0]
    if first == "fastneurons_kernels":
        return "kernels"
    if first == "fastneurons" and second not in ("", "__version__"):
        return second if second in PARTS or second in LEAVES or second in parts_there() else "fastneurons"
    if first == "fastneurons":
        return "version" if second else None  # `import fastneurons` alone says nothing: its attributes do
    return first if first in LIBRARIES else None


def picture() -> str:
    """The table as a picture: Mermaid's arrows, and rows with the libraries of each part."""
    there = parts_there()
    named = [part for part in PARTS if part != "__main__"]
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"    {part}[{part}/]" if _is_package(part) else f"    {part}[{part}.py]" for part in named]
    lines += [f"    {part} --> {other}" for part in named for other in sorted(_direct(part))]
    coming = [part for part in named if part not in there]
    if coming:
        lines += ["    classDef coming stroke-dasharray: 4 3", f"    class {','.join(coming)} coming"]
    lines += ["```", "", "| part | may import | libraries |", "|---|---|---|"]
    for part in named:
        others = ", ".join(f"`{other}`" for other in sorted(PARTS[part][0])) or "-"
        libraries = ", ".join(name for name, users in LIBRARIES.items() if part in users) or "-"
        lines.append(f"| `{part}`{'' if part in there else ' (to come)'} | {others} | {libraries} |")
    return "\n".join(lines) + "\n"


def _is_package(part: str) -> bool:
    return part == "kernels" or not (ROOT / "fastneurons" / f"{part}.py").exists()


def _direct(part: str) -> set[str]:
    """What a part may import, less what it reaches through another one: the picture stays readable."""
    others = PARTS[part][0]
    return {o for o in others if not any(o in reached(via) for via in others if via != o)}


def reached(part: str) -> set[str]:
    """All parts that a part may import, directly or through others."""
    found: set[str] = set()
    waiting = list(PARTS[part][0])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += PARTS[other][0]
    return found


def page_with(text: str) -> str:
    """The page of the docs with the picture of today in it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{picture()}{END}{after}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(PAGE.read_text()))
    else:
        print(picture(), end="")
