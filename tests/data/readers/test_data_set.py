"""Rows of every format: what they hold, where they are said to stand, and what is said about bad ones."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastneurons.data.example import Skipped
from fastneurons.data.readers import json_document, lines, tables
from fastneurons.data.readers.data_set import Record, is_hub_name, read_records
from fastneurons.errors import InputError

zstd = pytest.importorskip("backports.zstd")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

Row = Record | Skipped


@pytest.fixture
def write(tmp_path):
    def write(content: bytes | str | list[str], name: str) -> Path:
        if isinstance(content, list):
            content = "".join(f"{line}\n" for line in content)
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: Path | str, **options: Any) -> list[Row]:
    return list(read_records(path, **options))


def fields(path: Path | str, **options: Any) -> list[dict[str, Any]]:
    rows = read(path, **options)
    assert all(isinstance(row, Record) for row in rows), rows
    return [row.fields for row in rows if isinstance(row, Record)]


def places(rows: list[Row]) -> list[str]:
    """Where rows stand, without the folder."""
    return [row.where.rpartition("/")[2] for row in rows]


def reasons(rows: list[Row]) -> list[str]:
    return [row.reason if isinstance(row, Skipped) else "" for row in rows]


# -- data sets as they are published ----------------------------------------------------------------

XNLI = (  # noqa: SIM905
    "language gold_label sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse "
    "sentence1 sentence2 promptID pairID genre label1 label2 label3 label4 label5 sentence1_tokenized "
    "sentence2_tokenized match"
).split()


def test_xnli_with_quotes_that_close_nothing(write):
    texts = [
        ("ar", "وقال، ماما، لقد عدت للمنزل."),
        ("en", "\"And he said, Mama, I'm home."),
        ("de", 'Er ""sagte""'),
    ]
    lines_ = ["\t".join(XNLI)]
    for language, text in texts:
        row = [language, "neutral", "", "", "", "", text, 'a "b', "1", "2", "facetoface", *["neutral"] * 5]
        lines_.append("\t".join([*row, text, 'a "b', "True"]))
    path = write(lines_, "xnli.dev.tsv")
    rows = read(path)
    assert [(r.fields["language"], r.fields["sentence1"]) for r in rows if isinstance(r, Record)] == texts
    assert all(isinstance(r, Record) and list(r.fields) == XNLI for r in rows)
    assert places(rows) == ["xnli.dev.tsv:2", "xnli.dev.tsv:3", "xnli.dev.tsv:4"]


def test_xnli_of_the_hub_with_all_languages(tmp_path):
    codes = ["ar", "en"]
    row = {
        "premise": {"ar": "ماما", "en": "Mama"},
        "hypothesis": {"language": codes, "translation": ["أمه", "his mother"]},
        "label": 1,
    }
    pq.write_table(
        pa.Table.from_pylist([row, {**row, "label": None}]), tmp_path / "test-00000-of-00001.parquet"
    )
    assert fields(tmp_path) == [row, {**row, "label": None}]
    assert places(read(tmp_path)) == [f"test-00000-of-00001.parquet: row {n}" for n in (1, 2)]


def test_mgsm_has_no_header_and_line_separators_in_its_texts(write):
    path = write("Janet’s ducks\u2028lay\u0085 16 \x0ceggs?\t18\nหนึ่ง\v?\t5,600\n", "mgsm_en.tsv")
    assert fields(path, columns=["question", "answer"]) == [
        {"question": "Janet’s ducks\u2028lay\u0085 16 \x0ceggs?", "answer": "18"},
        {"question": "หนึ่ง\v?", "answer": "5,600"},
    ]
    assert places(read(path, columns=["question", "answer"])) == ["mgsm_en.tsv:1", "mgsm_en.tsv:2"]


def test_belebele(write):
    row = {
        "link": "https://en.wikibooks.org/wiki/Guitar", "question_number": 1, "flores_passage": "Stellen Sie…",
        "question": "Was?", "mc_answer1": "a", "mc_answer2": "b", "mc_answer3": "c", "mc_answer4": "d",
        "correct_answer_num": "1", "dialect": "deu_Latn", "ds": "2023-05-03",
    }  # fmt: skip
    assert fields(write([json.dumps(row, ensure_ascii=False)], "deu_Latn.jsonl")) == [row]


def test_mzsre_is_a_list_of_pairs(write):
    block = {
        "subject": "IAAF Combined Events Challenge", "src": "When?", "rephrase": "Wann?", "alt": "2006",
        "loc": "nq question: who", "loc_ans": "x", "portability": {"New Question": "q", "New Answer": "a"},
    }  # fmt: skip
    rows = [{"en": block, "de": {**block, "src": f'Wann war [{n}] {{das}}, „"hm\\“?'}} for n in range(3)]
    for indent in (None, 2):
        path = write(json.dumps(rows, ensure_ascii=indent is None, indent=indent), "mzsre_test_ende.json")
        assert fields(path) == rows
    assert places(read(path))[1] == "mzsre_test_ende.json: row 2 (line 28)"


def test_pawsx(write):
    lines_ = ["id\tsentence1\tsentence2\tlabel", '1\tA "b" c\t"d"\t0', "2\tNS\tNS\t1"]
    assert fields(write(lines_, "dev_2k.tsv"))[0] == {
        "id": "1", "sentence1": 'A "b" c', "sentence2": '"d"', "label": "0",
    }  # fmt: skip


def test_squad_is_an_object_around_its_list(write):
    paragraphs = [{"paragraphs": [{"context": "c", "qas": [{"id": "1"}]}]}, {"paragraphs": []}]
    path = write(json.dumps({"version": "1.1", "data": paragraphs}, indent=1), "xquad.ar.json")
    assert fields(path) == paragraphs
    assert places(read(path))[1] == "xquad.ar.json: row 2 of 'data'"


def test_flores_has_a_name_that_tells_no_format(write):
    path = write("“We now have 4-month-old mice”\n\nدبي\r\n[1] {x\n", "eng_Latn.devtest")
    assert fields(path) == [
        {"text": "“We now have 4-month-old mice”"},
        {"text": ""},
        {"text": "دبي"},
        {"text": "[1] {x"},
    ]
    assert fields(path, columns=["sentence"])[0] == {"sentence": "“We now have 4-month-old mice”"}


# -- the same rows in every format ------------------------------------------------------------------

TEXTS = [
    "plain",
    'a "quoted" word',
    "tab-less, comma",
    "é e\u0301 ñ n\u0303",
    "שָׁלוֹם عَلَيْكُم \u202eabc\u202c",
    "กำ 中\u2028国 👨‍👩‍👧",
    "0",
    "01",
    "null",
]
PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


def in_format(format: str, rows: list[dict[str, str]]) -> bytes:
    names = list(rows[0])
    if format == "jsonl":
        return "\r\n".join(json.dumps(row) for row in rows).encode()
    if format == "json":
        return json.dumps(rows, ensure_ascii=False, indent=1).encode()
    if format == "columns.json":
        return json.dumps({name: [row[name] for row in rows] for name in names}).encode()
    if format == "pandas.json":
        return json.dumps({n: {str(i): row[n] for i, row in enumerate(rows)} for n in names}).encode()
    if format == "tsv":
        return "\n".join("\t".join(row) for row in [names, *(list(row.values()) for row in rows)]).encode(
            "utf-8-sig"
        )
    if format == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter=";" if format == "semicolon.csv" else ",")
    table.writerows([names, *(row.values() for row in rows)])
    return text.getvalue().encode()


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize(
    "format", ["jsonl", "json", "columns.json", "pandas.json", "tsv", "csv", "semicolon.csv", "parquet"]
)
def test_the_same_rows_come_out_of_every_format(write, format, packed):
    rows = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
    path = write(PACK[packed](in_format(format, rows)), f"data.{format}{packed}")
    assert fields(path) == rows
    assert fields(path) == rows


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("format", ["jsonl", "json", "parquet"])
def test_a_name_that_tells_nothing_is_no_obstacle(write, format, packed):
    rows = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
    assert fields(write(PACK[packed](in_format(format, rows)), "5f3b9c0d")) == rows


@pytest.mark.parametrize("format", ["jsonl", "json", "tsv", "csv", "txt"])
def test_memory_does_not_grow_with_the_file(write, format):
    rows = [{"id": str(i), "text": "x" * 1000} for i in range(15_000)]  # 15 MB
    content = (
        "".join(f"{row['text']}\n" for row in rows).encode() if format == "txt" else in_format(format, rows)
    )
    path = write(content, f"data.{format}")
    del rows, content
    tracemalloc.start()
    try:
        assert sum(isinstance(row, Record) for row in read_records(path)) == 15_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6


# -- tables -----------------------------------------------------------------------------------------


def test_a_tsv_has_no_quoting_and_a_row_a_line(write):
    path = write('a\tb\n"x\ty"\n"z\n', "t.tsv")
    rows = read(path)
    assert rows[0] == Record({"a": '"x', "b": 'y"'}, f"{path}:2")
    assert reasons(rows)[1:] == ["1 cell where there are 2 columns"]


def test_cells_of_a_csv_may_hold_line_ends_and_lines_are_counted_in_the_file(write):
    path = write('a,b\r\n"x\r\ny","1 ""2"""\r\n"",\r\nu,"\n\n"\r\n', "t.csv")
    assert read(path) == [
        Record({"a": "x\r\ny", "b": '1 "2"'}, f"{path}:2"),
        Record({"a": "", "b": ""}, f"{path}:4"),
        Record({"a": "u", "b": "\n\n"}, f"{path}:5"),
    ]


