"""Encode rows as token ids and mark the tokens to read: prompts, prompts with answers, or texts cut into blocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastneurons.data.example import Example, Skipped
from fastneurons.data.template import gap
from fastneurons.engine.tokenise import Encoded, Span, Tokeniser
from fastneurons.shards import Shard

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


# A row of a source. Rows that are token ids already are not encoded.
Row = Example | Tokenised | Skipped


class Encoder(Protocol):
    """Makes token ids of rows, many at a time."""

    @property
    def is_full(self) -> bool:
        """Whether nothing would come of further rows."""

    def __call__(self, rows: list[Row]) -> list[Tokenised | Skipped]:
        """Encode rows, in order; the number of rows may change."""

    def rest(self) -> list[Tokenised | Skipped]:
        """Encode the remainder, once no more rows come."""


class PromptEncoder:
    """Encodes prompts, one row for each row of the source.

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

    def __call__(self, rows: list[Row]) -> list[Tokenised | Skipped]:
        """Examples tokenised, or skipped for what the tokenizer makes of them."""
        examples = [row for row in rows if isinstance(row, Example)]
        encoded = iter(self._encoded(examples))
        return [next(encoded) if isinstance(row, Example) else row for row in rows]

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
            except _UnusableError as error:
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
                    raise _UnusableError(f"no answer in {language}, and position answer reads it")
                continue
            encoded, start = answers[index]
            ids, num_before = self._checked(encoded, language)
            begun += bool(self._tokenise.before) and not num_before
            span = (start + num_before, len(ids))
            own = [span] if self._includes_marks else self._tokenise.without_marks(ids, [span])
            if start == len(encoded.ids) or not own:
                raise _UnusableError(f"the answer in {language} has no tokens")
            token_ids[index], spans[index] = ids, _flat(own)
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
                raise _UnusableError(
                    f"the chat template changes the messages of the prompt in {language}, so which tokens are the "
                    "text's own is not known; --include-special-tokens reads all"
                )
            spans = self._tokenise.covering(encoded, contents)
        own = self._tokenise.without_marks(
            ids, [(first + num_before, end + num_before) for first, end in spans]
        )
        if not own:
            raise _UnusableError(f"prompt in {language} has no tokens but marks")
        return _flat(own)

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
            raise _UnusableError(f"prompt in {language} has no tokens")
        ids, num_before = self._tokenise.begun(encoded.ids)
        if len(ids) > self._max_prompt_tokens:
            raise _UnusableError(
                f"prompt in {language} has {len(ids)} tokens, the model takes {self._max_prompt_tokens} "
                "(--max-model-len less one)"
            )
        if max(ids) >= self._vocabulary:
            raise _UnusableError(
                f"prompt in {language} has token {max(ids)}, the model knows {self._vocabulary}"
            )
        return ids, num_before


class _UnusableError(Exception):
    """The reason for skipping an example."""


def _flat(spans: Sequence[Span]) -> list[int]:
    return [number for span in spans for number in span]


