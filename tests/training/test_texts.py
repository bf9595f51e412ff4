"""Examples as texts to train on: which tokens count, what is skipped, and how links are broken."""

import pytest

from fastneurons.data.example import Example, Skipped
from fastneurons.errors import InputError
from fastneurons.training.align import _translation_template
from fastneurons.training.texts import (
    NOT_COUNTED,
    Text,
    TextTokeniser,
    make_texts,
    order_of_texts,
    plain_translation,
)
from tests.engine import tiny

LANGUAGES = ("en", "de", "th")


@pytest.fixture(scope="module")
def tokenise():
    return TextTokeniser(tiny.tokenizer(), 60, True)


def example(number: int, **changes: str) -> Example:
    prompts = {"en": f"is {number}", "de": f"ist {number}", "th": f"คือ {number}"}
    answers = {"en": f"one {number}", "de": f"ein {number}", "th": f"ก{number}"}
    return Example(f"e{number}", prompts, answers | changes)


def spelled(text: Text) -> tuple[str, str]:
    """All of a text, and the part that counts; a token a byte."""
    tokenizer = tiny.tokenizer()
    counted = [token for token in text.labels if token != NOT_COUNTED]
    return tokenizer.decode(text.token_ids), tokenizer.decode(counted)


def test_only_the_answer_and_its_end_count(tokenise):
    texts = make_texts([example(1)], LANGUAGES, tokenise, "answers", validation_share=0)
    [[english, german, thai]] = texts.train
    assert spelled(english) == ("is 1 one 1</s>", "one 1</s>")
    assert spelled(german) == ("ist 1 ein 1</s>", "ein 1</s>")
    assert spelled(thai) == ("คือ 1ก1</s>", "ก1</s>")  # Thai is written without spaces
    assert [text.language for text in texts.train[0]] == list(LANGUAGES)


def test_a_chat_formats_own_joint_is_kept(tokenise):
    row = Example("chat", {"en": "<u>is<a>"}, {"en": "one"}, joints={"en": ""})
    texts = make_texts([row], ("en",), tokenise, "answers", validation_share=0)
    assert spelled(texts.train[0][0]) == ("<u>is<a>one</s>", "one</s>")


def test_translations_go_in_both_directions_of_every_pair(tokenise):
    rows = [Example("a", {"en": "bee", "de": "Imme", "th": "ผ"})]
    [texts] = make_texts(rows, LANGUAGES, tokenise, "translate", validation_share=0).train
    assert [spelled(text) for text in texts][:2] == [
        ("English: bee\nGerman: Imme</s>", "Imme</s>"),
        ("English: bee\nThai: ผ</s>", "ผ</s>"),
    ]
    assert len({spelled(text)[0] for text in texts}) == 6


def test_a_template_words_translations_by_target_language(tmp_path):
    file = tmp_path / "t.toml"
    file.write_text(
        '[de]\nprompt = "{source_language}: {source} Deutsch:"\n["*"]\nprompt = "{source} > {target_language}:"\n'
    )
    template = _translation_template(str(file), ("en", "de"))
    assert template("bee", "en", "de") == "English: bee Deutsch:"
    assert template("Imme", "de", "en") == "Imme > English:"
    file.write_text('[de]\nprompt = "{source}"\n')
    with pytest.raises(InputError, match=r"--translation-template .*, en: there is no entry"):
        _translation_template(str(file), ("en", "de"))
    file.write_text('["*"]\nprompt = "{target_language}"\n')
    with pytest.raises(InputError, match=r"must have the field \{source\}"):
        _translation_template(str(file), ("en", "de"))
    file.write_text('["*"]\nprompt = "{source} {sauce}"\n')
    with pytest.raises(InputError, match="no field 'sauce'"):
        _translation_template(str(file), ("en", "de"))
    with pytest.raises(InputError, match=r"^--translation-template "):
        _translation_template(str(tmp_path / "nowhere.toml"), ("en",))


