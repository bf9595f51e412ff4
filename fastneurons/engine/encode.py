"""Encode examples as token ids and mark the tokens to read: prompts, or prompts with answers; `blocks.py` has texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastneurons.data.example import Example, Skipped
from fastneurons.data.template import gap
from fastneurons.engine.tokenise import Encoded, Span, Tokeniser

ANSWERS = ("ignored", "first token", "appended")


@dataclass(frozen=True)
class Tokenised:
    """An example and, for each of the L languages, its prompt's token ids; None where it has no prompt.

    Args:
        example: The example.
        token_ids: Without what the tokenizer puts after a text: the last one is the prompt's own.
        answer_token: The first token of each language's answer, where there is one.
        spans: The tokens to read of each prompt, as first, end, first, end, ...; None: all of them.
    """

    example: Example
    token_ids: list[list[int] | None]
    answer_token: list[int | None] | None = None
    spans: list[list[int]] | None = None

    def read(self, index: int) -> list[int]:
        """The spans of tokens to read in one language's prompt; none without a prompt."""
        if self.spans is not None:
            return self.spans[index]
        ids = self.token_ids[index]
        return [0, len(ids)] if ids else []

    def cut(self, index: int, tokens: int) -> "Tokenised | None":
        """The same text cut after this many tokens that are read; None if that leaves none.

        Args:
            index: Of the language; the only one of a text of a corpus.
            tokens: At most.
        """
        spans, left = [], tokens
        numbers = self.read(index)
        for first, end in zip(numbers[::2], numbers[1::2], strict=True):
            end = min(end, first + left)
            if first < end:
                spans += [first, end]
                left -= end - first
        if not spans:
            return None
        ids = self.token_ids[index]
        assert ids is not None
        token_ids: list[list[int] | None] = [None] * len(self.token_ids)
        token_ids[index] = ids[: spans[-1]]
        read: list[list[int]] = [[] for _ in self.token_ids]
        read[index] = spans
        return Tokenised(self.example, token_ids, None, read)

    def num_read(self, index: int) -> int:
        """Number of tokens in these spans."""
        numbers = self.read(index)
        return sum(numbers[1::2]) - sum(numbers[::2])


# An example of a source. Examples that are token ids already are not encoded.
AnyExample = Example | Tokenised | Skipped


def without_tokens(example: AnyExample) -> Example | Skipped:
    """The example as its source has it."""
    return example.example if isinstance(example, Tokenised) else example


class Encoder(Protocol):
    """Makes token ids of examples, many at a time."""

    @property
    def is_full(self) -> bool:
        """Whether nothing would come of further examples."""

    def __call__(self, given: list[AnyExample]) -> list[Tokenised | Skipped]:
        """Encode examples, in order; the number of examples may change."""

    def rest(self) -> list[Tokenised | Skipped]:
        """Encode the remainder, once no more examples come."""