class BlockEncoder:
    """Texts of each language, joined and cut into blocks of equal length, or kept as documents.

    The published code for LAPE (arXiv 2402.16438) joins all of a language's tokens and cuts them into
    blocks of the model's context; what is left at the end, shorter than a block, is kept here.

    Each text has the marks that the tokenizer puts around it, so that its activations are those of normal use.
    They are counted only if they are asked for.

    Args:
        tokenise: Makes token ids of texts.
        languages: The languages, in the store's order.
        max_prompt_tokens: The longest block; a document that is longer becomes several.
        vocabulary: Number of ids that the model has embeddings for.
        block_size: Tokens of a block, marks included; None keeps documents.
        include_special_tokens: Whether to read marks like text.
        tokens_per_language: Tokens to read of each language: the text in which a language comes to it is cut there, and
            further ones are left out. None reads all.

    Attributes:
        num_begun: Texts that began with the tokenizer's begin mark, which was not put before them once more.
    """

    def __init__(
        self,
        tokenise: Tokeniser,
        languages: tuple[str, ...],
        max_prompt_tokens: int,
        vocabulary: int,
        block_size: int | None = None,
        include_special_tokens: bool = False,
        tokens_per_language: int | None = None,
    ) -> None:
        self._tokenise = tokenise
        self._languages = languages
        # Tokens that are still to be read of each language; None: all that there are.
        self._left = None if tokens_per_language is None else [tokens_per_language] * len(languages)
        self._longest = max_prompt_tokens
        self._vocabulary = vocabulary
        self._block_size = block_size
        self._includes_marks = include_special_tokens
        self._waiting: list[list[int]] = [[] for _ in languages]
        # Spans of the tokens to read.
        self._unread: list[list[Span]] = [[] for _ in languages]
        self._num_blocks = [0] * len(languages)
        self.num_begun = 0

    @property
    def is_full(self) -> bool:
        """Whether as many tokens as are wanted have come of every language."""
        return self._left is not None and not any(self._left)

    def __call__(self, rows: list[Row]) -> list[Tokenised | Skipped]:
        """Full blocks, or each text of these rows; and the skipped rows, in their places."""
        wanted = [index for index in range(len(self._languages)) if self._left is None or self._left[index]]
        texts = [
            row.prompts[self._languages[index]]
            for row in rows
            if isinstance(row, Example)
            for index in wanted
            if self._languages[index] in row.prompts
        ]
        encoded = iter(self._tokenise(texts))
        done: list[Tokenised | Skipped] = []
        for row in rows:
            if not isinstance(row, Example):
                done.append(row)
                continue
            for index in wanted:
                language = self._languages[index]
                if language not in row.prompts:
                    continue
                own = next(encoded).ids
                if self._left is not None and not self._left[index]:
                    continue  # an earlier text of these rows was the last
                ids, num_before = self._tokenise.begun(own)
                ids = [*ids, *self._tokenise.after]
                spans = [(0, len(ids))]
                if not self._includes_marks:
                    spans = self._tokenise.without_marks(ids, [(num_before, num_before + len(own))])
                if own and max(ids) >= self._vocabulary:
                    reason = f"text in {language} has token {max(ids)}, the model knows {self._vocabulary}"
                    done.append(Skipped(row.id, row.where, reason, row.task))
                    continue
                self.num_begun += bool(own and self._tokenise.before) and not num_before
                ids, spans = self._cut(index, ids, spans)
                if self._block_size is not None:
                    if own:
                        done += self._blocks(row, index, ids, spans, self._block_size)
                elif not own or not spans:
                    reason = f"text in {language} has no tokens{' but marks' if own else ''}"
                    done.append(Skipped(row.id, row.where, reason, row.task))
                else:
                    done += self._document(row, index, ids, spans)
        return done

    def rest(self) -> list[Tokenised | Skipped]:
        """The last, shorter block of each language."""
        left: list[Tokenised | Skipped] = []
        for index, ids in enumerate(self._waiting):
            if ids:
                left.append(self._block("", index, ids, self._unread[index]))
        self._waiting = [[] for _ in self._languages]
        self._unread = [[] for _ in self._languages]
        return left

    def _cut(self, index: int, ids: list[int], spans: list[Span]) -> tuple[list[int], list[Span]]:
        """The part of a text up to the last token that is wanted of its language."""
        if self._left is None:
            return ids, spans
        kept: list[Span] = []
        for first, end in spans:
            end = min(end, first + self._left[index])
            if first < end:
                kept.append((first, end))
                self._left[index] -= end - first
        if not self._left[index] and kept:
            ids = ids[: kept[-1][1]]
        return ids, kept

    def _document(
        self, row: Example, index: int, ids: list[int], spans: list[Span]
    ) -> list[Tokenised | Skipped]:
        pieces = [
            (ids[k : k + self._longest], _within(spans, k, k + self._longest))
            for k in range(0, len(ids), self._longest)
        ]
        pieces = [piece for piece in pieces if piece[1]]  # an end mark that begins a piece is not worth a row
        several = len(row.prompts) > 1
        name = f"{row.id}:{self._languages[index]}" if several else row.id
        return [
            self._tokenised(name if len(pieces) == 1 else f"{name}:{k}", row.where, index, *piece, row.task)
            for k, piece in enumerate(pieces)
        ]

    def _blocks(
        self, row: Example, index: int, ids: list[int], spans: list[Span], size: int
    ) -> list[Tokenised | Skipped]:
        before = len(self._waiting[index])
        waiting = self._waiting[index] + ids
        unread = self._unread[index] + [(first + before, end + before) for first, end in spans]
        full = len(waiting) // size * size
        self._waiting[index] = waiting[full:]
        self._unread[index] = _within(unread, full, len(waiting))
        return [
            self._block(row.where, index, waiting[k : k + size], _within(unread, k, k + size))
            for k in range(0, full, size)
        ]

    def _block(self, where: str, index: int, ids: list[int], spans: list[Span]) -> Tokenised:
        number = self._num_blocks[index]
        self._num_blocks[index] += 1
        return self._tokenised(f"{self._languages[index]}:{number}", where, index, ids, spans, None)

    def _tokenised(
        self, name: str, where: str, index: int, ids: list[int], spans: list[Span], task: str | None
    ) -> Tokenised:
        token_ids: list[list[int] | None] = [None] * len(self._languages)
        token_ids[index] = ids
        read: list[list[int]] = [[] for _ in self._languages]
        read[index] = _flat(spans)
        return Tokenised(Example(name, {}, where=where, task=task), token_ids, None, read)


class ShardEncoder:
    """Another encoder's blocks, of which only a shard's are kept.

    Blocks are joined from all texts before them, so each shard makes all of them: only then are they those of one run.
    """

    def __init__(self, encode: Encoder, shard: Shard, window: int) -> None:
        self._encode, self._shard, self._window = encode, shard, window
        self._num_made = 0

    def __call__(self, rows: list[Row]) -> list[Tokenised | Skipped]:
        """The shard's blocks among those that these rows complete."""
        return self._own(self._encode(rows))

    def rest(self) -> list[Tokenised | Skipped]:
        """The shard's blocks among the last ones."""
        return self._own(self._encode.rest())

    @property
    def is_full(self) -> bool:
        """Whether no text adds to any block any more."""
        return self._encode.is_full

    @property
    def num_begun(self) -> int:
        """As of `BlockEncoder`, of all texts."""
        return int(getattr(self._encode, "num_begun", 0))

    def _own(self, blocks: list[Tokenised | Skipped]) -> list[Tokenised | Skipped]:
        first, self._num_made = self._num_made, self._num_made + len(blocks)
        return [row for k, row in enumerate(blocks, first) if self._shard.owns(k // self._window)]


def _within(spans: Sequence[Span], first: int, end: int) -> list[Span]:
    """The parts of spans that lie in [first, end), counted from `first`; spans that touch become one."""
    found: list[Span] = []
    for start, stop in spans:
        start, stop = max(start, first) - first, min(stop, end) - first
        if start < stop:
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, stop))
    return found
