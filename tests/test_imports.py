"""Importing fastneurons, and asking for help, loads neither torch nor vLLM; imports run one way."""

import subprocess
import sys
import tomllib

import pytest

import fastneurons
from tests.import_table import (
    LEAVES,
    LIBRARIES,
    PAGE,
    PARTS,
    ROOT,
    VERSION,
    allowed,
    imported_modules,
    imports_of,
    page_with,
    parts_there,
    reached,
    target_of,
)

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


@pytest.mark.parametrize("part", sorted(parts_there()))
def test_imports_run_one_way(part):
    assert part in PARTS or part in LEAVES, f"{part} has no entry in tests/import_table.py"
    for target, files in imports_of(part).items():
        if target == "version":
            assert part in VERSION, f"{files} take fastneurons.__version__"
        elif target in LIBRARIES:
            assert part in LIBRARIES[target], f"{files} import {target}"
        else:
            assert target in allowed(part), f"{files} import fastneurons.{target}"


def test_the_table_has_no_cycles_and_no_unknown_parts():
    known = PARTS.keys() | LEAVES.keys()
    for part in known:
        assert allowed(part) <= known, part
    for part in PARTS:
        assert part not in reached(part), f"{part} imports itself by way of others"
    for leaf, others in LEAVES.items():
        assert not any(leaf in LEAVES[other] for other in others), leaf
    for name, users in LIBRARIES.items():
        assert users <= known, name
    assert known >= VERSION


def test_the_table_keeps_to_the_design():
    # The directions that the design has; `kernels` knows nothing of ours, `analysis` never torch.
    assert allowed("kernels") == {"kernels"}
    assert [part for part in PARTS if "kernels" in PARTS[part][0]] == ["engine"]
    assert reached("report") == {"analysis", "scores", "store"}
    assert reached("analysis") == {"store"}
    for part in ("report", "analysis", "store", "data", "scores"):
        assert "engine" not in reached(part)
        assert part not in LIBRARIES["vllm"] | LIBRARIES["torch"]
    assert not {"engine", "experiments"} & reached("training")
    assert not any(part in PARTS[other][0] for part in ("cli", "api", "bench") for other in PARTS
                   if other not in ("__main__", "cli"))  # fmt: skip


def test_kernels_know_no_vllm_and_nothing_of_ours():
    for file in (ROOT / "kernels").glob("*.py"):
        for module in imported_modules(file.read_text(), f"kernels.{file.stem}"):
            assert module.split(".")[0] not in ("vllm", "fastneurons", "transformers"), (
                f"{file.name}: {module}"
            )


def test_the_packages_door_loads_only_what_it_hands_on():
    # `fastneurons/__init__.py` gives names of other parts when they are asked for.
    source = (ROOT / "fastneurons" / "__init__.py").read_text()
    targets = {target_of(module) for module in imported_modules(source, "fastneurons", is_package=True)}
    assert targets - {None} == {"api", "data", "errors"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import fastneurons.engine", {"engine"}),
        ("import fastneurons.engine.session as s", {"engine"}),
        ("from fastneurons import engine", {"engine"}),
        ("from fastneurons import engine as e, data", {"engine", "data"}),
        ("from fastneurons.engine import session", {"engine"}),
        ("import fastneurons\nfastneurons.engine.session.Session()", {"engine"}),
        ("import fastneurons\nfastneurons.__version__", {"version"}),
        ("from fastneurons import __version__", {"version"}),
        ("from fastneurons import run", {"fastneurons"}),
        ("import fastneurons\nfastneurons.run()", {"fastneurons"}),
        ("def f():\n    import vllm.config", {"vllm"}),
        ("def f():\n    from torch import nn", {"torch"}),
        ("if TYPE_CHECKING:\n    from fastneurons.store import Store", {"store"}),
        ("from fastneurons_kernels import codes", {"kernels"}),
        ("from . import bootstrap", {"analysis"}),
        ("from .. import engine", {"engine"}),
        ("from ..engine.session import Session", {"engine"}),
        ("import_module('fastneurons.bench.engine')", {"bench"}),
        ("import_module(f'fastneurons.bench.{name}')", {"bench"}),
        ("worker = 'fastneurons.engine.cpu_worker.Worker'", {"engine"}),
        ("import json, numpy", set()),
        ("'a sentence of fastneurons.engine in a docstring'", set()),
    ],
)
def test_every_way_of_importing_is_seen(source, expected):
    found = {target_of(module) for module in imported_modules(source, "fastneurons.analysis.sharing")}
    assert found - {None} == expected


def test_a_packages_own_relative_imports_are_its_own():
    seen = set(imported_modules("from . import bootstrap", "fastneurons.analysis", is_package=True))
    assert seen == {"fastneurons.analysis.bootstrap"}
    seen = set(imported_modules("from .. import store", "fastneurons.analysis", is_package=True))
    assert seen == {"fastneurons.store"}


def test_the_docs_have_the_picture_of_the_table():
    page = PAGE.read_text()
    assert page == page_with(page), "run: python -m tests.import_table --write"
