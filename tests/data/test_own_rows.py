"""Rows of a user's own: the same row gives the same outcome, whichever format it came in."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastneurons.data.example import Example, Skipped
from fastneurons.data.jsonl_examples import JsonlSource
from fastneurons.data.messages import ROLES
from fastneurons.data.options import DataOptions
from fastneurons.data.own_rows import checked_examples
from fastneurons.data.places import Place
from fastneurons.data.readers.raw_record import Record
from fastneurons.data.tasks import TASKS, open_tasks
from fastneurons.data.tasks.cases import Case
from fastneurons.data.valid_values import MAX_ID_CHARACTERS
from fastneurons.errors import InputError
from tests.data.tasks import files

LANGUAGES = ("en", "de")
GOOD = {"id": "a", "prompts": {"en": "Hello", "de": "Hallo"}}


def user(text, role="user"):
    return {"role": role, "content": text}


def in_format(folder, form, row):
    """A file that holds one row."""
    if form == "jsonl":
        return files.lines(folder / "x.jsonl", [row])
    if form == "json":
        return files.write(folder / "x.json", json.dumps([row]))
    if form == "json object":
        return files.write(folder / "x.json", json.dumps({"version": 1, "rows": [row]}))
    pq.write_table(pa.Table.from_pylist([row]), folder / "x.parquet")
    return folder / "x.parquet"


def outcome(path):
    """What the one row of a file becomes: id and fields by language, or id and reason."""
    [row] = TASKS["jsonl"].open(Place(str(path))).aligned(LANGUAGES)
    assert str(path) in row.where
    if isinstance(row, Skipped):
        return row.id, row.reason
    return row.key, {code: piece.fields for code, piece in row.pieces.items()}


def texts(english, german="Hallo", **more):
    return {"en": {"prompt": english, **more}, "de": {"prompt": german}}


FORMS = ["jsonl", "json", "json object", "parquet"]
ONE, TWO = [user("Hello")], [user("Hi"), user("Yes?", "assistant"), user("Who?")]
OUTCOMES = {
    "texts": (GOOD, ("a", texts("Hello"))),
    "an id that is a number": (GOOD | {"id": 7}, ("7", texts("Hello"))),
    "an id that is a whole float": (GOOD | {"id": 7.0}, ("7", texts("Hello"))),
    "an id with a fraction": (GOOD | {"id": 1.5}, ("", "the id is a number; it must be a text or a whole number")),
    "an id that is a truth value": (
        GOOD | {"id": True}, ("", "the id is true or false; it must be a text or a whole number")),
    "an id that is a list": (GOOD | {"id": ["a"]}, ("", "the id is a list; it must be a text or a whole number")),
    "no id": (GOOD | {"id": None}, ("", "no id")),
    "NUL in the id": (GOOD | {"id": "a\0b"}, ("", "the id holds a NUL character")),
    "an invisible id": (
        GOOD | {"id": "\u200b"}, ("", "the id is empty: all its characters are invisible (U+200B)")),
    "an id of a megabyte": (
        GOOD | {"id": "x" * 1_000_000},
        (f"{'x' * 57}...", f"the id is 1,000,000 characters long; it may have {MAX_ID_CHARACTERS:,} at most")),
    "a prompt that is a number": (
        GOOD | {"prompts": {"en": 3, "de": 4}}, ("a", "the prompt in en is a number; it must be a text")),
    "a prompt that is a truth value": (
        GOOD | {"prompts": {"en": True, "de": False}},
        ("a", "the prompt in en is true or false; it must be a text")),
    "a prompt that is a list of texts": (
        GOOD | {"prompts": {"en": ["Hello"], "de": ["Hallo"]}},
        ("a", "the prompt in en is a list; it must be a text or chat messages")),
    "a prompt that is an object": (
        GOOD | {"prompts": {"en": {"text": "Hello"}, "de": {"text": "Hallo"}}},
        ("a", "the prompt in en is an object; it must be a text")),
    "an empty prompt": (GOOD | {"prompts": {"en": "", "de": "x"}}, ("a", "the prompt in en is empty")),
    "a blank prompt": (GOOD | {"prompts": {"en": "\xa0\u3000", "de": "x"}}, ("a", "the prompt in en is empty")),
    "a prompt of zero-width spaces": (
        GOOD | {"prompts": {"en": "\u200b\u200b", "de": "x"}},
        ("a", "the prompt in en is empty: all its characters are invisible (U+200B)")),
    "a prompt that is a byte order mark": (
        GOOD | {"prompts": {"en": "\ufeff", "de": "x"}},
        ("a", "the prompt in en is empty: all its characters are invisible (U+FEFF)")),
    "a prompt of invisible characters": (
        GOOD | {"prompts": {"en": "\xad \u3164\U000e0041\x07", "de": "x"}},
        ("a", "the prompt in en is empty: all its characters are invisible (U+00AD, U+3164, U+E0041, U+0007)")),
    "a prompt with invisible characters": (
        GOOD | {"prompts": {"en": "\u200fמה\u200e", "de": "می\u200cخواهم"}},
        ("a", texts("\u200fמה\u200e", "می\u200cخواهم"))),
    "a byte order mark before a prompt": (
        GOOD | {"prompts": {"en": "\ufeffHello", "de": "Hallo"}}, ("a", texts("Hello"))),
    "NUL in a prompt": (
        GOOD | {"prompts": {"en": "x\0", "de": "x"}}, ("a", "the prompt in en holds a NUL character")),
    "prompts that are a text": (
        GOOD | {"prompts": "Hello"}, ("a", "prompts is a text; it must be an object with a text for each language")),
    "a language twice": (
        GOOD | {"prompts": {"en": "a", "eng_Latn": "b", "de": "c"}}, ("a", "prompts has en twice, as en and eng_Latn")),
    "other languages are passed over": (
        GOOD | {"prompts": {"en": "Hello", "fr": 3, "xx-none": "x", "de": "Hallo"}}, ("a", texts("Hello"))),
    "no prompt in one language": (GOOD | {"prompts": {"en": "Hello", "de": None}}, ("a", {"en": {"prompt": "Hello"}})),
    "no prompt": (GOOD | {"prompts": {"fr": "x", "de": None}}, ("a", "no prompt in any of the languages")),
    "an answer": (GOOD | {"answers": {"en": "x"}}, ("a", texts("Hello", answer="x"))),
    "an answer that is a number": (GOOD | {"answers": {"en": 18}}, ("a", texts("Hello", answer="18"))),
    "an answer with a fraction": (GOOD | {"answers": {"en": 1.5}}, ("a", texts("Hello", answer="1.5"))),
    "aliases": (
        GOOD | {"answers": {"en": ["honey", "Honey", "honey"]}},
        ("a", texts("Hello", answer="honey", aliases=("Honey",)))),
    "a list of one answer": (GOOD | {"answers": {"en": ["honey"]}}, ("a", texts("Hello", answer="honey"))),
    "an empty list of answers": (GOOD | {"answers": {"en": [], "fr": ["x"]}}, ("a", texts("Hello"))),
    "an empty answer": (GOOD | {"answers": {"en": " "}}, ("a", texts("Hello"))),
    "an answer that is a truth value": (
        GOOD | {"answers": {"en": True}}, ("a", "the answer in en is true or false; it must be a text")),
    "an answer that is an object": (
        GOOD | {"answers": {"en": {"text": "x"}}}, ("a", "the answer in en is an object; it must be a text")),
    "answers within answers": (
        GOOD | {"answers": {"en": [["x"]]}}, ("a", "the answer in en is a list that holds a list; it must be a text")),
    "NUL in an answer": (GOOD | {"answers": {"en": "\0"}}, ("a", "the answer in en holds a NUL character")),
    "messages": (
        GOOD | {"prompts": {"en": ONE, "de": TWO}},
        ("a", {"en": {"prompt": "Hello", "messages": ONE}, "de": {"prompt": "Hi\nYes?\nWho?", "messages": TWO}})),
    "messages in parts": (
        GOOD | {"prompts": {"en": [{"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}},
        ("a", {"en": {"prompt": "a\nb", "messages": [user("a\nb")]}})),
    "a message with a picture": (
        GOOD | {"prompts": {"en": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}},
        ("a", "the content of message 1 of the prompt in en has a part of the type 'image'; only text is supported")),
    "a message with more keys": (
        GOOD | {"prompts": {"en": [user("a") | {"name": None, "weight": 1}]}},
        ("a", {"en": {"prompt": "a", "messages": [user("a")]}})),
    "a message with a call": (
        GOOD | {"prompts": {"en": [user("a"), user("b", "assistant") | {"tool_calls": [{"id": "1"}]}]}},
        ("a", "message 2 of the prompt in en has tool_calls, which is not supported; a message is role and content")),
    "an unknown role": (
        GOOD | {"prompts": {"en": [user("a", "human")]}},
        ("a", f"message 1 of the prompt in en has the role 'human'; there are {', '.join(ROLES)}")),
    "a role that is a number": (
        GOOD | {"prompts": {"en": [user("a", 3)]}},
        ("a", f"message 1 of the prompt in en has the role a number; there are {', '.join(ROLES)}")),
    "ShareGPT's keys": (
        GOOD | {"prompts": {"en": [{"from": "human", "value": "a"}]}},
        ("a", "message 1 of the prompt in en has no role; from and value are called role and content")),
    "no content": (
        GOOD | {"prompts": {"en": [{"role": "user", "content": None}]}},
        ("a", "message 1 of the prompt in en has no content")),
    "a content that is a number": (
        GOOD | {"prompts": {"en": [{"role": "user", "content": 3}]}},
        ("a", "the content of message 1 of the prompt in en is a number; it must be a text")),
    "a last message of nothing": (
        GOOD | {"prompts": {"en": [user("a"), user("\u200b")]}},
        ("a", "message 2 of the prompt in en, its last, is empty: all its characters are invisible (U+200B)")),
    "NUL in a message": (
        GOOD | {"prompts": {"en": [user("a\0")]}}, ("a", "message 1 of the prompt in en holds a NUL character")),
    "messages that end in the system's": (
        GOOD | {"prompts": {"en": [user("a"), user("b", "system")]}},
        ("a", "the prompt in en ends in a message of the system; it must end in one of the user or assistant")),
    "two turns of the assistant": (
        GOOD | {"prompts": {"en": [user("a"), user("b", "assistant"), user("c", "assistant")]}},
        ("a", "the prompt in en ends in two messages of the assistant, of which the last one alone can go on")),
    "messages of a system alone": (
        GOOD | {"prompts": {"en": [user("a", "system")]}}, ("a", "the prompt in en has no message of a user")),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OUTCOMES)
def test_the_same_row_gives_the_same_in_every_format(tmp_path, name, form):
    row, expected = OUTCOMES[name]
    assert outcome(in_format(tmp_path, form, row)) == expected


def prompts_in(tmp_path, **columns):
    """The outcome of a Parquet row whose prompts are a struct of these arrays."""
    arrays = [pa.array(["a"]), pa.StructArray.from_arrays(list(columns.values()), list(columns))]
    pq.write_table(pa.table(arrays, ["id", "prompts"]), tmp_path / "x.parquet")
    return outcome(tmp_path / "x.parquet")


def test_arrows_other_texts_are_texts(tmp_path):
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        german = pa.array(["Hallo"]) if kind != pa.string_view() else pa.array(["Hallo"], pa.string_view())
        assert prompts_in(tmp_path, en=pa.array(["Hello"]).cast(kind), de=german) == ("a", texts("Hello"))


def test_what_parquet_alone_can_hold_is_no_text(tmp_path):
    def said(array):
        return prompts_in(tmp_path, en=array, de=pa.array(["Hallo"]))[1]

    assert said(pa.array([b"Hello"])) == "the prompt in en is binary data; it must be a text"
    assert said(pa.array([float("nan")])) == "the prompt in en is NaN; it must be a text"
    assert said(pa.array([0], pa.date32())) == "the prompt in en is a date; it must be a text"
    assert said(pa.nulls(1)) == {"de": {"prompt": "Hallo"}}


def test_answers_and_ids_in_parquet_that_are_none(tmp_path):
    row = GOOD | {"answers": {"en": float("inf")}}
    assert (
        outcome(in_format(tmp_path, "parquet", row))[1] == "the answer in en is infinite; it must be a text"
    )
    row = GOOD | {"id": float("nan")}
    assert (
        outcome(in_format(tmp_path, "parquet", row))[1]
        == "the id is NaN; it must be a text or a whole number"
    )


def test_a_map_is_an_object_too(tmp_path):
    def write(pairs):
        maps = pa.array([pairs], pa.map_(pa.string(), pa.string()))
        pq.write_table(pa.table({"id": ["a"], "prompts": maps}), tmp_path / "x.parquet")
        return outcome(tmp_path / "x.parquet")

    assert write([("en", "Hello"), ("de", "Hallo")]) == ("a", texts("Hello"))
    assert write([("en", "a"), ("en", "b")]) == ("a", "the key 'en' is there twice in prompts")


TWICE = {
    "id": '{"id": "a", "id": "b", "prompts": {"en": "x", "de": "y"}}',
    "prompts": '{"id": "a", "prompts": {"en": "x", "de": "y"}, "prompts": {"en": "z", "de": "y"}}',
    "en": '{"id": "a", "prompts": {"en": "x:", "en" : "z", "de": "y"}}',
    "de": '{"id": "a", "prompts": {"en": "x", "de": "y"}, "answers": {"de": "\\":", "d\\u0065": "r"}}',
    "role": '{"id": "a", "prompts": {"en": [{"role": "user", "role": "system", "content": "x"}], "de": "y"}}',
}  # fmt: skip


@pytest.mark.parametrize("form", ["jsonl", "json", "json object"])
@pytest.mark.parametrize("key", TWICE)
def test_a_key_that_is_there_twice_is_named(tmp_path, key, form):
    row = TWICE[key]
    said = f"the key '{key}' is there twice in one object"
    if form == "json object":
        path = files.write(tmp_path / "x.json", f'{{"rows": [{row}]}}')
        with pytest.raises(InputError, match=f"x.json: {said}"):
            outcome(path)
        return
    path = files.write(tmp_path / f"x.{form}", f"[{row}]" if form == "json" else f"{row}\n")
    assert outcome(path)[1] == said


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_keys_are_told_from_texts_that_look_like_them(tmp_path, form):
    row = {
        "id": 'a":',
        "prompts": {"en": '{"en": "en"}, "en" : \\', "de": '":":"'},
        "more": {"id": {"id": ":"}},
    }
    key, found = outcome(in_format(tmp_path, form, row))
    assert (key, found["en"]["prompt"], found["de"]["prompt"]) == ('a":', row["prompts"]["en"], '":":"')


def test_rows_nested_too_deeply_are_skipped(tmp_path):
    row = '{"id": "a", "prompts": {"en": ' + "[" * 100_000 + "]" * 100_000 + "}}"
    for name, content in (("x.jsonl", row), ("x.json", f"[{row}]")):
        assert (
            outcome(files.write(tmp_path / name, content))[1]
            == "not JSON that can be read: nested too deeply"
        )


# -- messages and aliases on their way --------------------------------------------------------------


class Chat:
    """A chat format that shows what it is given, and wants users and assistants in turn."""

    def render(self, messages):
        spoken = [message["role"] for message in messages if message["role"] != "system"]
        if spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"]:
            raise InputError("roles must alternate")
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def source(tmp_path, rows, chat=None, **options):
    path = files.lines(tmp_path / "x.jsonl", rows)
    chosen = DataOptions(apply_chat_template=chat is not None, **options)
    return open_tasks(["jsonl"], {"jsonl": str(path)}, LANGUAGES, chosen, chat)


def spoken(*messages, **more):
    return {"id": "m", "prompts": {"en": list(messages), "de": "Hallo"}} | more


def english(tmp_path, row, **options):
    [found] = source(tmp_path, [row], Chat(), **options)
    return found.prompts["en"] if isinstance(found, Example) else found.reason


def test_messages_are_put_into_the_chat_format_and_texts_beside_them(tmp_path):
    [row] = source(tmp_path, [spoken(*TWO)], Chat())
    assert row.prompts == {
        "en": "<user>Hi<assistant>Yes?<user>Who?<assistant>",
        "de": "<user>Hallo<assistant>",
    }
    assert row.messages == {"en": TWO}


def test_messages_and_the_other_options(tmp_path):
    system = user("Be brief.", "system")
    assert english(tmp_path, spoken(system, *ONE)) == "<system>Be brief.<user>Hello<assistant>"
    assert (
        english(tmp_path, spoken(*ONE), system_instruction="Be kind.")
        == "<system>Be kind.<user>Hello<assistant>"
    )
    assert "is chat messages with a system message, and --system-instruction is another" in english(
        tmp_path, spoken(system, *ONE), system_instruction="Be kind."
    )
    assert english(tmp_path, spoken(*ONE), answer_prefix=" So") == "<user>Hello<assistant> So"
    # A turn that the assistant has begun goes on.
    assert (
        english(tmp_path, spoken(*ONE, user("Well", "assistant")), answer_prefix=",")
        == "<user>Hello<assistant>Well,"
    )
    assert english(tmp_path, spoken(*ONE, *ONE)) == "roles must alternate"


def test_messages_need_the_chat_template(tmp_path):
    rows = [spoken(*ONE)]
    said = r"x.jsonl:1: the prompt in en is chat messages; --apply-chat-template puts them into"
    with pytest.raises(InputError, match=said):
        source(tmp_path, rows).check()
    mixed = source(tmp_path, [GOOD, *rows])
    mixed.check()
    assert [type(row) for row in mixed] == [Example, Skipped]


def test_messages_are_no_few_shot_examples_and_fit_no_template(tmp_path):
    rows = [spoken(*ONE, answers={"en": "x", "de": "y"}) | {"id": n} for n in range(3)]
    with pytest.raises(InputError, match=r"--num-fewshot 1: .*the prompt of \d is chat messages"):
        source(tmp_path, rows, Chat(), num_fewshot=1)
    template = files.write(tmp_path / "t.toml", '["*"]\nprompt = "Q: {prompt}"\n')
    [row] = source(tmp_path, rows[:1], Chat(), template=str(template))
    assert row.reason == "the prompt in en is chat messages, which cannot be put into a template"


def test_messages_survive_a_shuffle(tmp_path):
    rows = [spoken(*TWO, answers={"en": ["a", "b"]}) | {"id": n} for n in range(5)]
    found = list(source(tmp_path, rows, Chat(), shuffle=1))
    assert [row.messages for row in found] == [{"en": TWO}] * 5
    assert [row.aliases for row in found] == [{"en": ("b",)}] * 5


def test_aliases_are_written_as_the_template_writes_the_answer(tmp_path):
    rows = [GOOD | {"answers": {"en": ["honey", "nectar"], "de": "Honig"}}]
    template = files.write(tmp_path / "t.toml", '[en]\nanswer = "the {answer}"\n')
    [row] = source(tmp_path, rows, template=str(template))
    assert (row.answers, row.aliases) == ({"en": "the honey", "de": "Honig"}, {"en": ("the nectar",)})


# -- other tasks ------------------------------------------------------------------------------------


def test_texts_of_data_sets_are_held_to_the_same_rules(tmp_path):
    rows = [
        {"id": "1", "en": "\ufeffOne", "de": "Eins"},
        {"id": "2", "en": ["Two"], "de": "Zwei"},
        {"id": "3", "en": "\u200b", "de": "Drei"},
        {"id": ["4"], "en": "Four", "de": "Vier"},
        {"id": "a\0", "en": "Five", "de": "Fünf"},
        {"id": 0, "en": "Six", "de": "Sechs"},
        {"id": "x" * 5000, "en": "Seven", "de": "Sieben"},
    ]
    path = files.lines(tmp_path / "x.jsonl", rows)
    found = list(open_tasks(["parallel"], {"parallel": str(path)}, LANGUAGES, DataOptions()))
    assert [row.prompts["en"] if isinstance(row, Example) else row.reason for row in found] == [
        "One",
        "en is a list, not a text",
        "en is empty: all its characters are invisible (U+200B)",
        "the id is a list; it must be a text or a whole number",
        "the id holds a NUL character",
        "Six",
        "the id is 5,000 characters long; it may have 1,000 at most",
    ]
    assert [row.id for row in found if isinstance(row, Example)] == ["1", "0"]
    assert len(found[-1].id) == 60


def test_excels_first_line_names_the_sign_between_cells(tmp_path):
    content = "\ufeffsep=;\r\nid;en;de\r\n1;Wait, here;Warte hier\r\n2;Go;Geh\r\n"
    path = files.write(tmp_path / "x.csv", content)
    first, _ = open_tasks(["parallel"], {"parallel": str(path)}, None, DataOptions())
    assert (first.prompts, first.where) == ({"en": "Wait, here", "de": "Warte hier"}, f"{path}:3")
    path = files.write(tmp_path / "y.csv", '"sep=|"\nen|de\na|b\n')
    [row] = open_tasks(["parallel"], {"parallel": str(path)}, None, DataOptions())
    assert row.prompts == {"en": "a", "de": "b"}


def test_special_files_are_refused_by_any_name(tmp_path):
    for name in ("/dev/zero", "file:///dev/zero"):
        with pytest.raises(InputError, match="/dev/zero is not a regular file"):
            open_tasks(["jsonl"], {"jsonl": name}, LANGUAGES, DataOptions()).check()


def test_rows_of_the_hub_are_read_like_any_others(monkeypatch):
    rows = [
        GOOD | {"answers": {"en": ["x", "y"], "de": None}},
        GOOD | {"id": "b", "prompts": {"en": ONE, "de": None}},
        GOOD | {"id": "c", "prompts": {"en": float("nan"), "de": "x"}},
        GOOD | {"id": None},
    ]
    held = [Record(row, f"o/own (train): row {n}") for n, row in enumerate(rows, 1)]
    monkeypatch.setattr("fastneurons.data.readers.hub.hub_records", lambda *_, **__: iter(held))
    first, second, third, fourth = TASKS["jsonl"].open(Place("o/own")).aligned(LANGUAGES)
    assert first.pieces["en"].fields == {"prompt": "Hello", "answer": "x", "aliases": ("y",)}
    assert second.pieces["en"].fields == {"prompt": "Hello", "messages": ONE}
    assert third == Skipped("c", "o/own (train): row 3", "the prompt in en is NaN; it must be a text")
    assert fourth == Skipped("", "o/own (train): row 4", "no id")


def test_examples_that_a_program_makes_are_held_to_the_rules():
    good = Example("a", {"en": "x", "de": "y"})
    bad = [
        Example("b", {"en": "\u200b", "de": "y"}),
        Example("c", {"en": ["x"], "de": "y"}),
        Example("d", {"en": "x\ud800", "de": "y"}),
        Example("e" * 2000, {"en": "x", "de": "y"}),
        Example("f", {"en": "Hello", "de": "y"}, messages={"en": ONE}),
        Example(7, {"en": "x", "de": "y"}),
    ]
    found = list(checked_examples([good, *bad, Skipped("g", "", "why")]))
    assert [row.reason if isinstance(row, Skipped) else row.id for row in found] == [
        "a",
        "the prompt in en is empty: all its characters are invisible (U+200B)",
        "the prompt in en is a list; it must be a text",
        "the prompt in en holds half a surrogate pair, which no text can",
        "the id is 2,000 characters long; it may have 1,000 at most",
        "its prompts are chat messages, which are put into a chat format where a file or folder is named",
        "the id is a number; it must be a text",
        "why",
    ]
    with pytest.raises(InputError, match="example 1 is an object"):
        list(checked_examples([{"id": "a"}]))


MANY = [
    {"id": 1, "prompts": {"en": "One", "de": "Eins"}, "answers": {"en": "a", "de": "b"}},
    {
        "id": "two",
        "prompts": {"en": "(2)", "de": "\ufeffZwei"},
        "answers": {"en": ["", "b", "c", "b"], "de": 7},
    },
    {
        "id": "three",
        "prompts": {"deu_Latn": "Drei", "eng_Latn": "Three", "fr": "Trois"},
        "answers": {"de": None},
    },
    {"id": "four", "prompts": {"deu_Latn": None, "eng_Latn": "Four", "fr": "Quatre"}},
    {"id": "five", "prompts": {"en": ONE, "de": "Fünf"}, "answers": {"en": [None]}},
    {"id": "six", "prompts": {"en": TWO, "de": TWO}, "answers": {"en": ["x", "y"]}},
    {"id": "two", "prompts": {"en": "Seven", "de": "Sieben"}},
    {"id": "eight", "prompts": {"en": "Eight", "de": " \u200b"}, "note": {"x": [{"y": ":"}]}},
    {"id": "nine", "prompts": {"en": "Nine", "de": "a\0b"}, "answers": {"en": "", "de": " "}},
    {"id": "ten", "prompts": {"fr": "Dix"}, "answers": {"en": "ten"}},
    ["eleven"],
]


@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_template_that_changes_nothing_makes_the_same_examples(tmp_path, form, allow_missing):
    path = tmp_path / f"x.{form}"
    if form == "jsonl":
        files.lines(path, MANY)
    else:
        files.write(path, json.dumps(MANY))
    # `worked` is for few-shot examples alone, but it makes the template another than the task's own.
    template = files.write(
        tmp_path / "t.toml", '["*"]\nprompt = "{prompt}"\nanswer = "{answer}"\nworked = "{answer}"\n'
    )
    plain, templated = (
        open_tasks(
            ["jsonl"],
            {"jsonl": str(path)},
            LANGUAGES,
            DataOptions(allow_missing=allow_missing, template=name),
        )
        for name in (None, str(template))
    )
    for source in (plain, templated):
        assert len(list(source)) == len(MANY)
    assert list(plain) == list(templated)
    assert plain.counts == templated.counts
    for (_, one), (_, other) in zip(plain.cases(), templated.cases(), strict=True):
        assert type(one) is type(other)
        if isinstance(one, Case):
            assert (one.example, one.pieces, one.worked) == (other.example, other.pieces, other.worked)


def test_how_rows_spell_languages_is_learnt_by_the_keys_and_not_by_what_they_hold(tmp_path):
    def row(id, en, eng, de):
        return {"id": id, "prompts": {"en": en, "eng_Latn": eng, "deu_Latn": de}}

    rows = [
        row("a", None, "A", "x"),
        row("b", "B", None, "x"),
        row("c", "C", "C", "x"),
        row("d", "D", None, None),
    ]
    path = files.lines(tmp_path / "x.jsonl", rows + rows)
    found = [getattr(one, "prompts", None) or one.reason for one in JsonlSource(path, LANGUAGES)]
    assert found[:4] == [
        {"en": "A", "de": "x"},
        {"en": "B", "de": "x"},
        "prompts has en twice, as en and eng_Latn",
        "no prompt in de",
    ]
    assert found[4:6] == ["the id is that of line 1 already", "the id is that of line 2 already"]
    assert found[6:] == found[2:4]
