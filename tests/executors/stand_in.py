"""Engines that draw each example's activations from its texts, for tests of what carries examples and results.

They can be made to end or hang at a chosen moment, once.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastneurons.config import Measurement
from fastneurons.data.digest import digest_of_example
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import Tokenised, without_tokens
from fastneurons.engine.facts import ModelFacts
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.errors import EngineError
from fastneurons.executors import serve
from fastneurons.experiments.ending import describe_skipped
from fastneurons.experiments.handed_windows import (
    Advanced,
    EncodedWindow,
    EngineReport,
    ExamplesOfWindow,
    MeasuredWindow,
)
from fastneurons.experiments.window_arrays import window_of
from fastneurons.store import local, window_writer

LANGUAGES = ("en", "de", "th")
LAYERS, NEURONS = 2, 13


@dataclass(frozen=True)
class Fault:
    """An accident that befalls the engine that measures a window.

    Args:
        what: "kill" ends the process, "hang" lets it wait for ever, "fail" has the engine fail.
        when: "before" the window is written, while its "objects" are, or "after" it.
        first: The window's first example.
        mark: A file, made when it happens: as often as there are none of `most`.
        most: How often it happens.
    """

    what: str
    when: str
    first: int
    mark: Path
    most: int = 1

    def befall(self, when: str, first: int) -> None:
        if (when, first) != (self.when, self.first):
            return
        for number in range(self.most):
            with contextlib.suppress(FileExistsError):
                os.close(os.open(f"{self.mark}-{number}", os.O_CREAT | os.O_EXCL))
                self._happen()
                return

    def _happen(self) -> None:
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "hang":
            threading.Event().wait()
        raise EngineError("the engine failed: a stand-in was told to")


@dataclass(frozen=True)
class StandInJob:
    """What such an engine is to do.

    Args:
        window: Examples of a window.
        fault: What befalls it.
        example_s: How long an example takes.
        slow: Examples take so much longer in the engine that makes this file first.
        dtype: Of its model.
        refusal: What ends it at its start.
    """

    window: int = 4
    fault: Fault | None = None
    example_s: float = 0.0
    slow: tuple[float, Path] | None = None
    dtype: str = "float32"
    refusal: Exception | None = None

    @contextlib.contextmanager
    def open(self, log: Callable[[Path], None]) -> Iterator["StandIn"]:
        if self.refusal is not None:
            raise self.refusal
        with _writing_with(self.fault):
            yield StandIn(self)


class StandIn:
    """Such an engine."""

    def __init__(self, job: StandInJob) -> None:
        self._job, self._example_s = job, job.example_s
        if job.slow is not None:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(job.slow[1], os.O_CREAT | os.O_EXCL))
                self._example_s *= job.slow[0]
        facts = ModelFacts(
            model="stand-in", dtype=job.dtype, layers=tuple(range(LAYERS)), neurons=NEURONS, function="silu",
            gated=True, max_prompt_tokens=100, vocabulary=300, device="cpu", workers=1, threads_per_worker=1,
            slots=8, buffer_bytes=0,
        )  # fmt: skip
        self.report = EngineReport(
            facts, Measurement(observe_memory=1.0), LANGUAGES, None, {}, (_where(),), {}
        )

    def encode(self, given: ExamplesOfWindow) -> EncodedWindow:
        examples = [
            (example if isinstance(example, Skipped) else _tokenised(example), digest_of_example(example))
            for example in given.examples
        ]
        return EncodedWindow(given.first, examples)  # type: ignore[arg-type]

    def measure(self, take: Callable[[], EncodedWindow | None]) -> Iterator[Advanced | MeasuredWindow]:
        while (window := take()) is not None:
            time.sleep(self._example_s * len(window.examples))
            yield Advanced(
                window.first, len(window.examples), 3 * len(window.examples), 30 * len(window.examples)
            )
            part = measured(window)
            skipped = next((example for example in part.examples if isinstance(example, Skipped)), None)
            if self._job.fault is not None:
                self._job.fault.befall("before", window.first)
            yield MeasuredWindow(
                window_of([part], ("own",), LANGUAGES), window.begun, describe_skipped(skipped)
            )


def _where() -> str:
    """The CPUs that this thread may use, and a variable."""
    return f"CPUs {sorted(os.sched_getaffinity(0))}, {os.environ.get('VLLM_CPU_OMP_THREADS_BIND')}"


def _tokenised(example: Any) -> Tokenised:
    return Tokenised(
        example, [[len(example.prompts[lang])] * len(example.prompts[lang]) for lang in LANGUAGES]
    )


def measured(window: EncodedWindow) -> MeasuredExamples:
    """A window's arrays, drawn and counted by plain numpy."""
    E, L = len(window.examples), len(LANGUAGES)
    bits = np.zeros((E, L, LAYERS, NEURONS), bool)
    token_count = np.zeros((E, L), np.int32)
    for index, (example, digest) in enumerate(window.examples):
        if isinstance(example, Tokenised):
            bits[index] = np.random.default_rng(int(digest)).random(bits.shape[1:]) < 0.5
            token_count[index] = [len(ids or []) for ids in example.token_ids]
    there = token_count[:, 0] > 0
    active = bits.sum(1)  # [E, N, I]
    category = np.select([active == 0, active == 1, active == L], [0, 1, 3], 2)
    members = (category[..., None] == np.arange(4)) & there[:, None, None, None]  # [E, N, I, 4]
    arrays = {
        "digest": np.array([digest for _, digest in window.examples], np.uint64),
        "token_count": token_count,
        "present": token_count > 0,
        "last_token": np.where(token_count > 0, token_count, -1).astype(np.int32),
        "activated": np.packbits(bits, axis=-1, bitorder="little")[:, None],
        "activated_count": bits.sum(-1, dtype=np.int32)[:, None],
        "near_threshold_count": np.zeros((E, 1, L, LAYERS), np.int32),
        "category_count": members.sum(2, dtype=np.int32)[:, None],
        "occupancy": members.sum(0, dtype=np.int32)[None],
    }
    examples = [without_tokens(example) for example, _ in window.examples]
    return MeasuredExamples(window.first, examples, arrays)


@contextlib.contextmanager
def _writing_with(fault: Fault | None) -> Iterator[None]:
    """Let a fault happen while a window's objects are written, or after that."""
    if fault is None or fault.when == "before":
        yield
        return
    write, write_object = window_writer.WindowWriter.write, local.LocalStorage.write
    current = [-1]

    def writing(self: Any, window: Any) -> Any:
        current[0] = window.first
        written = write(self, window)
        fault.befall("after", window.first)
        return written

    def writing_object(self: Any, key: str, pieces: Any) -> None:
        write_object(self, key, pieces)
        if key.startswith("activated/"):  # in the middle of them
            fault.befall("objects", current[0])

    setattr(serve.WindowWriter, "write", writing)  # noqa: B010
    setattr(local.LocalStorage, "write", writing_object)  # noqa: B010
    try:
        yield
    finally:
        setattr(serve.WindowWriter, "write", write)  # noqa: B010
        setattr(local.LocalStorage, "write", write_object)  # noqa: B010


def examples(number: int, first: int = 0) -> list[Example | Skipped]:
    """Examples, every seventh of which is skipped."""
    return [
        Skipped(f"e{k}", f"data.jsonl:{k + 1}", "no JSON")
        if k % 7 == 3
        else Example(f"e{k}", {lang: f"{lang} {k}" for lang in LANGUAGES}, where=f"data.jsonl:{k + 1}")
        for k in range(first, first + number)
    ]
