"""Prompts in a model's chat format, by the template that comes with its tokenizer.

A template is a downloaded program: it may add text, change its input, and never end. So the first prompt of a kind is
rendered in a child with limits, every rendering is watched and measured, and the positions of the messages' own texts
are given only if the text around them is the template's own to the letter.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fastneurons.data.bounded import TIME_LIMIT_S, UnboundedError, Watch, tried
from fastneurons.errors import InputError
from fastneurons.visible import visible

Message = dict[str, str]

# Far beyond what any model reads: 100 tokens of template for each of 10,000 few-shot examples.
_LONGEST = 1 << 22
_MARK = "fastneurons{}content"
_MARKS = re.compile("fastneurons([0-9]+)content")


class Rendered(NamedTuple):
    """Messages as one text.

    Args:
        text: It ends where the model's answer begins.
        contents: Where the messages' contents lie in it: [begin, end) of characters, in order and disjoint. None:
            the template changes a content by more than white space around it, so that is not known.
    """

    text: str
    contents: tuple[tuple[int, int], ...] | None


class Chat(Protocol):
    """Turns messages into the text that a model reads."""

    def render(self, messages: list[Message]) -> str:
        """Messages as one text that ends where the model's answer begins."""


def rendered(chat: Chat, messages: list[Message]) -> Rendered:
    """`ChatTemplate.rendered` for any chat; one that only renders does not say where contents lie."""
    render = getattr(chat, "rendered", None)
    return render(messages) if render is not None else Rendered(chat.render(messages), None)


def joint(chat: Chat) -> str | None:
    """`ChatTemplate.joint` for any chat; None if it has none."""
    find = getattr(chat, "joint", None)
    return find() if find is not None else None


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: A folder, or a name on the Hub.
        revision: Of the tokenizer on the Hub.
        trust_remote_code: Run code that comes with it.
        kwargs: Arguments for the template, such as `enable_thinking`.
    Raises:
        InputError: transformers is not installed, the tokenizer cannot be loaded or has no chat template.
    """

    def __init__(
        self,
        tokenizer: str,
        revision: str | None = None,
        trust_remote_code: bool = False,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._name = tokenizer
        self._kwargs = dict(kwargs or {})
        self._tokenizer = load_tokenizer(tokenizer, revision, trust_remote_code)
        if not getattr(self._tokenizer, "chat_template", None):
            raise InputError(
                f"--apply-chat-template: {tokenizer} has no chat template; a model that was not trained on chats "
                "is asked without one"
            )
        self._seconds = TIME_LIMIT_S
        self._watch = Watch(self._seconds)
        self._tried: set[tuple[str, ...]] = set()
        # By roles: what the template puts around contents, and which content is in each gap.
        self._frames: dict[tuple[str, ...], list[str] | None] = {}
        self._joint: tuple[str | None] | None = None

    def render(self, messages: list[Message]) -> str:
        """Messages as one text that ends where the model's answer begins.

        Raises:
            InputError: the template refuses them, as some do a system message, or does not end, or renders
                megabytes.
        """
        return self._rendered_text(messages)

    def rendered(self, messages: list[Message]) -> Rendered:
        """Messages as one text, and where their contents lie in it.

        Raises:
            InputError: as `render`; or the template leaves a message out.
        """
        text = self._rendered_text(messages)
        roles = _roles(messages)
        for again in (False, True):  # what stands around may change with the clock, or with the contents
            if again or roles not in self._frames:
                self._frames[roles] = self._frame(messages)
            frame = self._frames[roles]
            found = None if frame is None else _contents(text, frame, messages)
            if found is not None:
                self._check_whole(frame or [], messages)
                return Rendered(text, found)
        return Rendered(text, None)

    def joint(self) -> str | None:
        """The text between a prompt and the model's answer; None if the template does not determine it."""
        if self._joint is None:
            question, answer = _MARK.format(0), _MARK.format(1)
            messages = [{"role": "user", "content": question}]
            try:
                prompt = self._rendered_text(messages)
                whole = self._rendered_text(
                    [*messages, {"role": "assistant", "content": answer}], prompt=False
                )
            except InputError:  # no turn of the assistant may stand there; other errors come up with a prompt
                self._joint = (None,)
            else:
                between, there, _ = whole.removeprefix(prompt).partition(answer)
                is_told = whole.startswith(prompt) and there and not between.strip()
                self._joint = (between if is_told else None,)
        return self._joint[0]

    def _rendered_text(self, messages: list[Message], prompt: bool = True) -> str:
        roles = (*_roles(messages), "" if prompt else "end")
        try:
            if roles not in self._tried:
                tried(lambda: self._text(messages, prompt), self._seconds)
                self._tried.add(roles)
            return self._watch(lambda: self._text(messages, prompt))
        except UnboundedError as error:
            raise InputError(
                f"--apply-chat-template: the template of {self._name} {error}; use another one, or none"
            ) from None
        except Exception as error:  # Jinja's errors, and what templates raise themselves
            message = visible(" ".join(str(error).split()))[:300] or type(error).__name__
            raise InputError(
                f"--apply-chat-template: the template of {self._name} refuses messages of "
                f"{', '.join(_roles(messages))}: {message}"
            ) from error

    def _text(self, messages: list[Message], prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=prompt, **self._kwargs
        )
        if len(text) > _LONGEST:
            raise UnboundedError(f"renders {len(text):,} characters, more than {_LONGEST:,}")
        return text

    def _frame(self, messages: list[Message]) -> list[str] | None:
        """The text around contents, with the content's number between two pieces; None if unknown."""
        marked = [{**message, "content": _MARK.format(k)} for k, message in enumerate(messages)]
        try:
            return _MARKS.split(self._rendered_text(marked))
        except InputError:
            return None

    def _check_whole(self, frame: Sequence[str], messages: list[Message]) -> None:
        there = {int(number) for number in frame[1::2]}
        for k, message in enumerate(messages):
            if k not in there and message["content"].strip():
                raise InputError(
                    f"--apply-chat-template: the template of {self._name} leaves the {message['role']} message out"
                    + ("; drop --system-instruction" if message["role"] == "system" else "")
                )


def _roles(messages: list[Message]) -> tuple[str, ...]:
    return tuple(message["role"] for message in messages)


def _contents(text: str, frame: Sequence[str], messages: list[Message]) -> tuple[tuple[int, int], ...] | None:
    """Find the contents in a text that is the frame with contents in its gaps; None if it is not.

    Many templates strip white space around a content; what they leave is its content all the same.
    """
    if not text.startswith(frame[0]):
        return None
    begin = len(frame[0])
    spans: list[tuple[int, int]] = []
    for number, behind in zip(frame[1::2], frame[2::2], strict=True):
        content = messages[int(number)]["content"]
        is_last = len(spans) == len(frame) // 2 - 1
        for form in dict.fromkeys((content, content.strip(), content.lstrip(), content.rstrip())):
            end = begin + len(form)
            fits = text.startswith(form, begin) and text.startswith(behind, end)
            if fits and (not is_last or end + len(behind) == len(text)):
                spans.append((begin, end))
                begin = end + len(behind)
                break
        else:
            return None
    return tuple(span for span in spans if span[0] < span[1]) if begin == len(text) else None


def load_tokenizer(name: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """A tokenizer of transformers, which is imported here and not before.

    Raises:
        InputError: transformers is not installed, or the tokenizer cannot be loaded.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise InputError(
            f"the tokenizer {name} needs transformers ({error}): pip install transformers"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except Exception as error:
        message = visible(" ".join(str(error).split()))[:300]
        raise InputError(f"the tokenizer {name} cannot be loaded: {message}") from error
