"""Parquet: what Python makes of its types, and files that are none or not whole."""

import datetime
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.data.example import Skipped
from fastneurons.data.readers import parquet as module
from fastneurons.data.readers.data_set import Record, read_records
from fastneurons.errors import InputError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def write(tmp_path):
    def write(table, **options):
        path = tmp_path / "t.parquet"
        pq.write_table(table, path, **options)
        return path

    return write


def test_nested_values_come_as_dictionaries_and_lists(write):
    rows = [
        {
            "id": 1,
            "by_code": {"de": "x", "en": None},
            "list": [{"k": ["a", "b"]}],
            "flag": True,
            "number": 0.5,
        },
        {"id": None, "by_code": None, "list": [], "flag": None, "number": None},
    ]
    path = write(pa.Table.from_pylist(rows))
    assert list(read_records(path)) == [Record(row, f"{path}: row {i}") for i, row in enumerate(rows, 1)]


def test_dictionaries_large_strings_and_dates(write):
    path = write(
        pa.table({
            "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
            "text": pa.array(["x", "ü", None], pa.large_string()),
            "day": pa.array([datetime.date(2024, 1, 2)] * 3),
        })
    )  # fmt: skip
    rows = [row.fields for row in read_records(path) if isinstance(row, Record)]
    assert [tuple(row.values()) for row in rows][1] == ("b", "ü", datetime.date(2024, 1, 2))


def test_rows_are_numbered_over_groups_and_batches(write, monkeypatch):
    monkeypatch.setattr(module, "_MAX_BATCH_ROWS", 7)
    path = write(pa.table({"n": list(range(1, 101))}), row_group_size=30)
    rows = list(read_records(path))
    assert [row.where for row in rows] == [f"{path}: row {n}" for n in range(1, 101)]
    assert [row.fields["n"] for row in rows if isinstance(row, Record)] == list(range(1, 101))


def test_a_text_that_is_no_utf8_costs_its_row_alone(write):
    texts = pa.array([b"a", b"\xff", b"c"]).cast(pa.binary())
    bad = pa.StringArray.from_buffers(3, texts.buffers()[1], texts.buffers()[2])
    path = write(pa.table({"text": bad}))
    rows = list(read_records(path))
    assert rows[1] == Skipped("", f"{path}: row 2", "not UTF-8: byte 0xff at offset 0 of a text")
    assert [row.fields for row in rows if isinstance(row, Record)] == [{"text": "a"}, {"text": "c"}]


def test_memory_is_that_of_a_batch_whatever_the_group(write):
    path = write(
        pa.table({"text": [f"x{i}" * 300 for i in range(20_000)]}), compression="none", use_dictionary=False
    )
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        peak = 0
        for number, _ in enumerate(read_records(path)):
            if number % 500 == 0:
                peak = max(peak, pa.total_allocated_bytes() - before)
        assert tracemalloc.get_traced_memory()[1] < 25e6
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 30e6
    assert peak < 15e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-3], "not a Parquet file that can be read: .*"),
        (lambda data: data[: len(data) // 2], "not a Parquet file that can be read: .*"),
        (lambda data: data[:10], "not a Parquet file that can be read: .*"),
        (lambda data: b"", "it does not begin as Parquet does"),
        (lambda data: b"id,text\n1,x\n", "it does not begin as Parquet does"),
        (lambda data: b"PAR1", "not a Parquet file that can be read: .*"),
    ],
)
def test_a_file_that_is_none_or_not_whole_is_refused(write, change, message):
    path = write(pa.table({"a": ["x" * 100] * 100}))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        list(read_records(path))
    assert str(path) in str(caught.value)


def test_damage_is_found_where_the_writer_left_checksums(write):
    path = write(
        pa.table({"a": [f"{n} some text" for n in range(5000)]}), compression="none", write_page_checksum=True
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"t.parquet is not a Parquet file that can be read"):
        list(read_records(path))


def test_two_columns_of_one_name_are_refused(write):
    path = write(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(InputError, match="it has the column 'a' twice"):
        list(read_records(path))


def test_without_pyarrow_it_is_said_what_installs_it(write, monkeypatch):
    path = write(pa.table({"a": [1]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        InputError, match=r"t.parquet is a Parquet file.*pip install 'fastneurons\[parquet\]'"
    ):
        list(read_records(path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "t.parquet"
    rows = [{"id": i, "text": f"é{i}" * 5, "by": {"de": "x", "en": str(i)}} for i in range(300)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100, write_page_checksum=True)
    return path, path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_an_input_error_or_harmless(whole, data):
    path, content = whole
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(
        changed[: data.draw(st.integers(0, len(changed)))] if data.draw(st.booleans()) else changed
    )
    try:
        for row in read_records(path):
            assert row.where.startswith(f"{path}: row ")
    except InputError as error:
        assert str(path) in str(error)
