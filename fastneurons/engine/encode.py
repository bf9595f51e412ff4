"""Token ids of rows: prompts as they are, answers with them, or texts cut into blocks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from fastneurons.data.example import Example, Skipped
from fastneurons.languages import separates_words

ANSWERS = ("ignored", "first token", "appended")


@dataclass(frozen=True)
class Tokenised:
    """An example and, for each of the L languages, its prompt's token ids; None where it has no prompt.

    Args:
        answer_token: The first token of each language's answer, where there is one.
        first_token: For each prompt the first token that belongs to the answer, where that is appended.
    """

    example: Example
    token_ids: list[list[int] | None]
    answer_token: list[int | None] | None = None
    first_token: list[int] | None = None


class Tokeniser:
    """A Hugging Face tokenizer, and whether it marks a text's begin.

    Args:
        tokenizer: The tokenizer.
        add_special_tokens: Whether it does as it does by itself; off for prompts in a chat format, which have
            their marks already.
    """

    def __init__(self, tokenizer: Any, add_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        # Some tokenizers take no such option: it is given only to say no.
        self._options = {} if add_special_tokens else {"add_special_tokens": False}

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text."""
        return [list(ids) for ids in self._tokenizer(texts, **self._options)["input_ids"]] if texts else []

    def with_ends(self, texts: list[str]) -> list[tuple[list[int], list[int]]]:
        """The token ids of each text, and for each token where it ends in the text, in characters."""
        if not texts:
            return []
        encoded = self._tokenizer(texts, return_offsets_mapping=True, **self._options)
        return [
            (list(ids), [end for _, end in offsets])
            for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]


class Encoder(Protocol):
    """Makes token ids of rows, many at a time."""

    def __call__(self, rows: list[Example | Skipped]) -> list[Tokenised | Skipped]:
        """What these rows become, in order; not always as many."""

    def rest(self) -> list[Tokenised | Skipped]:
        """What is left when no more rows come."""