def test_what_cannot_be_used_is_skipped_with_its_reason(tokenise):
    lacking = Example("lacking", example(1).prompts, {"en": "one", "th": "ก"}, where="x.jsonl:2")
    rows = [
        example(0),
        Skipped("broken", "x.jsonl:1", "broken JSON"),
        lacking,
        example(2, de="\u200b"),
        example(3, th="ก" * 60),
        example(4),
    ]
    texts = make_texts(rows, LANGUAGES, tokenise, "answers", validation_share=0)
    assert len(texts.train) == 2
    assert [(row.id, row.where) for row in texts.skipped][:2] == [
        ("broken", "x.jsonl:1"),
        ("lacking", "x.jsonl:2"),
    ]
    assert [row.reason for row in texts.skipped[1:3]] == ["no answer in de", "an empty answer in de"]
    assert texts.skipped[3].reason.startswith("its text in th has 192 tokens with its end, more than the 60")
    alone = make_texts(
        [Example("one", {"en": "bee"}), Example("two", {"en": "a", "de": "b"})],
        ("en", "de"), tokenise, "translate", validation_share=0,
    )  # fmt: skip
    assert [row.reason for row in alone.skipped] == ["it has a single language, and translations need two"]


def test_an_example_without_one_language_trains_on_the_others(tokenise):
    row = Example("some", {"en": "is", "th": "คือ"}, {"en": "one", "th": "ก"})
    [texts] = make_texts([row], LANGUAGES, tokenise, "answers", validation_share=0).train
    assert [text.language for text in texts] == ["en", "th"]


def test_no_data_is_an_error_that_says_why(tokenise):
    rows = [Example("a", {"en": "x"}, {}, where="f:1")]
    with pytest.raises(InputError, match=r"0 examples .* 1 were skipped, the first, 'a': no answer in en"):
        make_texts(rows, ("en",), tokenise, "answers")


def test_held_out_examples_are_drawn_by_the_seed_and_apart(tokenise):
    rows = [example(k) for k in range(20)]

    def parts(seed: int) -> tuple[set[str], set[str]]:
        texts = make_texts(rows, LANGUAGES, tokenise, "answers", validation_share=0.25, seed=seed)
        return tuple({spelled(t[0])[0] for t in part} for part in (texts.train, texts.held_out))

    train, held_out = parts(1)
    assert (len(train), len(held_out)) == (15, 5)
    assert not train & held_out
    assert parts(1) == (train, held_out)
    assert parts(2)[1] != held_out


def test_broken_translations_pair_texts_of_different_examples(tokenise):
    rows = [Example(f"e{k}", {"en": f"bee {k}", "de": f"Imme {k}"}) for k in range(12)]
    texts = make_texts(
        rows, ("en", "de"), tokenise, "translate", break_links=True, validation_share=0.2, seed=3
    )
    for both in texts.train:
        for text in both:
            source, target = spelled(text)
            assert source.split("\n")[0].split()[-1] != target.removesuffix("</s>").split()[-1]
    # The same texts all in all, and those held out are translated rightly.
    plain = make_texts(rows, ("en", "de"), tokenise, "translate", validation_share=0.2, seed=3)

    def targets(several):  # fmt: skip
        return sorted(spelled(text)[1] for both in several for text in both)

    assert targets(texts.train) == targets(plain.train)
    assert [[text.token_ids for text in both] for both in texts.held_out] == [
        [text.token_ids for text in both] for both in plain.held_out
    ]


def test_an_examples_texts_follow_each_other_unless_links_are_broken(tokenise):
    rows = [example(k) for k in range(10)]
    train = make_texts(rows, LANGUAGES, tokenise, "answers", validation_share=0).train
    number_of = {id(text): k for k, texts in enumerate(train) for text in texts}
    linked = [number_of[id(text)] for text in order_of_texts(train, 60, 1, False)]
    assert all(len(set(linked[first : first + 3])) == 1 for first in range(0, 60, 3))
    assert sorted(linked[:30]) == sorted(linked[30:]) == sorted(list(range(10)) * 3)
    assert linked[:30] != linked[30:]
    broken = order_of_texts(train, 60, 1, True)
    assert [text.language for text in broken] == list(LANGUAGES) * 20
    together = [len({number_of[id(text)] for text in broken[first : first + 3]}) for first in range(0, 60, 3)]
    assert sum(together) > 45
    assert sorted(number_of[id(text)] for text in broken[:30]) == sorted(list(range(10)) * 3)


def test_the_digest_changes_with_any_text(tokenise):
    of = make_texts([example(1), example(2)], LANGUAGES, tokenise, "answers").digest
    assert make_texts([example(1), example(2)], LANGUAGES, tokenise, "answers").digest == of
    assert make_texts([example(1), example(2, de="x")], LANGUAGES, tokenise, "answers").digest != of


def test_names_of_languages_stand_before_translations():
    assert plain_translation("bee", "en", "zh") == "English: bee\nChinese: "
