"""The look at all of a source: what is counted, what is found, and where."""

import json

import pytest

from fastneurons.data.check import Counted, check_data
from fastneurons.data.check_report import KINDS, Lengths
from fastneurons.data.options import DataOptions
from fastneurons.data.tasks import open_tasks
from fastneurons.data.writing_systems import script, wrong_script
from tests.data.tasks import files


def report(path, languages=("en", "de", "ru"), task="jsonl", tokenize=None, keep=1000, **options):
    source = open_tasks([task], {task: str(path)}, languages, DataOptions(**options))
    [found] = check_data(source, tokenize, keep)
    return found


def row(id, english, german, russian, **answers):
    prompts = {"en": english, "de": german, "ru": russian}
    return {
        "id": id,
        "prompts": {k: v for k, v in prompts.items() if v is not None},
        "answers": answers or None,
    }


@pytest.fixture
def data(tmp_path):
    return files.lines(tmp_path / "data.jsonl", [
        row("1", "The first sentence", "Der erste Satz", "Первое предложение", en="a", de="b", ru="c"),
        row("2", "The second sentence", "The second sentence", "Второе предложение"),
        row("3", "The third sentence", "Der dritte Satz", "The third one is English"),
        row("4", "The first sentence", "Der vierte Satz", "Четвёртое предложение"),
        row("5", "The fifth sentence", None, "Пятое предложение"),
        row("6", "The sixth sentence", "Der sechste Satz ist schÃ¶n", "Шестое предложение \ufffd"),
        row("6", "The seventh", "Der siebte", "Седьмое"),
        {"id": "8"},
    ])  # fmt: skip


def test_everything_suspicious_is_found_with_its_place(data):
    found = report(data)
    assert (found.examples, found.with_answers, found.incomplete, dict(found.missing)) == (5, 1, 1, {"de": 1})
    assert [
        (one.kind, one.id, one.language, one.where.rpartition(":")[2], one.detail) for one in found.findings
    ] == [
        ("same as English", "2", "de", "2", "The second sentence"),
        ("wrong script", "3", "ru", "3", "Latin: The third one is English"),
        ("duplicate", "4", "en", "4", f"as in {data}:1: The first sentence"),
        ("incomplete", "5", None, "5", "no de"),
        ("broken characters", "6", "de", "6", "'te Satz ist schÃ¶n'"),
        ("broken characters", "6", "ru", "6", "'ое предложение \ufffd'"),
        ("skipped", "6", None, "7", "the id is that of line 6 already"),
        ("skipped", "8", None, "8", "no prompts"),
    ]
    assert all(one.where.startswith(f"{data}:") for one in found.findings)


def test_with_missing_languages_allowed_they_are_still_named(data):
    found = report(data, allow_missing=True)
    assert found.examples == 6
    assert found.counts["incomplete"] == 1
    assert found.languages["de"].prompts == 5


def test_findings_are_counted_past_those_that_are_kept(data):
    found = report(data, keep=1)
    assert found.counts["broken characters"] == 2
    assert sum(one.kind == "broken characters" for one in found.findings) == 1


def test_lengths_are_of_the_prompts_as_they_are_measured(data):
    plain, longer = report(data), report(data, answer_prefix="123")
    assert (
        longer.languages["en"].characters.summary()["max"]
        == plain.languages["en"].characters.summary()["max"] + 3
    )
    assert plain.languages["en"].characters.counts.total() == plain.languages["en"].prompts == 5
    tokens = (
        report(data, tokenize=lambda texts: [Counted(text.split()) for text in texts])
        .languages["en"]
        .tokens.summary()
    )
    assert tokens == {"min": 3, "median": 3, "mean": 3.0, "p95": 3, "max": 3, "total": 15}
    assert plain.languages["en"].tokens.summary() == {}


def test_lengths_have_the_usual_figures():
    lengths = Lengths()
    for length in [1] * 50 + [3] * 44 + [10] * 5 + [100]:
        lengths.add(length)
    assert lengths.summary() == {"min": 1, "median": 1, "mean": 3.3, "p95": 10, "max": 100, "total": 332}


def test_templates_do_not_hide_what_is_in_the_data(tmp_path):
    place = files.xnli_xtreme(tmp_path)
    rows = [line.split("\t") for line in (place / "dev-th.tsv").read_text().split("\n")[:3]]
    rows[1][:2] = [line.split("\t") for line in (place / "dev-en.tsv").read_text().split("\n")][1][:2]
    files.table(place / "dev-th.tsv", rows)
    found = report(place, ("en", "de", "th"), "xnli")
    assert {(one.kind, one.language, one.where.rpartition("/")[2]) for one in found.findings} == {
        ("wrong script", "th", "dev-th.tsv:2"),
        ("same as English", "th", "dev-th.tsv:2"),
    }


def test_answers_that_are_the_english_ones(tmp_path):
    place = files.mzsre(tmp_path, (("en", "de"), ("en", "zh")))
    found = report(place, ("en", "de", "zh"), "ke-en2xx")
    assert [(one.kind, one.id, one.language) for one in found.findings] == [
        ("answer same as English", "1", "de"),
        ("answer same as English", "2", "de"),
    ]
    # Where the answer is in English whatever the language, that is nothing to tell.
    assert report(place, ("en", "de", "zh"), "ke-xx2en").findings == []