def test_a_quote_that_is_not_closed_costs_its_line_alone(write):
    open_quote = "a quote is opened and not closed as it should be"
    path = write(["a,b", '"x,1', "y,2", 'z,"3', "u,4"], "t.csv")
    assert [(p, r) for p, r in zip(places(read(path)), reasons(read(path)), strict=True)] == [
        ("t.csv:2", open_quote),
        ("t.csv:3", ""),
        ("t.csv:4", open_quote),
        ("t.csv:5", ""),
    ]
    # Closed by another row's quote, to the number of cells of a row's, it cannot be told from a line end.
    path = write(["a,b", '"x,1', 'y",2', "z,3"], "t.csv")
    assert fields(path)[0] == {"a": "x,1\ny", "b": "2"}


def test_a_bare_quote_within_a_cell_is_a_character(write):
    assert fields(write(["a,b", '5" disk,a"b"'], "t.csv")) == [{"a": '5" disk', "b": 'a"b"'}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2,3", "3 cells where there are 2 columns"),
        (b"1", "1 cell where there are 2 columns"),
        (b'"1"x,2', "a quote is closed in the middle of a cell"),
        (b"1\r2,3", "a carriage return in the middle of a line"),
        ("ü,1".encode("latin-1"), "not UTF-8: byte 0xfc at offset 0 of the line"),
        (b"  ", "1 cell where there are 2 columns"),
        (b"", "the line is blank"),
    ],
)
def test_a_bad_line_of_a_csv_is_skipped_and_said_why(write, line, reason):
    path = write(b"a,b\nx,y\n" + line + b"\nz,u\n\n", "t.csv")
    rows = read(path)
    assert places(rows) == ["t.csv:2", "t.csv:3", "t.csv:4"]
    assert reasons(rows) == ["", reason, ""]


