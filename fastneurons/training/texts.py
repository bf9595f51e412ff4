"""Texts to train on: from examples to token ids, with the tokens whose loss counts.

A text that cannot be used is skipped with a reason, as in a run; an example goes if any of its languages does.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastneurons.data.emptiness import emptiness
from fastneurons.data.example import Example, Skipped
from fastneurons.data.template import gap
from fastneurons.errors import InputError
from fastneurons.languages import language as language_of

# The label of a token whose loss does not count, as Transformers has it.
NOT_COUNTED = -100

Template = Callable[[str, str, str], str]


@dataclass(frozen=True)
class Pair:
    """A text before tokenising: a beginning, and the continuation to learn.

    Args:
        language: Of the continuation.
        before: Ends where the continuation begins.
    """

    language: str
    before: str
    after: str


@dataclass(frozen=True)
class Text:
    """A text of T tokens.

    Args:
        language: Of what is learned.
        token_ids: T ids.
        labels: T: the ids of those tokens whose loss counts, else `NOT_COUNTED`.
    """

    language: str
    token_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Texts:
    """The texts of all examples that can be used.

    Args:
        train: By example, the texts of each.
        held_out: Likewise.
        skipped: What cannot be used.
        languages: Codes.
    """

    train: list[list[Text]]
    held_out: list[list[Text]]
    skipped: list[Skipped]
    languages: tuple[str, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(
            (len(text.token_ids) for texts in (*self.train, *self.held_out) for text in texts), default=0
        )

    @property
    def digest(self) -> str:
        """Hex SHA-256 over all texts, in order."""
        digest = hashlib.sha256()
        for texts in (*self.train, *self.held_out):
            digest.update(json.dumps([[text.token_ids, text.labels] for text in texts]).encode())
        return digest.hexdigest()


def answer_pairs(example: Example, languages: Sequence[str]) -> list[Pair]:
    """Each language's prompt, to be continued with its answer.

    Raises:
        UnusableTextError: an answer is missing or empty.
    """
    pairs = []
    for code in languages:
        if code not in example.prompts:
            continue
        if code not in example.answers:
            raise UnusableTextError(f"no answer in {code}")
        if emptiness(example.answers[code]) is not None:
            raise UnusableTextError(f"an empty answer in {code}")
        pairs.append(Pair(code, _with_gap(example, code), example.answers[code]))
    return pairs


def translation_pairs(
    example: Example, other: Example, languages: Sequence[str], template: Template
) -> list[Pair]:
    """An example's text in each language, to be continued with that in each other one.

    Args:
        other: Where the continuation comes from; the same example, unless the link is to be broken.
        template: Gives the beginning, from the source text and the codes of source and target.
    """
    there = [code for code in languages if code in example.prompts]
    return [
        Pair(target, template(whole(example, source), source, target), whole(other, target))
        for source in there
        for target in there
        if source != target and target in other.prompts
    ]


def whole(example: Example, code: str) -> str:
    """An example's prompt in a language, with its answer if it has one."""
    return (
        _with_gap(example, code) + example.answers[code] if code in example.answers else example.prompts[code]
    )


def _with_gap(example: Example, code: str) -> str:
    prompt = example.prompts[code]
    joint = example.joints.get(code)
    return prompt + (gap(code, prompt) if joint is None else joint)


def plain_translation(source: str, source_language: str, target_language: str) -> str:
    """The beginning of a translation where no template is given: `English: Bees make honey.` and `German: `."""
    names = [language_of(code).name for code in (source_language, target_language)]
    return f"{names[0]}: {source}\n{names[1]}: "


class UnusableTextError(Exception):
    """An example cannot be trained on; the message says why."""


class TextTokeniser:
    """Makes texts of pairs.

    Args:
        tokenizer: Of Transformers, a fast one.
        longest: The most tokens that a text may have.
        add_special_tokens: Whether the tokenizer marks the beginning.
    """

    def __init__(self, tokenizer: Any, longest: int, add_special_tokens: bool) -> None:
        self._tokenizer, self._longest, self._special = tokenizer, longest, add_special_tokens

    def __call__(self, pair: Pair) -> Text:
        """Tokenise a pair together, as the engine does: a tokenizer may join the space with the first word.

        The end-of-text token follows, and its loss counts: the model learns where an answer ends.

        Raises:
            UnusableTextError: it is too long.
        """
        encoded = self._tokenizer(
            pair.before + pair.after, add_special_tokens=self._special, return_offsets_mapping=True
        )
        token_ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
        counts = [end > len(pair.before) for _, end in offsets]
        if self._tokenizer.eos_token_id is not None and token_ids[-1] != self._tokenizer.eos_token_id:
            token_ids.append(self._tokenizer.eos_token_id)
            counts.append(True)
        if len(token_ids) > self._longest:
            raise UnusableTextError(
                f"its text in {pair.language} has {len(token_ids):,} tokens with its end, more than the "
                f"{self._longest:,} that fit (--max-model-len)"
            )
        labels = [token if counted else NOT_COUNTED for token, counted in zip(token_ids, counts, strict=True)]
        return Text(pair.language, token_ids, labels)


