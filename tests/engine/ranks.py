"""Engines of several ranks, in forks: all that they do, and how they end when a rank dies."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastneurons.arrays import Arrays
from fastneurons.config import Measurement
from fastneurons.data.example import Example
from fastneurons.engine.session import Session
from fastneurons.errors import EngineError
from fastneurons.experiments.judging import judge_of
from tests.engine import everything
from tests.engine.support import LANGUAGES, tiny_options


def done(model: str, measurement: Measurement, edits: bool, **options: Any) -> tuple[Arrays, int]:
    """Measure, and if asked score, generate and deactivate under edits; return all arrays and the number of ranks."""
    bank = everything.BANK if edits else {}
    judge = judge_of(measurement, LANGUAGES)
    with Session(
        model, LANGUAGES, measurement, tiny_options(**options), judges=edits, judge=judge, **bank
    ) as session:
        arrays = everything.measured(session, everything.rows())
        if edits:
            arrays |= everything.edited(session)
            # Few prompts, and short ones: each is answered 26 times, its choices one by one.
            few = everything.rows(2, longest=40)
            arrays |= everything.deactivated(session, few, by_contribution=measurement.attribution)
        return arrays, len(session.core.ask("fastneurons_describe"))


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