def test_rows_left_out_are_named(tmp_path):
    found = report(files.pawsx(tmp_path), ("en", "de"), "pawsx")
    assert ("left out", "2", "de", f"{tmp_path}/de/test_2k.tsv:3") in [
        (one.kind, one.id, one.language, one.where) for one in found.findings
    ]


def test_a_report_can_be_json(data):
    built = json.loads(
        json.dumps(report(data, tokenize=lambda texts: [Counted([1])] * len(texts)).to_builtins())
    )
    assert list(built["counts"]) == list(KINDS)
    assert built["languages"]["ru"]["tokens"]["total"] == 5
    assert built["findings"][0]["where"] == f"{data}:2"


def test_several_tasks_have_a_report_each(tmp_path, data):
    files.mgsm(tmp_path / "m")
    places = {"jsonl": str(data), "mgsm": str(tmp_path / "m")}
    source = open_tasks(["mgsm", "jsonl"], places, ("en", "de"))
    assert [(one.task, one.examples) for one in check_data(source)] == [("mgsm", 2), ("jsonl", 5)]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("A sentence", "en", None),
        ("A sentence", "ru", "Latin"),
        ("Предложение", "sr", None),
        ("Предложение", "sr-Latn", "Cyrillic"),
        ("日本語の文章です", "ja", None),
        ("日本語の文章です", "zh", "Japanese"),
        ("这是一个句子。", "zh", None),
        ("這是一個句子。", "zh", None),
        ("한국어 문장", "ko", None),
        ("ภาษาไทย with a few words", "th", None),
        ("with very many words and ไทย", "th", "Latin"),
        ("12345 + 67 = ?", "th", None),
        ("Paris", "th", None),  # a name
        ("ｆｕｌｌｗｉｄｔｈ", "en", None),
        ("e\u0301te\u0301 naïve", "fr", None),
        ("العربية", "fa", None),
        ("العربية", "he", "Arabic"),
        ("አማርኛ ነው", "am", None),
        ("", "th", None),
    ],
)
def test_texts_in_another_script(text, language, expected):
    assert wrong_script(text, language) == expected


def test_every_languages_script_is_one_that_letters_have():
    import sys
    import unicodedata

    from fastneurons.data.writing_systems import _MIXED
    from fastneurons.languages import all_codes
    from fastneurons.languages import language as known

    there = {
        script(chr(point)) for point in range(sys.maxunicode) if unicodedata.category(chr(point)) == "Lo"
    }
    there |= {"Latn", "Cyrl", "Grek", "Armn", "Geor", "Adlm", "Avst"}
    for code in all_codes():
        usual = known(code).script
        assert {*_MIXED.get(usual, (usual,))} <= there, (code, usual)


def own(tmp_path, *prompts):
    """Examples of English prompts, with a German one that is always another."""
    rows = [row(str(number), prompt, f"Nummer {number}", None) for number, prompt in enumerate(prompts, 1)]
    return report(files.lines(tmp_path / "own.jsonl", rows), languages=("en", "de"))


def found_in(report):
    return [(one.kind, one.language, one.where.rpartition(":")[2], one.detail) for one in report.findings]


def test_decomposed_texts_are_found_and_are_duplicates_of_composed_ones(tmp_path):
    decomposed = "Tie\u0302\u0301ng Vie\u0323\u0302t"
    # U+0958 has no composed form: NFC takes it apart.
    found = own(tmp_path, "Tiếng Việt", decomposed, "nothing of the kind", "the letter \u0958")
    assert found_in(found) == [
        ("decomposed", "en", "2", f"14 characters, 10 composed: {decomposed}"),
        ("duplicate", "en", "2", f"as in {tmp_path / 'own.jsonl'}:1: Tiếng Việt"),
    ]
    assert "NFC" in KINDS["decomposed"] and "NFD" in KINDS["decomposed"]


def test_invisible_prompts_are_skipped_and_byte_order_marks_found(tmp_path):
    assert found_in(own(tmp_path, "\u200b\u2060", "a text", "one \ufeff within")) == [
        (
            "skipped",
            None,
            "1",
            "the prompt in en is empty: all its characters are invisible (U+200B, U+2060)",
        ),
        ("broken characters", "en", "3", r"'one \ufeff within'"),
    ]


def test_numbered_lines_are_found_once_a_language(tmp_path):
    files.write(tmp_path / "deu.txt", "1\tEin Satz.\n2\tNoch einer.\n3\tUnd einer.\n")
    files.write(tmp_path / "eng.txt", "1\tA sentence.\n2 and no tab\n")
    found = report(tmp_path, languages=("de", "en"), task="corpus")
    assert found_in(found) == [("numbered lines", "de", "1", "1 Ein Satz.")]
    source = open_tasks(["corpus"], {"corpus": str(tmp_path)}, ("de", "en"), DataOptions())
    list(source)
    assert ["the lines in de begin with their numbers and a tab" in note for note in source.notes()] == [True]


def test_chat_messages_are_counted_by_their_contents(tmp_path):
    def talk(text):
        return [{"role": "user", "content": text}]

    rows = [{"id": 1, "prompts": {"en": talk("Hello"), "de": talk("Guten Tag")}}]
    found = report(files.lines(tmp_path / "chat.jsonl", rows), languages=("en", "de"))
    assert (found.examples, found.languages["en"].characters.summary()["max"]) == (1, 5)
    assert found_in(found) == [("chat messages", None, "1", "in en, de")]
