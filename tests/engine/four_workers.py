"""A program with an engine of four workers, for tests to interrupt: `python four_workers.py MODEL STORE EXPECTED`.

It measures examples without end into STORE until it is interrupted, and then goes on with the same engine until that
fails. An engine in this process then resumes the store for a few examples more, and measures as many into EXPECTED.
"""

import itertools
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Example
from fastneurons.engine.session import Session
from fastneurons.errors import EngineError
from fastneurons.experiments.interrupts import interruptible
from fastneurons.experiments.measure import write_measurements
from fastneurons.experiments.source import example_source
from fastneurons.progress import Silent
from fastneurons.store import open_store
from tests.engine import fork_server  # noqa: F401 - its workers are forked: they start in a fraction of the time
from tests.engine.support import LANGUAGES, tiny_options


class Told(Silent):
    """Messages to standard output, at once."""

    def message(self, text: str) -> None:
        print(text, flush=True)


def rows() -> Iterator[Example]:
    """Examples without end, the same ones each time."""
    for number in itertools.count():
        yield Example(f"e{number}", {lang: f"{lang} {number * 7919 % 10007}" for lang in LANGUAGES})


def write(session: Session, out: str, stop: threading.Event, **options: Any) -> None:
    source = example_source("own", "rows", rows(), options.pop("limit", None))
    write_measurements(session, source, out, RunOptions(window=8, **options), EngineOptions(), Told(), stop)


def main(model: str, out: str, expected: str) -> None:
    options = tiny_options(tensor_parallel_size=2, pipeline_parallel_size=2)
    with Session(model, LANGUAGES, Measurement(), options) as session:
        pids = [rank["pid"] for rank in session.core.ask("fastneurons_describe")]
        print("pids", os.getpid(), *pids, flush=True)
        with interruptible() as stop:
            write(session, out, stop)
        print("interrupted", flush=True)
        try:
            write(session, out, threading.Event(), resume=True)
        except EngineError as error:
            print(f"failed: {error}", flush=True)
    limit = open_store(out).num_examples + 11
    with Session(model, LANGUAGES, Measurement(), tiny_options()) as session:
        write(session, out, threading.Event(), resume=True, limit=limit)
        write(session, expected, threading.Event(), limit=limit)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