def make_texts(
    given: Iterable[Example | Skipped],
    languages: Sequence[str],
    tokenise: TextTokeniser,
    objective: str,
    *,
    template: Template = plain_translation,
    break_links: bool = False,
    validation_share: float = 0.1,
    seed: int = 0,
) -> Texts:
    """Make the texts of a source.

    Held-out examples keep their links also where those of the others are broken, so that losses on them compare.

    Args:
        given: Examples, and what the source has skipped already.
        languages: Codes, in order.
        tokenise: Makes texts of pairs.
        objective: "answers" or "translate".
        template: For "translate".
        break_links: Whether translations come from other examples.
        validation_share: Share of the examples that are held out, at least one if it is above 0.
        seed: Draws these, and the other examples.
    Raises:
        InputError: too few examples can be used.
    """
    examples, skipped = [], []
    for one in given:
        if isinstance(one, Skipped):
            skipped.append(one)
            continue
        try:
            texts_of(one, one, languages, tokenise, objective, template)
        except UnusableTextError as error:
            skipped.append(Skipped(one.id, one.where, str(error), one.task))
        else:
            examples.append(one)
    held_out = _held_out(len(examples), validation_share, seed)
    if len(examples) - len(held_out) < (2 if break_links else 1):
        raise InputError(_too_few(len(examples), skipped))
    kept = [example for k, example in enumerate(examples) if k not in held_out]
    broken = break_links and objective == "translate"
    others = _deranged(kept, random.Random(f"{seed} links")) if broken else kept
    train = []
    for example, other in zip(kept, others, strict=True):
        try:
            train.append(texts_of(example, other, languages, tokenise, objective, template))
        except UnusableTextError:  # two long halves, which only together are too long
            train.append(texts_of(example, example, languages, tokenise, objective, template))
    return Texts(
        train,
        [
            texts_of(examples[k], examples[k], languages, tokenise, objective, template)
            for k in sorted(held_out)
        ],
        skipped,
        tuple(languages),
    )


def texts_of(
    example: Example,
    other: Example,
    languages: Sequence[str],
    tokenise: TextTokeniser,
    objective: str,
    template: Template,
) -> list[Text]:
    """The texts of an example; arguments as of `make_texts` and `translation_pairs`.

    Raises:
        UnusableTextError: it has none, or one of them cannot be used.
    """
    if objective == "translate":
        pairs = translation_pairs(example, other, languages, template)
        if not pairs:
            raise UnusableTextError("it has a single language, and translations need two")
    else:
        pairs = answer_pairs(example, languages)
    return [tokenise(pair) for pair in pairs]


def order_of_texts(train: Sequence[Sequence[Text]], number: int, seed: int, break_links: bool) -> list[Text]:
    """The texts of a whole training, in order: a new order of the examples each time they are through.

    The texts of an example follow each other; with `break_links`, examples are put in order for each language by
    itself, so that neighbours are of different examples.

    Args:
        train: By example.
        number: How many texts are needed.
        seed: Draws the orders.
    """
    ordered = _orders(train, random.Random(f"{seed} order"), break_links)
    return [next(ordered) for _ in range(number)]


def _orders(train: Sequence[Sequence[Text]], draw: random.Random, break_links: bool) -> Iterator[Text]:
    most = max(map(len, train))
    while True:
        if not break_links:
            for index in draw.sample(range(len(train)), len(train)):
                yield from train[index]
            continue
        orders = [draw.sample(range(len(train)), len(train)) for _ in range(most)]
        for place in range(len(train)):
            for k in range(most):
                texts = train[orders[k][place]]
                if k < len(texts):
                    yield texts[k]


def _held_out(number: int, share: float, seed: int) -> set[int]:
    count = min(number - 1, max(1, round(number * share))) if share > 0 and number > 1 else 0
    return set(random.Random(f"{seed} held out").sample(range(number), count))


def _deranged(examples: list[Example], draw: random.Random) -> list[Example]:
    """The examples in an order in which none stays in its place: all moved along one random cycle (Sattolo)."""
    others = list(range(len(examples)))
    for last in range(len(others) - 1, 0, -1):
        place = draw.randrange(last)
        others[last], others[place] = others[place], others[last]
    return [examples[k] for k in others]


def _too_few(usable: int, skipped: Sequence[Skipped]) -> str:
    first = next(iter(skipped), None)
    why = (
        f"; {len(skipped):,} were skipped, the first, {first.id!r}: {first.reason}"
        if first is not None
        else ""
    )
    return f"{usable:,} examples of the data can be trained on, which is too few{why}"
