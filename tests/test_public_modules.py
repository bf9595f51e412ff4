"""Docs send readers only to modules that docs/python.md lists as public, and all of these can be imported."""

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON_PAGE = (ROOT / "docs" / "python.md").read_text()
PUBLIC = re.findall(r"^\| `(fastneurons[\w.]*)` \|", PYTHON_PAGE, re.MULTILINE)


def names_in_text(text: str) -> set[str]:
    """`fastneurons.x.y`, in prose or code."""
    return set(re.findall(r"(?<![\w./-])fastneurons(?:\.[A-Za-z_]\w*)+", text))


def names_in_code(code: str) -> set[str]:
    """What `import` statements name."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fastneurons":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "fastneurons"}
    return found


def problem(name: str) -> str | None:
    """Why a name may not stand in the docs; None if it may."""
    module = max((m for m in PUBLIC if f"{name}.".startswith(f"{m}.")), key=len, default=None)
    if module is None:
        return "no public module"
    found = importlib.import_module(module)
    for attribute in name.removeprefix(module).split(".")[1:]:
        if not hasattr(found, attribute):
            return f"{module} has no {attribute}"
        found = getattr(found, attribute)
    if isinstance(found, ModuleType) and found.__name__ not in PUBLIC:
        return "a module that is not public"
    return None


def test_public_modules_can_be_imported_and_say_what_they_are():
    assert "fastneurons" in PUBLIC and len(PUBLIC) > 5
    for name in PUBLIC:
        assert importlib.import_module(name).__doc__


def mentioned() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        names = names_in_text(text)
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            names |= names_in_code(code)
        found += [(page.name, name) for name in sorted(names)]
    for script in sorted((ROOT / "docs" / "examples").glob("*.py")):
        code = script.read_text()
        found += [(script.name, name) for name in sorted(names_in_text(code) | names_in_code(code))]
    return found


@pytest.mark.parametrize(("page", "name"), mentioned())
def test_docs_mention_public_names_alone(page, name):
    assert problem(name) is None, f"{page}: {name}: {problem(name)}"


@pytest.mark.parametrize(
    "name",
    [
        "fastneurons.engine.session",
        "fastneurons.analysis.stores",
        "fastneurons.report.tables",
        "fastneurons.walk",
    ],
)
def test_other_names_are_noticed(name):
    assert problem(name) is not None
