"""Run a vLLM engine with its model patched, from configuration to shutdown.

    with PatchedEngine("Qwen/Qwen3-8B", EngineOptions(), observe) as engine:
        engine.send("0", token_ids, {...})
        for output in engine.step():
            ...

It knows nothing of languages, positions or stores. What the workers observe is a specification that its user makes, and
what they have observed is asked of them by the name of a worker's method.
"""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from fastneurons.arrays import Arrays
from fastneurons.config import EngineOptions
from fastneurons.engine.adapters import check_fits, check_loaded, read_adapter
from fastneurons.engine.core import Core, lora_request
from fastneurons.engine.environment import engine_environment, give_freed_memory_back
from fastneurons.engine.facts import facts_of
from fastneurons.engine.failure import ENDED, cause
from fastneurons.engine.merge import Slice, merge
from fastneurons.engine.model_checks import check_files, folder_at_hand
from fastneurons.engine.model_files import ModelFiles
from fastneurons.engine.shared import SessionShare, folder_to_share, own
from fastneurons.engine.starting import Observe, start
from fastneurons.engine.wire import from_wire
from fastneurons.errors import EngineError, InputError

# Numbers of the patched engines of this process.
engines_in_use: set[int] = set()


def engine_failed(error: Exception) -> EngineError:
    """The error to raise where vLLM's engine raised one: its cause, in one line."""
    return error if isinstance(error, EngineError) else EngineError(f"the engine failed: {cause(error)}")


def tokenizer_of(model: str, options: EngineOptions) -> Any:
    """The tokenizer that an engine of this model has, without an engine."""
    with engine_environment(1, False):
        from vllm.tokenizers import get_tokenizer

    return get_tokenizer(
        options.tokenizer or model,
        tokenizer_mode=options.engine_args.get("tokenizer_mode", "auto"),
        revision=options.engine_args.get("tokenizer_revision", options.revision),
        trust_remote_code=options.trust_remote_code,
    )


