"""A reading pass: examples go through an engine, and their readings come out in order.

The engine never waits for results: while those of some examples are collected, the next step runs, and the one after it
is sent before they are fetched.

Examples in flight are bounded by the slots of the workers' buffers, whatever the size of the data set.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from fastneurons.config import Measurement
from fastneurons.data.example import Skipped
from fastneurons.engine.answers import Answerable
from fastneurons.engine.collect import Begun, Collector
from fastneurons.engine.encode import Tokenised
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.judging import Answers, Judge
from fastneurons.engine.placement import InFlight, MeasuredExamples
from fastneurons.engine.wire import MOST_COLLECTIONS
from fastneurons.errors import EngineError


class EncodedExamples(Protocol):
    """Examples with their token ids, in input order."""

    def take(self, wait: bool) -> tuple[Tokenised | Skipped, int] | None:
        """The next example and the digest of its texts; None where none is ready and `wait` is false.

        Raises:
            StopIteration: there are no more.
            Exception: whatever reading the source raised, once all examples before it have been taken.
        """


@dataclass
class Totals:
    """Counts of the work that a session has sent to its engine.

    Args:
        tokens_to_read: Tokens of which activations are to be read.
        begun: Texts that began with the tokenizer's begin mark, which was not put before them once more.
        waited_s: Time spent waiting for the source with the engine idle.
    """

    prompts: int = 0
    tokens: int = 0
    tokens_to_read: int = 0
    begun: int = 0
    steps: int = 0
    waited_s: float = 0.0


class Slots:
    """The slots for examples in the workers' buffers, and the numbers of requests."""

    def __init__(self, number: int) -> None:
        self.free = list(range(number))
        self.request_numbers = itertools.count()


