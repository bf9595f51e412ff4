"""The reader: what it yields for good files, and what it says about each kind of bad one."""

import gzip
import json
import os
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastneurons.data.example import Example, Skipped
from fastneurons.data.first_seen import FirstSeen
from fastneurons.data.jsonl_examples import JsonlSource
from fastneurons.data.readers import lines as line_layer
from fastneurons.errors import InputError

GOOD = b'{"id": "a", "prompts": {"en": "Hello", "de": "Hallo"}}'


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else b"\n".join(content) + b"\n")
        return str(path)

    return write


def read(path: str, languages: tuple[str, ...] = ("en", "de")) -> list[Any]:
    return list(JsonlSource(path, languages))


def open_jsonl(path: Any, languages: tuple[str, ...]) -> JsonlSource:
    """As a run opens it: its first lines are looked at."""
    source = JsonlSource(path, languages)
    source.check()
    return source


def line(id: Any = "a", **changes: Any) -> bytes:
    row = {"id": id, "prompts": {"en": "Hello", "de": "Hallo"}} | changes
    return json.dumps({key: value for key, value in row.items() if value is not ...}).encode()


# -- good files -------------------------------------------------------------------------------------


def test_lines_become_examples_in_order(write):
    path = write([line("a", answers={"en": "x", "fr": "y"}, more=[1, {}]), line(7), line("007")])
    assert read(path) == [
        Example("a", {"en": "Hello", "de": "Hallo"}, {"en": "x"}, f"{path}:1"),
        Example("7", {"en": "Hello", "de": "Hallo"}, {}, f"{path}:2"),
        Example("007", {"en": "Hello", "de": "Hallo"}, {}, f"{path}:3"),
    ]


def test_only_languages_asked_for_are_kept_in_the_order_asked(write):
    path = write([line(prompts={"de": "d", "xx-unknown": "x", "fr": None, "en": "e", "th": "t"})])
    assert tuple(read(path, ("th", "en"))[0].prompts) == ("th", "en")


def test_keys_may_be_flores_codes(write):
    path = write(
        [line(prompts={"deu_Latn": "d", "zho_Hans": "s", "zho_Hant": "t"}, answers={"cmn_Hans": "a"})]
    )
    (row,) = read(path, ("zh-Hant", "zh", "de"))
    assert row.prompts == {"zh-Hant": "t", "zh": "s", "de": "d"}
    assert row.answers == {"zh": "a"}


def test_numbers_are_answers_too(write):
    (row,) = read(write([line(answers={"en": 18, "de": 1.5, "fr": 3})]))
    assert row.answers == {"en": "18", "de": "1.5"}


@pytest.mark.parametrize("answers", [None, ..., {}, {"en": None}])
def test_answers_may_be_absent(write, answers):
    assert read(write([line(answers=answers)]))[0].answers == {}


def test_only_newlines_end_lines(write):
    text = "one\u2028two\u0085three\x0bfour\x1cfive"
    path = write(json.dumps({"id": 1, "prompts": {"en": text, "de": "d"}}, ensure_ascii=False).encode())
    assert read(path)[0].prompts["en"] == text


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_line_ends_byte_order_mark_and_blank_lines(write, ending, start, end):
    content = start + ending.join([line("a"), b"", b"  \t", line("b")]) + end
    assert [(row.id, row.where.rpartition(":")[2]) for row in read(write(content))] == [
        ("a", "1"),
        ("b", "4"),
    ]


def test_every_iteration_starts_anew(write):
    source = open_jsonl(write([line("a"), line("b")]), ("en", "de"))
    assert list(source) == list(source)
    assert [type(row) for row in source] == [Example, Example]


@pytest.mark.parametrize("name", ["data.jsonl.gz", "data.jsonl"])
def test_gzip_is_recognised_by_its_content(write, name):
    path = write(gzip.compress(line("a") + b"\n") + gzip.compress(line("b")) + b"\0" * 700, name)
    assert [row.id for row in read(path)] == ["a", "b"]


def test_a_plain_file_may_be_called_gz(write):
    assert read(write([line()], "data.gz"))[0].id == "a"


