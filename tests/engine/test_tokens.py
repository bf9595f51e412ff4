"""What tokenizers put around texts, and which tokens are a text's own: many kinds, held against the tokenizers."""

from dataclasses import replace
from itertools import accumulate, pairwise, product

import numpy as np
import pytest
import transformers

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.blocks import BlockEncoder
from fastneurons.engine.encode import PromptEncoder, Tokenised
from fastneurons.engine.marks import marks_of
from fastneurons.engine.tokenise import Encoded, Tokeniser
from fastneurons.errors import InputError
from tests.engine import kinds

FAST = ("byte-bpe", "metaspace-bpe", "unigram", "wordpiece")
TEXTS = [
    "The river runs to",
    "Der Fluss fließt zum ",
    "แม่น้ำไหลลง",
    "河流流向",
    "x",
    " Paris",
    "<user>Paris<end>",
    "a<s>b",
]
MARKED = list(product((False, True), repeat=2))


def without_offsets(tokenise: Tokeniser) -> Tokeniser:
    """The same tokenizer as if it told no offsets."""
    tokenise.marks = replace(tokenise.marks, tells_offsets=False)
    return tokenise


def made(kind: str, begin: bool, end: bool):
    return kinds.characters(begin, end) if kind == "characters" else kinds.fast(kind, begin, end)


@pytest.mark.parametrize(("begin", "end"), MARKED)
@pytest.mark.parametrize("kind", [*FAST, "characters"])
def test_marks_are_what_the_tokenizer_puts_around_a_text(kind, begin, end):
    tokenizer = made(kind, begin, end)
    tokenise = Tokeniser(tokenizer)
    assert tokenise.marks.named(tokenise.before) == (["<s>"] if begin else [])
    assert tokenise.marks.named(tokenise.after) == (["</s>"] if end else [])
    assert tokenise.marks.tells_offsets == (kind != "characters")
    for text, encoded in zip(TEXTS, tokenise(TEXTS), strict=True):
        ids, num_before = tokenise.begun(encoded.ids)
        assert [*ids, *tokenise.after] == tokenizer(text)["input_ids"], text
        assert num_before == begin


def test_marks_of_other_tokenizers():
    byt5 = marks_of(transformers.ByT5Tokenizer())
    assert (byt5.before, byt5.named(byt5.after), byt5.tells_offsets) == ((), ["</s>"], False)
    # A prompt may end in the mark itself: it is the prompt's own, and ByT5 puts no second one behind it.
    [encoded] = Tokeniser(transformers.ByT5Tokenizer())(["a</s>"])
    assert encoded.ids == [100, 1]


class NoOption:
    """Marks both ends of a text whatever it is told, or takes no options at all."""

    all_special_ids = (1, 2)
    bos_token_id = 1

    def __init__(self, takes_option: bool) -> None:
        self._takes_option = takes_option

    def __call__(self, texts, **options):
        if options and not self._takes_option:
            raise TypeError("unexpected keyword argument")
        return {"input_ids": [[1, *(ord(letter) + 10 for letter in text), 2] for text in texts]}


@pytest.mark.parametrize("takes_option", [False, True])
def test_marks_that_cannot_be_switched_off_are_taken_off(takes_option):
    tokenise = Tokeniser(NoOption(takes_option))
    assert (tokenise.before, tokenise.after) == ((1,), (2,))
    assert tokenise(["ab"])[0].ids == [107, 108]
    assert Tokeniser(NoOption(takes_option), add_special_tokens=False).before == (1,)


def test_an_unknown_character_is_text():
    tokenise = Tokeniser(kinds.fast("wordpiece", begin=True))
    [encoded] = tokenise(["Paris ☃ Wien"])
    assert tokenise.marks.names.get(encoded.ids[1]) != "<unk>"
    assert tokenise.without_marks(encoded.ids, [(0, len(encoded.ids))]) == [(0, len(encoded.ids))]


# -- begin marks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*FAST, "characters"])
@pytest.mark.parametrize(
    ("adds", "option", "chat", "text", "number"),
    [
        (True, None, False, "Paris", 1),
        (True, None, False, "<s>Paris", 1),
        (True, None, True, "Paris", 0),
        (True, None, True, "<s>Paris", 1),
        (True, False, False, "Paris", 0),
        (True, True, True, "Paris", 1),
        (True, True, True, "<s>Paris", 1),
        (False, None, False, "Paris", 0),
        (False, True, False, "Paris", 1),
        (False, True, False, "<s>Paris", 1),
    ],
)
def test_no_text_gets_its_begin_mark_twice(kind, adds, option, chat, text, number):
    tokenizer = made(kind, adds, True)
    tokenise = Tokeniser(tokenizer, add_special_tokens=not chat, add_bos_token=option)
    ids, _ = tokenise.begun(tokenise([text])[0].ids)
    assert ids.count(tokenizer.bos_token_id) == number
    assert ids[0] == tokenizer.bos_token_id or not number


