"""Templates: the tasks' own, and a user's."""

import os
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastneurons.data.options import DataOptions
from fastneurons.data.tasks import TASKS, open_tasks
from fastneurons.data.template import Compiled, Template, Templates, field_names, filler, gap
from fastneurons.data.writing_systems import wrong_script
from fastneurons.errors import InputError
from fastneurons.languages import all_codes
from tests.data.tasks import files

OWN = [(task, code) for name, task in TASKS.items() for code in (task.codes or all_codes())]


def test_every_task_has_a_template_in_every_language_of_its_data_set():
    for name, task in TASKS.items():
        for code in task.codes:
            assert task.template(code) is not None, (name, code)


def test_every_template_is_of_its_tasks_fields_and_ends_where_the_answer_begins():
    for task, code in OWN:
        template = task.template(code)
        assert template is not None
        Compiled(template, f"{task.name} {code}", task.fields)
        assert template.prompt == template.prompt.rstrip(), (task.name, code)
        for name in field_names(template.prompt):
            assert template.prompt.count(f"{{{name}}}") == 1, (task.name, code)


def test_the_languages_of_a_task_ask_in_the_same_way():
    for name, task in TASKS.items():
        templates = [task.template(code) for code in task.codes or ("en", "de", "th")]
        assert len({frozenset(field_names(one.prompt)) for one in templates}) == 1, name
        assert len({one.prompt.count("\n") for one in templates}) == 1, name
        assert len({len(one.choices) for one in templates}) == 1, name
        # Choices can be told apart by their beginnings.
        for one in templates:
            if one.choices and "{" not in one.choices[0]:
                assert len({choice[:3] for choice in one.choices}) == len(one.choices), name


def test_the_words_of_a_template_are_in_its_languages_script():
    for task, code in OWN:
        template = task.template(code)
        assert template is not None
        asked_in = task.answer_language(code)
        if task.name == "ke-en2xx":
            continue  # the fact is told in English
        words = "".join(literal for literal, *_ in string.Formatter().parse(template.prompt))
        letters = words + " ".join(one for one in template.choices if "{" not in one and len(one) > 1)
        letters = letters.replace("A:", "").replace("B:", "").replace("C:", "").replace("D:", "")
        if asked_in == code:
            assert wrong_script(letters, code) is None, (task.name, code, letters)


@pytest.mark.parametrize(
    ("text", "fields", "filled"),
    [
        ("{a}", {"a": "x"}, "x"),
        ("{a}{b}", {"a": "x", "b": 3}, "x3"),
        ("{{{a}}} {{}}", {"a": "x"}, "{x} {}"),
        ("no field", {}, "no field"),
        ("{a}", {"a": "{b} %s {"}, "{b} %s {"),  # what is put in is not looked at again
        ("{a} and {a}", {"a": "x"}, "x and x"),
    ],
)
def test_fields_are_put_in(text, fields, filled):
    assert filler(text)(fields) == filled


@given(st.text(), st.text())
def test_any_field_arrives_as_it_is(before, value):
    template = before.replace("{", "{{").replace("}", "}}") + "{a}"
    assert filler(template)({"a": value}) == before + value


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("{", "Single '{'"),
        ("}", "Single '}'"),
        ("{}", "is no field's name"),
        ("{0}", "is no field's name"),
        ("{a.b}", "is no field's name"),
        ("{a[0]}", "is no field's name"),
        ("{a!r}", "must be a field's name alone"),
        ("{a:>3}", "must be a field's name alone"),
        ("{c}", "there is no field 'c'; there are a, b"),
        ("constant", "the prompt has no field"),
    ],
)
def test_templates_that_are_none(prompt, said):
    with pytest.raises(InputError, match=f"task in de: .*{said}"):
        Compiled(Template(prompt), "task in de", ("a", "b"))


@pytest.mark.parametrize(
    ("language", "before", "expected"),
    [("en", "Answer:", " "), ("zh", "答案：", ""), ("th", "คำตอบ:", ""), ("ko", "답:", " "), ("en", "A:\n", ""),
     ("fr", "l'", ""), ("en", "", ""), ("zh-Hant", "：", ""), ("my", "x", "")],
)  # fmt: skip
def test_what_stands_before_an_answer(language, before, expected):
    assert gap(language, before) == expected


# -- a user's own -----------------------------------------------------------------------------------


def xnli(tmp_path, template, languages=("en", "de"), task="xnli"):
    place = files.xnli_original(tmp_path / "xnli")
    return list(
        open_tasks([task], {task: str(place)}, languages, DataOptions(template=str(template), limit=1))
    )


def test_a_users_template_replaces_what_it_says(tmp_path):
    path = files.write(tmp_path / "own.toml", '[en]\nprompt = "{premise} -> {hypothesis}"\n')
    [row] = xnli(tmp_path, path)
    assert row.prompts["en"] == 'She said, "it rains". -> She is wet.' or "->" in row.prompts["en"]
    assert row.choices["en"] == ("Yes", "Maybe", "No")
    assert row.prompts["de"].startswith("Aussage: ")


