"""Find a tokenizer's marks, the tokens that it puts before and after a text, by asking it once.

    marks = marks_of(tokenizer)
    marks.before, marks.after       # (1,), (2,) for "<s> text </s>"

Marks are the same in every language, and a model sees them as no text: whatever is read there says nothing of the
text. Nothing is taken from the tokenizer's name or configuration, which often disagree with what it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# Of several scripts and lengths: what all of them have in common is the tokenizer's own.
_PROBES = (
    "a",
    "Hello world",
    "The river runs to the sea.",
    "Die Stadt",
    "你好，世界",
    "привет",
    "0 1 2",
    "x",
)
# A tokenizer may put this many marks after a text even when asked not to.
_MOST_MARKS = 4


@dataclass(frozen=True)
class Marks:
    """The tokens that a tokenizer puts around a text, and other facts needed before texts are encoded.

    Args:
        before: Ids that it puts before a text.
        after: Ids that it puts after a text.
        begin: The id of its begin token, whether it puts one or not; None: it has none.
        special: Ids of tokens that are marks wherever they stand. The token for unknown characters is none of them.
        closing: Texts of those and of the other added tokens that look like marks.
        takes_option: Whether it takes the option `add_special_tokens`.
        lead: Of `before`, how many at its end are there even with that option off.
        trail: Of `after`, how many at its beginning are there even with that option off.
        tells_offsets: Whether it tells which characters a token covers, and tells it rightly.
        names: Texts of marks, by id.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    begin: int | None
    special: frozenset[int]
    closing: frozenset[str]
    takes_option: bool
    lead: int
    trail: int
    tells_offsets: bool
    names: dict[int, str]

    def named(self, ids: Sequence[int]) -> list[str]:
        """Marks as people know them: "<s>"; a number where a token has no text."""
        return [self.names.get(id, str(id)) for id in ids]

    def ends_closed(self, text: str) -> bool:
        """Whether a text ends in a mark, as prompts in many chat formats do: an answer follows it without a space."""
        return any(text[-length:] in self.closing for length in self._lengths)

    @cached_property
    def _lengths(self) -> frozenset[int]:
        return frozenset(map(len, self.closing))


def marks_of(tokenizer: Any) -> Marks:
    """Ask a tokenizer what it puts around texts.

    Args:
        tokenizer: Of Hugging Face, fast or in Python only, or anything that is called like one.
    """
    special = _special_ids(tokenizer)
    whole = _encoded(tokenizer)
    bare = _bare(tokenizer)
    takes_option = bare is not None
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    if bare is not None:
        found = _around(whole, bare)
        if found is None:
            # The option changes how the text itself is cut: what is sent is as it comes by default.
            bare, takes_option = None, False
        else:
            before, after = found
    inside = bare if bare is not None else whole
    lead, trail = _common_run(inside, special), _common_run([ids[::-1] for ids in inside], special)[::-1]
    before, after = before + lead, trail + after
    begin = getattr(tokenizer, "bos_token_id", None)
    begin = begin if isinstance(begin, int) else before[0] if before else None
    options = {"add_special_tokens": False} if takes_option else {}
    names = _names(tokenizer, {*before, *after, *special, *([] if begin is None else [begin])})
    return Marks(
        before, after, begin, special | {*before, *after}, _closing(tokenizer, special, options), takes_option,
        len(lead), len(trail), _tells_offsets(tokenizer, options), names,
    )  # fmt: skip


def _encoded(tokenizer: Any, **options: Any) -> list[list[int]]:
    return [list(ids) for ids in tokenizer(list(_PROBES), **options)["input_ids"]]


def _bare(tokenizer: Any) -> list[list[int]] | None:
    """The probes without marks; None if the tokenizer has no such option."""
    try:
        return _encoded(tokenizer, add_special_tokens=False)
    except TypeError:
        return None


def _around(whole: list[list[int]], bare: list[list[int]]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The tokens around each probe, if they are the same for all of them; else None."""
    added = {len(w) - len(b) for w, b in zip(whole, bare, strict=True)}
    if len(added) > 1 or min(added) < 0:
        return None
    [number] = added
    for k in range(number + 1):
        pairs = zip(whole, bare, strict=True)
        around = {(tuple(w[:k]), tuple(w[k + len(b) :])) for w, b in pairs if w[k : k + len(b)] == b}
        fits = all(w[k : k + len(b)] == b for w, b in zip(whole, bare, strict=True))
        if fits and len(around) == 1:
            return around.pop()
    return None


def _common_run(rows: list[list[int]], special: frozenset[int]) -> tuple[int, ...]:
    """The special tokens that all rows begin with."""
    run = []
    for ids in zip(*rows, strict=False):
        if len(set(ids)) > 1 or ids[0] not in special:
            break
        run.append(ids[0])
    return tuple(run)


def _added_tokens(tokenizer: Any) -> dict[int, Any]:
    found = getattr(tokenizer, "added_tokens_decoder", None)
    return dict(found) if isinstance(found, dict) else {}


def _special_ids(tokenizer: Any) -> frozenset[int]:
    ids = {int(id) for id in getattr(tokenizer, "all_special_ids", None) or ()}
    ids |= {id for id, token in _added_tokens(tokenizer).items() if getattr(token, "special", False)}
    unknown = getattr(tokenizer, "unk_token_id", None)
    others = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "sep", "cls")}
    # It stands for a character of the text, unless it is another mark as well, as GPT-2's is.
    return frozenset(ids - ({unknown} - others))


def _closing(tokenizer: Any, special: frozenset[int], options: dict[str, Any]) -> frozenset[str]:
    """Texts of special tokens, and of added ones in brackets of some kind: `</think>` is a mark, an added word is none.

    Only those which the tokenizer takes for that token where a text ends in them.
    """
    tokens = {id: str(getattr(token, "content", token)) for id, token in _added_tokens(tokenizer).items()}
    texts = {
        text: id
        for id, text in tokens.items()
        if text.strip() and (id in special or not (text.strip()[0].isalnum() or text.strip()[-1].isalnum()))
    }
    if not texts:
        return frozenset()
    encoded = tokenizer([f"a{text}" for text in texts], **options)["input_ids"]
    return frozenset(
        text
        for (text, id), ids in zip(texts.items(), encoded, strict=True)
        if id in list(ids)[-1 - _MOST_MARKS :]
    )


def _names(tokenizer: Any, ids: set[int]) -> dict[int, str]:
    try:
        return {id: str(tokenizer.convert_ids_to_tokens(id)) for id in ids}
    except Exception:  # a tokenizer of its own kind: its marks are told by number
        return {}


def _tells_offsets(tokenizer: Any, options: dict[str, Any]) -> bool:
    """Whether a text's tokens come with offsets that cover all its visible characters, in order."""
    try:
        offsets = tokenizer(list(_PROBES), return_offsets_mapping=True, **options)["offset_mapping"]
    except Exception:  # NotImplementedError, KeyError, TypeError: as many as there are tokenizers
        return False
    for text, pairs in zip(_PROBES, offsets, strict=True):
        own = [(start, end) for start, end in pairs if end > start]
        covered = {k for start, end in own for k in range(start, end)}
        if own != sorted(own) or not covered >= {k for k, letter in enumerate(text) if not letter.isspace()}:
            return False
    return True
