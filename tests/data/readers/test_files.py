"""Which files a location is, here and elsewhere; and what is refused because it cannot be told."""

import os
import sys
from pathlib import Path

import fsspec
import pytest

from fastneurons.data.example import Example
from fastneurons.data.readers.data_set import Record, read_records
from fastneurons.data.readers.files import data_files, format_of, open_file
from fastneurons.errors import InputError
from tests.data.test_jsonl_examples import open_jsonl


@pytest.fixture
def make(tmp_path):
    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b'{"a": 1}\n')
        return tmp_path

    return make


@pytest.fixture
def memory():
    """A file system that is not the local one."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield filesystem
    filesystem.store.clear()


def names(location: Path | str, *formats: str) -> list[str]:
    return [os.path.relpath(file.path, str(location)) for file in data_files(str(location), formats or None)]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.jsonl", "jsonl"),
        ("a.NDJSON.GZ", "jsonl"),
        ("a.json.zst", "json"),
        ("dir.csv/a", None),
        ("a.tsv.xz", "tsv"),
        ("a.b.txt.bz2", "text"),
        ("a.parquet", "parquet"),
        ("https://host/a.csv?download=true#x", "csv"),
        ("zip://a.csv::b.zip", "csv"),
        ("a.gz", None),
        ("eng_Latn.devtest", None),
    ],
)
def test_a_name_tells_the_format(name, format):
    assert format_of(name) == format


def test_a_folder_is_its_data_files_in_order(make):
    folder = make(
        "b.jsonl", "a/z.jsonl.gz", "a/b/c.ndjson", "README.md", "readme.jsonl", ".hidden.jsonl", ".git/x.jsonl",
        "dataset_infos.json", "LICENSE.txt", "__MACOSX/b.jsonl", "run.py",
    )  # fmt: skip
    assert names(folder) == ["a/b/c.ndjson", "a/z.jsonl.gz", "b.jsonl"]
    assert sum(file.num_bytes or 0 for file in data_files(str(folder))) == 27


def test_a_pattern_is_all_that_it_fits(make):
    folder = make("de/test.jsonl", "de/dev.jsonl", "en/test.jsonl", "en/README.md", "en/other")
    assert [f.path for f in data_files(f"{folder}/**/test.jsonl")] == [
        f"{folder}/{code}/test.jsonl" for code in ("de", "en")
    ]
    assert [f.path for f in data_files(f"{folder}/en/*")] == [
        f"{folder}/en/{name}" for name in ("other", "test.jsonl")
    ]
    with pytest.raises(InputError, match="fits no file"):
        data_files(f"{folder}/*.csv")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(make):
    folder = make("a[1].jsonl", "a1.jsonl")
    assert [f.path for f in data_files(f"{folder}/a[1].jsonl")] == [f"{folder}/a[1].jsonl"]


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (
            ["README.md", "x.bin"],
            r"is a folder that holds no data files \(\.jsonl, .*\); there is README.md, x.bin",
        ),
        (
            ["a.jsonl", "b.csv", "c.csv"],
            r"files of several formats \(1 jsonl, 2 csv\); say which are meant: '.*/\*\*/\*",
        ),
        (["a.jsonl", "a.jsonl.gz"], r"the same file twice, a.jsonl and a.jsonl.gz"),
        (
            ["en/train-00000-of-00003.parquet", "en/train-00002-of-00003.parquet"],
            r"holds 2 of the 3 parts of train-00000-of-00003.parquet; missing is train-00001-of-00003.parquet",
        ),
    ],
)
def test_a_folder_that_is_not_clear_is_refused(make, there, message):
    with pytest.raises(InputError, match=message):
        data_files(str(make(*there)))


def test_a_folder_of_several_formats_is_clear_to_who_wants_one(make):
    assert names(make("a.jsonl", "b.csv"), "jsonl") == ["a.jsonl"]


def test_all_parts_of_several_files_are_there(make):
    folder = make(*(f"{s}-{i:05}-of-00002.parquet" for s in ("test", "train") for i in range(2)))
    assert len(data_files(str(folder))) == 4


def test_what_cannot_be_opened_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        ("nothing", "does not exist"),
        ("pipe", "not a regular file"),
        ("a\0b", "is not a file name"),
        (".", "is a folder"),
        ("x" * 5000, "cannot be read: File name too long"),
    ]:
        with pytest.raises(InputError, match=message):
            open_file(str(tmp_path / path))


# -- elsewhere --------------------------------------------------------------------------------------


def test_urls_are_read_like_paths(memory):
    memory.pipe(
        {
            "/d/b.jsonl": b'{"a": 2}\n',
            "/d/a.jsonl": b'{"a": 1}\nx\n',
            "/d/.c.jsonl": b"x",
            "/e.csv": b"a\n3\n",
        }
    )
    rows = list(read_records("memory://d"))
    assert [row.where for row in rows] == [
        f"memory://{p}" for p in ("/d/a.jsonl:1", "/d/a.jsonl:2", "/d/b.jsonl:1")
    ]
    assert [row.fields for row in rows if isinstance(row, Record)] == [{"a": 1}, {"a": 2}]
    assert len(list(read_records("memory://d/b*.jsonl"))) == 1
    assert list(read_records("memory://e.csv")) == [Record({"a": "3"}, "memory://e.csv:2")]
    assert data_files("memory://e.csv")[0].num_bytes == 4


def test_a_file_in_an_archive(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("in/a.tsv", "a\tb\n1\t2\n")
        archive.writestr("in/b.tsv", "a\tb\n3\t4\n")
    rows = list(read_records(f"zip://in/a.tsv::{tmp_path}/x.zip"))
    assert [row.fields for row in rows if isinstance(row, Record)] == [{"a": "1", "b": "2"}]
    assert len(list(read_records(f"zip://in::{tmp_path}/x.zip"))) == 2


def test_parquet_elsewhere(memory, tmp_path):
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "x.parquet")
    memory.pipe("/x.parquet", (tmp_path / "x.parquet").read_bytes())
    assert list(read_records("memory://x.parquet"))[1] == Record({"a": 2}, "memory://x.parquet: row 2")


def test_errors_elsewhere_are_told(memory, monkeypatch):
    for url, message in [
        ("memory://nothing.csv", "memory://nothing.csv does not exist"),
        ("memory://*.csv", "holds no files"),
        ("no-such-protocol://a.csv", "cannot be opened: Protocol not known"),
    ]:
        with pytest.raises(InputError, match=message.replace("*", r"\*")):
            list(read_records(url))
    memory.pipe("/a.csv", b"a\n1\n")

    class Failing:
        def read(self, size: int) -> bytes:
            raise RuntimeError("the server\nhas gone")

        def close(self) -> None: ...

    monkeypatch.setattr(type(memory), "open", lambda *_, **__: Failing())
    with pytest.raises(InputError, match=r"memory://a.csv cannot be read: the server has gone"):
        list(read_records("memory://a.csv"))


def test_a_package_that_a_protocol_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for name in ("s3", "s3a"):  # where a test before has loaded them
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, name, raising=False)
    with pytest.raises(InputError, match=r"s3://bucket/a.csv needs another package: .*s3fs"):
        read_records("s3://bucket/a.csv")


# -- the jsonl source -------------------------------------------------------------------------------


def test_jsonl_in_several_files_is_one_source(tmp_path, memory):
    good = b'{"id": "%d", "prompts": {"en": "Hello", "de": "Hallo"}}\n'
    (tmp_path / "a.jsonl").write_bytes(good % 1 + good % 2)
    (tmp_path / "b.jsonl").write_bytes(b"\n" + good % 1 + good % 3 + good % 3 + good % 2)
    (tmp_path / "notes.csv").write_text("not data here")
    rows = list(open_jsonl(tmp_path, ("en", "de")))
    assert [row.id for row in rows] == ["1", "2", "1", "3", "3", "2"]
    assert [row.where for row in rows if isinstance(row, Example)] == [
        f"{tmp_path}/{where}" for where in ("a.jsonl:1", "a.jsonl:2", "b.jsonl:3")
    ]
    assert [row.reason for row in rows if not isinstance(row, Example)] == [
        f"the id is that of {tmp_path}/a.jsonl:1 already",
        "the id is that of line 3 already",
        f"the id is that of {tmp_path}/a.jsonl:2 already",
    ]
    memory.pipe("/x.jsonl", good % 1)
    assert [row.where for row in open_jsonl("memory://x.jsonl", ("en", "de"))] == ["memory://x.jsonl:1"]
