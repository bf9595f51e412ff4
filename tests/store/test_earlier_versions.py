"""Stores that were written before there were the array `last_token` and the header's field `tokens`."""

import io

import numpy as np
import pytest

from fastneurons.analysis import last_tokens
from fastneurons.errors import StoreError
from fastneurons.report import print_summary, summary
from fastneurons.store import StoreWriter, open_store, schema
from tests.store.runs import Run, assert_holds, draw, raw_arrays

MARKS = {"before": ["<s>"], "after": [], "removed": [], "chat_template": False, "add_bos_token": None}
OWN = {**MARKS, "include_special_tokens": False}
ALL = {**MARKS, "include_special_tokens": True}


def begun(path, run: Run, monkeypatch, windows: int) -> None:
    """The first windows of a run, as an earlier version wrote them."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "ARRAYS", tuple(s for s in schema.ARRAYS if s.name != schema.LAST_TOKEN))
        with StoreWriter.create(str(path), run.header) as writer:
            for window in list(run.windows())[:windows]:
                writer.commit(window)
            if windows == len(list(run.windows())):
                writer.finish()


LATER = {"prompt", "value_norm", "neuron_contribution"}


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_a_store_from_before_prompts_and_sums_of_contributions_is_read_and_continued(
    windows, monkeypatch, tmp_path
):
    path, run = tmp_path / "s.zarr", draw(top_k=3, keep_prompts=True)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "ARRAYS", tuple(s for s in schema.ARRAYS if s.name not in LATER))
        with StoreWriter.create(str(path), run.header) as writer:
            for window in list(run.windows())[:windows]:
                writer.commit(window)
            if windows == len(list(run.windows())):
                writer.finish()
    store = open_store(str(path), check=True)
    assert not LATER & set(store)
    assert store["occupancy"][...].any()
    run.write(path, resume=True)
    found, expected = raw_arrays(path), run.arrays()
    assert not LATER & found.keys()
    for name in expected.keys() - LATER:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def told(store) -> str:
    stream = io.StringIO()
    print_summary(store, stream)
    return stream.getvalue()


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_a_store_without_last_tokens_is_read(windows, monkeypatch, tmp_path):
    path, run = tmp_path / "s.zarr", draw()
    begun(path, run, monkeypatch, windows)
    store = open_store(str(path))
    assert store.is_complete == (windows == 3)
    assert schema.LAST_TOKEN not in store and last_tokens(store) is None
    assert store.header.tokens == {} and store.header.includes_special_tokens is None
    assert "last_token" not in summary(store)
    assert "last token:" not in told(store)


def test_a_run_goes_on_without_the_array_that_its_store_lacks(monkeypatch, tmp_path):
    path, run = tmp_path / "s.zarr", draw()
    begun(path, run, monkeypatch, 2)
    now = draw(tokens=OWN)
    now.write(path, resume=True)
    found, expected = raw_arrays(path), run.arrays()
    assert schema.LAST_TOKEN not in found
    for name in expected.keys() - {schema.LAST_TOKEN}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert open_store(str(path)).header.tokens == {}


@pytest.mark.parametrize(
    ("position", "tokens", "refused"),
    [
        ("last", OWN, None),
        ("last", {**OWN, "removed": ["</s>"]}, "read </s>, which the tokenizer puts after each text"),
        ("any", OWN, "pass --include-special-tokens, or another --out"),
        ("any", ALL, None),
        ("any", {**ALL, "removed": ["</s>"]}, "read </s>"),
        ("answer", OWN, "pass --include-special-tokens"),
        ("corpus", OWN, "pass --include-special-tokens"),
        ("corpus", {**ALL, "after": ["</s>"]}, None),
    ],
)
def test_what_was_read_before_and_what_is_read_now_are_not_mixed(
    position, tokens, refused, monkeypatch, tmp_path
):
    path = tmp_path / "s.zarr"
    begun(path, draw(position=position), monkeypatch, 2)
    now = draw(position=position, tokens=tokens)
    if refused is None:
        now.write(path, resume=True)
        assert open_store(str(path)).is_complete
        return
    with pytest.raises(StoreError) as caught:
        now.write(path, resume=True)
    assert refused in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "given", "said"),
    [
        (OWN, ALL, "pass no --include-special-tokens, or another --out"),
        (ALL, OWN, "pass --include-special-tokens, or another --out"),
        ({**OWN, "add_bos_token": True}, OWN, "pass --add-bos-token, or another --out"),
        ({**OWN, "add_bos_token": False}, OWN, "pass --no-add-bos-token, or another --out"),
        (OWN, {**OWN, "before": []}, "(before: <s>, in this run nothing)"),
        (OWN, {}, "other tokens"),
    ],
)
def test_other_tokens_are_another_run(stored, given, said, tmp_path):
    path = tmp_path / "s.zarr"
    with StoreWriter.create(str(path), draw(position="any", tokens=stored).header) as writer:
        writer.commit(next(draw(position="any", tokens=stored).windows()))
    with pytest.raises(StoreError) as caught:
        draw(position="any", tokens=given).write(path, resume=True)
    assert said in str(caught.value)


def test_last_tokens_are_kept_and_summarised(tmp_path):
    path, run = tmp_path / "s.zarr", draw(40, tokens=OWN)
    run.write(path)
    assert_holds(path, run)
    store = open_store(str(path))
    chosen = run.last_token[run.measured]
    groups = [max(list(row).count(token) for token in row) for row in chosen.tolist()]
    found = last_tokens(store)
    assert found is not None
    assert (found.num_examples, found.languages) == (len(groups), 3)
    assert found.all_same == np.mean([group == 3 for group in groups]) > 0
    assert found.sharing == pytest.approx(np.mean(groups))
    assert summary(store)["last_token"]["all_same"] == found.all_same
    line = " ".join(told(store).split())
    assert f"the same in all languages in {100 * found.all_same:.1f} % of examples" in line
    assert f"largest group of languages that share one has {found.sharing:.2f} of 3 languages" in line


@pytest.mark.parametrize(("tokens", "line"), [(OWN, "not included"), (ALL, "included"), ({}, "included")])
def test_the_summary_says_whether_special_tokens_were_read(tokens, line, tmp_path):
    path = tmp_path / "s.zarr"
    draw(position="any", tokens=tokens).write(path)
    assert f"special tokens: {line}" in told(open_store(str(path)))
    assert summary(open_store(str(path)))["include_special_tokens"] == (line == "included")