def test_a_begin_mark_that_there_is_not_cannot_be_added():
    with pytest.raises(InputError, match="--add-bos-token: the tokenizer has no begin token"):
        Tokeniser(transformers.ByT5Tokenizer(), add_bos_token=True)


@pytest.mark.parametrize("position", ["any", "answer", "corpus"])
def test_texts_with_a_mark_of_their_own_are_counted(position):
    tokenise = Tokeniser(kinds.fast("byte-bpe", begin=True))
    place = (tokenise, ("en", "de"), 100, 1000)
    encode = {
        "any": PromptEncoder(*place),
        "answer": PromptEncoder(*place, "appended"),
        "corpus": BlockEncoder(*place),
    }[position]
    answers = {"en": "Paris", "de": "Paris"}
    encode([Example(str(k), {"en": "<s>a", "de": "a"}, answers) for k in range(3)])
    encode([Example("x", {"en": "<s>a", "de": "<s>a"}, answers)])
    assert encode.num_begun == 5


# -- characters and tokens ----------------------------------------------------------------------------


def covering(encoded: Encoded, begin: int, end: int) -> list[int]:
    return [k for k, (start, stop) in enumerate(encoded.offsets) if start < end and stop > begin]


@pytest.mark.parametrize("kind", FAST)
def test_tokens_of_a_part_of_a_text(kind):
    tokenise = Tokeniser(kinds.fast(kind))
    text = "<user>\nDer Fluss fließt zum Meer.<end>\n<model>河流流向大海"
    [encoded] = tokenise([text], offsets=True)
    for begin in range(len(text)):
        for end in range(begin + 1, len(text) + 1):
            expected = covering(encoded, begin, end)
            found = [
                k for first, stop in tokenise.covering(encoded, [(begin, end)]) for k in range(first, stop)
            ]
            assert found == expected, (begin, end)
        assert tokenise.first_past(encoded, begin) == covering(encoded, begin, len(text))[0]


@pytest.mark.parametrize("kind", FAST)
def test_prefixes_tell_what_offsets_tell_where_tokens_end(kind):
    text = "<user>Der Fluss fließt zum Meer.<end><model>Paris Wien<end>"
    tokenizer = kinds.fast(kind)
    [told] = Tokeniser(tokenizer)([text], offsets=True)
    tokenise = without_offsets(Tokeniser(tokenizer))
    [encoded] = tokenise([text], offsets=True)
    assert encoded.offsets is None
    spans = [
        (text.index(part), text.index(part) + len(part))
        for part in ("Der Fluss fließt zum Meer.", "Paris Wien")
    ]
    found = [k for first, end in tokenise.covering(encoded, spans) for k in range(first, end)]
    # The token for the space that Llama's tokenizer puts in front is there with offsets as well, of the next letter.
    assert found == [k for span in spans for k in covering(told, *span)]


def test_a_token_across_the_boundary_belongs_to_both_sides():
    tokenise = Tokeniser(kinds.characters(merges=("r W", "ei", "abc")))
    text = "Der Wein ist"
    [encoded] = tokenise([text])
    assert len(encoded.ids) == len(text) - 3
    assert tokenise.first_past(encoded, 3) == 2  # "Der": D e [r W] ei n
    assert tokenise.first_past(encoded, 4) == 2
    assert tokenise.first_past(encoded, 5) == 3
    assert tokenise.covering(encoded, [(0, 4)]) == [(0, 3)]
    assert tokenise.covering(encoded, [(4, 7)]) == [(2, 4)]
    [encoded] = tokenise(["xabcx"])
    assert tokenise.covering(encoded, [(1, 3)]) == [(1, 2)]


def test_every_boundary_of_a_tokenizer_without_offsets():
    merges = ("er", "ie", "ßt", " z", "Der ")
    tokenise, text = Tokeniser(kinds.characters(merges=merges)), "Der Fluss fließt zum Meer."
    [encoded] = tokenise([text])
    ends = list(accumulate(len(tokenise._tokenizer.convert_ids_to_tokens(id)) for id in encoded.ids))
    told = encoded._replace(offsets=list(pairwise([0, *ends])))
    for begin in range(len(text)):
        assert tokenise.first_past(encoded, begin) == tokenise.first_past(told, begin), begin
        for end in range(begin + 1, len(text) + 1):
            assert tokenise.covering(encoded, [(begin, end)]) == tokenise.covering(told, [(begin, end)])


# -- prompts and answers ------------------------------------------------------------------------------


