"""Prompts in a model's chat format, by the template that comes with its tokenizer."""

from typing import Any, Protocol

from fastneurons.errors import InputError

Message = dict[str, str]


class Chat(Protocol):
    """Turns messages into the text that a model reads."""

    def render(self, messages: list[Message]) -> str:
        """Messages as one text that ends where the model's answer begins."""


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: A folder, or a name on the Hub.
        revision: Of the tokenizer on the Hub.
        trust_remote_code: Run code that comes with it.
    Raises:
        InputError: transformers is not installed, the tokenizer cannot be loaded or has no chat template.
    """

    def __init__(self, tokenizer: str, revision: str | None = None, trust_remote_code: bool = False) -> None:
        self._name = tokenizer
        self._tokenizer = load_tokenizer(tokenizer, revision, trust_remote_code)
        if not getattr(self._tokenizer, "chat_template", None):
            raise InputError(
                f"--apply-chat-template: {tokenizer} has no chat template; a model that was not trained on chats "
                "is asked without one"
            )

    def render(self, messages: list[Message]) -> str:
        """Messages as one text that ends where the model's answer begins.

        Raises:
            InputError: the template refuses them, as some do a system message.
        """
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # Jinja's errors, and what templates raise themselves
            roles = ", ".join(message["role"] for message in messages)
            raise InputError(
                f"--apply-chat-template: the template of {self._name} refuses messages of {roles}: {error}"
            ) from error
        return text


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
        message = " ".join(str(error).split())[:300]
        raise InputError(f"the tokenizer {name} cannot be loaded: {message}") from error