def test_bytes_that_are_no_utf8_do_not_make_other_rows_of_the_lines_behind(write):
    path = write(b'a,b\n"x\xff\ny",1\nz,2\n', "t.csv")
    rows = read(path)
    assert places(rows) == ["t.csv:2", "t.csv:4"]
    assert reasons(rows) == ["not UTF-8: byte 0xff at offset 2 of the line", ""]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1\t2\t3", "3 cells where there are 2 columns"),
        (b"1", "1 cell where there are 2 columns"),
        (b"\xed\xa0\x80\t1", "not UTF-8: byte 0xed at offset 0 of the line"),
        (b"", "the line is blank"),
        (b" \r", "the line is blank"),
    ],
)
def test_a_bad_line_of_a_tsv_is_skipped_and_said_why(write, line, reason):
    path = write(b"a\tb\r\nx\ty\r\n" + line + b"\n\t\r\n\n\n", "t.tsv")
    rows = read(path)
    assert places(rows) == ["t.tsv:2", "t.tsv:3", "t.tsv:4"]
    assert reasons(rows) == ["", reason, ""]
    assert rows[2] == Record({"a": "", "b": ""}, f"{path}:4")


def test_names_of_columns_can_be_given_and_may_be_there_already(write):
    names = ["question", "answer"]
    assert fields(write("1 + 1?\t2\n", "a.tsv"), columns=names) == [{"question": "1 + 1?", "answer": "2"}]
    assert fields(write("question\tanswer\n1 + 1?\t2\n", "b.tsv"), columns=names) == [
        {"question": "1 + 1?", "answer": "2"}
    ]
    assert fields(write("1 + 1?,2\n", "c.csv"), columns=names) == [{"question": "1 + 1?", "answer": "2"}]
    assert fields(write("1 + 1?\t2\n", "zsre.txt"), columns=names) == [{"question": "1 + 1?", "answer": "2"}]
    assert reasons(read(write("1 + 1?\t2\n", "d.tsv"), columns=["one"])) == [
        "2 cells where there are 1 columns"
    ]


