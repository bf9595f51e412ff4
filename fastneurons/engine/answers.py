"""Encode examples with their answers: what is read of a prompt, and the texts whose tokens are judged after it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import AnyExample, PromptEncoder, Tokenised, UnusableError


class Candidate(NamedTuple):
    """A prompt with an answer after it.

    Args:
        token_ids: Its tokens; prompt and answer are tokenised together.
        first: The answer's first token.
    """

    token_ids: list[int]
    first: int


@dataclass(frozen=True)
class Answerable(Tokenised):
    """An example, and for each of the L languages the answers whose probabilities are wanted.

    Args:
        candidates: The choices, in their order; of an example without choices the reference answer alone; none
            without an answer.
        reference: The reference answer's index among them; -1 without one.
    """

    candidates: list[list[Candidate]] = field(default_factory=list)
    reference: list[int] = field(default_factory=list)


class AnswerEncoder(PromptEncoder):
    """Encodes prompts as `PromptEncoder` does, and each one's possible answers. Arguments as there.

    An example without an answer in any language is skipped, unless `skips_unanswered` is False.
    """

    skips_unanswered = True

    def __call__(self, given: list[AnyExample]) -> list[Tokenised | Skipped]:
        """Examples tokenised, or skipped for what the tokenizer makes of them."""
        encoded = super().__call__(given)
        places: list[tuple[int, int]] = []  # example and language, once for each of its answers
        pairs: list[tuple[str, str]] = []  # the text before the answer, and the answer
        for k, tokenised in enumerate(encoded):
            for index, language in enumerate(self._languages):
                if isinstance(tokenised, Tokenised) and tokenised.token_ids[index] is not None:
                    answers = answers_of(tokenised.example, language)[0]
                    before = self._around_answer(tokenised.example, language)[0] if answers else ""
                    places += [(k, index)] * len(answers)
                    pairs += [(before, answer) for answer in answers]
        joined: dict[tuple[int, int], list[Candidate] | UnusableError] = {}
        for place, (found, start) in zip(places, self._joined(pairs), strict=True):
            known = joined.setdefault(place, [])
            if isinstance(known, list):
                try:
                    ids, num_before = self._checked(found, f"{self._languages[place[1]]} with its answer")
                    known.append(Candidate(ids, max(1, start + num_before)))
                except UnusableError as error:
                    joined[place] = error
        return [self._with_answers(k, tokenised, joined) for k, tokenised in enumerate(encoded)]

    def _with_answers(
        self,
        k: int,
        tokenised: Tokenised | Skipped,
        joined: dict[tuple[int, int], list[Candidate] | UnusableError],
    ) -> Tokenised | Skipped:
        if isinstance(tokenised, Skipped):
            return tokenised
        example = tokenised.example
        candidates: list[list[Candidate]] = []
        reference: list[int] = []
        for index, language in enumerate(self._languages):
            found = joined.get((k, index), [])
            if isinstance(found, UnusableError):
                return Skipped(example.id, example.where, str(found), example.task)
            # An answer of which no token is its own cannot be judged.
            usable = bool(found) and all(each.first < len(each.token_ids) for each in found)
            candidates.append(found if usable else [])
            reference.append(answers_of(example, language)[1] if usable else -1)
        if self.skips_unanswered and max(reference, default=-1) < 0:
            return Skipped(example.id, example.where, "no answer in any language", example.task)
        return Answerable(
            example, tokenised.token_ids, tokenised.answer_token, tokenised.spans, candidates, reference
        )


def answers_of(example: Example, language: str) -> tuple[tuple[str, ...], int]:
    """The answers whose probabilities are wanted, and the reference answer's index among them; (), -1 without one."""
    answer = example.answers.get(language)
    if not answer:
        return (), -1
    choices = example.choices.get(language, ())
    return (choices, choices.index(answer)) if answer in choices else ((answer,), 0)


class JudgedEncoder(AnswerEncoder):
    """Likewise, for examples that are measured whether or not they have an answer."""

    skips_unanswered = False
