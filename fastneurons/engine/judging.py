"""Judge answers in the same pass that reads prompts: score each possible answer, and generate where one is written.

A prompt that is read and the first of its answers are one request, where the tokens of the one begin with those of the
other: causal attention leaves the prompt's tokens as they are. The other answers share the prompt's cached prefix.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Arrays
from fastneurons.engine.answers import Answerable, Candidate
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.generation import Generations, ToGenerate, greedy
from fastneurons.engine.requests import SPANS_KEY
from fastneurons.engine.scoring import Scores, ToScore

# More than any judge asks for; each prompt has a bound of its own.
_MOST_TOKENS = 2**20


@dataclass
class ExampleAnswers:
    """The model's answers to an example's prompts.

    Args:
        log_likelihood: For each of the L languages float64 [candidates], summed over the candidate's tokens.
        text: For each language the text that was generated; None where none was wanted.
    """

    log_likelihood: list[NDArray[np.float64]]
    text: list[str | None]


class Judge(Protocol):
    """Decides which answers are right."""

    def most_tokens(self, encoded: Answerable, index: int) -> int:
        """Most tokens to generate of a language's prompt; 0 where its answer is judged without."""

    def __call__(self, encoded: Answerable, answers: ExampleAnswers) -> Arrays:
        """`log_probability` float32, `judged_count` int32 and `correct` uint8, each [L]."""

    def unanswered(self) -> Arrays:
        """The same of an example that was skipped."""


@dataclass
class Answering:
    """The answers of an example that is in flight.

    Args:
        encoded: The example.
        answers: What is known so far.
        unsent: Languages and candidates that are still to be sent.
        ungenerated: Languages of which a text is still to be generated.
        unfinished: Parts that are not known yet.
    """

    encoded: Answerable
    answers: ExampleAnswers
    unsent: deque[tuple[int, int]] = field(default_factory=deque)
    ungenerated: deque[int] = field(default_factory=deque)
    unfinished: int = 0


class Answers:
    """Answers of examples in flight, next to the requests that read their prompts.

    Args:
        engine: One with `judged_places`.
        judge: Says what to generate.
    """

    def __init__(self, engine: PatchedEngine, judge: Judge) -> None:
        self._engine, self._judge = engine, judge
        self._scores = Scores(engine)
        self._generations = Generations(engine, greedy(engine, _MOST_TOKENS))
        self._waiting: deque[Answering] = deque()  # those of which not all is sent
        self._scored: deque[tuple[Answering, int, int]] = deque()
        self._generated: deque[tuple[Answering, int]] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether anything is still to come."""
        return bool(self._waiting or self._scored or self._generated)

    @property
    def unfinished(self) -> list[str]:
        """Names of the requests that the engine has still to compute."""
        return [*self._scores.unfinished, *self._generations.unfinished]

    def begin(self, encoded: Answerable) -> Answering:
        """Note all that is to be sent for an example."""
        places = [np.full(len(found), np.nan) for found in encoded.candidates]
        item = Answering(encoded, ExampleAnswers(places, [None] * len(encoded.candidates)))
        for index, found in enumerate(encoded.candidates):
            item.unsent.extend((index, k) for k in range(len(found)))
            if found and self._judge.most_tokens(encoded, index):
                item.ungenerated.append(index)
        item.unfinished = len(item.unsent) + len(item.ungenerated)
        if item.unfinished:
            self._waiting.append(item)
        return item

    def send_reading(
        self, item: Answering, index: int, token_ids: list[int], extra: dict[str, Any]
    ) -> tuple[str, int] | None:
        """Send a prompt that is read together with one of its answers, if that goes.

        Args:
            item: The example's.
            index: Of the language.
            token_ids: The prompt's.
            extra: Entries of the request that read it.
        Returns:
            The request's name and how many tokens it has; None if prompt and answer do not go together.
        """
        for k, candidate in enumerate(item.encoded.candidates[index]):
            if (index, k) in item.unsent and candidate.token_ids[: len(token_ids)] == token_ids:
                # Where it has none, the last token is read: here the prompt's, not the request's.
                spans = extra.get(SPANS_KEY, [len(token_ids) - 1, len(token_ids)])
                name = self._send(item, index, k, candidate, {**extra, SPANS_KEY: spans})
                return None if name is None else (name, len(candidate.token_ids))
        return None

    def send(self) -> None:
        """Send what is still to be sent, for as long as there is room."""
        while self._waiting:
            item = self._waiting[0]
            while item.unsent:
                index, k = item.unsent[0]
                if self._send(item, index, k, item.encoded.candidates[index][k]) is None:
                    return
            while item.ungenerated:
                if not self._generations.has_room:
                    return
                index = item.ungenerated.popleft()
                self._generate(item, index)
            self._waiting.popleft()

    def take(self, output: Any) -> None:
        """Take an output of the engine, whatever it is of."""
        if not self._generations.take(output):
            self._scores.finish(output)

    def collect(self) -> None:
        """Take the results that are there.

        Raises:
            EngineError: the engine failed, or did not score a token.
        """
        for values in self._scores.fetch():
            item, index, k = self._scored.popleft()
            item.answers.log_likelihood[index][k] = values.sum(dtype=np.float64)
            item.unfinished -= 1
        self._scores.begin()
        for generated in self._generations.finished():
            item, index = self._generated.popleft()
            item.answers.text[index] = self._engine.tokenizer.decode(
                generated.token_ids, skip_special_tokens=True
            )
            item.unfinished -= 1

    def check(self) -> None:
        """Check at the end that every token sent to be judged was scored exactly once.

        Raises:
            EngineError: it was not.
        """
        self._scores.check()

    def _send(
        self, item: Answering, index: int, k: int, candidate: Candidate, extra: dict[str, Any] | None = None
    ) -> str | None:
        name = self._scores.send(ToScore(candidate.token_ids, candidate.first), extra)
        if name is not None:
            item.unsent.remove((index, k))
            self._scored.append((item, index, k))
        return name

    def _generate(self, item: Answering, index: int) -> None:
        """Have the text generated that follows a prompt, which is what comes before its answers."""
        first = item.encoded.candidates[index][max(0, item.encoded.reference[index])]
        prompt = item.encoded.token_ids[index]
        # At position `answer` the answer is a part of what is read.
        has_answer = prompt is None or len(prompt) >= len(first.token_ids)
        ids = first.token_ids[: first.first] if prompt is None or has_answer else prompt
        self._generations.send(ToGenerate(ids, most=self._judge.most_tokens(item.encoded, index)))
        self._generated.append((item, index))
