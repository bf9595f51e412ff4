"""Encode texts of which every token is judged, and cut those that are longer than the model takes into windows."""

from collections.abc import Iterator
from typing import NamedTuple

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import AnyExample, Tokenised
from fastneurons.engine.tokenise import Tokeniser


class TextWindow(NamedTuple):
    """A part of a text that the model reads at once.

    Args:
        begin: Its first token in the text.
        end: One past its last.
        first: The first of its tokens that is judged, counted from `begin`; all from there on are.
    """

    begin: int
    end: int
    first: int


def windows_of(num_tokens: int, first: int, length: int, stride: int) -> Iterator[TextWindow]:
    """Cut a text into windows that begin `stride` tokens after each other; each token is judged in the first it is in.

    So a token is judged given `length - stride` to `length - 1` tokens before it, or all that there are, and no token
    twice. With a stride of `length`, windows have nothing in common, and the first token of each is not judged: nothing
    comes before it.

    Args:
        num_tokens: Tokens of the text.
        first: The first one to judge, at least 1.
        length: Most tokens of a window, at least 2.
        stride: 1 to `length`.
    Source: huggingface.co/docs/transformers/perplexity, with fixed-length models.
    """
    judged, begin = first, 0
    while True:
        end = min(begin + length, num_tokens)
        start = max(judged, begin + 1)
        if start < end:
            yield TextWindow(begin, end, start - begin)
        judged = max(judged, end)
        if end == num_tokens:
            return
        begin += stride


class TextEncoder:
    """Encodes texts, one example for each example of the source; spans are of the tokens to judge.

    A text begins with the marks that the tokenizer puts before it, which are not judged, and has none behind it.

    Args:
        tokenise: Makes token ids of texts.
        languages: The languages, in the store's order.
        vocabulary: Number of ids that the model has embeddings for.

    Attributes:
        num_begun: Texts that began with the tokenizer's begin mark, which was not put before them once more.
    """

    def __init__(self, tokenise: Tokeniser, languages: tuple[str, ...], vocabulary: int) -> None:
        self._tokenise, self._languages, self._vocabulary = tokenise, languages, vocabulary
        self.is_full = False
        self.num_begun = 0

    def __call__(self, given: list[AnyExample]) -> list[Tokenised | Skipped]:
        """Examples tokenised, or skipped for what the tokenizer makes of them."""
        examples = [example for example in given if isinstance(example, Example)]
        places = [
            (k, code)
            for k, example in enumerate(examples)
            for code in self._languages
            if code in example.prompts
        ]
        found: list[dict[str, list[int]]] = [{} for _ in examples]
        for (k, code), encoded in zip(
            places, self._tokenise([examples[k].prompts[code] for k, code in places]), strict=True
        ):
            found[k][code] = encoded.ids
        encoded_examples = iter(
            self._tokenised(example, ids) for example, ids in zip(examples, found, strict=True)
        )
        return [next(encoded_examples) if isinstance(example, Example) else example for example in given]

    def rest(self) -> list[Tokenised | Skipped]:
        """Nothing."""
        return []

    def _tokenised(self, example: Example, ids_of: dict[str, list[int]]) -> Tokenised | Skipped:
        token_ids: list[list[int] | None] = [None] * len(self._languages)
        spans: list[list[int]] = [[] for _ in self._languages]
        begun = 0
        for index, code in enumerate(self._languages):
            if code not in ids_of:
                continue
            ids, num_before = self._tokenise.begun(ids_of[code])
            if max(ids, default=0) >= self._vocabulary:
                reason = f"text in {code} has token {max(ids)}, the model knows {self._vocabulary}"
                return Skipped(example.id, example.where, reason, example.task)
            first = max(1, num_before)
            if first >= len(ids):
                reason = f"text in {code} has no token that another comes before"
                return Skipped(example.id, example.where, reason, example.task)
            begun += bool(self._tokenise.before) and not num_before
            token_ids[index], spans[index] = ids, [first, len(ids)]
        self.num_begun += begun
        return Tokenised(example, token_ids, None, spans)
