"""Compute digests of examples: `--resume` compares those in the store with those of the data now.

An example's digest covers the texts as they are sent to the tokenizer, so a changed template, a chat format that writes
today's date, or an edited answer shows in it. A block of a corpus has a digest of its token ids.
"""

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from fastneurons.data.example import Example, Skipped
from fastneurons.data.problems import one_line
from fastneurons.errors import printable
from fastneurons.visible import visible

# Examples that were skipped by the source have no texts to digest.
NO_DIGEST = 0

# What all messages about a difference end with.
DATA_CHANGED = (
    "the data has changed since the run began; pass another --out, or --overwrite instead of --resume"
)

_encode = msgspec.msgpack.Encoder().encode


def digest_of_example(example: Example | Skipped) -> int:
    """The digest of an example's prompts and answers, 64 bits, never 0; `NO_DIGEST` for a skipped example.

    BLAKE2b with 8 bytes, little-endian, of the MessagePack of `[[language, prompt, answer], ...]` in the order of the
    codes. Texts are UTF-8 byte strings, and a missing answer is nil. About 3 µs for two short prompts.
    """
    if isinstance(example, Skipped):
        return NO_DIGEST
    answers = example.answers
    texts = [
        [code, _bytes(example.prompts[code]), _bytes(answers[code]) if code in answers else None]
        for code in sorted(example.prompts)
    ]
    return _hashed(_encode(texts))


def digest_of_tokens(languages: Sequence[str], token_ids: Iterable[Sequence[int] | None]) -> int:
    """The digest of a block of a corpus, 64 bits, never 0.

    BLAKE2b with 8 bytes, little-endian, of the MessagePack of `[[language, ids], ...]` for each language that has
    tokens, where `ids` are their ids as little-endian 32-bit integers.
    """
    blocks = [
        [code, array("I", ids).tobytes()]
        for code, ids in zip(languages, token_ids, strict=True)
        if ids is not None
    ]
    return _hashed(_encode(blocks))


class Known(Protocol):
    """An example that a store holds."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def digest(self) -> int | None:
        """Its digest; None in stores written before there were digests."""

    @property
    def tokens(self) -> int:
        """Its tokens in all languages."""


def difference(known: Known, example: Example | Skipped, digest: int) -> str | None:
    """Describe how an example of the source differs from the store's example at its index; None if it does not.

    Args:
        known: The store's example.
        example: The source's.
        digest: Of the source's example, or of its tokens.
    """
    stored = repr(one_line(known.id))
    # A long path loses its middle, so that the line's number stays.
    where = f" ({visible(example.where, limit=200)})" if example.where else ""
    if printable(example.id) != known.id:
        return f"is {stored}, but the source has {one_line(example.id)!r} there{where}"
    if known.digest is None or digest == known.digest:
        return None
    if NO_DIGEST in (digest, known.digest):
        skipped = known.digest == NO_DIGEST
        was, can = ("skipped", "can") if skipped else ("measured", "cannot")
        return f"is {stored}, which was {was} then and {can} be read now{where}"
    return f"is {stored}, whose text is another now{where}: its own, or the template or chat format around it"


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair cannot be measured, but who passes one should hear it from the tokenizer.
    return text.encode("utf-8", "surrogatepass")


def _hashed(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") or 1
