"""What becomes of rows on their way to the engine."""

import pytest

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import PromptEncoder, Tokenised
from fastneurons.engine.feed import Feed
from fastneurons.engine.tokenise import Tokeniser


class Tokenizer:
    """A token a character, with a mark before them if it is asked to."""

    def __init__(self):
        self.calls = []

    def __call__(self, prompts, **options):
        self.calls.append(options)
        mark = [1] if options.get("add_special_tokens", True) else []
        return {"input_ids": [mark + [ord(character) for character in prompt] for prompt in prompts]}


def feed(rows, tokenizer=None, **options):
    return Feed(rows, PromptEncoder(Tokeniser(tokenizer or Tokenizer(), **options), ("en", "de"), 5, 200))


def test_rows_keep_their_order_and_prompts_their_languages():
    rows = [
        Example("a", {"de": "x", "en": "yz"}),
        Skipped("b", "f:2", "broken", "xnli"),
        Example("c", {"de": "x"}, task="mgsm"),
    ]
    found = list(feed(rows))
    assert found[0].token_ids == [[1, 121, 122], [1, 120]]
    assert found[1] is rows[1]
    assert found[2].token_ids == [None, [1, 120]]


@pytest.mark.parametrize(("prompt", "reason"), [("abcdef", "7 tokens"), ("ä" * 2, "token 228")])
def test_a_row_that_is_skipped_stays_in_its_task(prompt, reason):
    [row] = feed([Example("a", {"en": prompt, "de": "x"}, {}, "f:1", "xnli")])
    assert isinstance(row, Skipped)
    assert (row.id, row.where, row.task) == ("a", "f:1", "xnli")
    assert reason in row.reason


def test_prompts_in_a_chat_format_get_no_second_mark():
    tokenizer = Tokenizer()
    [row] = feed([Example("a", {"en": "x"})], tokenizer, add_special_tokens=False)
    assert isinstance(row, Tokenised)
    assert row.token_ids[0] == [120]


class WithoutOptions(Tokenizer):
    """Always marks the begin, and cannot be told not to."""

    all_special_ids = (1,)

    def __call__(self, prompts):
        return super().__call__(prompts)


def test_a_tokenizer_that_takes_no_option_is_asked_without():
    [row] = feed([Example("a", {"en": "x"})], WithoutOptions())
    assert row.token_ids[0] == [1, 120]