@pytest.mark.parametrize("form", ["toml", "json", "tasks", "star"])
def test_the_forms_of_a_users_file(tmp_path, form):
    content = {
        "toml": '[en]\nprompt = "{premise}?"\n[deu_Latn]\nprompt = "{hypothesis}!"\nchoices = ["1", "2", "3"]\n',
        "json": '{"en": "{premise}?", "de": {"prompt": "{hypothesis}!", "choices": ["1", "2", "3"]}}',
        "tasks": '[mgsm.en]\nprompt = "{question}"\n[xnli.en]\nprompt = "{premise}?"\n'
        '[xnli.de]\nprompt = "{hypothesis}!"\nchoices = ["1", "2", "3"]\n',
        "star": '["*"]\nprompt = "{hypothesis}!"\nchoices = ["1", "2", "3"]\n[en]\nprompt = "{premise}?"\n',
    }[form]
    path = files.write(tmp_path / f"own.{'json' if form == 'json' else 'toml'}", content)
    [row] = xnli(tmp_path, path)
    assert row.prompts["en"].endswith("?") and "\n" not in row.prompts["en"]
    assert row.prompts["de"].endswith("!") and "\n" not in row.prompts["de"]
    assert row.choices["de"] == ("1", "2", "3")


def test_a_template_makes_a_language_possible_that_the_task_does_not_know(tmp_path):
    files.table(tmp_path / "x" / "dev-ja.tsv", [["甲", "乙", "neutral"]])
    files.table(tmp_path / "x" / "dev-en.tsv", [["a", "b", "neutral"]])
    path = files.write(
        tmp_path / "own.toml",
        '[ja]\nprompt = "{premise}から{hypothesis}："\nchoices = ["はい", "多分", "いいえ"]\n',
    )
    options = DataOptions(template=str(path))
    [row] = open_tasks(["xnli"], {"xnli": str(tmp_path / "x")}, ("en", "ja"), options)
    assert row.prompts["ja"] == "甲から乙："
    assert row.answers == {"en": "Maybe", "ja": "多分"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[en", "own.toml: "),
        ("", "must hold a table for each language"),
        ("x = 1\n", "'x' is neither a language nor a task"),
        ("en = 1\n", "en must be a table with at least a prompt"),
        ("[en]\nprompt = 1\n", "prompt of en must be a text"),
        ('[en]\npromt = "x"\n', "en has 'promt'; an entry may have prompt, answer, choices, worked"),
        ('[en]\nprompt = "{premise}"\nchoices = "yes"\n', "choices of en must be a list of texts"),
        ('[en]\nprompt = "{premis}"\n', "xnli in en: there is no field 'premis'; there are genre, gold"),
        ('[en]\nprompt = "{premise}"\nchoices = ["yes", "no"]\n', "different numbers of choices: en 2, de 3"),
        ('[xnli.en]\nprompt = "{premise}"\n[en]\nprompt = "x"\n', "'en' is next to tasks"),
    ],
)
def test_files_that_are_no_templates(tmp_path, content, said):
    path = files.write(tmp_path / "own.toml", content)
    with pytest.raises(InputError, match=said):
        xnli(tmp_path, path)


ENDLESS = {
    "t.json": "[" * 200_000,
    "objects.json": '{"a":' * 100_000,
    "twice.json": '{"en": "{premise}", "en": "{hypothesis}"}',
    "range.json": '{"en": 1e999}',
    "t.toml": "a = " + "[" * 100_000,
    "tables.toml": "a = " + "{b=" * 50_000,
    "dots.toml": "a" + ".a" * 100_000 + " = 1",
    "header.toml": "[" + "a." * 100_000 + "a]",
    "quoted.toml": '"a b"' + " . 'c d'" * 50_000 + "=1",
    "huge.toml": 'en = "' + "x" * (2 << 20) + '"',
    "digits.toml": "en = " + "9" * 5000,
    "nul.toml": "\0",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_files_that_go_too_far_are_refused_in_one_line(tmp_path, name):
    path = files.write(tmp_path / name, ENDLESS[name])
    with pytest.raises(InputError, match=f"--template .*{name}") as caught:
        Templates(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(path), "")) < 330


def test_special_files_and_folders_are_no_templates(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    for path in ("/dev/zero", str(tmp_path / "pipe.toml")):
        with pytest.raises(InputError, match="is not a regular file"):
            Templates(path)
    with pytest.raises(InputError, match="is a folder; a file is needed"):
        Templates(str(tmp_path))


def test_dots_and_brackets_within_texts_are_no_levels(tmp_path):
    deep, dots = "[.{{" * 500, "." * 1000
    content = f'en = """{{premise}} {deep}"""\n# {"[a." * 100}\nde = \'{dots}{{premise}}\'\n'
    entries = Templates(str(files.write(tmp_path / "t.toml", content))).of("xnli", ["xnli"])
    assert entries["de"]["prompt"] == f"{dots}{{premise}}"
    assert entries["en"]["prompt"].endswith(deep)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"--template .*none.toml cannot be read: No such file"):
        Templates(str(tmp_path / "none.toml"))


def test_a_row_without_a_field_that_the_template_wants_is_skipped(tmp_path):
    place = files.xnli_xtreme(tmp_path / "x")
    path = files.write(tmp_path / "own.toml", '["*"]\nprompt = "{genre}: {premise}"\n')
    source = open_tasks(["xnli"], {"xnli": str(place)}, ("en", "de"), DataOptions(template=str(path)))
    assert {row.reason for row in source} == {"the template in en needs the field 'genre'"}
    with pytest.raises(
        InputError, match=r"none of the first 3 examples can be measured: .*needs the field 'genre'"
    ):
        source.check()
