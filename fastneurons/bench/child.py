"""Run contenders, and the machine's matrix products, in processes of their own."""

import multiprocessing
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import TYPE_CHECKING, Any, Protocol

from fastneurons.bench.contender import Findings, Setting, Work
from fastneurons.bench.contenders import CONTENDERS
from fastneurons.errors import FastneuronsError

if TYPE_CHECKING:
    from fastneurons.bench.limit import Limit
    from fastneurons.machine import Machine


class ChildError(FastneuronsError):
    """A contender could not be loaded, or failed."""


class Asked(Protocol):
    """A loaded contender, in any process."""

    start_s: float
    portion: float

    def find(self, work: Work) -> Findings:
        """Measure, and return what was found."""

    def round(self, work: Work) -> "Round":
        """Measure all of the work; return the seconds."""

    def reference_round(self, work: Work) -> float | None:
        """Run the work through the same engine without the patch; its seconds, or None if it has no such engine."""

    def close(self) -> None:
        """Free its memory and end its process."""


@dataclass(frozen=True)
class Round:
    """Seconds of a round, and how many of them results were being written while the engine ran."""

    seconds: float
    store_s: float | None = None


def _context() -> SpawnContext:
    """Of processes that are spawned: a forked one would share what torch and vLLM have started here."""
    return multiprocessing.get_context("spawn")


class _Process:
    """An object in a process of its own, and the pipe for calling its methods.

    Args:
        make: Makes the object, in that process; its `about` is what the process answers first.
        arguments: Of `make`.
        verbose: Let the process's log through.
    Raises:
        ChildError: the object cannot be made.
    """

    def __init__(self, make: Any, *arguments: Any, verbose: bool = False) -> None:
        context = _context()
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments, verbose))
        self._process.start()
        other.close()
        try:
            self.about = self._answer()
        except ChildError:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        if self._process.is_alive():
            try:
                self._pipe.send(("close", ()))
                self._process.join(timeout=60)
            except OSError:
                pass
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._pipe.close()

    def _ask(self, verb: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((verb, arguments))
        except OSError as error:
            raise ChildError(self._ended()) from error
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise ChildError(self._ended()) from error
        if kind == "error":
            raise ChildError(value)
        return value

    def _ended(self) -> str:
        self._process.join()
        return f"its process ended with exit status {self._process.exitcode}"


class Child(_Process):
    """A contender in a process of its own, loaded.

    Args:
        name: Of `CONTENDERS`.
        setting: The model, the languages and the engine's arguments.
        verbose: Let its log through.
    Raises:
        ChildError: it cannot be loaded.
    """

    def __init__(self, name: str, setting: Setting, verbose: bool = False) -> None:
        super().__init__(_LoadedContender, name, setting, verbose=verbose)
        self.start_s, self.portion = self.about

    def find(self, work: Work) -> Findings:
        """Call the contender's `find`. Like the other methods, raises ChildError if the contender fails."""
        findings: Findings = self._ask("find", work)
        return findings

    def round(self, work: Work) -> Round:
        """Call the contender's `round` and time it."""
        taken: Round = self._ask("round", work)
        return taken

    def reference_round(self, work: Work) -> float | None:
        """Call the contender's `reference_round` and time it; None if it has no reference."""
        seconds: float | None = self._ask("reference_round", work)
        return seconds


class LimitChild(_Process):
    """The machine's matrix products in a process of their own, and what machine it is.

    Args:
        setting: The model and its dtype.
    Raises:
        ChildError: the model's configuration cannot be loaded.
    """

    machine: "Machine"
    dtype: str

    def __init__(self, setting: Setting) -> None:
        super().__init__(_LoadedProducts, setting)
        self.machine, self.dtype = self.about

    def measure(self) -> "Limit":
        """Time the products once more; the best so far.

        Raises:
            FastneuronsError: their process failed. No ChildError, which would be taken for the contender's.
        """
        try:
            limit: Limit = self._ask("measure")
        except ChildError as error:
            raise FastneuronsError(f"the machine's matrix products could not be timed: {error}") from error
        return limit


class _LoadedContender:
    """A contender in its process; its methods are timed there, so that the pipe takes no part."""

    def __init__(self, name: str, setting: Setting) -> None:
        began = time.perf_counter()
        self._contender = CONTENDERS[name].made(setting)
        self.about = time.perf_counter() - began, self._contender.portion
        self.find, self.close = self._contender.find, self._contender.close

    def round(self, work: Work) -> Round:
        began = time.perf_counter()
        self._contender.round(work)
        return Round(time.perf_counter() - began, self._contender.store_s)

    def reference_round(self, work: Work) -> float | None:
        began = time.perf_counter()
        there = self._contender.reference_round(work)
        return time.perf_counter() - began if there else None


class _LoadedProducts:
    """The matrix products of a model, in their process."""

    def __init__(self, setting: Setting) -> None:
        import transformers

        from fastneurons.bench.hooks import dtype_of
        from fastneurons.bench.limit import MatrixProducts
        from fastneurons.machine import this_machine

        dtype = dtype_of(setting)
        products = MatrixProducts(transformers.AutoConfig.from_pretrained(setting.model), dtype)
        self.about = this_machine(), str(dtype).removeprefix("torch.")
        self.measure = products.measure

    def close(self) -> None:
        pass


class _Called:
    """Serve one call of a function, in its process; the reply is its result."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self.about = function(*arguments)

    def close(self) -> None:
        pass


def in_a_process(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own.

    Raises:
        ChildError: it raised.
    """
    process = _Process(_Called, function, arguments)
    process.close()
    return process.about


def _serve(pipe: Connection, make: Any, arguments: tuple[Any, ...], verbose: bool) -> None:
    """Make an object, reply with its description of itself, then serve calls of its methods."""
    from fastneurons.engine.processes import end_with_parent
    from fastneurons.engine.quiet import quiet

    end_with_parent()
    with quiet(verbose):
        try:
            served = make(*arguments)
            pipe.send(("value", served.about))
        except Exception as error:
            pipe.send(("error", _sentence(error)))
            return
        while True:
            try:
                verb, given = pipe.recv()
            except EOFError:
                break
            if verb == "close":
                break
            try:
                pipe.send(("value", getattr(served, verb)(*given)))
            except Exception as error:
                pipe.send(("error", _sentence(error)))
        served.close()


def _sentence(error: Exception) -> str:
    if isinstance(error, FastneuronsError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    line = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {line[0]} ({place.filename}:{place.lineno})"
