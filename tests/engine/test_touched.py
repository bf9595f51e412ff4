"""Assumptions about vLLM hold for the installed release; a release that breaks one fails here, in one place."""

import ast
import re

import pytest

from tests.engine import touched
from tests.engine.touched import TOUCHED, Source, Touch

ROOT = touched.installed()
pytestmark = pytest.mark.skipif(ROOT is None, reason="vLLM is not installed")


def test_vllm_is_as_the_table_has_it():
    assert ROOT is not None
    assert touched.problems(ROOT) == []


def test_the_page_has_the_table():
    page = touched.PAGE.read_text()
    assert touched.page_with_table(page) == page, "python -m tests.engine.touched --write"


def test_every_module_of_vllms_that_is_imported_is_in_the_table():
    named = {touch.module for touches in TOUCHED.values() for touch in touches}
    imported = set()
    for path in (touched.PAGE.parents[1] / "fastneurons").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm":
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                imported |= {name for name in whole if not _is_name_of(name, named)}
    assert imported == set()


def _is_name_of(whole: str, modules: set[str]) -> bool:
    """Whether `a.b.c` is a module of the table, or a name in one."""
    module, _, name = whole.rpartition(".")
    first = {touch.name.partition(".")[0] for t in TOUCHED.values() for touch in t if touch.module == module}
    return name in first or any(named == whole or named.startswith(f"{whole}.") for named in modules)


RELEASE = {
    "vllm/__init__.py": "",
    "vllm/worker.py": """
from vllm.base import Base
class Worker(Base):
    step: int
    def __init__(self):
        self.runner = None
    def run(self, batch, *, wait=True): ...
class Made:
    number: int
    name: str = ""
def ask(method, timeout=None, **more): ...
""",
    "vllm/base.py": "class Base:\n    def load(self): ...\n",
    "vllm/lazy.py": "NAMES = {'Far': '.base'}\n",
}


@pytest.fixture
def release(tmp_path):
    for name, text in RELEASE.items():
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    return Source(tmp_path)


@pytest.mark.parametrize(
    ("name", "passed", "problem"),
    [
        ("Worker.run", ("batch",), None),
        ("Worker.run", ("batch", "wait"), None),
        ("Worker.run", ("batches",), "takes no batches"),
        ("Worker.run", (), "needs batch as well"),
        ("Worker.load", (), None),
        ("Worker.runner", None, None),
        ("Worker.step", None, None),
        ("Worker.gone", None, "Worker has no gone"),
        ("Gone", None, "vllm.worker has no Gone"),
        ("Made", ("number",), None),
        ("Made", ("name",), "needs number as well"),
        ("Made", ("number", "size"), "takes no size"),
        ("ask", ("method", "anything"), None),
        ("ask.step", None, "ask is no class"),
    ],
)
def test_what_differs_is_named(name, passed, problem, release):
    found = release.problem(Touch("vllm.worker", name, "", passed))
    assert found == problem or (problem is not None and re.search(re.escape(problem), str(found)))


def test_names_that_are_imported_when_asked_for_are_found(release):
    assert release.problem(Touch("vllm.lazy", "Far", "")) is None
    assert release.problem(Touch("vllm.gone", "Far", "")) is not None
