"""Options about the data: which examples to take, in which languages, and how to ask them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from fastneurons.data.problems import kind, one_line
from fastneurons.errors import InputError

# Examples are counted in 64 bits.
_MOST_EXAMPLES = 2**62


@dataclass(frozen=True)
class DataOptions:
    """Options that every task understands, named as on the command line.

    Args:
        split: Of the data set; None for the task's usual one.
        config: Of a Hub data set.
        revision: Of a Hub data set: a branch, tag or commit.
        allow_missing: Measure examples that lack some of the languages on those they have, two at least.
        shuffle: The seed by which each task's examples are put into another order; None leaves them.
        skip: Leave out the first examples of each task.
        limit: Only that many examples of each task.
        select: Only some examples: an expression, or a file of ids.
        num_fewshot: Solved examples in front of each prompt; they are held back and not measured.
        apply_chat_template: Put each prompt into the model's chat format.
        chat_template_kwargs: Arguments for the chat template: {"enable_thinking": False}.
        system_instruction: What the chat begins with.
        template: A file of templates that replace the task's.
        answer_prefix: Text that each prompt ends with, behind the chat format's end where there is one.
    """

    split: str | None = None
    config: str | None = None
    revision: str | None = None
    allow_missing: bool = False
    shuffle: int | None = None
    skip: int = 0
    limit: int | None = None
    select: str | None = None
    num_fewshot: int = 0
    apply_chat_template: bool = False
    chat_template_kwargs: Mapping[str, Any] | None = None
    system_instruction: str | None = None
    template: str | None = None
    answer_prefix: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: must be at least 1")
        for name in ("skip", "num_fewshot"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: must not be negative")
        for name in ("limit", "skip", "num_fewshot"):
            if (getattr(self, name) or 0) > _MOST_EXAMPLES:
                raise InputError(
                    f"--{name.replace('_', '-')} {getattr(self, name)}: must be at most {_MOST_EXAMPLES:,}"
                )
        if self.shuffle is not None and not 0 <= self.shuffle < 2**32:
            raise InputError(f"--shuffle {self.shuffle}: must be a seed from 0 to {2**32 - 1}")
        if self.system_instruction is not None and not self.apply_chat_template:
            raise InputError("--system-instruction needs --apply-chat-template")
        if self.chat_template_kwargs is not None:
            _check_chat_template_kwargs(self.chat_template_kwargs, self.apply_chat_template)
        for name in ("answer_prefix", "system_instruction"):
            text = getattr(self, name) or ""
            option = f"--{name.replace('_', '-')}"
            if "\0" in text:
                raise InputError(f"{option} holds a NUL character")
            try:
                text.encode()
            except UnicodeEncodeError:  # a byte on the command line that is not UTF-8
                raise InputError(f"{option} is not UTF-8") from None

    def chosen(self) -> dict[str, Any]:
        """The options that differ from the defaults, by name: two runs are the same only if these are equal."""
        return {
            field.name.replace("_", "-"): getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }


# Other entries set the input and output of rendering.
_OWN_ARGUMENTS = frozenset(
    {
        "conversation", "messages", "chat_template", "tokenize", "add_generation_prompt", "continue_final_message",
        "padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask",
        "tokenizer_kwargs",
    }
)  # fmt: skip


def parse_chat_template_kwargs(text: str | None) -> dict[str, Any] | None:
    """A JSON object from the command line; None if none was given.

    Raises:
        InputError: it is no JSON object.
    """
    if text is None:
        return None
    example = """'{"enable_thinking": false}'"""
    try:
        parsed = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        shown = one_line(text)
        raise InputError(
            f"--chat-template-kwargs {shown}: {error}; it must be a JSON object: {example}"
        ) from error
    if not isinstance(parsed, dict):
        raise InputError(
            f"--chat-template-kwargs {one_line(text)}: {kind(parsed)} where a JSON object must be: {example}"
        )
    return parsed


def _check_chat_template_kwargs(given: Mapping[str, Any], apply_chat_template: bool) -> None:
    if not apply_chat_template:
        raise InputError("--chat-template-kwargs needs --apply-chat-template")
    for name in given:
        if not isinstance(name, str) or name in _OWN_ARGUMENTS:
            raise InputError(
                f"--chat-template-kwargs: {one_line(str(name))}: fastneurons sets this one itself"
            )
    try:
        msgspec.json.encode(given)
    except (TypeError, msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"--chat-template-kwargs: {error}; values must be what JSON can hold") from error