def encoded(tokenizer, example: Example, answers="first token", **options) -> Tokenised | Skipped:
    tokenise = Tokeniser(tokenizer, **{k: options.pop(k) for k in ("add_special_tokens",) if k in options})
    languages = tuple(example.prompts)
    [row] = PromptEncoder(tokenise, languages, 500, 0x120000, answers, **options)([example])
    return row


@pytest.mark.parametrize(("begin", "end"), MARKED)
@pytest.mark.parametrize("kind", [*FAST, "characters"])
def test_the_last_token_and_the_answers_first(kind, begin, end):
    tokenizer = made(kind, begin, end)
    prompts = {"en": "The river runs to", "de": "Der Fluss fließt zum ", "zh": "河流流向", "th": "แม่น้ำไหลลง"}
    answers = {"en": "Paris", "de": "Meer.", "zh": "大海", "th": "ทะเล"}
    row = encoded(tokenizer, Example("a", prompts, answers))
    for k, (code, prompt) in enumerate(prompts.items()):
        whole = tokenizer(prompt)["input_ids"]
        assert row.token_ids[k] == whole[: len(whole) - end]
        before = prompt + (" " if code == "en" else "")
        if kind == "characters":
            assert row.answer_token[k] == ord(answers[code][0])
            continue
        joined = tokenizer(before + answers[code], return_offsets_mapping=True, add_special_tokens=False)
        reaching = [j for j, (_, stop) in enumerate(joined["offset_mapping"]) if stop > len(before)]
        assert row.answer_token[k] == joined["input_ids"][reaching[0]]
        if kind == "byte-bpe":  # nothing is lost in it
            assert tokenizer.decode(joined["input_ids"][reaching[0] :]).endswith(answers[code])


@pytest.mark.parametrize(
    ("prompt", "joint"),
    [
        ("Paris", " "),
        ("Paris ", ""),
        ("Paris\n", ""),
        ("<user>Paris<end><model>", ""),
        ("<user>Paris<end>\n<model>\n", ""),
        ("He said “", ""),
        ("a > b", " "),
        ("Paris>", " "),
    ],
)
def test_an_answer_joins_as_its_prompts_format_has_it(prompt, joint):
    tokenizer = kinds.characters()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<end>", "<model>"]})
    row = encoded(tokenizer, Example("a", {"en": prompt, "zh": prompt}, {"en": "x", "zh": "x"}), "appended")
    for ids, spans, between in zip(row.token_ids, row.spans, (joint, ""), strict=True):
        assert ids == tokenizer(prompt + between + "x", add_special_tokens=False)["input_ids"]
        assert spans == [len(ids) - 1, len(ids)]


def test_a_chat_format_says_what_stands_before_an_answer():
    example = Example("a", {"en": "[/INST]"}, {"en": "Paris"}, joints={"en": ""})
    row = encoded(kinds.characters(), example, "appended")
    assert row.token_ids[0] == [ord(letter) for letter in "[/INST]Paris"]


@pytest.mark.parametrize(("begin", "end"), MARKED)
@pytest.mark.parametrize("kind", [*FAST, "characters"])
def test_any_token_is_one_of_the_texts_own(kind, begin, end):
    tokenizer = made(kind, begin, end)
    example = Example("a", {"en": "The river<s> runs", "de": "<s>Der Fluss"})
    row = encoded(tokenizer, example, "ignored", own_tokens=True)
    for ids, spans in zip(row.token_ids, row.spans, strict=True):
        read = [k for first, stop in zip(spans[::2], spans[1::2], strict=True) for k in range(first, stop)]
        assert read == [
            k for k, id in enumerate(ids) if id not in (tokenizer.bos_token_id, tokenizer.eos_token_id)
        ]
    everything = encoded(tokenizer, example, "ignored", own_tokens=True, include_special_tokens=True)
    assert everything.token_ids == row.token_ids
    assert [everything.read(k) for k in (0, 1)] == [[0, len(ids)] for ids in row.token_ids]


@pytest.mark.parametrize("kind", [*FAST, "characters"])
def test_in_a_chat_format_the_contents_are_read(kind):
    tokenizer = made(kind, True, True)
    if kind == "characters":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<end>", "<model>"]})
    parts = ["Be brief.", "Der Fluss fließt zum"]
    text = f"<s><user>{parts[0]}<end>\n<user>{parts[1]}<end>\n<model>"
    spans = tuple((text.index(part), text.index(part) + len(part)) for part in parts)
    example = Example("a", {"en": text}, contents={"en": spans})
    row = encoded(tokenizer, example, "ignored", own_tokens=True, add_special_tokens=False)
    assert row.token_ids[0] == tokenizer(text, add_special_tokens=False)["input_ids"]
    read = [row.token_ids[0][a:b] for a, b in zip(row.spans[0][::2], row.spans[0][1::2], strict=True)]
    decoded = [tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() for ids in read]
    squeezed = [part.replace(" ", "") for part in decoded]
    assert squeezed == [
        tokenizer.decode(tokenizer(part, add_special_tokens=False)["input_ids"]).replace(" ", "")
        for part in parts
    ]


