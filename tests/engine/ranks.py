"""Engines of several ranks, in forks: all that they measure, and how they end when a rank dies."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastneurons.arrays import Arrays, join
from fastneurons.config import Measurement
from fastneurons.data.example import Example
from fastneurons.engine.session import Session
from fastneurons.errors import EngineError
from tests.engine.support import LANGUAGES, examples, tiny_options


def rows(number: int = 10) -> list[Example]:
    """Prompts with answers, of up to 150 tokens: steps of 64 cut them into chunks."""
    return [
        Example(row.id, row.prompts, {lang: f" {lang}{k % 3}" for lang in LANGUAGES})
        for k, row in enumerate(examples(number, seed=12, longest=150))
    ]


def measured(model: str, measurement: Measurement, **options: Any) -> tuple[Arrays, int]:
    """Measure the rows in windows of four; return all arrays, sums added up, and the number of ranks."""
    with Session(model, LANGUAGES, measurement, tiny_options(**options)) as session:
        parts = list(session.measure(rows(), window=4))
        arrays = join([part.arrays for part in parts], [0] * len(parts), 1)
        return arrays | session.constants(), len(session.core.ask("fastneurons_describe"))


def killed(model: str, victim: int, **options: Any) -> tuple[str, int, float]:
    """Kill a rank while it measures; return the error, the rank's process, and seconds from one to the other."""

    def endless() -> Iterator[Example]:
        for number in itertools.count():
            yield Example(str(number), {lang: f"{lang} {number}" for lang in LANGUAGES})

    with Session(model, LANGUAGES, Measurement(), tiny_options(**options)) as session:
        pid = session.core.ask("fastneurons_describe")[victim]["pid"]
        began = np.inf
        try:
            for part in session.measure(endless(), window=8):
                if part.first == 16:
                    began = time.monotonic()
                    os.kill(pid, signal.SIGKILL)
        except EngineError as error:
            return str(error), pid, time.monotonic() - began
    raise AssertionError("it ended by itself")