class PromptEncoder:
    """One row out for one row in.

    Args:
        tokenise: Makes token ids of texts.
        languages: The languages, in the store's order.
        max_prompt_tokens: Longer prompts make their example skipped.
        vocabulary: Number of ids that the model has embeddings for.
        answers: "ignored"; "first token": each answer's first token is found; "appended": the answer follows
            its prompt, and an example that lacks one is skipped.
    """

    def __init__(
        self,
        tokenise: Tokeniser,
        languages: tuple[str, ...],
        max_prompt_tokens: int,
        vocabulary: int,
        answers: str = "ignored",
    ) -> None:
        assert answers in ANSWERS
        self._tokenise = tokenise
        self._languages = languages
        self._max_prompt_tokens = max_prompt_tokens
        self._vocabulary = vocabulary
        self._answers = answers

    def __call__(self, rows: list[Example | Skipped]) -> list[Tokenised | Skipped]:
        """Examples tokenised, or skipped for what the tokenizer makes of them."""
        examples = [row for row in rows if isinstance(row, Example)]
        encoded = iter(self._encoded(examples))
        return [row if isinstance(row, Skipped) else next(encoded) for row in rows]

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
        token_ids: list[list[list[int] | None]] = [[None] * len(self._languages) for _ in examples]
        answer_token: list[list[int | None]] = [[None] * len(self._languages) for _ in examples]
        first_token = [[0] * len(self._languages) for _ in examples]
        appended = self._answers == "appended"
        if places and not appended:
            prompts = [examples[k].prompts[self._languages[index]] for k, index in places]
            for (k, index), ids in zip(places, self._tokenise(prompts), strict=True):
                token_ids[k][index] = ids
        if self._answers != "ignored":
            answered = [(k, index) for k, index in places if examples[k].answers.get(self._languages[index])]
            pairs = [_around_answer(examples[k], self._languages[index]) for k, index in answered]
            for (k, index), (ids, start) in zip(answered, self._joined(pairs), strict=True):
                answer_token[k][index] = ids[start]
                if appended:
                    token_ids[k][index], first_token[k][index] = ids, start
        for example, ids_of, answers, starts in zip(
            examples, token_ids, answer_token, first_token, strict=True
        ):
            problem = self._problem(example, ids_of)
            if problem is not None:
                yield Skipped(example.id, example.where, problem, example.task)
            elif appended:
                yield Tokenised(example, ids_of, answers, starts)
            else:
                yield Tokenised(example, ids_of, answers if self._answers != "ignored" else None)

    def _joined(self, pairs: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
        """Token ids of each prompt with its answer, and the index of the answer's first token among them.

        Tokenised together, since a tokenizer may join the space, or more, with the answer's first word:
        that is the first token which reaches past what stands before the answer.
        """
        encoded = self._tokenise.with_ends([before + answer for before, answer in pairs])
        return [
            (ids, next((k for k, end in enumerate(ends) if end > len(before)), len(ids) - 1))
            for (before, _), (ids, ends) in zip(pairs, encoded, strict=True)
        ]

    def _problem(self, example: Example, token_ids: list[list[int] | None]) -> str | None:
        for language, ids in zip(self._languages, token_ids, strict=True):
            if ids is None:
                if language in example.prompts:
                    return f"no answer in {language}, and the answer is what is read"
                continue
            if not ids:
                return f"prompt in {language} has no tokens"
            if len(ids) > self._max_prompt_tokens:
                return (
                    f"prompt in {language} has {len(ids)} tokens, the model takes {self._max_prompt_tokens} "
                    "(--max-model-len less one)"
                )
            if max(ids) >= self._vocabulary:
                return f"prompt in {language} has token {max(ids)}, the model knows {self._vocabulary}"
        return None


def _around_answer(example: Example, language: str) -> tuple[str, str]:
    """What stands before the answer's first letter, and the answer."""
    prompt = example.prompts[language]
    space = " " if separates_words(language) and not prompt[-1:].isspace() else ""
    return prompt + space, example.answers[language]


class BlockEncoder:
    """Texts of each language, joined and cut into blocks of equal length, or kept as documents.

    The published code for LAPE (arXiv 2402.16438) joins all of a language's tokens and cuts them into
    blocks of the model's context; what is left at the end, shorter than a block, is kept here.

    Args:
        tokenise: Makes token ids of texts.
        languages: The languages, in the store's order.
        max_prompt_tokens: The longest block; a document that is longer becomes several.
        vocabulary: Number of ids that the model has embeddings for.
        block_size: Tokens of a block; None keeps documents.
    """

    def __init__(
        self,
        tokenise: Tokeniser,
        languages: tuple[str, ...],
        max_prompt_tokens: int,
        vocabulary: int,
        block_size: int | None = None,
    ) -> None:
        self._tokenise = tokenise
        self._languages = languages
        self._longest = max_prompt_tokens
        self._vocabulary = vocabulary
        self._block_size = block_size
        self._waiting: list[list[int]] = [[] for _ in languages]
        self._num_blocks = [0] * len(languages)

    def __call__(self, rows: list[Example | Skipped]) -> list[Tokenised | Skipped]:
        """Blocks that are full, or each text of these rows; and the rows that were skipped, where they stood."""
        texts = [
            row.prompts[language]
            for row in rows
            if isinstance(row, Example)
            for language in self._languages
            if language in row.prompts
        ]
        encoded = iter(self._tokenise(texts))
        done: list[Tokenised | Skipped] = []
        for row in rows:
            if isinstance(row, Skipped):
                done.append(row)
                continue
            for index, language in enumerate(self._languages):
                if language not in row.prompts:
                    continue
                ids = next(encoded)
                if ids and max(ids) >= self._vocabulary:
                    reason = f"text in {language} has token {max(ids)}, the model knows {self._vocabulary}"
                    done.append(Skipped(row.id, row.where, reason, row.task))
                elif self._block_size is None:
                    done += self._document(row, index, ids)
                else:
                    done += self._blocks(row, index, ids, self._block_size)
        return done

    def rest(self) -> list[Tokenised | Skipped]:
        """The last, shorter block of each language."""
        left: list[Tokenised | Skipped] = []
        for index, ids in enumerate(self._waiting):
            if ids:
                left.append(self._block("", index, ids))
        self._waiting = [[] for _ in self._languages]
        return left

    def _document(self, row: Example, index: int, ids: list[int]) -> list[Tokenised | Skipped]:
        if not ids:
            reason = f"text in {self._languages[index]} has no tokens"
            return [Skipped(row.id, row.where, reason, row.task)]
        pieces = [ids[k : k + self._longest] for k in range(0, len(ids), self._longest)]
        several = len(row.prompts) > 1
        name = f"{row.id}:{self._languages[index]}" if several else row.id
        return [
            self._tokenised(name if len(pieces) == 1 else f"{name}:{k}", row.where, index, piece, row.task)
            for k, piece in enumerate(pieces)
        ]

    def _blocks(self, row: Example, index: int, ids: list[int], size: int) -> list[Tokenised | Skipped]:
        waiting = self._waiting[index] + ids
        full = len(waiting) // size * size
        self._waiting[index] = waiting[full:]
        return [self._block(row.where, index, waiting[k : k + size]) for k in range(0, full, size)]

    def _block(self, where: str, index: int, ids: list[int]) -> Tokenised:
        number = self._num_blocks[index]
        self._num_blocks[index] += 1
        return self._tokenised(f"{self._languages[index]}:{number}", where, index, ids, None)

    def _tokenised(self, name: str, where: str, index: int, ids: list[int], task: str | None) -> Tokenised:
        token_ids: list[list[int] | None] = [None] * len(self._languages)
        token_ids[index] = ids
        return Tokenised(Example(name, {}, where=where, task=task), token_ids)
