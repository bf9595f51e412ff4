"""Prompts of exact lengths in as many languages as asked for, cut from real sentences."""

import importlib.util
import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Any

from fastneurons.bench.contender import Work
from fastneurons.data.demo.facts import DEFAULT_LANGUAGES, FACT_LANGUAGES, facts
from fastneurons.engine.encode import AnyExample, PromptEncoder, Tokenised
from fastneurons.engine.marks import marks_of
from fastneurons.engine.tokenise import Tokeniser
from fastneurons.errors import InputError

# Tokens of each language's text where they are drawn.
_DRAWN = 4096


def has_facts() -> bool:
    """Whether prompts can be cut from facts; else their tokens are drawn at random."""
    return importlib.util.find_spec("babel") is not None


def languages_of(number: int) -> tuple[str, ...]:
    """Choose languages: first the demo's, then all others that have facts, then the same again as `en.2`."""
    known = [*DEFAULT_LANGUAGES, *(code for code in FACT_LANGUAGES if code not in DEFAULT_LANGUAGES)]
    rounds = itertools.chain(known, (f"{code}.{k}" for k in itertools.count(2) for code in known))
    return tuple(itertools.islice(rounds, number))


def make_work(tokenizer: Any, languages: Sequence[str], prompt_length: int, examples: int) -> Work:
    """Prompts of one length: pieces of each language's facts, asked and answered one after another.

    A prompt begins as the tokenizer begins every text. Languages of a second round (`en.2`) get other pieces of
    the same text.

    Args:
        tokenizer: A Hugging Face tokenizer.
        languages: Codes from `languages_of`.
        prompt_length: Tokens of each prompt.
        examples: Number of examples.
    """
    streams = {code: _tokens(tokenizer, code) for code in {_base(code) for code in languages}}
    begin = list(marks_of(tokenizer).before[: prompt_length - 1])
    piece = prompt_length - len(begin)
    prompts, answers = [], []
    for example in range(examples):
        parallel, firsts = [], []
        for index, code in enumerate(languages):
            stream = streams[_base(code)]
            # Pieces that no other example and language has, as far as the text reaches.
            start = (example * len(languages) + index) * piece
            taken = [stream[(start + k) % len(stream)] for k in range(piece + 1)]
            parallel.append(begin + taken[:-1])
            firsts.append(taken[-1])
        prompts.append(parallel)
        answers.append(firsts)
    return Work(prompts, answers)


def work_of(examples: Iterable[AnyExample], tokenizer: Any, languages: tuple[str, ...]) -> Work:
    """Examples of a data set, their prompts as long as they are.

    Raises:
        InputError: none of them has a prompt in each language.
    """
    longest = getattr(tokenizer, "model_max_length", 1 << 30)
    encode = PromptEncoder(Tokeniser(tokenizer), languages, longest, 1 << 30, answers="first token")
    prompts, answers = [], []
    for encoded in encode(list(examples)):
        if isinstance(encoded, Tokenised):
            token_ids = [ids for ids in encoded.token_ids if ids is not None]
            if len(token_ids) == len(languages):
                prompts.append(token_ids)
                given = encoded.answer_token or [None] * len(languages)
                answers.append([0 if token is None else token for token in given])
    if not prompts:
        raise InputError(f"no example has a prompt in each of {', '.join(languages)}")
    return Work(prompts, answers)


def _base(code: str) -> str:
    return code.partition(".")[0]


def _tokens(tokenizer: Any, code: str) -> list[int]:
    """Tokens of a language's facts; random ones, always the same, where Babel, which has the facts, is missing."""
    if not has_facts():
        special = set(tokenizer.all_special_ids)
        known = [token for token in range(len(tokenizer)) if token not in special]
        return random.Random(code).choices(known, k=_DRAWN)
    text = "\n".join(f"{each.prompts[code]} {each.answers[code]}" for each in facts((code,)))
    # It would warn of a text that is longer than the model takes.
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