@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_content_does_not_depend_on_how_it_is_cut(write, monkeypatch, chunk):
    monkeypatch.setattr(line_layer, "_CHUNK_BYTES", chunk)
    lines = [line(f"é{i}" * i) for i in range(1, 6)]
    for content in (
        b"\n".join(lines),
        gzip.compress(b"\n".join(lines[:3]) + b"\n") + gzip.compress(lines[3]),
    ):
        rows = read(write(content))
        assert [row.id for row in rows] == [f"é{i}" * i for i in range(1, len(rows) + 1)]
        assert len(rows) == (5 if content[:1] == b"{" else 4)


def test_memory_does_not_grow_with_the_file(write):
    path = write([line(i, prompts={"en": "x" * 500, "de": "y" * 500}) for i in range(20_000)])  # 20 MB
    tracemalloc.start()
    try:
        assert sum(isinstance(row, Example) for row in open_jsonl(path, ("en", "de"))) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6


# -- bad lines --------------------------------------------------------------------------------------

BAD = {
    "not json": (b"Hello", "", "not JSON: invalid character (column 1)"),
    "a comma too much": (b'{"id": "a",}', "", "not JSON: trailing comma in object (column 12)"),
    "columns are characters": ('{"é": "ü" x'.encode(), "", "not JSON: expected ',' or '}' (column 11)"),
    "cut off": (b'{"id": "a", "prompts": {"en": "x', "", "not JSON: it ends too early (column 33)"),
    "two objects": (GOOD + b" " + GOOD, "", "not JSON: trailing characters (column 57)"),
    "nan": (b'{"id": NaN}', "", "not JSON: invalid character (column 8)"),
    "nested": (b'{"id": 1, "x": ' + b"[" * 100_000, "", "not JSON that can be read: nested too deeply"),
    "a lone surrogate": (
        b'{"id": "\\ud800 and more"}',
        "",
        "not JSON: unexpected end of escaped utf-16 surrogate pair (column 15)",
    ),
    "a raw control character": (b'{"id": "\0"}', "", "not JSON: invalid character (column 9)"),
    "a list": (b"[]", "", "a list where an object with id and prompts must be"),
    "null": (b"null", "", "null where an object with id and prompts must be"),
    "no id": (line(...), "", "no id"),
    "null id": (line(None), "", "no id"),
    "empty id": (line(" "), "", "the id is empty"),
    "id of a wrong type": (line(1.5), "", "the id is a number; it must be a text or a whole number"),
    "boolean id": (line(True), "", "the id is true or false; it must be a text or a whole number"),
    "NUL in the id": (line("a\0b"), "", "the id holds a NUL character"),
    "no prompts": (line(prompts=...), "a", "no prompts"),
    "prompts as a list": (
        line(prompts=["x"]),
        "a",
        "prompts is a list; it must be an object with a text for each language",
    ),
    "no prompt in a language": (line(prompts={"en": "x"}), "a", "no prompt in de"),
    "a null prompt": (line(prompts={"en": "x", "de": None}), "a", "no prompt in de"),
    "an empty prompt": (line(prompts={"en": "", "de": "x"}), "a", "the prompt in en is empty"),
    "a blank prompt": (line(prompts={"en": "x", "de": " \n\u3000"}), "a", "the prompt in de is empty"),
    "NUL in a prompt": (
        line(prompts={"en": "x\0", "de": "x"}),
        "a",
        "the prompt in en holds a NUL character",
    ),
    "a prompt that is no text": (
        line(prompts={"en": "x", "de": 3}),
        "a",
        "the prompt in de is a number; it must be a text",
    ),
    "an answer that is no text": (
        line(answers={"en": {"x": "y"}}),
        "a",
        "the answer in en is an object; it must be a text",
    ),
    "one language twice": (
        line(prompts={"en": "x", "de": "y", "deu_Latn": "z"}),
        "a",
        "prompts has de twice, as de and deu_Latn",
    ),
    "Latin-1": (
        '{"id": "a", "prompts": {"en": "x", "de": "ü"}}'.encode("latin-1"),
        "",
        "not UTF-8: byte 0xfc at offset 42 of the line",
    ),
    "UTF-8 cut in a letter": (b'{"id": "\xc3"}', "", "not UTF-8: byte 0xc3 at offset 8 of the line"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_skipped_and_said_why(write, case):
    content, id, reason = BAD[case]
    path = write([line("before"), content, line("after")])
    rows = read(path)
    assert [type(row) for row in rows] == [Example, Skipped, Example]
    assert rows[1] == Skipped(id, f"{path}:2", reason)


def test_of_two_lines_with_one_id_the_first_counts(write):
    path = write([line("a"), line("b"), line("a"), line(1), line("1"), line("c", prompts={}), line("c")])
    assert [row.reason if isinstance(row, Skipped) else row.id for row in read(path)] == [
        "a",
        "b",
        "the id is that of line 1 already",
        "1",
        "the id is that of line 4 already",
        "no prompt in en",
        "c",
    ]


def test_ids_are_told_apart_when_their_table_grows():
    table = FirstSeen()
    assert [table.of(f"id {i}", i + 1) for i in range(20_000)] == [0] * 20_000
    assert [table.of(f"id {i}", 1) for i in range(20_000)] == list(range(1, 20_001))


def test_a_line_beyond_the_limit_is_skipped_without_being_held(write, monkeypatch):
    monkeypatch.setattr(line_layer, "MAX_LINE_BYTES", 4 << 20)
    huge = line("b", prompts={"en": "x" * (30 << 20), "de": "y"})
    path = write([line("a"), huge, line("c")])
    del huge
    tracemalloc.start()
    try:
        rows = read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows[1] == Skipped("", f"{path}:2", "longer than 4 MiB")
    assert [row.id for row in rows] == ["a", "", "c"]
    assert peak < 16e6


# -- bad files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \r\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (line().decode().encode("utf-16"), "encoded in UTF-16"),
        (b"\x28\xb5\x2f\xfd rest", "its Zstandard data is damaged"),
        (b"PK\x03\x04 rest", "a zip archive"),
        (b"PAR1 rest", "a Parquet file"),
        (
            b"id,en,de\n1,Hello,Hallo\n",
            r"data.jsonl: none of its lines is a usable example: .*data.jsonl:1: not JSON",
        ),
        (
            b"[" + GOOD + b"," + GOOD + b"]",
            "data.jsonl:1: a list where an object with id and prompts must be",
        ),
    ],
)
def test_a_file_that_is_something_else_is_refused_before_anything_is_loaded(write, content, message):
    path = write(content)
    with pytest.raises(InputError, match=message):
        open_jsonl(path, ("en", "de"))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing.jsonl does not exist"):
        open_jsonl(tmp_path / "nothing.jsonl", ("en", "de"))
    with pytest.raises(InputError, match="is a folder that holds no data files"):
        open_jsonl(tmp_path, ("en", "de"))
    with pytest.raises(InputError, match="not a file name"):
        open_jsonl("a\0b", ("en", "de"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        open_jsonl(tmp_path / "pipe", ("en", "de"))
    if os.geteuid() != 0:
        (tmp_path / "secret").write_bytes(GOOD)
        (tmp_path / "secret").chmod(0)
        with pytest.raises(InputError, match="cannot be read: Permission denied"):
            open_jsonl(tmp_path / "secret", ("en", "de"))


def test_a_language_that_is_nowhere_is_refused_with_those_that_are_there(write):
    path = write([line(i, prompts={"en": "x", "deu_Latn": "y", "pt-BR": "z"}) for i in range(1200)])
    message = "none of the first 1000 lines has a prompt in ja, ko; there are prompts in en, deu_Latn, pt-BR"
    with pytest.raises(InputError, match=message):
        open_jsonl(path, ("en", "ja", "ko"))


def test_a_file_without_a_usable_line_is_refused_with_its_first_problems(write):
    path = write([b"", b"x", line(...), line("a", prompts={"en": "x"}), line("b", prompts={"de": "x"})])
    with pytest.raises(InputError) as caught:
        open_jsonl(path, ("en", "de"))
    assert str(caught.value) == (
        f"{path}: none of its lines is a usable example: {path}:2: not JSON: invalid character (column 1); "
        f"{path}:3: no id; {path}:4: no prompt in de"
    )


def test_a_usable_line_later_than_the_lines_checked_comes_too_late(write):
    bad = [b"x"] * 1000
    with pytest.raises(InputError, match="first 1000 lines"):
        open_jsonl(write([*bad, GOOD]), ("en", "de"))
    assert sum(isinstance(row, Example) for row in open_jsonl(write([*bad[1:], GOOD]), ("en", "de"))) == 1


@pytest.mark.parametrize("num_bytes_lost", [1, 8, 9, 40])
def test_all_whole_lines_of_a_truncated_gzip_file_come_before_the_error(write, num_bytes_lost):
    lines = [line(i, prompts={"en": os.urandom(50).hex(), "de": "x"}) for i in range(3000)]
    packed = gzip.compress(b"\n".join(lines) + b"\n")
    path = write(packed[:-num_bytes_lost])
    # What zlib can still make of it is what must arrive.
    whole = zlib.decompressobj(wbits=31).decompress(packed[:-num_bytes_lost]).count(b"\n")
    source = open_jsonl(path, ("en", "de"))
    rows: list[Example | Skipped] = []
    with pytest.raises(
        InputError, match=rf"its gzip data ends too early, after line {whole}; the lines before"
    ):
        rows.extend(source)  # extend keeps what came before the exception
    assert [row.id for row in rows] == [str(i) for i in range(whole)]
    assert whole >= 2900


def test_damaged_gzip_data_is_an_error_that_names_the_file(write):
    packed = bytearray(gzip.compress(b"\n".join(line(i) for i in range(20_000))))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(InputError, match=r"data.jsonl: its gzip data is damaged .* after line \d+"):
        read(write(bytes(packed)))
    with pytest.raises(InputError, match="something else behind its gzip data"):
        read(write(gzip.compress(GOOD) + b"rubbish"))


def test_a_read_that_fails_is_an_error_that_names_the_file(write, monkeypatch):
    path = write([line(i) for i in range(5)])

    def failing(file):
        yield file.read(100)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(line_layer, "_chunks", failing)
    with pytest.raises(InputError, match=r"cannot be read after line 1: Input/output error"):
        read(path)


# -- any bytes at all -------------------------------------------------------------------------------

texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
languages = st.sampled_from(["en", "de", "eng_Latn", "deu", "fr", "zh", "xx"])
nearly = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers() | texts | values,
        "prompts": st.dictionaries(languages, texts | values, max_size=4) | values,
        "answers": st.dictionaries(languages, texts | values, max_size=4) | values,
        "more": values,
    },
).map(lambda row: json.dumps(row).encode())
lines = st.one_of(
    nearly,
    nearly.flatmap(lambda row: st.integers(0, len(row)).map(lambda cut: row[:cut])),
    nearly.flatmap(
        lambda row: st.tuples(st.integers(0, len(row)), st.binary(max_size=3)).map(
            lambda change: row[: change[0]] + change[1] + row[change[0] :]
        )
    ),
    st.binary(max_size=60),
    st.just(GOOD),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "data.jsonl"


@settings(max_examples=250, deadline=None)
@given(st.lists(lines, max_size=6), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
@example([b"\x1f\x8b"], False, b"\n")
@example([b"\x1f\x8b\x08\x00" + b"\0" * 8, b"x"], False, b"\n")
def test_any_bytes_give_rows_or_an_input_error(scratch, parts, packed, ending):
    content = ending.join(parts)
    scratch.write_bytes(gzip.compress(content, 1) if packed else content)
    try:
        rows = read(str(scratch))
    except InputError as error:
        assert str(scratch) in str(error)
        packings = [magic for packing in line_layer._PACKINGS for magic in packing.magic]
        assert content.startswith((*packings, *line_layer._FOREIGN))
        return
    # Every line that is not blank is accounted for, once, by its number.
    there = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    numbers = [number for number, one in enumerate(there, 1) if one.strip(b" \t\r\n\x0b\x0c")]
    assert [row.where for row in rows] == [f"{scratch}:{number}" for number in numbers]
    for row in rows:
        if isinstance(row, Example):
            assert tuple(row.prompts) == ("en", "de")
            assert all(prompt.strip() for prompt in row.prompts.values())
            row.id.encode()
        else:
            assert row.reason and "\n" not in row.reason
    ids = [row.id for row in rows if isinstance(row, Example)]
    assert len(set(ids)) == len(ids)


@settings(max_examples=100, deadline=None)
@given(st.lists(lines, min_size=1, max_size=5))
def test_the_check_refuses_exactly_what_has_no_example(scratch, parts):
    scratch.write_bytes(b"\n".join(parts))
    try:
        any_example = any(isinstance(row, Example) for row in read(str(scratch)))
    except InputError:
        any_example = False
    if any_example:
        open_jsonl(scratch, ("en", "de"))
    else:
        with pytest.raises(InputError):
            open_jsonl(scratch, ("en", "de"))