class ReadingPass(Iterator[MeasuredExamples]):
    """One pass over examples; iterating runs the engine.

    Args:
        engine: The engine.
        num_languages: L.
        measurement: What is read of each prompt.
        collector: Fetches the readings.
        slots: The engine's; those of examples in flight are given back.
        totals: Added to.
        examples: The examples, from index `first` of the source on.
        first: Index of the first example.
        window: What is handed on never spans two windows of this many examples. Of a corpus it is a window, since
            tokens of several examples are counted together.
        keep_bits: Whether `activated` is wanted.
        stop: Once set, no more is sent; what is complete by then is handed on, and of a corpus also what is in flight.
        adapted: Whether the model computes the examples with the engine's adapter.
        judge: Judges the answers of examples, which are then `Answerable`; None: nothing is judged.
    """

    def __init__(
        self,
        engine: PatchedEngine,
        num_languages: int,
        measurement: Measurement,
        collector: Collector,
        slots: Slots,
        totals: Totals,
        *,
        examples: EncodedExamples,
        first: int,
        window: int,
        keep_bits: bool,
        stop: threading.Event,
        adapted: bool = False,
        judge: Judge | None = None,
    ) -> None:
        self._engine, self._num_languages, self._measurement = engine, num_languages, measurement
        self._collector, self._slots, self._totals = collector, slots, totals
        self._examples, self._first, self._window, self._keep_bits = examples, first, window, keep_bits
        self._stop, self._adapted = stop, adapted
        self._judge = judge
        self._answers = Answers(engine, judge) if judge is not None else None
        self._corpus = measurement.position == "corpus"
        self._next_taken = self._next_begun = first
        self._pending: deque[InFlight] = deque()
        self._begun: deque[Begun] = deque()
        self._has_results = False
        self._requests: dict[str, InFlight] = {}
        self._exhausted = False
        self._source_error: Exception | None = None
        self._failure: EngineError | None = None
        self._groups = self._run()

    def __next__(self) -> MeasuredExamples:
        """The next examples, in input order.

        Raises:
            EngineError: the engine or the patch failed, or did not read what it was sent.
            Exception: whatever reading the examples raised, after all examples before it were handed on.
        """
        return next(self._groups)

    def _run(self) -> Iterator[MeasuredExamples]:
        while not self._ended:
            self._refill()
            self._step()
            yield from self._fetch_groups(len(self._begun))  # begun before that step, so that they are ready
            yield from self._begin_groups()
        yield from self._begin_groups()  # a signal may have stopped the pass after the last look
        yield from self._fetch_groups(len(self._begun))
        self._settle()

    @property
    def _ended(self) -> bool:
        """Whether nothing more will come: the engine failed, the pass was stopped, or all examples are through."""
        if self._failure is not None:
            return True
        if self._stop.is_set() and not (self._corpus and self._requests):
            return True
        busy = self._answers is not None and self._answers.is_busy
        return self._exhausted and not self._requests and not busy

    # -- sending --------------------------------------------------------------------------------------

    def _refill(self) -> None:
        """Send examples for as long as there is room and the source has some ready; wait only if nothing runs."""
        if self._answers is not None:
            self._answers.send()
        while not (self._exhausted or self._stop.is_set()) and self._has_room():
            began = time.perf_counter()
            try:
                taken = self._examples.take(wait=not self._is_running)
            except StopIteration:
                self._exhausted = True
                return
            except Exception as error:
                self._source_error, self._exhausted = error, True
                return
            if taken is None:
                return
            if not self._is_running:
                self._totals.waited_s += time.perf_counter() - began
            self._pending.append(self._send(*taken))
            self._next_taken += 1

    @property
    def _is_running(self) -> bool:
        """Whether the engine has something to compute."""
        return bool(self._requests or (self._answers is not None and self._answers.unfinished))

    def _has_room(self) -> bool:
        """Whether one more example can be sent.

        Of a corpus two windows are in flight, each with counters of its own. Otherwise nothing follows the first
        window before some of it is collected: a small window comes after a small step, and a mistake shows early.
        """
        if self._corpus:
            return self._next_taken // self._window <= self._next_begun // self._window + 1
        has_begun = self._next_begun > self._first
        return bool(self._slots.free) and (has_begun or self._next_taken < self._first + self._window)

    def _send(self, encoded: Tokenised | Skipped, digest: int) -> InFlight:
        """Give an example a slot and its prompts to the engine."""
        if isinstance(encoded, Skipped):
            return InFlight(encoded, digest)
        from fastneurons.engine.requests import ROW_KEY, SPANS_KEY

        item = InFlight(encoded, digest, -1 if self._corpus else self._slots.free.pop())
        slot = self._next_taken // self._window % 2 if self._corpus else item.slot
        if self._answers is not None and isinstance(encoded, Answerable):
            item.answering = self._answers.begin(encoded)
        for index, token_ids in enumerate(encoded.token_ids):
            if token_ids is None:
                continue
            extra: dict[str, Any] = {ROW_KEY: slot * self._num_languages + index}
            if self._measurement.position != "last":
                extra[SPANS_KEY] = encoded.read(index)
                self._totals.tokens_to_read += encoded.num_read(index)
            request_id, num_tokens = self._send_prompt(item, index, token_ids, extra)
            self._requests[request_id] = item
            item.unread += 1
            self._totals.prompts += 1
            self._totals.tokens += num_tokens
        if self._answers is not None:
            self._answers.send()
        return item

    def _send_prompt(
        self, item: InFlight, index: int, token_ids: list[int], extra: dict[str, Any]
    ) -> tuple[str, int]:
        """Send a prompt, with an answer where that goes; return the request's name and number of tokens."""
        if self._answers is not None and item.answering is not None:
            sent = self._answers.send_reading(item.answering, index, token_ids, extra)
            if sent is not None:
                return sent
        request_id = str(next(self._slots.request_numbers))
        self._engine.send(request_id, token_ids, extra, adapted=self._adapted)
        return request_id, len(token_ids)

    # -- a step, and collecting ----------------------------------------------------------------------

    def _step(self) -> None:
        """Run one step of the engine, if there is something to run; keep the exception that ended it."""
        if not self._is_running:
            self._take_answers()
            return
        try:
            for output in self._engine.step():
                if self._answers is not None:
                    self._answers.take(output)
                # Another process may already have computed requests that a stopped pass aborted.
                item = self._requests.pop(output.request_id, None) if output.finished else None
                if item is not None:
                    item.unread -= 1
        except EngineError as error:
            self._failure = error
            return
        self._totals.steps += 1
        self._take_answers()

    def _take_answers(self) -> None:
        if self._answers is None:
            return
        try:
            self._answers.collect()
        except EngineError as error:
            self._failure = error

    def _begin_groups(self) -> Iterator[MeasuredExamples]:
        """Begin to collect the examples that are complete, group by group, and free their slots.

        Those that are to come first are fetched, where more would be under way than the workers have memory for.
        """
        while group := self._complete():
            yield from self._fetch_groups(len(self._begun) + 1 - MOST_COLLECTIONS)
            self._begun.append(self._begin(group))
            self._next_begun += len(group)
            self._slots.free += [item.slot for item in group if item.slot >= 0]

    def _begin(self, group: list[InFlight]) -> Begun:
        if self._corpus:
            return self._collector.begin_count(group, self._next_begun, self._window)
        return self._collector.begin(group, self._next_begun, self._keep_bits, self._adapted)

    def _fetch_groups(self, number: int) -> Iterator[MeasuredExamples]:
        """Hand on the results of the collections that began first."""
        for _ in range(number):
            measured = self._collector.fetch(self._begun.popleft(), self._judge)
            if not self._has_results:
                self._engine.check_calls()
            self._has_results = True
            yield measured

    def _complete(self) -> list[InFlight]:
        """Take from the front the examples that are complete, up to the end of a window or of a task.

        Only if they are worth a collection, each of which costs as much as some examples.
        """
        room = self._window - self._next_begun % self._window
        num_complete = 0
        for item in itertools.islice(self._pending, room):
            if item.task != self._pending[0].task and not self._corpus:
                room = num_complete  # what is left of this task will not grow
                break
            if not item.is_through:
                break
            num_complete += 1
        if self._corpus:
            # A window's counts are one sum: of all its examples, or of none.
            last = self._ended and self._failure is None and num_complete == len(self._pending)
            worth = num_complete == room or last
        else:
            enough = max(1, self._engine.facts.slots // 4)
            worth = self._ended or num_complete == room or num_complete >= enough
        return [self._pending.popleft() for _ in range(num_complete)] if worth else []

    # -- the end --------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """End the pass: raise the error that ended it, or check that everything sent was read."""
        if self._failure is not None:
            raise self._failure
        if self._stop.is_set():
            self._abandon()
            return
        self._check_totals()
        if self._answers is not None:
            self._answers.check()
        if self._source_error is not None:
            raise self._source_error

    def _abandon(self) -> None:
        """Abort requests that are not complete."""
        self._engine.abort(
            [*self._requests, *(self._answers.unfinished if self._answers is not None else ())]
        )
        self._slots.free += [item.slot for item in self._pending if item.slot >= 0]

    def _check_totals(self) -> None:
        """Check that every rank has read each prompt sent, and each of its tokens, exactly once."""
        totals = self._totals
        expected = totals.prompts if self._measurement.position == "last" else totals.tokens_to_read
        for rank, tally in enumerate(self._engine.tallies()):
            if tally["error"] is not None:
                raise EngineError(f"reading activations failed: {tally['error']}")
            tokens = tally["prompt_tokens"] + tally["cached_tokens"]
            if (tally["prompts"], tokens) != (totals.prompts, totals.tokens):
                raise EngineError(
                    f"rank {rank} computed {tally['prompts']} prompts and {tokens} tokens, "
                    f"{totals.prompts} prompts and {totals.tokens} tokens were sent"
                )
            if tally["rows_read"] != expected:
                raise EngineError(f"rank {rank} read {tally['rows_read']} tokens, {expected} were to be read")