def test_contents_that_are_not_known_are_no_guess():
    example = Example("a", {"en": "<user>X<end>"}, contents={"en": ()})
    row = encoded(kinds.fast("byte-bpe"), example, "ignored", own_tokens=True)
    assert isinstance(row, Skipped)
    assert "--include-special-tokens reads all" in row.reason
    assert isinstance(encoded(kinds.fast("byte-bpe"), example, "ignored"), Tokenised)
    everything = encoded(
        kinds.fast("byte-bpe"), example, "ignored", own_tokens=True, include_special_tokens=True
    )
    assert isinstance(everything, Tokenised)


def test_a_prompt_of_nothing_but_marks_is_skipped_where_texts_are_read():
    row = encoded(kinds.fast("byte-bpe", True), Example("a", {"en": "<s></s>"}), "ignored", own_tokens=True)
    assert isinstance(row, Skipped) and "no tokens but marks" in row.reason


# -- corpora ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("size", [3, 7, 100, None])
def test_blocks_hold_the_marks_and_count_the_texts(size, include):
    tokenizer = kinds.fast("byte-bpe", True, True)
    texts = ["The river runs to the sea.", "x", "<s>Paris", "a<end>b", "Berlin Wien"]
    encode = BlockEncoder(Tokeniser(tokenizer), ("en",), 8 if size is None else 100, 1000, size, include)
    rows = [*encode([Example(str(k), {"en": text}) for k, text in enumerate(texts)]), *encode.rest()]
    whole = [
        id for text in texts for id in tokenizer(text, add_special_tokens=not text.startswith("<s>"))["input_ids"]
        + ([2] if text.startswith("<s>") else [])
    ]  # fmt: skip
    sent = [id for row in rows for id in row.token_ids[0]]
    read = [
        id
        for row in rows
        for a, b in zip(row.read(0)[::2], row.read(0)[1::2], strict=True)
        for id in row.token_ids[0][a:b]
    ]
    if size is not None:
        assert sent == whole  # of documents, a piece that is nothing but an end mark is not sent
    special = set() if include else set(tokenizer.all_special_ids)
    assert read == [id for id in whole if id not in special]
    assert sum(row.num_read(0) for row in rows) == len(read)


@pytest.mark.parametrize("number", [1, 7, 20, 1000])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("size", [None, 4, 7])
def test_as_many_tokens_of_each_language_are_read_as_are_asked_for(size, include, number):
    tokenizer = kinds.fast("byte-bpe", True, True)
    languages = ("en", "de")
    rng = np.random.default_rng(number)
    rows = [
        Example(f"{code}{k}", {code: " ".join(rng.choice(TEXTS[:2], 3))}, where=f"{code}:{k}")
        for k in range(12)
        for code in languages[: 2 if k < 4 else 1]  # fewer in the second
    ]

    def read(encode: BlockEncoder, at_once: int) -> list[Tokenised]:
        found = []
        for first in range(0, len(rows), at_once):
            if encode.is_full:
                break
            found += encode(list(rows[first : first + at_once]))
        return [*found, *encode.rest()]

    def tokens(found: list[Tokenised], index: int) -> list[int]:
        return [
            id
            for row in found
            for a, b in zip(row.read(index)[::2], row.read(index)[1::2], strict=True)
            for id in row.token_ids[index][a:b]
        ]

    limits = (Tokeniser(tokenizer), languages, 100, 1000, size, include)
    everything = read(BlockEncoder(*limits), 5)
    encode = BlockEncoder(*limits, number)
    found = read(encode, 5)
    for index in range(2):
        assert tokens(found, index) == tokens(everything, index)[:number]
        # Nothing follows the last token that is read.
        of_language = [row for row in found if row.token_ids[index]]
        if len(tokens(everything, index)) > number:
            assert of_language[-1].read(index)[-1] == len(of_language[-1].token_ids[index])
        if size is not None:
            assert all(len(row.token_ids[index]) == size for row in of_language[:-1])
    assert encode.is_full == all(len(tokens(everything, index)) >= number for index in range(2))
    # However many rows come at a time.
    again = read(BlockEncoder(*limits, number), 1)
    assert sorted((row.example.id, row.token_ids) for row in again) == sorted(
        (row.example.id, row.token_ids) for row in found
    )