class PromptEncoder:
    """Encodes prompts, one example for each example of the source.

    Args:
        tokenise: Makes token ids of texts.
        languages: The languages, in the store's order.
        max_prompt_tokens: Longer prompts make their example skipped.
        vocabulary: Number of ids that the model has embeddings for.
        answers: "ignored"; "first token": find each answer's first token; "appended": put the answer after its
            prompt, read its tokens, and skip an example that lacks one.
        own_tokens: Whether to mark the tokens of the prompt's or the answer's own text in `spans`. Else only answers
            have spans.
        include_special_tokens: Whether to read marks like text.

    Attributes:
        num_begun: Prompts that began with the tokenizer's begin mark, which was not put before them once more.
    """

    def __init__(
        self,
        tokenise: Tokeniser,
        languages: tuple[str, ...],
        max_prompt_tokens: int,
        vocabulary: int,
        answers: str = "ignored",
        own_tokens: bool = False,
        include_special_tokens: bool = False,
    ) -> None:
        assert answers in ANSWERS
        self._tokenise = tokenise
        self._languages = languages
        self._max_prompt_tokens = max_prompt_tokens
        self._vocabulary = vocabulary
        self._answers = answers
        self._includes_marks = include_special_tokens
        self._needs_own = own_tokens and not include_special_tokens
        self.num_begun = 0
        self.is_full = False

    def __call__(self, given: list[AnyExample]) -> list[Tokenised | Skipped]:
        """Examples tokenised, or skipped for what the tokenizer makes of them."""
        examples = [example for example in given if isinstance(example, Example)]
        encoded = iter(self._encoded(examples))
        return [next(encoded) if isinstance(example, Example) else example for example in given]

    def rest(self) -> list[Tokenised | Skipped]:
        """Nothing."""
        return []

    def _encoded(self, examples: list[Example]) -> Iterable[Tokenised | Skipped]:
        """All prompts in one call of the tokenizer, and all answers in another."""
        places = [
            (k, index)
            for k, example in enumerate(examples)
            for index, language in enumerate(self._languages)
            if language in example.prompts
        ]
        appended = self._answers == "appended"
        prompts: list[dict[int, Encoded]] = [{} for _ in examples]
        if not appended:
            texts = [examples[k].prompts[self._languages[index]] for k, index in places]
            in_chat = self._needs_own and any(example.contents for example in examples)
            for (k, index), found in zip(places, self._tokenise(texts, offsets=in_chat), strict=True):
                prompts[k][index] = found
        answers: list[dict[int, tuple[Encoded, int]]] = [{} for _ in examples]
        if self._answers != "ignored":
            answered = [(k, index) for k, index in places if examples[k].answers.get(self._languages[index])]
            pairs = [self._around_answer(examples[k], self._languages[index]) for k, index in answered]
            for (k, index), joined in zip(answered, self._joined(pairs), strict=True):
                answers[k][index] = joined
        for k, example in enumerate(examples):
            try:
                yield (
                    self._answer(example, answers[k])
                    if appended
                    else self._prompt(example, prompts[k], answers[k])
                )
            except UnusableError as error:
                yield Skipped(example.id, example.where, str(error), example.task)

    def _prompt(
        self, example: Example, prompts: dict[int, Encoded], answers: dict[int, tuple[Encoded, int]]
    ) -> Tokenised:
        """An example of which to read the prompts."""
        token_ids: list[list[int] | None] = [None] * len(self._languages)
        spans: list[list[int]] = [[] for _ in self._languages]
        begun = 0
        for index, encoded in prompts.items():
            language = self._languages[index]
            ids, num_before = self._checked(encoded, language)
            begun += bool(self._tokenise.before) and not num_before
            token_ids[index] = ids
            if self._needs_own:
                spans[index] = self._own(example, language, encoded, ids, num_before)
        self.num_begun += begun
        firsts = None
        if self._answers != "ignored":
            firsts = [self._first_token(answers.get(index)) for index in range(len(self._languages))]
        return Tokenised(example, token_ids, firsts, spans if self._needs_own else None)

    def _answer(self, example: Example, answers: dict[int, tuple[Encoded, int]]) -> Tokenised:
        """An example of which to read the answers, which follow their prompts."""
        token_ids: list[list[int] | None] = [None] * len(self._languages)
        spans: list[list[int]] = [[] for _ in self._languages]
        begun = 0
        for index, language in enumerate(self._languages):
            if index not in answers:
                if language in example.prompts:
                    raise UnusableError(f"no answer in {language}, and position answer reads it")
                continue
            encoded, start = answers[index]
            ids, num_before = self._checked(encoded, language)
            begun += bool(self._tokenise.before) and not num_before
            span = (start + num_before, len(ids))
            own = [span] if self._includes_marks else self._tokenise.without_marks(ids, [span])
            if start == len(encoded.ids) or not own:
                raise UnusableError(f"the answer in {language} has no tokens")
            token_ids[index], spans[index] = ids, flat(own)
        self.num_begun += begun
        firsts = [self._first_token(answers.get(index)) for index in range(len(self._languages))]
        return Tokenised(example, token_ids, firsts, spans)

    def _own(
        self, example: Example, language: str, encoded: Encoded, ids: list[int], num_before: int
    ) -> list[int]:
        """The tokens of a prompt's own text; in a chat format those of the messages' contents."""
        contents = example.contents.get(language)
        spans: Sequence[Span] = [(0, len(encoded.ids))]
        if contents is not None:
            if not contents:
                raise UnusableError(
                    f"the chat template changes the messages of the prompt in {language}, so which tokens are the "
                    "text's own is not known; --include-special-tokens reads all"
                )
            spans = self._tokenise.covering(encoded, contents)
        own = self._tokenise.without_marks(
            ids, [(first + num_before, end + num_before) for first, end in spans]
        )
        if not own:
            raise UnusableError(f"prompt in {language} has no tokens but marks")
        return flat(own)

    def _around_answer(self, example: Example, language: str) -> tuple[str, str]:
        """The text before the answer's first letter, and the answer."""
        prompt = example.prompts[language]
        joint = example.joints.get(language)
        if joint is None:
            joint = "" if self._tokenise.marks.ends_closed(prompt) else gap(language, prompt)
        return prompt + joint, example.answers[language]

    def _joined(self, pairs: list[tuple[str, str]]) -> list[tuple[Encoded, int]]:
        """Each prompt with its answer, and the index of the answer's first token among its tokens.

        Tokenised together, since a tokenizer may join the space, or more, with the answer's first word:
        that is the first token which reaches past what stands before the answer.
        """
        encoded = self._tokenise([before + answer for before, answer in pairs], offsets=True)
        return [
            (found, self._tokenise.first_past(found, len(before)))
            for (before, _), found in zip(pairs, encoded, strict=True)
        ]

    @staticmethod
    def _first_token(joined: tuple[Encoded, int] | None) -> int | None:
        if joined is None:
            return None
        encoded, start = joined
        return encoded.ids[start] if start < len(encoded.ids) else None

    def _checked(self, encoded: Encoded, language: str) -> tuple[list[int], int]:
        """A prompt's ids to send, and how many marks precede them."""
        if not encoded.ids:
            raise UnusableError(f"prompt in {language} has no tokens")
        ids, num_before = self._tokenise.begun(encoded.ids)
        if len(ids) > self._max_prompt_tokens:
            raise UnusableError(
                f"prompt in {language} has {len(ids)} tokens, the model takes {self._max_prompt_tokens} "
                "(--max-model-len less one)"
            )
        if max(ids) >= self._vocabulary:
            raise UnusableError(
                f"prompt in {language} has token {max(ids)}, the model knows {self._vocabulary}"
            )
        return ids, num_before


class UnusableError(Exception):
    """The reason for skipping an example."""


def flat(spans: Sequence[Span]) -> list[int]:
    """Spans as first, end, first, end, ..."""
    return [number for span in spans for number in span]
