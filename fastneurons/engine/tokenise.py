"""Tokenise texts, keeping the tokenizer's marks apart from the text's own tokens."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from fastneurons.config import Measurement
from fastneurons.engine.marks import marks_of
from fastneurons.errors import InputError

# [begin, end) of tokens or of characters; several are ascending and disjoint.
Span = tuple[int, int]


class Encoded(NamedTuple):
    """A text's own tokens, without marks.

    Args:
        text: The text.
        ids: Its token ids.
        offsets: For each token the characters that it covers; None where nobody asked, or the tokenizer tells none.
    """

    text: str
    ids: list[int]
    offsets: list[Span] | None = None


class Tokeniser:
    """A tokenizer, and the marks before and after each text.

    Args:
        tokenizer: Of Hugging Face, or anything that is called like one.
        add_special_tokens: Whether it marks texts as it does by itself; off for prompts in a chat format, which have
            their marks already.
        add_bos_token: Whether each text gets a begin mark, unless it has one; None: as the tokenizer does by itself.
    Raises:
        InputError: a begin mark is asked for, and the tokenizer has none.
    """

    def __init__(
        self, tokenizer: Any, add_special_tokens: bool = True, add_bos_token: bool | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self.marks = marks = marks_of(tokenizer)
        own = marks.before if add_special_tokens else marks.before[len(marks.before) - marks.lead :]
        if add_bos_token is None:
            self.before = own
        elif not add_bos_token:
            self.before = ()
        elif marks.before:
            self.before = marks.before
        elif marks.begin is not None:
            self.before = (marks.begin,)
        else:
            raise InputError("--add-bos-token: the tokenizer has no begin token")
        self.after = marks.after if add_special_tokens else ()
        self.in_chat_format = not add_special_tokens
        self._options = {"add_special_tokens": False} if marks.takes_option else {}
        self._begins = frozenset([*marks.before[:1], *([] if marks.begin is None else [marks.begin])])

    def __call__(self, texts: Sequence[str], offsets: bool = False) -> list[Encoded]:
        """Each text's own tokens, and with `offsets` the characters that they cover, if the tokenizer reports them."""
        if not texts:
            return []
        wanted = offsets and self.marks.tells_offsets
        asked = {"return_offsets_mapping": True} if wanted else {}
        encoded = self._tokenizer(list(texts), **asked, **self._options)
        lead, trail = self.marks.lead, self.marks.trail
        found = []
        for k, text in enumerate(texts):
            ids, pairs = encoded["input_ids"][k], encoded["offset_mapping"][k] if wanted else None
            inner = slice(lead, len(ids) - trail)
            found.append(Encoded(text, list(ids[inner]), None if pairs is None else list(pairs[inner])))
        return found

    def begun(self, ids: list[int]) -> tuple[list[int], int]:
        """A text's tokens after the begin mark, and how many marks were added: none if the text has one itself."""
        if not self.before or self.begins_marked(ids):
            return ids, 0
        return [*self.before, *ids], len(self.before)

    def begins_marked(self, ids: Sequence[int]) -> bool:
        """Whether a text begins with the tokenizer's begin mark by itself, as one in a chat format does."""
        return bool(ids) and ids[0] in self._begins

    def without_marks(self, ids: Sequence[int], spans: Sequence[Span]) -> list[Span]:
        """Spans of tokens without the special ones among them: marks that stand in the text itself."""
        special = self.marks.special
        if special.isdisjoint(ids):
            return [span for span in spans if span[0] < span[1]]
        kept: list[Span] = []
        for first, end in spans:
            start = first
            for k in range(first, end):
                if ids[k] in special:
                    if start < k:
                        kept.append((start, k))
                    start = k + 1
            if start < end:
                kept.append((start, end))
        return kept

    # -- characters and tokens ----------------------------------------------------------------------

    def first_past(self, encoded: Encoded, character: int) -> int:
        """The first token that reaches past the text's first so many characters; as many as there are if none does.

        A tokenizer may join the end of one part of a text with the beginning of the next: that token reaches past.
        """
        if encoded.offsets is not None:
            return bisect_right(_rising(end for _, end in encoded.offsets), character)
        return self._split(encoded, character)[0]

    def covering(self, encoded: Encoded, spans: Sequence[Span]) -> list[Span]:
        """The tokens that cover a character of these spans of characters."""
        if encoded.offsets is not None:
            starts = _rising(start for start, _ in encoded.offsets)
            ends = _rising(end for _, end in encoded.offsets)
            found = [
                (bisect_right(ends, begin), bisect_left(starts, end)) for begin, end in spans if begin < end
            ]
        else:
            found = [
                (self._split(encoded, begin)[0], self._split(encoded, end)[1])
                for begin, end in spans
                if begin < end
            ]
        merged: list[Span] = []
        for first, end in found:
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            elif first < end:
                merged.append((first, end))
        return merged

    def _split(self, encoded: Encoded, character: int) -> tuple[int, int]:
        """Without offsets: find the first token past a character, and how many tokens begin before it.

        Tokens of the text up to there are compared with those of the whole text. Where the tokenizer joins what is
        on both sides, they part before the joint, and the tokens' own texts tell where it is.
        """
        text, ids = encoded.text, encoded.ids
        if character <= 0 or character >= len(text):
            k = 0 if character <= 0 else len(ids)
            return k, k
        [head] = self([text[:character]])
        common = next(
            (k for k, (a, b) in enumerate(zip(head.ids, ids, strict=False)) if a != b),
            min(len(head.ids), len(ids)),
        )
        if common == len(head.ids):
            return common, common
        before = text[:character].lstrip()
        first = common
        while first < len(ids):
            decoded = self._decoded(ids[: first + 1])
            if decoded is None or len(decoded) > len(before) or not before.startswith(decoded):
                break
            first += 1
        # It covers both sides, or begins there.
        reached = self._decoded(ids[:first])
        begins_there = reached is not None and reached == before
        return first, first if begins_there else min(first + 1, len(ids))

    def _decoded(self, ids: list[int]) -> str | None:
        try:
            text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        except Exception:  # of a tokenizer of its own kind: the boundary stays where its tokens part
            return None
        return str(text).lstrip()