class PatchedEngine:
    """A vLLM engine whose feed-forward layers are observed.

    Args:
        model: A folder, or a name on the Hub.
        options: Engine arguments.
        observe: Makes the specification of what workers observe from vLLM's configuration.
        cache_prefixes: Whether vLLM may take tokens from its prefix cache. Those pass no layer, so nothing is observed
            of them.
        verbose: Let vLLM's log through.
    Raises:
        InputError: the model cannot be loaded, or its neurons cannot be observed.
    """

    def __init__(
        self,
        model: str,
        options: EngineOptions,
        observe: Observe,
        *,
        cache_prefixes: bool = True,
        verbose: bool = False,
    ) -> None:
        self._model, self._options = model, options
        self._number = next(n for n in itertools.count() if n not in engines_in_use)
        engines_in_use.add(self._number)
        self._core: Core | None = None
        self._share: SessionShare | None = None
        try:
            self._adapter = read_adapter(options.lora) if options.lora is not None else None
            self._lora: Any = None
            self._files = self._find_files()
            self._check_adapter()
            with engine_environment(options.world_size, verbose):
                self._core, warnings = start(
                    model,
                    options,
                    observe,
                    self._number,
                    cache_prefixes=cache_prefixes,
                    adapter=self._adapter,
                )
            self.tokenizer = self._core.tokenizer()
            if self._files is None:  # they were downloaded meanwhile
                self._files = self._find_files()
                self._check_adapter()
            ranks = self._ranks()
            self._core.watch([rank["pid"] for rank in ranks])
            self._slices = [
                Slice(tuple(rank["layers"]), rank["first_neuron"], rank["neurons"])
                for rank in ranks
                if rank["layers"]
            ]
            self.facts = facts_of(
                model,
                options,
                self.core.config.model_config,
                self.tokenizer,
                self._files,
                self._adapter,
                ranks,
                warnings,
            )
            self._load_adapter()
            self._share = None if self.core.is_in_process else self._share_memory()
            self._tallies_before = self.tallies()
        except BaseException:
            with contextlib.suppress(Exception):  # people should hear what went wrong first
                self.close()
                self._leave_groups()
            raise

    def __enter__(self) -> "PatchedEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            self.close()

    @property
    def core(self) -> Core:
        """vLLM's engine core."""
        if self._core is None:
            raise EngineError("the engine is closed")
        return self._core

    def close(self) -> None:
        """Shut the engine down and free its memory. Harmless when called twice."""
        core, self._core = self._core, None
        share, self._share = self._share, None
        if share is not None:
            share.close()
        if core is not None:
            core.close()
            give_freed_memory_back()
        if self._number in engines_in_use:
            from fastneurons.engine.patch import forget

            forget(self._number)
            engines_in_use.discard(self._number)

    @staticmethod
    def _leave_groups() -> None:
        """Leave the process groups of an engine that failed to start: NCCL complains of them as the program ends."""
        if "vllm.distributed" in sys.modules and not engines_in_use:
            from vllm.distributed import cleanup_dist_env_and_memory

            cleanup_dist_env_and_memory()

    # -- requests -------------------------------------------------------------------------------------

    def send(
        self,
        request_id: str,
        token_ids: list[int],
        extra: dict[str, Any],
        parameters: Any = None,
        cache_salt: str | None = None,
        adapted: bool = True,
    ) -> None:
        """Queue a prompt.

        Args:
            request_id: Names it in `step` and `abort`.
            token_ids: Its tokens.
            extra: Reaches the workers with it: what of it is observed, and into which row of the buffers.
            parameters: vLLM's `SamplingParams` of this request; None reads the prompt alone.
            cache_salt: Prompts share cached prefixes with those of the same salt alone; needed where an edit changes
                what is computed.
            adapted: Whether the model computes it with the engine's LoRA adapter, if it has one. Requests with and
                without share steps.
        Raises:
            EngineError: the engine failed.
        """
        try:
            lora = self._lora if adapted else None
            self.core.send(request_id, token_ids, extra, parameters, cache_salt, lora)
        except Exception as error:
            raise self._failed(error) from error

    def step(self) -> list[Any]:
        """Run one step; return vLLM's output for each request in it.

        Raises:
            EngineError: the engine failed.
        """
        try:
            return self.core.step()
        except Exception as error:
            raise self._failed(error) from error

    def abort(self, request_ids: list[str]) -> None:
        """Abort requests that are not finished.

        Raises:
            EngineError: the engine failed.
        """
        try:
            self.core.abort(request_ids)
        except Exception as error:
            raise self._failed(error) from error

    @property
    def slices(self) -> list[Slice]:
        """The layers and neurons of each rank that has some."""
        return list(self._slices)

    # -- workers --------------------------------------------------------------------------------------

    def ask(self, method: str, **arguments: Any) -> list[Arrays]:
        """Call a worker's method on every rank; the arrays of each rank that has some.

        Of workers in processes of their own they are good until the next call.

        Raises:
            EngineError: the engine failed, or a rank says that observing did.
        """
        return self._arrays(self._ask(method, **arguments))

    def ask_whole(self, method: str, **arguments: Any) -> Arrays:
        """Call a worker's method on every rank; the whole model's arrays. Raises as `ask` does."""
        return self._merged(self.ask(method, **arguments))

    def ask_whole_later(self, method: str, **arguments: Any) -> Callable[[], Arrays]:
        """Call a worker's method on every rank, ahead of the steps of later requests, without waiting.

        Returns:
            Waits for the whole model's arrays while steps go on; raises as `ask` does.
        Raises:
            EngineError: the engine failed.
        """
        wait = self.ask_later(method, **arguments)
        return lambda: self._merged(wait())

    def ask_later(self, method: str, **arguments: Any) -> Callable[[], list[Arrays]]:
        """Call a worker's method on every rank likewise; the arrays of each rank that has some, as `ask`."""
        try:
            wait = self.core.ask_later(method, **arguments)
        except Exception as error:
            raise self._failed(error) from error

        def arrays() -> list[Arrays]:
            try:
                replies = wait()
            except Exception as error:
                raise self._failed(error) from error
            return self._arrays(replies)

        return arrays

    def _arrays(self, replies: list[Any]) -> list[Arrays]:
        """The arrays of each rank that has some. Raises EngineError if a rank reports that observing failed."""
        for reply in replies:
            if reply["error"] is not None:
                raise EngineError(f"reading activations failed: {reply['error']}")
        return [self._received(rank, each["arrays"]) for rank, each in enumerate(replies) if each["arrays"]]

    def _merged(self, arrays: list[Arrays]) -> Arrays:
        merged = merge(self._slices, arrays)
        return own(merged) if self._share is not None else merged

    def _received(self, rank: int, arrays: dict[str, Any]) -> Arrays:
        """A rank's arrays: direct in this process, else from shared memory or from its message."""
        if self.core.is_in_process:
            return arrays
        return self._share.from_wire(rank, arrays) if self._share is not None else from_wire(arrays)

    def _share_memory(self) -> SessionShare | None:
        """Have workers in processes of their own collect into memory that this one maps; None if they cannot."""
        with folder_to_share() as folder:
            if folder is None:
                return None
            ranks = self._ask("fastneurons_share", folder=folder)
            return SessionShare(folder, [rank for rank in ranks if rank is not None])

    def _ask(self, method: str, **arguments: Any) -> list[Any]:
        try:
            return self.core.ask(method, **arguments)
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> EngineError:
        """The error to raise where the core raised one; it names the process that died, if one did."""
        if self._core is not None and self._core.died is not None:
            return EngineError(f"the engine failed: {self._core.died} {ENDED}")
        return engine_failed(error)

    def tallies(self) -> list[dict[str, Any]]:
        """The work of each rank so far: prompts, tokens, rows read, forward passes, calls of the op, first error."""
        return self._ask("fastneurons_tally")

    def check_calls(self) -> None:
        """Check that the op ran once per layer in each forward pass since the engine was ready.

        A layer that runs without the patch, as in a compiled graph of the unpatched model, would show here.

        Raises:
            EngineError: it did not.
        """
        for rank, (tally, before) in enumerate(zip(self.tallies(), self._tallies_before, strict=True)):
            if (failed := tally["error"]) is not None:
                raise EngineError(f"reading activations failed: {failed}")
            calls, forwards = tally["calls"] - before["calls"], tally["forwards"] - before["forwards"]
            expected = tally["layers"] * forwards
            if calls != expected:
                raise EngineError(
                    f"rank {rank}: the patched layers were called {calls} times in {forwards} forward passes of "
                    f"{tally['layers']} layers, where {expected} were expected; {self._what_to_try(calls < expected)}"
                )

    def _what_to_try(self, too_few: bool) -> str:
        """Suggest what could help if layers ran without the patch, or outside the passes that were counted."""
        if too_few and not self.core.config.model_config.enforce_eager:
            return (
                "the model is compiled: try --enforce-eager, and if that helps, a graph without the patch was taken "
                "from vLLM's cache (~/.cache/vllm or VLLM_CACHE_ROOT), which can be removed"
            )
        return (
            "this vLLM runs the layers in a way that fastneurons does not know: compare its version with those that "
            "`pip install 'fastneurons[cpu]'` and `'fastneurons[gpu]'` choose (fastneurons info shows it)"
        )

    @contextlib.contextmanager
    def unpatched(self) -> Iterator[None]:
        """Take the patch out for a while. Only for an engine in this process whose model is not compiled.

        Benchmarks compare the two.
        """
        with self.core.worker.unpatched():
            yield

    # -- loading --------------------------------------------------------------------------------------

    def _find_files(self) -> ModelFiles | None:
        """Read and check the model's files; None if they have still to be downloaded.

        Raises:
            InputError: they are not those of a model that can be observed.
        """
        model, options = self._model, self._options
        folder = folder_at_hand(model, options.revision, options.engine_args.get("download_dir"))
        if folder is None:
            return None
        return ModelFiles(folder, *check_files(folder))

    def _check_adapter(self) -> None:
        """Check the adapter against the model's files, if they are there. Raises InputError as `check_fits` does."""
        if self._adapter is not None and self._files is not None:
            check_fits(self._adapter, self._model, self._files)

    def _load_adapter(self) -> None:
        """Load the adapter on every rank.

        Raises:
            InputError: vLLM refuses it, or a part of it has no effect.
        """
        if self._adapter is None:
            return
        name, folder = self._adapter.fingerprint, str(self._adapter.folder)
        check_loaded(folder, self._ask("fastneurons_load_adapter", name=name, folder=folder))
        self._lora = lora_request(name, folder)

    def _ranks(self) -> list[dict[str, Any]]:
        """Ask each rank for its layers and neurons.

        Raises:
            InputError: a rank says why the model cannot be observed.
        """
        ranks: list[dict[str, Any]] = self._ask("fastneurons_describe")
        for rank in ranks:
            if rank["refusal"] is not None:
                raise InputError(f"{self._model}: {rank['refusal']}")
        return ranks