def test_a_later_row_of_the_names_of_the_columns_is_a_row(write):
    path = write("a,b\n1,2\na,b\n", "t.csv")
    assert fields(path, columns=["a", "b"]) == [{"a": "1", "b": "2"}, {"a": "a", "b": "b"}]


@pytest.mark.parametrize("name", ["t.tsv", "t.txt"])
def test_one_carriage_return_belongs_to_the_end_of_a_line(write, name):
    assert fields(write("x\r\r\ny\n", name), columns=["a"]) == [{"a": "x\r"}, {"a": "y"}]


def test_an_index_has_no_name(write):
    assert fields(write(",a\n0,x\n", "pandas.csv")) == [{"column 1": "0", "a": "x"}]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty$"),
        (b"\n\r\n", r"is empty$"),
        (b"a{}b{}a\n1{}2{}3\n", r":1: the first line gives the columns their names, but 'a' is there twice"),
        (b"\xfc{}b\n", r":1: the line with the names of the columns is not UTF-8: byte 0xfc"),
        (b"\0a\0{}\0b\0\n", r":1: the names of the columns hold NUL characters; if the file is UTF-16"),
        ("ab\n".encode("utf-16"), r"it is encoded in UTF-16 or UTF-32; it must be UTF-8 \(iconv"),
        (b"PK\x03\x04" + b"x" * 20, r"it is a zip archive; unpack it"),
        (b"a{}b\n", r" holds no rows$"),
    ],
)
def test_a_table_that_is_none_is_refused(write, name, content, message):
    path = write(content.replace(b"{}", b"," if name == "t.csv" else b"\t"), name)
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.jsonl", "t.json"])
def test_a_row_beyond_the_limit_is_skipped_without_being_held(write, name, monkeypatch):
    for module in (lines, tables, json_document):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 4 << 20)
    huge = "x" * (30 << 20)
    header = ["a"] if name in ("t.csv", "t.tsv") else []
    rows = ["1", huge, "2"]
    if name.endswith(".json"):
        content = "[\n" + ",\n".join(f'{{"a": "{row}"}}' for row in rows) + "\n]"
    elif name.endswith(".jsonl"):
        content = "\n".join(f'{{"a": "{row}"}}' for row in rows)
    else:
        content = "\n".join([*header, *rows])
    path = write(content, name)
    del content, huge, rows
    tracemalloc.start()
    try:
        found = read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reasons(found) == ["", "longer than 4 MiB", ""]
    line = "2" if not header else "3"
    assert places(found)[1] == ("t.json: row 2 (line 3)" if name == "t.json" else f"{name}:{line}")
    assert peak < 20e6


