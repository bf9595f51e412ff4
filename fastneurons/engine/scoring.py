"""Score texts: log-probabilities of chosen tokens, each given all tokens before it.

    with scoring_engine("Qwen/Qwen3-8B", EngineOptions()) as engine:
        for values in score(engine, [ToScore([1, 5, 7, 9], first=2), ...]):
            ...  # float32, of tokens 7 and 9

No logits leave the device, and none are computed but those that predict a judged token. The engine never waits for
results: while those of some texts are copied, the next step runs. Texts in flight are bounded, whatever their number.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Arrays
from fastneurons.config import EngineOptions
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.requests import EDIT_KEY, SCORED_KEY
from fastneurons.engine.wire import MOST_COLLECTIONS
from fastneurons.errors import EngineError, InputError

# Judged tokens that the workers' buffer holds: 1 MiB, or twice the longest text.
_LEAST_PLACES = 2**18
# Texts in flight for each one that a step can hold: the next step is ready while one runs.
_STEPS_IN_FLIGHT = 4
# The result of texts without judged tokens, of which nothing is sent.
_NOTHING: Arrays = {"log_probability": np.zeros(0, np.float32), "is_likeliest": np.zeros(0, np.uint8)}


class ToScore(NamedTuple):
    """A text to score.

    Args:
        token_ids: Its tokens.
        first: The first token to judge, at least 1; all from there on are judged.
        edit: The index of the edit that changes the model's neurons; None for the intact model.
        salt: Texts share cached prefixes with those of the same salt alone: one for each edit.
    """

    token_ids: Sequence[int]
    first: int
    edit: int | None = None
    salt: str | None = None


class Judged(NamedTuple):
    """The judged tokens of a text.

    Args:
        log_probability: float32, natural logarithms.
        is_likeliest: bool, whether greedy decoding would take each of them; None if the engine does not find that.
    """

    log_probability: NDArray[np.float32]
    is_likeliest: NDArray[np.bool_] | None


def judged_places(config: Any) -> int:
    """Number of judged tokens that the workers should hold, given vLLM's configuration."""
    return max(_LEAST_PLACES, 2 * int(config.model_config.max_model_len))


def scoring_engine(
    model: str,
    options: EngineOptions | None = None,
    *,
    verbose: bool = False,
    observation: Mapping[str, Any] | None = None,
) -> PatchedEngine:
    """Start an engine that scores and reads nothing.

    Args:
        model: A folder, or a name on the Hub.
        options: Engine arguments.
        verbose: Let vLLM's log through.
        observation: More fields of its `ObservationSpec`.
    Raises:
        InputError: the model cannot be loaded, or its neurons cannot be observed.
    """

    def observe(config: Any) -> Any:
        from fastneurons.engine.observation import ObservationSpec

        fields: dict[str, Any] = {"judged_places": judged_places(config), **(observation or {})}
        return ObservationSpec(most_slots=2, languages=1, only_reads=True, **fields)

    return PatchedEngine(model, options or EngineOptions(), observe, verbose=verbose)


def score(
    engine: PatchedEngine, texts: Iterable[ToScore], stop: threading.Event | None = None
) -> Iterator[NDArray[np.float32]]:
    """Score texts, in their order.

    Args:
        engine: One with `judged_places`. Nothing else may use it meanwhile.
        texts: Any number of them; taken as there is room.
        stop: Once set, no more is sent, and what is in flight is dropped.
    Yields:
        For each text the natural logarithms of its judged tokens' probabilities.
    Raises:
        InputError: a text is longer than the model takes, or has a token that the model does not know.
        EngineError: the engine failed, or did not score all that it was sent.
        Exception: whatever taking the texts raised, after all texts before it.
    """
    return ScoringPass(engine, texts, stop or threading.Event()).run()


