"""A contender's process, and how it is asked."""

import multiprocessing
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from fastneurons.bench.contender import Findings, Setting, Work
from fastneurons.bench.contenders import CONTENDERS
from fastneurons.errors import FastneuronsError


class ChildError(FastneuronsError):
    """A contender could not be loaded, or failed."""


class Asked(Protocol):
    """A contender that was loaded, in whatever process."""

    start_s: float
    portion: float

    def find(self, work: Work) -> Findings:
        """What it finds."""

    def round(self, work: Work) -> "Round":
        """Seconds of a round."""

    def reference_round(self, work: Work) -> float | None:
        """Seconds of the same engine as vLLM runs by itself; None where it is none."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(frozen=True)
class Round:
    """Seconds of a round, and of it those in which results were written, beside the engine."""

    seconds: float
    store_s: float | None = None


class Child:
    """A contender in a process of its own, loaded.

    Args:
        name: Of `CONTENDERS`.
        setting: What it is told.
        verbose: Let its log through.
    Raises:
        ChildError: it cannot be loaded.
    """

    def __init__(self, name: str, setting: Setting, verbose: bool = False) -> None:
        # Spawned: a forked process would share what torch and vLLM have started here.
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, name, setting, verbose))
        self._process.start()
        other.close()
        self.start_s, self.portion = self._answer()

    def find(self, work: Work) -> Findings:
        """As `Asked`; raises ChildError where it fails, as do the others."""
        findings: Findings = self._ask("find", work)
        return findings

    def round(self, work: Work) -> Round:
        """As `Asked`."""
        taken: Round = self._ask("round", work)
        return taken

    def reference_round(self, work: Work) -> float | None:
        """As `Asked`."""
        seconds: float | None = self._ask("reference_round", work)
        return seconds

    def close(self) -> None:
        """End the process."""
        if self._process.is_alive():
            try:
                self._pipe.send(("close", None))
                self._process.join(timeout=60)
            except OSError:
                pass
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._pipe.close()

    def _ask(self, verb: str, work: Work) -> Any:
        self._pipe.send((verb, work))
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError as error:
            self._process.join()
            raise ChildError(f"its process ended with exit status {self._process.exitcode}") from error
        if kind == "error":
            raise ChildError(value)
        return value


def in_a_process(function: Any, *arguments: Any) -> Any:
    """What a function gives, called in a process of its own.

    Raises:
        ChildError: it raised.
    """
    context = multiprocessing.get_context("spawn")
    mine, other = context.Pipe()
    process = context.Process(target=_call, args=(other, function, arguments))
    process.start()
    other.close()
    try:
        kind, value = mine.recv()
    except EOFError:
        kind, value = "error", "its process ended"
    process.join()
    if kind == "error":
        raise ChildError(value)
    return value


def _call(pipe: Connection, function: Any, arguments: tuple[Any, ...]) -> None:
    from fastneurons.engine.quiet import quiet

    with quiet():
        try:
            pipe.send(("value", function(*arguments)))
        except Exception as error:
            pipe.send(("error", _sentence(error)))


def _serve(pipe: Connection, name: str, setting: Setting, verbose: bool) -> None:
    from fastneurons.engine.quiet import quiet

    with quiet(verbose):
        try:
            began = time.perf_counter()
            contender = CONTENDERS[name].made(setting)
            pipe.send(("value", (time.perf_counter() - began, contender.portion)))
        except Exception as error:
            pipe.send(("error", _sentence(error)))
            return
        while True:
            try:
                verb, work = pipe.recv()
            except EOFError:
                break
            if verb == "close":
                break
            try:
                pipe.send(("value", _done(contender, verb, work)))
            except Exception as error:
                pipe.send(("error", _sentence(error)))
        contender.close()


def _done(contender: Any, verb: str, work: Work) -> Any:
    if verb == "find":
        return contender.find(work)
    began = time.perf_counter()
    there = getattr(contender, verb)(work)
    seconds = time.perf_counter() - began
    if verb == "round":
        return Round(seconds, contender.store_s)
    return seconds if there else None


def _sentence(error: Exception) -> str:
    if isinstance(error, FastneuronsError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    line = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {line[0]} ({place.filename}:{place.lineno})"