def test_a_cell_may_be_longer_than_the_csv_module_allows_by_itself(write):
    assert fields(write("a,b\n" + "x" * 1_000_000 + ",1\n", "t.csv"))[0]["a"] == "x" * 1_000_000


def test_an_open_quote_does_not_hold_the_rest_of_the_file(write, monkeypatch):
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 10_000)
    path = write(["a,b", '"open,1', *["x,2"] * 20_000], "t.csv")
    rows = read(path)
    assert reasons(rows[:2]) == ["a quote is opened and not closed as it should be", ""]
    assert len(rows) == 20_001


# -- JSON -------------------------------------------------------------------------------------------


def test_a_json_file_of_an_object_a_line_is_read_as_jsonl(write):
    path = write(['{"a": 1}', "broken", '{"a": 2}'], "t.json")
    assert places(read(path)) == ["t.json:1", "t.json:2", "t.json:3"]
    assert reasons(read(path)) == ["", "not JSON: invalid character (column 1)", ""]


def test_an_object_by_itself_is_one_row(write):
    assert fields(write('{"a": 1, "b": ["x", "y"]}', "t.json")) == [{"a": 1, "b": ["x", "y"]}]
    assert fields(write('{\n"a": 1\n}\n', "t.json")) == [{"a": 1}]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (b'"text"', "a text where an object must be"),
        (b"17", "a number where an object must be"),
        (b"null", "null where an object must be"),
        (b'[{"a": [1, 2]}]', "a list where an object must be"),
        (b'{"a": "\xff"}', "not UTF-8: byte 0xff at offset 7 of the line"),
        (b'{"a": NaN}', "not JSON: invalid character (column 7)"),
        (b'{"a": "\\ud800 and"}', "not JSON: unexpected end of escaped utf-16 surrogate pair (column 13)"),
    ],
)
def test_an_item_that_is_no_row_is_skipped(write, item, reason):
    path = write(b'[{"a": 1},\n ' + item + b',\n{"a": 2}]', "t.json")
    rows = read(path)
    assert places(rows) == [f"t.json: row {n} (line {n})" for n in (1, 2, 3)]
    assert [r.split(" (column")[0] for r in reasons(rows)] == ["", reason.split(" (column")[0], ""]


@pytest.mark.parametrize(
    ("content", "num_rows", "message"),
    [
        (b'[{"a": 1}, {"a": 2}', 1, r"its JSON ends too early: the list is not closed, after row 1$"),
        (b'[{"a": 1}, {"a": "x', 1, r"its JSON ends too early: the list is not closed, after row 1$"),
        (b'[{"a": 1},\n{"a" 2}]', 1, r"t.json: row 2 \(line 2\) is not JSON: expected ':' \(character 6 of the row\)"),
        (b'[{"a": 1}\n{"a": 2}]', 0, r"t.json: row 1 \(line 1\) is not JSON: trailing characters"),
        (b'[{"a": 1},]', 1, r"t.json: row 2 \(line 1\) is not JSON"),
        (b'[{"a": 1}, , {"a": 2}]', 1, r"t.json: row 2 \(line 1\) is not JSON"),
        (b'[{"a": 1}] x', 1, r"it is not JSON: there is something else behind the list, after row 1$"),
        (b'[{"a": 1}}]', 1, r"it is not JSON: a } closes what no { has opened, on line 1"),
        (b"[]", 0, r" holds no rows$"),
        (b"", 0, r" holds no rows$"),
        (b" \n\n", 0, r" holds no rows$"),
        (b'"text"', 0, r"it is not JSON: it must begin with \[ or {$"),
        (b"id,text\n1,x\n", 0, r"it is not JSON: it must begin with \[ or {$"),
        (b'{"a":\n  1,\n b: 2}', 0, r"it is not JSON: .* \(line 3, column 2\)$"),
        (b'{\n"a": 1\n}\n{\n"a": 2\n}', 0, r"trailing characters \(line 4, column \d\); if it is several objects"),
        (b'{"a": 1', 0, r"it is not JSON: it ends too early"),
        (b'{"train": [{"a": 1}], "test": [{"a": 2}]}', 0, r"several lists of rows \(train, test\)"),
        (b'{"a": [1, 2], "b": [1]}', 0, r"its columns must have as many rows each, but they have: a 2, b 1"),
        (b"[" * 100_000, 0, r"its JSON ends too early"),
    ],
)  # fmt: skip
def test_a_document_that_is_no_json_is_an_error_after_the_rows_before(write, content, num_rows, message):
    path = write(content, "t.json")
    rows: list[Row] = []
    with pytest.raises(InputError, match=message) as caught:
        rows.extend(read_records(path))
    assert str(path) in str(caught.value)
    assert len(rows) == num_rows


