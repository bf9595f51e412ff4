"""Digests of examples and blocks, by values that hashlib gives for bytes written out here; and what they notice."""

import hashlib
import json
import re
import shutil
import struct
from dataclasses import dataclass

import pytest

from fastneurons.data.digest import NO_DIGEST, difference, digest_of_example, digest_of_tokens
from fastneurons.data.example import Example, Skipped
from tests.engine import tiny

EXAMPLE = Example("r1", {"en": "Two", "de": "Zwei"}, {"en": "2"}, "data.jsonl:7")


@dataclass(frozen=True)
class Stored:
    id: str
    digest: int | None
    tokens: int = 3


def blake(data: bytes) -> int:
    return struct.unpack("<Q", hashlib.blake2b(data, digest_size=8).digest())[0]


def test_the_digest_of_an_example_is_of_its_texts_by_language():
    # MessagePack: lists of 2 and 3, texts of 2 letters, byte strings with their lengths, nil.
    de = b"\x93" + b"\xa2de" + b"\xc4\x04Zwei" + b"\xc0"
    en = b"\x93" + b"\xa2en" + b"\xc4\x03Two" + b"\xc4\x012"
    assert digest_of_example(EXAMPLE) == blake(b"\x92" + de + en)


def test_the_digest_of_a_block_is_of_its_ids():
    ids = struct.pack("<3I", 5, 70_000, 1)
    assert digest_of_tokens(("en", "de"), [None, [5, 70_000, 1]]) == blake(
        b"\x91" + b"\x92" + b"\xa2de" + b"\xc4\x0c" + ids
    )


@pytest.mark.parametrize(
    "other",
    [
        Example("r1", {"en": "Two.", "de": "Zwei"}, {"en": "2"}),
        Example("r1", {"en": "Zwei", "de": "Two"}, {"en": "2"}),
        Example("r1", {"en": "Two", "fr": "Zwei"}, {"en": "2"}),
        Example("r1", {"en": "Two"}, {"en": "2"}),
        Example("r1", {"en": "Two", "de": "Zwei"}, {"en": "3"}),
        Example("r1", {"en": "Two", "de": "Zwei"}, {"de": "2"}),
        Example("r1", {"en": "Two", "de": "Zwei"}),
        Example("r1", {"en": "Two2", "de": "Zwei"}, {"en": ""}),
    ],
)
def test_every_edit_of_a_prompt_or_answer_changes_it(other):
    assert digest_of_example(other) != digest_of_example(EXAMPLE)


def test_the_order_of_languages_and_the_place_do_not():
    assert digest_of_example(
        Example("x", {"de": "Zwei", "en": "Two"}, {"en": "2"}, "b.jsonl:1")
    ) == digest_of_example(EXAMPLE)


def test_half_a_surrogate_pair_has_a_digest():
    assert digest_of_example(Example("r", {"en": "a\ud83d"})) != digest_of_example(
        Example("r", {"en": "a\ud83e"})
    )


def test_a_chat_template_that_says_something_else_is_noticed(tmp_path):
    from fastneurons.data.chat import ChatTemplate

    digests = []
    for day in ("24 Nov", "25 Nov", "25 Nov"):
        folder = tmp_path / day
        shutil.rmtree(folder, ignore_errors=True)
        tokenizer = tiny.tokenizer()
        tokenizer.chat_template = "Today: " + day + "\n{% for m in messages %}{{ m['content'] }}{% endfor %}"
        tokenizer.save_pretrained(folder)
        chat = ChatTemplate(str(folder), None, False)
        prompts = {
            code: chat.render([{"role": "user", "content": text}]) for code, text in EXAMPLE.prompts.items()
        }
        assert all(prompt.startswith(f"Today: {day}") for prompt in prompts.values()), json.dumps(prompts)
        digests.append(digest_of_example(Example("r1", prompts)))
    assert digests[0] != digests[1] == digests[2]


@pytest.mark.parametrize(
    ("stored", "example", "problem"),
    [
        (Stored("r1", digest_of_example(EXAMPLE)), EXAMPLE, None),
        (Stored("r1", None), EXAMPLE, None),  # written before there were digests
        (Stored("r0", None), EXAMPLE, "is 'r0', but the source has 'r1' there (data.jsonl:7)"),
        (Stored("r1", 1), EXAMPLE,
         "is 'r1', whose text is another now (data.jsonl:7): its own, or the template or chat format around it"),
        (Stored("r1", NO_DIGEST), EXAMPLE, "is 'r1', which was skipped then and can be read now (data.jsonl:7)"),
        (Stored("r1", 1), Skipped("r1", "data.jsonl:7", "prompt in de is empty"),
         "is 'r1', which was measured then and cannot be read now (data.jsonl:7)"),
        (Stored("x" * 9_000_000, None), EXAMPLE, f"is '{'x' * 57}...', but the source has 'r1' there (data.jsonl:7)"),
    ],
)  # fmt: skip
def test_a_difference_names_the_example_and_its_place(stored, example, problem):
    assert difference(stored, example, digest_of_example(example)) == problem


def test_the_line_of_a_file_in_a_deep_folder_is_named():
    example = Example("b", {"en": "x"}, where=f"/{'deep/' * 100}data.jsonl:17")
    said = difference(Stored("a", None), example, 1)
    assert said is not None
    assert re.search(r"\(/deep/.*data\.jsonl:17\)", said) and len(said) < 300
