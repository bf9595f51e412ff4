"""Rows whose fields are anything at all: examples, skipped rows or an InputError, and nothing is lost."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.tasks import open_tasks
from fastneurons.errors import InputError
from tests.data.tasks import files

texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            "",
            " ",
            "\0",
            "\u200f\u202e",
            "e\u0301",
            '"',
            "a\tb",
            "a\nb",
            "NS",
            "-",
            "0",
            "1.0",
            "\ufeff",
            "{x}",
        ]
    ),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def keyed(name, second, row):
    """Two languages' files of three good rows each."""
    return {name: [row(n, 0) for n in range(3)], second: [row(n, 1) for n in range(3)]}


SETS = {
    "belebele": (
        keyed("eng_Latn.jsonl", "deu_Latn.jsonl", lambda n, which: files.belebele_row("x", n, "2")), "en,de",
    ),
    "pawsx": (
        keyed("en.jsonl", "de.jsonl", lambda n, _: {"id": n, "sentence1": f"a{n}", "sentence2": "b", "label": 1}),
        "en,de",
    ),
    "xcopa": (
        keyed("et.jsonl", "zh.jsonl", lambda n, _: {
            "premise": f"a{n}", "choice1": "b", "choice2": "c", "question": "cause", "label": 0, "idx": n}),
        "et,zh",
    ),
    "xstorycloze": (
        keyed("en.jsonl", "zh.jsonl", lambda n, _: {
            "story_id": n, **{f"input_sentence_{k}": f"s{k}" for k in range(1, 5)}, "sentence_quiz1": "a",
            "sentence_quiz2": "b", "answer_right_ending": 1}),
        "en,zh",
    ),
    "mgsm": (keyed("en.jsonl", "de.jsonl", lambda n, _: {"question": f"q{n}", "answer_number": n}), "en,de"),
    "flores": (keyed("eng_Latn.jsonl", "deu_Latn.jsonl", lambda n, _: {"id": n, "text": f"t{n}"}), "en,de"),
    "xnli": ({"all.jsonl": [
        {"premise": {"en": f"p{n}", "de": "p"}, "hypothesis": {"language": ["en", "de"], "translation": ["a", "b"]},
         "label": n} for n in range(3)]}, "en,de"),
    "parallel": ({"all.jsonl": [{"id": n, "translation": {"en": f"t{n}", "de": "t"}} for n in range(3)]}, "en,de"),
    "ke-en2xx": ({"all.jsonl": [
        {code: files.mzsre_block(code, row) for code in ("en", "de")} for row in files.MZSRE]}, "en,de"),
    "fact": ({
        "patterns/en/P36.jsonl": [{"pattern": "[X] has [Y]", "checked-by-human": True}],
        "patterns/de/P36.jsonl": [{"pattern": "[X] hat [Y]", "checked-by-human": True}],
        **{f"tuples/{code}/P36.jsonl": [
            {"sub_uri": f"Q{n}", "obj_uri": "Q9", "obj_label": "b", "sub_label": f"s{n}", "lineid": n}
            for n in range(3)] for code in ("en", "de")}}, "en,de"),
    "corpus": ({"en.jsonl": [{"text": "a"}, {"text": "b"}], "de.jsonl": [{"text": "c"}]}, "en,de"),
    "jsonl": ({"all.jsonl": [
        {"id": n, "prompts": {"en": "a", "de": "b"}, "answers": {"en": "c"}} for n in range(3)]}, "en,de"),
    "jsonl as json": ({"all.json": [
        {"id": n, "prompts": {"en": "a", "de": "b"}, "answers": {"en": "c"}} for n in range(3)]}, "en,de"),
}  # fmt: skip


def paths_in(value, path=()):
    """The place of everything in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from paths_in(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value


@pytest.mark.parametrize("name", SETS)
def test_any_rows(name, tmp_path_factory):
    content, languages = SETS[name]
    folder = Path(tmp_path_factory.mktemp("any"))
    task = name.partition(" ")[0]

    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def check(data):
        changed = dict(content)
        for _ in range(data.draw(st.integers(1, 3))):
            file = data.draw(st.sampled_from(sorted(changed)))
            if not isinstance(changed[file], list) or not changed[file]:
                continue
            places = [path for path in paths_in(changed[file]) if path]
            changed[file] = replaced(changed[file], data.draw(st.sampled_from(places)), data.draw(values))
        for file, rows in changed.items():
            if file.endswith(".json"):
                files.write(folder / file, json.dumps(rows))
            else:
                files.lines(folder / file, rows)
        place = folder / "all.jsonl" if "all.jsonl" in content else folder
        options = DataOptions(allow_missing=data.draw(st.booleans()))
        try:
            source = open_tasks([task], {task: str(place)}, tuple(languages.split(",")), options)
            rows = list(source)
        except InputError as error:
            assert "\n" not in str(error)
            return
        assert rows == list(source)
        for row in rows:
            assert row.task == task
            assert str(folder) in row.where
            if isinstance(row, Skipped):
                assert row.reason and "\n" not in row.reason
            else:
                assert all(
                    isinstance(text, str) and text.strip() and "\0" not in text
                    for text in row.prompts.values()
                )
        count = source.counts[task]
        good = sum(isinstance(row, Example) for row in rows)
        if task != "corpus":
            assert good <= count.complete + count.incomplete
            assert options.allow_missing or good <= count.complete

    check()