def test_what_comes_long_after_a_list_is_seen(write, monkeypatch):
    monkeypatch.setattr(lines, "_CHUNK_BYTES", 16)
    assert fields(write(b'[{"a": 1}]' + b"\n" * 100, "t.json")) == [{"a": 1}]
    with pytest.raises(InputError, match="there is something else behind the list"):
        read(write(b'[{"a": 1}]' + b"\n" * 100 + b"x", "t.json"))


# -- locations --------------------------------------------------------------------------------------


def test_every_iteration_starts_anew(write):
    records = read_records(write(["x", "y"], "t.txt"))
    first = iter(records)
    next(first)
    assert len(list(records)) == 2
    assert len(list(first)) == 1
    assert records.describe() == records.location


def test_what_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"nothing.tsv does not exist"):
        read_records(tmp_path / "nothing.tsv")
    with pytest.raises(InputError, match=r"data/nothing.tsv does not exist"):
        read_records("data/nothing.tsv")


def test_names_of_the_hub_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("facebook/xnli")
    assert not any(map(is_hub_name, ["data/xnli.tsv", "./facebook/xnli", "xnli", "s3://a/b", "a/b/c", "a/*"]))
    Path("facebook/xnli").mkdir(parents=True)
    assert not is_hub_name("facebook/xnli")
    assert (
        read_records("org/name", split="test", revision="main").describe()
        == "org/name (split test, revision main)"
    )


# -- any bytes at all -------------------------------------------------------------------------------

ODD = [
    "\0",
    "\r",
    "\n",
    "\t",
    '"',
    ",",
    "\\",
    "\u2028",
    "\u0085",
    "\u202e",
    "e\u0301",
    "שׁ",
    "\ufeff",
    "👩‍👧",
    "{",
    "}",
    "[",
    "]",
    "'",
    ";",
]
odd_text = st.lists(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=12).map("".join)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@st.composite
def damaged(draw: Any, content: st.SearchStrategy[bytes]) -> bytes:
    """A content with some bytes cut out or put in, whole or not."""
    data = draw(content)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 4)) :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


def outcome(path: Path, **options: Any) -> list[Row] | InputError:
    """Rows, or the error in their place; anything else that is raised fails the test."""
    rows: list[Row] = []
    try:
        for row in read_records(path, **options):
            rows.append(row)
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return error
    finally:
        for row in rows:
            assert row.where.startswith(str(path))
            assert isinstance(row, Record) or (row.reason and "\n" not in row.reason)
    return rows


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(odd_text, min_size=2, max_size=2), min_size=1, max_size=5), st.integers(1, 40))
def test_what_the_csv_module_writes_comes_back(scratch, rows, chunk):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    path = scratch / "written.csv"
    path.write_bytes(text.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_CHUNK_BYTES", chunk)
        assert [list(row.fields.values()) for row in read(path) if isinstance(row, Record)] == rows


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(odd_text, max_size=3).map(",".join), min_size=1, max_size=8))
@example(['"', '"', '"'])
@example(['"a,b\n', '"', "c"])
def test_no_line_of_any_csv_is_lost(scratch, parts):
    content = "a,b\nx,y\n" + "\n".join(parts)
    path = scratch / "any.csv"
    path.write_bytes(content.encode())
    rows = outcome(path)
    assert isinstance(rows, list)
    told = set()
    for row in rows:
        number = int(row.where.rpartition(":")[2])
        inside = sum(cell.count("\n") for cell in row.fields.values()) if isinstance(row, Record) else 0
        span = set(range(number, number + inside + 1))
        assert not told & span
        told |= span
    there = {n for n, line in enumerate(content.split("\n"), 1) if n > 1 and line.strip("\r")}
    assert there <= told
    assert told <= set(range(2, content.count("\n") + 2))


