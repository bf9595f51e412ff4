"""What a user chooses: which examples, in which order, and what stands around their prompts."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.data import shuffle
from fastneurons.data.align import Aligned, LeftOut, Piece, by_key, by_row
from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.shuffle import shuffled
from fastneurons.data.tasks import open_tasks, tasks_and_data
from fastneurons.errors import InputError
from tests.data.tasks import files


class Bracketed:
    """A chat template that shows what it was given."""

    def render(self, messages):
        return "".join(f"<{one['role']}>{one['content'].strip()}</>" for one in messages) + "<assistant>"


@pytest.fixture
def numbers(tmp_path):
    """100 examples; every tenth line is broken."""
    path = tmp_path / "numbers.jsonl"
    rows = []
    for number in range(100):
        row = {
            "id": f"n{number}",
            "prompts": {"en": f"number {number}", "de": f"Zahl {number}"},
            "answers": {"en": f"{number}!", "de": f"{number}?"},
        }
        rows.append("broken" if number % 10 == 5 else json.dumps(row))
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def read(path, languages=("en", "de"), chat=None, **options):
    return list(open_tasks(["jsonl"], {"jsonl": path}, languages, DataOptions(**options), chat))


def ids(rows):
    return [row.id for row in rows if isinstance(row, Example)]


# -- which and in what order ------------------------------------------------------------------------


def test_skip_and_limit_count_examples_not_broken_lines(numbers):
    assert ids(read(numbers, skip=4, limit=3)) == ["n4", "n6", "n7"]
    assert len(ids(read(numbers, skip=85))) == 5
    assert ids(read(numbers, skip=90)) == []
    assert sum(isinstance(row, Skipped) for row in read(numbers, skip=4, limit=3)) == 1
    assert sum(isinstance(row, Skipped) for row in read(numbers)) == 10


def test_a_shuffle_is_an_order_of_the_same_rows_that_its_seed_decides(numbers):
    rows, first, again, other = (read(numbers, shuffle=seed) for seed in (None, 7, 7, 8))
    assert first == again
    assert first != rows and first != other
    assert sorted(map(str, first)) == sorted(map(str, rows))
    # Skip and limit are of the new order.
    assert ids(read(numbers, shuffle=7, skip=2, limit=3)) == ids(first)[2:5]
    # What it was when it was written; resumed runs rely on it for good.
    assert ids(first)[:4] == [f"n{n}" for n in np.random.RandomState(7).permutation(100) if n % 10 != 5][:4]


def test_a_shuffle_holds_rows_in_a_file(monkeypatch):
    monkeypatch.setattr(shuffle, "_MEMORY_BYTES", 1 << 20)

    def many():
        for number in range(20_000):
            yield {"text": "x" * 1000, "number": number}

    tracemalloc.start()
    try:
        numbers = [row["number"] for row in shuffled(many(), 1, dict)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorted(numbers) == list(range(20_000))
    assert peak < 8e6  # of 20 MB


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), max_size=50), st.integers(0, 2**32 - 1))
def test_a_shuffle_loses_nothing(rows, seed):
    assert sorted(shuffled(rows, seed, str)) == sorted(rows)


def test_ids_from_a_file_select(numbers, tmp_path):
    path = files.write(tmp_path / "ids.txt", "n3\n n8 \n\nn5\nn98\n")
    source = open_tasks(["jsonl"], {"jsonl": numbers}, ("en", "de"), DataOptions(select=str(path)))
    assert ids(source) == ["n3", "n8", "n98"]
    assert source.notes() == [f"--select {path}: no example has the ids n5"]
    assert ids(source) == ["n3", "n8", "n98"]
    assert ids(read(numbers, select='number(answer(en)) == None and length(en) == 8 and id != "n3"'))[:2] == [
        "n0",
        "n1",
    ]


def test_selection_comes_before_skip_limit_and_shuffle(numbers):
    some = read(numbers, select="length(de) == 6")
    assert ids(some) == [f"n{n}" for n in (0, 1, 2, 3, 4, 6, 7, 8, 9)]
    assert ids(read(numbers, select="length(de) == 6", skip=1, limit=2)) == ["n1", "n2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "--limit 0: must be at least 1"),
        ({"skip": -1}, "--skip -1: must not be negative"),
        ({"num_fewshot": -1}, "--num-fewshot -1"),
        ({"shuffle": -1}, "--shuffle -1: must be a seed from 0"),
        ({"system_instruction": "x"}, "--system-instruction needs --apply-chat-template"),
        ({"answer_prefix": "\0"}, "NUL"),
    ],
)
def test_options_that_make_no_sense(options, said):
    with pytest.raises(InputError, match=said):
        DataOptions(**options)


# -- around the prompt ------------------------------------------------------------------------------


def test_few_shot_examples_are_the_same_in_every_language_and_are_not_measured(numbers):
    rows = [row for row in read(numbers, num_fewshot=3) if isinstance(row, Example)]
    assert len(rows) == 87
    *english, question = rows[0].prompts["en"].split("\n\n")
    german = rows[0].prompts["de"].split("\n\n")
    assert question == "number 0"
    shown = [one.split()[1] for one in english]
    assert [one.split()[1] for one in german[:-1]] == shown
    assert english[0] == f"number {shown[0]} {shown[0]}!"
    assert german[0] == f"Zahl {shown[0]} {shown[0]}?"
    assert not {f"n{number}" for number in shown} & set(ids(rows))
    assert all(row.prompts["en"].startswith("\n\n".join(english)) for row in rows)
    # More of them begin with the same, and another order draws others.
    assert "\n\n".join(english) in read(numbers, num_fewshot=4)[0].prompts["en"]
    other = next(row for row in read(numbers, num_fewshot=3, shuffle=1) if isinstance(row, Example))
    assert other.prompts["en"].split("\n\n")[:3] != english


def test_an_answer_follows_its_prompt_without_a_space_in_scripts_without(tmp_path):
    path = files.lines(tmp_path / "data.jsonl", [
        {"id": n, "prompts": {"en": f"Capital {n}:", "zh": f"首都{n}："}, "answers": {"en": "Paris", "zh": "巴黎"}}
        for n in range(3)
    ])  # fmt: skip
    row = read(str(path), ("en", "zh"), num_fewshot=1)[0]
    assert "Capital" in row.prompts["en"] and ": Paris\n\n" in row.prompts["en"]
    assert "：巴黎\n\n" in row.prompts["zh"]


def test_too_few_examples_with_answers_are_told(tmp_path, numbers):
    path = files.lines(
        tmp_path / "data.jsonl", [{"id": 1, "prompts": {"en": "a", "de": "b"}, "answers": {"en": "c"}}]
    )
    with pytest.raises(
        InputError, match="--num-fewshot 1: jsonl has 0 examples with answers in all languages"
    ):
        read(str(path), num_fewshot=1)
    with pytest.raises(InputError, match="--num-fewshot 91: jsonl has 90 examples"):
        read(numbers, num_fewshot=91)


def test_an_answer_prefix_ends_every_prompt(numbers):
    row = read(numbers, answer_prefix="\nA:", num_fewshot=1)[0]
    assert row.prompts["en"].endswith("\n\nnumber 0\nA:")
    assert row.prompts["en"].count("\nA:") == 2
    assert "\nA: " in row.prompts["en"]  # before the solved example's answer


def test_chats_have_turns_for_few_shot_examples(numbers):
    row = read(
        numbers, chat=Bracketed(), apply_chat_template=True, system_instruction="Be brief.", num_fewshot=1,
        answer_prefix="It is",
    )[0]  # fmt: skip
    shown = row.prompts["en"].split("number ")[1].split("<")[0]
    assert row.prompts["en"] == (
        f"<system>Be brief.</><user>number {shown}</><assistant>It is {shown}!</><user>number 0</><assistant>It is"
    )


def test_a_tokenizers_own_template_is_used_and_its_refusal_told(tmp_path):
    from fastneurons.data.chat import ChatTemplate
    from tests.engine import tiny

    model = tiny.make("Llama", tmp_path / "model")
    with pytest.raises(InputError, match="has no chat template"):
        ChatTemplate(str(model))
    (model / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
        "[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    chat = ChatTemplate(str(model))
    assert chat.render([{"role": "user", "content": " Ä {x} "}]) == "[user]  Ä {x} \n[assistant]"
    with pytest.raises(InputError, match="refuses messages of system, user: no system here"):
        chat.render([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}])
    with pytest.raises(InputError, match="cannot be loaded"):
        ChatTemplate(str(tmp_path / "nothing"))


def test_a_chat_template_marks_the_begin_itself(numbers):
    assert open_tasks(["jsonl"], {"jsonl": numbers}, ("en", "de")).add_special_tokens
    options = DataOptions(apply_chat_template=True)
    assert not open_tasks(
        ["jsonl"], {"jsonl": numbers}, ("en", "de"), options, Bracketed()
    ).add_special_tokens


# -- several tasks ----------------------------------------------------------------------------------


def test_tasks_come_one_after_the_other_each_with_its_own_limit(tmp_path):
    files.mgsm(tmp_path / "mgsm")
    files.xnli_original(tmp_path / "xnli")
    places = {"xnli": str(tmp_path / "xnli"), "mgsm": str(tmp_path / "mgsm")}
    source = open_tasks(["mgsm", "xnli"], places, None, DataOptions(limit=2))
    assert source.languages == ("en", "de", "th") or set(source.languages) == {"en", "de", "th"}
    assert [(row.task, row.id) for row in source][:2] == [("mgsm", "1"), ("mgsm", "2")]
    assert [row.task for row in source] == ["mgsm", "mgsm", "xnli", "xnli"]
    assert source.tasks == ("mgsm", "xnli")
    assert [
        row.task for row in open_tasks(["mgsm", "xnli"], places, None, DataOptions(select='task == "xnli"'))
    ] == ["xnli"] * 3


def test_what_is_read_and_how_is_described(tmp_path, numbers):
    files.mgsm(tmp_path / "mgsm")
    files.xnli_original(tmp_path / "xnli")
    places = {"xnli": str(tmp_path / "xnli"), "mgsm": str(tmp_path / "mgsm")}
    options = DataOptions(limit=2, shuffle=3, split="test")
    assert open_tasks(["xnli", "mgsm"], places, ("en", "de"), options).describe() == (
        f"xnli={tmp_path}/xnli (split test); mgsm={tmp_path}/mgsm (split test) --shuffle 3 --limit 2"
    )
    # Of a single file nothing but its name, as stores have it that were written before there were tasks.
    assert open_tasks(["jsonl"], {"jsonl": numbers}, ("en", "de"), DataOptions(limit=2)).describe() == numbers


@pytest.mark.parametrize("change", ["select", "template"])
def test_a_changed_file_of_choices_is_another_source(tmp_path, numbers, change):
    path = tmp_path / "choices.json"
    described = []
    for content in ('{"en": {"prompt": "{prompt}"}}', '{"en": {"prompt": "{prompt} "}}'):
        path.write_text(content)
        options = DataOptions(**{change: str(path)})
        described.append(open_tasks(["jsonl"], {"jsonl": numbers}, ("en", "de"), options).describe())
    assert described[0] != described[1]


@pytest.mark.parametrize(
    ("tasks", "data", "expected"),
    [
        (None, ["a.jsonl"], (("jsonl",), {"jsonl": "a.jsonl"})),
        ("xnli", ["a=b/c"], (("xnli",), {"xnli": "a=b/c"})),
        ("xnli", ["xnli=a"], (("xnli",), {"xnli": "a"})),
        ("xnli, mgsm", ["mgsm=b", "xnli=a=c"], (("xnli", "mgsm"), {"mgsm": "b", "xnli": "a=c"})),
        (None, ["mgsm=b", "xnli=a"], (("mgsm", "xnli"), {"mgsm": "b", "xnli": "a"})),
        ("capitals", [], (("capitals",), {})),
        ("capitals,jsonl", ["jsonl=x"], (("capitals", "jsonl"), {"jsonl": "x"})),
    ],
)
def test_which_data_is_whose(tasks, data, expected):
    assert tasks_and_data(tasks, data) == expected


@pytest.mark.parametrize(
    ("tasks", "data", "said"),
    [
        (None, [], "nothing to measure"),
        ("xnly", ["x"], "unknown task 'xnly'; did you mean xnli?"),
        ("qqqq", ["x"], "unknown task 'qqqq'; there are xnli, fact"),
        ("xnli,mgsm", ["x"], "which of the tasks xnli, mgsm is it for"),
        ("xnli", ["xnli=a", "xnli=b"], "there is xnli=a already"),
        ("xnli", ["xnli="], "no path after '='"),
        (None, ["xnly=a"], "did you mean xnli"),
    ],
)
def test_data_that_is_nobodys(tasks, data, said):
    with pytest.raises(InputError, match=said):
        tasks_and_data(tasks, data)


def test_tasks_that_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match=r"xnli needs --data: XNLI-1.0.zip"):
        open_tasks(["xnli"], {}, None)
    with pytest.raises(InputError, match="twice"):
        open_tasks(["xnli", "xnli"], {}, None)
    with pytest.raises(InputError, match="mgsm is none of the tasks capitals"):
        open_tasks(["capitals"], {"mgsm": "x"}, None)
    files.flores(tmp_path)
    files.pawsx(tmp_path / "p")
    with pytest.raises(InputError, match=r"at least two languages .* xcopa: et, tr, zh; pawsx: de, en"):
        open_tasks(["xcopa", "pawsx"], {"xcopa": str(files.xcopa(tmp_path / "c") / "data"),
                                        "pawsx": str(tmp_path / "p")}, None)  # fmt: skip
    with pytest.raises(InputError, match=r"xnli has no template in ja; give one with --template"):
        files.table(tmp_path / "x" / "dev-ja.tsv", [["a", "b", "neutral"]])
        files.table(tmp_path / "x" / "dev-en.tsv", [["a", "b", "neutral"]])
        open_tasks(["xnli"], {"xnli": str(tmp_path / "x")}, ("en", "ja"))


# -- alignment --------------------------------------------------------------------------------------

keys = st.lists(st.sampled_from("abcdefgh"), unique=True)


def piece(key, code, where=""):
    return Piece(key, code, {"text": f"{key} {code}"}, where or f"{code}:{key}")


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["en", "de", "th"]), keys, min_size=1), st.booleans())
def test_alignment_by_key_is_a_join_whatever_the_orders(orders, mixed):
    languages = tuple(orders)
    streams = [[piece(key, code) for key in order] for code, order in orders.items()]
    if mixed:
        streams = [[row for stream in streams for row in stream]]
    rows = list(by_key(streams, languages))
    assert all(isinstance(row, Aligned) for row in rows)
    found = {row.key: tuple(row.pieces) for row in rows}
    assert len(found) == len(rows)
    assert found == {
        key: tuple(code for code in languages if key in orders[code])
        for key in {key for order in orders.values() for key in order}
    }


def test_alignment_by_key_holds_little_of_files_in_about_the_same_order():
    languages = ("en", "de", "fr")

    def stream(code, late):
        for number in range(20_000):
            yield Piece(str(number ^ late), code, {"text": "x" * 1000 + code + str(number)}, "")

    tracemalloc.start()
    try:
        count = sum(1 for _ in by_key([stream("en", 0), stream("de", 7), stream("fr", 3)], languages))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 6e6  # of 70 MB; most of it are the keys seen


def test_an_example_comes_as_soon_as_it_is_whole():
    seen = []

    def stream(code, order):
        for key in order:
            seen.append((code, key))
            yield piece(key, code)

    rows = by_key([stream("en", "abc"), stream("de", "bac")], ("en", "de"))
    assert next(rows).key == "b" or seen[-1] == ("de", "a")
    assert len(seen) <= 4


def test_rows_left_out_do_not_hold_an_example_back():
    streams = [
        [piece("a", "en"), piece("b", "en")],
        [LeftOut("a", "de", "d:1", "NS"), piece("b", "de")],
    ]
    rows = list(by_key(streams, ("en", "de")))
    assert [type(row).__name__ for row in rows] == ["LeftOut", "Aligned", "Aligned"]
    assert list(rows[1].pieces) == ["en"]


def test_rows_of_different_number_are_refused_wherever_it_is_found_out():
    streams = {"en": [piece("", "en")] * 3, "de": [piece("", "de")] * 2}
    found = []
    with pytest.raises(InputError, match="de has 2 rows, en at least 3"):
        found.extend(by_row(streams))
    assert [row.key for row in found] == ["1", "2"]
