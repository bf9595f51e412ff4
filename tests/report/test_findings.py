"""Findings are computed once, hold what the analyses give, and are all that tables, JSON and figures need."""

import ast
import io
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

import fastneurons
from fastneurons import report
from fastneurons.analysis import attribution, shares, shares_by_task, token_shares
from fastneurons.errors import InputError, StoreError
from fastneurons.report import compute_findings, draw_findings, findings_json, print_findings
from fastneurons.store import Store, StoreWriter, open_store
from tests.store.runs import draw

RUNS = {
    "sharing": draw(23),
    "tasks and attribution": draw(23, top_k=3, tasks=["capitals", "currencies"]),
    "corpus": draw(24, position="corpus"),
}


def opened(run, folder) -> Store:
    run.write(folder / "run.zarr")
    return open_store(str(folder / "run.zarr"))


def assert_same(found, expected):
    """Dataclasses of arrays, estimates and mappings, compared to the last bit."""
    assert type(found) is type(expected)
    for name, value in vars(expected).items():
        np.testing.assert_equal(_plain(getattr(found, name)), _plain(value), err_msg=name)


def _plain(value):
    if hasattr(value, "low"):
        return vars(value)
    if hasattr(value, "items"):
        return {key: _plain(each) for key, each in value.items()}
    return value


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_they_are_those_of_the_analyses(threshold, tmp_path):
    store = opened(RUNS["tasks and attribution"], tmp_path)
    found = compute_findings(store, threshold)
    assert_same(found.sharing, shares(store, threshold))
    assert_same(found.attribution, attribution(store))
    assert_same(found.attribution_sharing, shares(store, 0.0))
    by_task = shares_by_task(store, threshold)
    assert list(found.by_task) == list(by_task) == ["capitals", "currencies"]
    for task, part in by_task.items():
        assert_same(found.by_task[task], part)
    assert (found.threshold, found.corpus) == (threshold or 0.0, None)
    assert (found.num_examples, found.num_measured, found.num_skipped) == (23, 18, 5)


def test_a_corpus_has_tokens_alone(tmp_path):
    store = opened(RUNS["corpus"], tmp_path)
    found = compute_findings(store, 0.5)
    assert_same(found.corpus, token_shares(store, 0.5))
    assert (found.sharing, found.attribution, found.attribution_sharing) == (None, None, None)
    assert not found.by_task


@pytest.mark.parametrize("name", RUNS)
def test_tables_json_and_figures_need_no_store_any_more(name, tmp_path):
    store = opened(RUNS[name], tmp_path)
    stream = io.StringIO()
    report.print_summary(store, stream, 0.5)
    text, as_json = stream.getvalue(), report.summary_json(store, 0.5)
    report.plot(store, tmp_path / "before.svg", 0.5)
    found = compute_findings(store, 0.5)
    shutil.rmtree(tmp_path / "run.zarr")
    stream = io.StringIO()
    print_findings(found, stream)
    assert stream.getvalue() == text
    assert findings_json(found) == as_json
    draw_findings(found, tmp_path / "after.svg")
    assert (tmp_path / "after.svg").read_text() == (tmp_path / "before.svg").read_text()


def test_counts_are_read_once(tmp_path, monkeypatch):
    store = opened(RUNS["tasks and attribution"], tmp_path)
    passes = []
    windows = Store.windows
    monkeypatch.setattr(Store, "windows", lambda self, *names: passes.append(names) or windows(self, *names))
    compute_findings(store)
    # One over the counts, for all examples and for each task; one over the arrays of attribution; one over last tokens.
    assert [sum("category_count" in names for names in passes), len(passes)] == [1, 3]


def test_they_cannot_be_changed(tmp_path):
    found = compute_findings(opened(RUNS["sharing"], tmp_path))
    with pytest.raises(FrozenInstanceError):
        found.threshold = 1.0  # type: ignore[misc]


def test_a_run_that_has_only_begun_has_no_values_and_no_error(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUNS["sharing"].header):
        found = fastneurons.findings(path)
    assert (found.num_examples, found.num_measured, found.is_complete) == (0, 0, False)
    assert found.sharing is not None
    assert np.isnan(found.sharing.category.mean).all()
    assert '"complete": false' in findings_json(found)
    with pytest.raises(InputError, match="nothing was measured yet"):
        draw_findings(found, tmp_path / "a.png")


def test_the_python_interface_takes_a_path_or_a_store(tmp_path):
    store = opened(RUNS["sharing"], tmp_path)
    for given in (store, store.path, Path(store.path)):
        assert findings_json(fastneurons.findings(given, 0.5)) == report.summary_json(store, 0.5)
    with pytest.raises(InputError, match="no threshold 7"):
        fastneurons.findings(store, 7.0)
    with pytest.raises(StoreError, match="does not exist"):
        fastneurons.findings(tmp_path / "none.zarr")


def test_only_findings_reads_stores_and_calls_analyses():
    folder = Path(report.__file__).parent
    for file in sorted(folder.glob("*.py")):
        if file.name in ("findings.py", "deactivation.py", "generation.py", "perplexity.py", "__init__.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in (
                "fastneurons.analysis",
                "fastneurons.store",
            ):
                names = {alias.name for alias in node.names}
                assert not names & {"Store", "open_store"}, file.name
                assert all(name[0].isupper() for name in names), f"{file.name} calls {names}"