@settings(max_examples=200, deadline=None)
@given(damaged(st.lists(odd_text, max_size=8).map(lambda parts: "\n".join(parts).encode())), st.booleans())
def test_no_line_of_any_tsv_or_text_is_lost(scratch, content, is_table):
    path = scratch / ("any.tsv" if is_table else "any.txt")
    path.write_bytes(content)
    rows = outcome(path, columns=["a", "b"] if is_table else None)
    there = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if there[-1] == b"":
        there.pop()
    if isinstance(rows, InputError):
        packings = [magic for packing in lines._PACKINGS for magic in packing.magic]
        assert not any(line.strip(b" \r") for line in there) or content.startswith(
            (*packings, *lines._FOREIGN)
        )
        return
    numbers = [int(row.where.rpartition(":")[2]) for row in rows]
    if not is_table:
        assert numbers == list(range(1, len(there) + 1))
        for row, line in zip(rows, there, strict=True):
            assert isinstance(row, Skipped) or row.fields["text"].encode() == line.removesuffix(b"\r")
        return
    assert numbers == sorted(set(numbers))
    assert {n for n, line in enumerate(there, 1) if line.strip(b" \r")} - set(numbers) <= (
        {1} if there[0].removesuffix(b"\r") == b"a\tb" else set()
    )
    for row in rows:
        if isinstance(row, Record):
            line = there[int(row.where.rpartition(":")[2]) - 1]
            assert "\t".join(row.fields.values()).encode() == line.removesuffix(b"\r")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | odd_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=6,
)
documents = st.builds(
    lambda rows, indent, is_ascii: json.dumps(rows, indent=indent, ensure_ascii=is_ascii).encode(),
    st.lists(st.dictionaries(odd_text, values, max_size=3) | values, max_size=5),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(documents, st.integers(1, 50))
def test_a_list_comes_whole_however_it_is_cut(scratch, content, chunk):
    path = scratch / "any.json"
    path.write_bytes(content)
    rows = json.loads(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_CHUNK_BYTES", chunk)
        found = outcome(path)
    if not rows:
        assert isinstance(found, InputError)
        return
    assert isinstance(found, list)
    assert [isinstance(row, Record) for row in found] == [isinstance(row, dict) for row in rows]
    assert [row.fields for row in found if isinstance(row, Record)] == [
        r for r in rows if isinstance(r, dict)
    ]
    at = [int(row.where.rpartition("line ")[2].rstrip(")")) for row in found]
    assert at == sorted(at)
    assert at[-1] <= content.count(b"\n") + 1


@settings(max_examples=200, deadline=None)
@given(damaged(documents), st.integers(1, 50))
@example(b'[{"a": "\\', 1)
@example(b'[{"a": "\\"]"}]', 9)
@example(b"[[]", 2)
@example(b"{}", 2)
@example(b"{} x", 2)
def test_a_damaged_document_is_an_error_or_all_of_it_is_told_of(scratch, content, chunk):
    path = scratch / "any.json"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_CHUNK_BYTES", chunk)
        found = outcome(path)
    if isinstance(found, InputError) or not content.lstrip().startswith(b"["):
        return
    rows = json.loads(content.removeprefix(b"\xef\xbb\xbf").decode(errors="replace"))
    assert len(rows) == len(found)
    for row, value in zip(found, rows, strict=True):
        assert isinstance(row, Skipped) or row.fields == value


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=80),
    st.sampled_from(["x", "x.json", "x.jsonl", "x.csv", "x.tsv", "x.txt", "x.parquet"]),
)
def test_any_bytes_under_any_name_give_rows_or_an_input_error(scratch, content, name):
    path = scratch / name
    path.write_bytes(content)
    outcome(path)