def _rising(places: Iterable[int]) -> list[int]:
    """Offsets in a text, ordered for bisection: a token that covers nothing may claim to be anywhere."""
    return list(accumulate(places, max))


def token_facts(tokenise: Tokeniser, measurement: Measurement, in_blocks: bool) -> dict[str, Any]:
    """The header's field `tokens`: the tokens around texts, and whether they are read."""
    marks, corpus = tokenise.marks, measurement.position == "corpus"
    before, after = marks.named(tokenise.before), marks.named(tokenise.after)
    facts: dict[str, Any] = {
        "before": before,
        "after": after if corpus else [],
        "removed": [] if corpus else after,
        "chat_template": tokenise.in_chat_format,
        "add_bos_token": measurement.add_bos_token,
        "include_special_tokens": measurement.include_special_tokens,
    }
    return facts | ({"between_texts": [*after, *before]} if in_blocks else {})


def describe_tokens(tokenise: Tokeniser, measurement: Measurement) -> str:
    """Describe in one line the tokens around texts, and whether they are read."""
    marks, corpus = tokenise.marks, measurement.position == "corpus"
    before, after = " ".join(marks.named(tokenise.before)), " ".join(marks.named(tokenise.after))
    added = [f"{before} before each text"] if before else []
    if after and corpus:
        added.append(f"{after} after {'it' if before else 'each text'}")
    nothing = "those of the chat format" if tokenise.in_chat_format else "nothing put around a text"
    line = f"tokens: {' and '.join(added) or nothing}"
    if after and not corpus:
        line += f"; {after}, which the tokenizer puts after a text, is left out"
    if measurement.position == "last":
        return f"{line}; the prompt's own last token is read"
    counted = "counted" if corpus else "read"
    if measurement.include_special_tokens:
        return f"{line}; special tokens are {counted}"
    marks_of_chat = "the format's own and special tokens" if tokenise.in_chat_format else "special tokens"
    return f"{line}; {marks_of_chat} are not {counted}"