class Places:
    """The places of a ring buffer, taken in runs; runs are freed in the order in which they were taken.

    Args:
        number: How many places there are.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        # First and one past the last, counted on from lap to lap: place p of the ring's third lap is 2 x number + p.
        self._runs: deque[tuple[int, int]] = deque()

    def take(self, number: int) -> int | None:
        """The first of so many places in a row; None if there is no room now."""
        oldest, end = (self._runs[0][0], self._runs[-1][1]) if self._runs else (0, 0)
        left_in_lap = self.number - end % self.number
        first = end if number <= left_in_lap else end + left_in_lap
        if number > self.number or first + number > oldest + self.number:
            return None
        self._runs.append((first, first + number))
        return first % self.number

    def free(self) -> None:
        """Free the run that was taken first."""
        self._runs.popleft()


def joined_runs(runs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Runs of places, those that follow each other as one."""
    joined: list[list[int]] = []
    for first, end in runs:
        if joined and joined[-1][1] == first:
            joined[-1][1] = end
        else:
            joined.append([first, end])
    return joined


@dataclass
class _InFlight:
    first: int
    number: int
    finished: bool = False

    @property
    def run(self) -> tuple[int, int]:
        return self.first, self.first + self.number


class Scores:
    """Texts of an engine that are being scored; their log-probabilities come in the order in which they were sent.

        scores = Scores(engine)
        name = scores.send(text)
        for output in engine.step():
            scores.finish(output)
        scores.begin()
        for values in scores.fetch():
            ...

    Args:
        engine: One with `judged_places`.
        prefix: Begins the names of requests; the engine may have others.
    """

    def __init__(self, engine: PatchedEngine, prefix: str = "score") -> None:
        self._engine, self._prefix = engine, prefix
        self._places = Places(judged_places(engine.core.config))
        self._vocabulary, self._longest = engine.facts.vocabulary, engine.facts.max_prompt_tokens + 1
        self._requests: dict[str, _InFlight] = {}
        self._sent: deque[_InFlight] = deque()
        self._begun: deque[tuple[list[int], Callable[[], list[Arrays]]]] = deque()
        self._num_sent = self._tokens_sent = 0
        self._before = _tokens_scored(engine)

    @property
    def unfinished(self) -> list[str]:
        """Names of the requests that the engine has still to compute."""
        return list(self._requests)

    def send(self, text: ToScore, extra: Mapping[str, Any] | None = None) -> str | None:
        """Send a text to the engine, if there is room for it in the buffer.

        Args:
            text: The text.
            extra: More entries of its request. With one that reads activations the text is sent as a whole, else
                without its last token, which nothing follows.
        Returns:
            The name of the request; None if there is no room before results are fetched.
        Raises:
            InputError: it is longer than the model takes, or has a token that the model does not know.
            EngineError: the engine failed.
        """
        ids, number = list(text.token_ids), len(text.token_ids) - text.first
        self._check(ids, text.first)
        place = self._places.take(number)
        if place is None:
            return None
        item = _InFlight(place, number, finished=not number)
        self._sent.append(item)
        self._num_sent += 1
        name = f"{self._prefix}-{self._num_sent}"
        if item.finished:
            return name
        entries: dict[str, Any] = dict(extra or {})
        if extra:
            entries[SCORED_KEY] = [place, text.first, len(ids)]
        else:
            entries[SCORED_KEY] = [place, text.first, len(ids), ids.pop()]
        if text.edit is not None:
            entries[EDIT_KEY] = text.edit
        self._engine.send(name, ids, entries, cache_salt=text.salt)
        self._requests[name] = item
        self._tokens_sent += number
        return name

    def finish(self, output: Any) -> bool:
        """Take note of an output of the engine; whether it is the end of a text of ours."""
        item = self._requests.pop(output.request_id, None) if output.finished else None
        if item is not None:
            item.finished = True
        return item is not None

    def begin(self) -> None:
        """Begin to collect the results of the texts that are finished, up to the first that is not."""
        if len(self._begun) == MOST_COLLECTIONS:
            return
        ready = []
        while self._sent and self._sent[0].finished:
            ready.append(self._sent.popleft())
        if ready:
            ranges = joined_runs(item.run for item in ready if item.number)
            wait = (
                self._engine.ask_later("fastneurons_log_probabilities", ranges=ranges)
                if ranges
                else list[Arrays]
            )
            self._begun.append(([item.number for item in ready], wait))

    def fetch(self, number: int | None = None) -> Iterator[NDArray[np.float32]]:
        """The results of the collections that began first, all or so many: for each text float32 [judged tokens].

        Raises:
            EngineError: the engine failed, or did not score a token.
        """
        for judged in self.fetch_judged(number):
            yield judged.log_probability

    def fetch_judged(self, number: int | None = None) -> Iterator[Judged]:
        """Likewise, with all that is known of the judged tokens."""
        for _ in range(len(self._begun) if number is None else min(number, len(self._begun))):
            numbers, wait = self._begun.popleft()
            arrays = wait()
            found = arrays[0] if arrays else _NOTHING
            values, likeliest = np.array(found["log_probability"]), found.get("is_likeliest")
            if np.isnan(values).any():
                self._explain_nan()
            for _ in numbers:
                self._places.free()
            ends = np.cumsum(numbers[:-1])
            parts = None if likeliest is None else np.split(likeliest.astype(bool), ends)
            for k, of_text in enumerate(np.split(values, ends)):
                yield Judged(of_text, None if parts is None else parts[k])

    def check(self) -> None:
        """Check that every token sent to be judged was scored exactly once, after all results were fetched.

        Raises:
            EngineError: it was not.
        """
        self._engine.check_calls()
        for rank, (now, before) in enumerate(zip(_tokens_scored(self._engine), self._before, strict=True)):
            if now is not None and now - before != self._tokens_sent:
                raise EngineError(
                    f"rank {rank} scored {now - before} tokens, {self._tokens_sent} were to be judged"
                )

    def _check(self, ids: Sequence[int], first: int) -> None:
        assert 1 <= first <= len(ids), "a token is judged given those before it"
        if len(ids) > self._longest:
            raise InputError(
                f"a text of {len(ids)} tokens is to be scored, the model takes {self._longest} (--max-model-len)"
            )
        if ids and max(ids) >= self._vocabulary:
            raise InputError(f"token {max(ids)} is to be scored, the model knows {self._vocabulary}")

    def _explain_nan(self) -> None:
        for tally in self._engine.tallies():
            if tally["error"] is not None:
                raise EngineError(f"scoring failed: {tally['error']}")
        raise EngineError("scoring failed: tokens that were to be judged have no log-probability")


