"""Data sets of the Hub, from copies in the cache: nothing here asks the network."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fastneurons.data.example import Skipped
from fastneurons.data.readers import hub_access
from fastneurons.data.readers.data_set import Record, read_records
from fastneurons.errors import InputError

datasets = pytest.importorskip("datasets")
constants = pytest.importorskip("huggingface_hub.constants")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts files into the cache of the Hub's client, as `hf download org/name` does."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)

    def cached(files: dict[str, bytes | str], name: str = "org/name") -> Path:
        repository = tmp_path / "cache" / f"datasets--{name.replace('/', '--')}"
        folder = repository / "snapshots" / ("0" * 40)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text("0" * 40)
        return folder

    return cached


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


README = """---
configs:
- config_name: all_languages
  data_files:
  - split: test
    path: all_languages/test-*
  - split: validation
    path: all_languages/validation-*
- config_name: de
  data_files:
  - split: test
    path: de/test-*
---
# XNLI
"""
XNLI = {
    "premise": {"ar": "ماما", "en": "Mama"},
    "hypothesis": {"language": ["ar", "en"], "translation": ["أمه", "his mother"]},
    "label": 1,
}


@pytest.fixture
def xnli(cached):
    return cached({
        "README.md": README,
        "all_languages/test-00000-of-00002.parquet": parquet([XNLI]),
        "all_languages/test-00001-of-00002.parquet": parquet([XNLI, XNLI]),
        "all_languages/validation-00000-of-00001.parquet": parquet([XNLI]),
        "de/test-00000-of-00001.parquet": parquet([{"premise": "Mama", "hypothesis": "sie", "label": 0}]),
    })  # fmt: skip


def test_configurations_and_splits_are_those_of_the_data_sets_card(xnli):
    records = read_records("org/name", config="all_languages", split="test")
    rows = list(records)
    assert [row.fields for row in rows if isinstance(row, Record)] == [XNLI] * 3
    assert rows[1].where == f"{xnli}/all_languages/test-00001-of-00002.parquet: row 1"
    assert records.describe() == "org/name (split test, config all_languages)"
    assert len(list(read_records("org/name", config="de"))) == 1  # its only split
    assert len(list(records)) == 3


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, r"org/name has several configurations; there is all_languages, de \(--config\)"),
        ({"config": "xx"}, r"org/name has no configuration 'xx'; there is all_languages, de \(--config\)"),
        ({"config": "all_languages"}, r"org/name has several splits; there is test, validation \(--split\)"),
        ({"config": "de", "split": "train"}, r"org/name has no split 'train'; there is test \(--split\)"),
    ],
)
def test_what_there_is_is_said_where_it_is_not_clear(xnli, choice, message):
    with pytest.raises(InputError, match=message):
        list(read_records("org/name", **choice))


def test_a_copy_that_is_not_whole_is_refused(xnli):
    (xnli / "all_languages/test-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"holds 1 of the 2 parts of test-00000-of-00002.parquet"):
        list(read_records("org/name", config="all_languages", split="test"))


def test_values_stay_as_they_are_written(cached):
    rows = [{"answer": "01"}, {"answer": 2}, {"answer": "2", "late": {"de": 1}}]
    cached({"test.jsonl": "\n".join([*map(json.dumps, rows), "broken"])})
    found = list(read_records("org/name", split="test"))
    assert [row.fields for row in found if isinstance(row, Record)] == rows
    assert isinstance(found[3], Skipped)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test.tsv", 'a\tb\n"x\t01\n'),
        ("test.csv", 'a,b\n"""x",01\n'),
        ("test.json", '[{"a": "\\"x", "b": "01"}]'),
    ],
)
def test_tables_and_lists(cached, name, content):
    cached({name: content})
    assert [row.fields for row in read_records("org/name", split="test") if isinstance(row, Record)] == [
        {"a": '"x', "b": "01"}
    ]


def test_a_form_that_is_not_known_here_is_streamed_by_datasets(cached):
    cached({
        "README.md": "---\nconfigs:\n- config_name: default\n  data_files: test.json\n  field: rows\n---\n",
        "test.json": '{"rows": [{"a": 1}, {"a": 2}], "others": [{"b": 1}]}',
    })  # fmt: skip
    assert list(read_records("org/name")) == [Record({"a": n}, f"org/name (train): row {n}") for n in (1, 2)]


def test_a_text_a_line(cached):
    cached({"test.txt": "one\n\ntwo\n"})
    assert [row.fields["text"] for row in read_records("org/name") if isinstance(row, Record)] == [
        "one",
        "",
        "two",
    ]


# -- nothing there ----------------------------------------------------------------------------------


def test_without_network_and_copy_it_is_said_how_to_get_one(cached):
    with pytest.raises(InputError) as caught:
        list(read_records("facebook/xnli", split="test", revision="main"))
    assert str(caught.value).startswith(
        "facebook/xnli: there is no such file or folder here, and the Hugging Face Hub cannot be asked for a data "
        "set of this name: the environment variable HF_HUB_OFFLINE is set. Where there is network, run "
        "`hf download facebook/xnli --repo-type dataset --revision main --local-dir FOLDER`"
    )


def test_a_hub_that_does_not_answer_is_asked_once(cached, monkeypatch):
    from huggingface_hub import utils

    asked = []

    class Session:
        def head(self, url, timeout):
            asked.append((url, timeout))
            raise ConnectionError("Name or service\nnot known")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(utils, "get_session", Session)
    hub_access._no_answer.cache_clear()
    try:
        for name in ("facebook/xnli", "facebook/belebele"):
            with pytest.raises(
                InputError, match=r"https://\S+ does not answer \(Name or service not known\)"
            ):
                list(read_records(name))
        with pytest.raises(InputError, match=r"hf://datasets/org/name/x.csv cannot be opened: https://"):
            read_records("hf://datasets/org/name/x.csv")
    finally:
        hub_access._no_answer.cache_clear()
    assert asked == [(constants.ENDPOINT, 5.0)]


def test_a_hub_that_is_out_of_order_is_not_asked_again(monkeypatch):
    from huggingface_hub import utils

    class Session:
        status_code = 503

        def head(self, url, timeout):
            return self

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(utils, "get_session", Session)
    hub_access._no_answer.cache_clear()
    try:
        assert hub_access.why_unreachable() == f"{constants.ENDPOINT} answers with status 503"
    finally:
        hub_access._no_answer.cache_clear()


def test_without_the_extra_it_is_said_what_installs_it(cached, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r"facebook/xnli: there is no such file.*pip install 'fastneurons\[hub\]'"
    ):
        list(read_records("facebook/xnli"))


def test_nothing_is_asked_before_rows_are(cached, monkeypatch):
    def fail():
        raise AssertionError("asked")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub_access, "_no_answer", fail)
    read_records("facebook/xnli", split="test")
