"""Encode the texts of a corpus as token ids: joined and cut into blocks, or one by one; and the blocks of a shard."""

from collections.abc import Sequence

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import AnyExample, Encoder, Tokenised, flat
from fastneurons.engine.tokenise import Span, Tokeniser
from fastneurons.shards import Shard


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

    def __call__(self, given: list[AnyExample]) -> list[Tokenised | Skipped]:
        """Full blocks, or each text of these examples; and the skipped examples, in their places."""
        wanted = [index for index in range(len(self._languages)) if self._left is None or self._left[index]]
        texts = [
            example.prompts[self._languages[index]]
            for example in given
            if isinstance(example, Example)
            for index in wanted
            if self._languages[index] in example.prompts
        ]
        encoded = iter(self._tokenise(texts))
        done: list[Tokenised | Skipped] = []
        for example in given:
            if not isinstance(example, Example):
                done.append(example)
                continue
            for index in wanted:
                language = self._languages[index]
                if language not in example.prompts:
                    continue
                own = next(encoded).ids
                if self._left is not None and not self._left[index]:
                    continue  # an earlier text of these examples was the last
                ids, num_before = self._tokenise.begun(own)
                ids = [*ids, *self._tokenise.after]
                spans = [(0, len(ids))]
                if not self._includes_marks:
                    spans = self._tokenise.without_marks(ids, [(num_before, num_before + len(own))])
                if own and max(ids) >= self._vocabulary:
                    reason = f"text in {language} has token {max(ids)}, the model knows {self._vocabulary}"
                    done.append(Skipped(example.id, example.where, reason, example.task))
                    continue
                self.num_begun += bool(own and self._tokenise.before) and not num_before
                ids, spans = self._cut(index, ids, spans)
                if self._block_size is not None:
                    if own:
                        done += self._blocks(example, index, ids, spans, self._block_size)
                elif not own or not spans:
                    reason = f"text in {language} has no tokens{' but marks' if own else ''}"
                    done.append(Skipped(example.id, example.where, reason, example.task))
                else:
                    done += self._document(example, index, ids, spans)
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
        self, example: Example, index: int, ids: list[int], spans: list[Span]
    ) -> list[Tokenised | Skipped]:
        pieces = [
            (ids[k : k + self._longest], _within(spans, k, k + self._longest))
            for k in range(0, len(ids), self._longest)
        ]
        # An end mark that begins a piece is not worth an example.
        pieces = [piece for piece in pieces if piece[1]]
        several = len(example.prompts) > 1
        name = f"{example.id}:{self._languages[index]}" if several else example.id
        return [
            self._tokenised(
                name if len(pieces) == 1 else f"{name}:{k}", example.where, index, *piece, example.task
            )
            for k, piece in enumerate(pieces)
        ]

    def _blocks(
        self, example: Example, index: int, ids: list[int], spans: list[Span], size: int
    ) -> list[Tokenised | Skipped]:
        before = len(self._waiting[index])
        waiting = self._waiting[index] + ids
        unread = self._unread[index] + [(first + before, end + before) for first, end in spans]
        full = len(waiting) // size * size
        self._waiting[index] = waiting[full:]
        self._unread[index] = _within(unread, full, len(waiting))
        return [
            self._block(example.where, index, waiting[k : k + size], _within(unread, k, k + size))
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
        read[index] = flat(spans)
        return Tokenised(Example(name, {}, where=where, task=task), token_ids, None, read)


class ShardEncoder:
    """Another encoder's blocks, of which only a shard's are kept.

    Blocks are joined from all texts before them, so each shard makes all of them: only then are they those of one run.
    """

    def __init__(self, encode: Encoder, shard: Shard, window: int) -> None:
        self._encode, self._shard, self._window = encode, shard, window
        self._num_made = 0

    def __call__(self, given: list[AnyExample]) -> list[Tokenised | Skipped]:
        """The shard's blocks among those that these examples complete."""
        return self._own(self._encode(given))

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
        return [example for k, example in enumerate(blocks, first) if self._shard.owns(k // self._window)]


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