class ScoringPass:
    """One pass over texts. See `score`."""

    def __init__(self, engine: PatchedEngine, texts: Iterable[ToScore], stop: threading.Event) -> None:
        self._engine, self._texts, self._stop = engine, iter(texts), stop
        self._scores = Scores(engine)
        self._most = _STEPS_IN_FLIGHT * engine.core.config.scheduler_config.max_num_seqs
        self._next: ToScore | None = None
        self._exhausted = False
        self._source_error: Exception | None = None

    def run(self) -> Iterator[NDArray[np.float32]]:
        """See `score`."""
        scores = self._scores
        try:
            while not self._stop.is_set():
                self._refill()
                if not scores.unfinished and self._exhausted:
                    break
                if scores.unfinished:
                    for output in self._engine.step():
                        scores.finish(output)
                yield from scores.fetch()  # begun before that step, so that they are ready
                scores.begin()
            else:
                return
            scores.begin()
            yield from scores.fetch()
            scores.check()
        finally:
            if scores.unfinished:
                with suppress(EngineError):
                    self._engine.abort(scores.unfinished)
        if self._source_error is not None:
            raise self._source_error

    def _refill(self) -> None:
        """Send texts for as long as there is room."""
        while not self._exhausted and len(self._scores.unfinished) < self._most:
            if self._next is None:
                try:
                    self._next = next(self._texts)
                except StopIteration:
                    self._exhausted = True
                    return
                except Exception as error:
                    self._source_error, self._exhausted = error, True
                    return
            if self._scores.send(self._next) is None:
                return
            self._next = None


def _tokens_scored(engine: PatchedEngine) -> list[Any]:
    """Tokens that each rank has scored so far; None for one that computes no logits."""
    return [tally["tokens_scored"] for tally in engine.tallies()]
