"""Importing fastneurons, and asking for help, loads neither torch nor vLLM; imports run one way."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastneurons

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "vllm", "triton", "transformers")


@pytest.mark.parametrize(
    "statement",
    [
        "import fastneurons",
        "import fastneurons.store",
        "import fastneurons.analysis",
        "import fastneurons.data",
        "import fastneurons.scores",
        "from fastneurons.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from fastneurons.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass",
    ],
    ids=lambda s: s.splitlines()[-1][:30],
)
def test_no_heavy_import(statement):
    code = f"{statement}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_module_has_the_name_of_a_public_function():
    # Importing a module puts it into its package: `fastneurons.run` would then be no function any more.
    modules = {path.stem for path in (ROOT / "fastneurons").iterdir()}
    assert not modules & set(fastneurons.__all__)


def test_every_package_is_installed():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        str(f.parent.relative_to(ROOT)).replace("/", ".") for f in (ROOT / "fastneurons").rglob("__init__.py")
    }
    assert set(named) == there | {"fastneurons_kernels"}


# Each package, and what of ours it may import; DESIGN: one direction, no cycles.
ALLOWED = {
    "errors.py": set(),
    "config.py": {"errors"},
    "languages.py": {"errors"},
    "model_name.py": set(),
    "progress.py": set(),
    "visible.py": set(),
    "data": {"data", "errors", "languages", "visible"},
    "scores": {"scores", "errors", "languages"},
    "engine": {"engine", "data", "config", "errors", "languages", "model_name"},
    "store": {"store", "errors"},
    "analysis": {"analysis", "store", "errors"},
    "report": {"report", "analysis", "store", "errors", "languages", "model_name"},
}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package):
    path = ROOT / "fastneurons" / package
    for file in [path] if path.suffix else path.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastneurons."):
                imported = (node.module or "").split(".")[1]
                assert imported in ALLOWED[package], f"{file.name} imports fastneurons.{imported}"


def test_kernels_know_no_vllm_and_nothing_of_ours():
    for file in (ROOT / "kernels").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                assert module.split(".")[0] not in ("vllm", "fastneurons", "transformers"), (
                    f"{file.name}: {module}"
                )
