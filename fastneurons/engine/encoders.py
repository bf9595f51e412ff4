"""Choose what turns a measurement's examples into token ids, and check that a corpus' tokens can be counted."""

from fastneurons.config import Measurement
from fastneurons.engine.answers import JudgedEncoder
from fastneurons.engine.blocks import BlockEncoder
from fastneurons.engine.encode import Encoder, PromptEncoder
from fastneurons.engine.facts import ModelFacts
from fastneurons.engine.tokenise import Tokeniser
from fastneurons.errors import InputError


def encoder_for(
    tokenise: Tokeniser,
    languages: tuple[str, ...],
    measurement: Measurement,
    facts: ModelFacts,
    block_size: int | None = None,
    answerable: bool = False,
    tokens_per_language: int | None = None,
) -> Encoder:
    """Make what turns examples into token ids; `answerable` for answers to be judged."""
    limits = (tokenise, languages, facts.max_prompt_tokens, facts.vocabulary)
    marks = measurement.include_special_tokens
    if measurement.position == "corpus":
        return BlockEncoder(
            *limits, block_size, include_special_tokens=marks, tokens_per_language=tokens_per_language
        )
    of_prompts = JudgedEncoder if answerable else PromptEncoder
    if measurement.position == "answer":
        return of_prompts(*limits, "appended", own_tokens=True, include_special_tokens=marks)
    answers = "first token" if measurement.attribution else "ignored"
    own = measurement.position == "any"
    return of_prompts(*limits, answers, own_tokens=own, include_special_tokens=marks)


def check_window(window: int, block_size: int | None, longest: int) -> None:
    """Check that a corpus' tokens can be counted: within a window they are, in 32 bits.

    Args:
        longest: Tokens of the longest prompt that the model takes.
    Raises:
        InputError: they could overflow; or blocks are longer than the model takes.
    """
    if block_size is not None and block_size > longest:
        raise InputError(
            f"--block-size {block_size}: the model takes {longest} tokens (--max-model-len less one)"
        )
    if window * (block_size or longest) >= 2**31:
        raise InputError(
            f"--window {window}: of a corpus with up to {block_size or longest} tokens a text at most "
            f"{2**31 // (block_size or longest)}"
        )
