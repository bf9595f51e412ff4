"""Generate: the tokens that a model adds to prompts, intact or edited.

    for generated in generate(engine, [ToGenerate(token_ids), ToGenerate(token_ids, slot, salt)], greedy(engine, 64)):
        generated.token_ids

Prompts with different edits share steps. The engine never waits, and prompts in flight are bounded, whatever their
number; the cache of keys and values bounds them further.
"""

import copy
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.requests import EDIT_KEY, SAMPLED_KEY
from fastneurons.errors import EngineError, InputError

# Prompts in flight for each one that a step can hold: others follow at once when some end.
_STEPS_IN_FLIGHT = 2


class ToGenerate(NamedTuple):
    """A prompt to go on with.

    Args:
        token_ids: Its tokens, at least one.
        edit: The slot of the edit that changes the model's neurons; None for the intact model.
        salt: Prompts share cached prefixes with those of the same salt alone: `Edits.salt`.
        most: Most tokens to generate; None: as the parameters say.
        seed: Of its random numbers, where tokens are drawn; None: the engine's.
    """

    token_ids: Sequence[int]
    edit: int | None = None
    salt: str | None = None
    most: int | None = None
    seed: int | None = None


@dataclass
class Generated:
    """Generated tokens.

    Args:
        token_ids: The tokens, without an end mark that ended them.
        reason: "stop": the model ended, or a token of `stop_token_ids` came; "length": the most was reached.
    """

    token_ids: list[int] = field(default_factory=list)
    reason: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more comes."""
        return bool(self.reason)


def greedy(engine: PatchedEngine, most: int, **more: Any) -> Any:
    """vLLM's `SamplingParams` for the likeliest tokens, up to the model's end mark.

    Args:
        engine: The engine.
        most: Most tokens to generate.
        more: Other parameters by vLLM's names.
    Raises:
        InputError: vLLM refuses them.
    """
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    try:
        parameters = SamplingParams(
            max_tokens=most,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **({"temperature": 0.0} | more),
        )
    except (TypeError, ValueError) as error:
        raise InputError(str(error).partition("\n")[0]) from error
    # As vLLM's input processor does.
    config = engine.core.config.model_config
    parameters.update_from_generation_config(
        config.try_get_generation_config(), getattr(engine.tokenizer, "eos_token_id", None)
    )
    return parameters


def generate(
    engine: PatchedEngine,
    prompts: Iterable[ToGenerate],
    parameters: Any,
    stop: threading.Event | None = None,
) -> Iterator[Generated]:
    """Generate, prompt by prompt in their order.

    Args:
        engine: The engine. Nothing else may use it meanwhile.
        prompts: Any number of them; taken as there is room.
        parameters: vLLM's `SamplingParams` for all, such as `greedy` makes.
        stop: Once set, no more is sent, and what is in flight is dropped.
    Yields:
        The tokens of each.
    Raises:
        InputError: a prompt is empty or longer than the model takes.
        EngineError: the engine failed.
        Exception: whatever taking the prompts raised, after all prompts before it.
    """
    stop = stop or threading.Event()
    sender = Generations(engine, parameters)
    source, exhausted = iter(prompts), False
    failure: Exception | None = None
    try:
        while not stop.is_set():
            while not exhausted and sender.has_room:
                try:
                    sender.send(next(source))
                except StopIteration:
                    exhausted = True
                except EngineError:
                    raise
                except Exception as error:
                    failure, exhausted = error, True
            if not sender.unfinished:
                break
            for output in engine.step():
                sender.take(output)
            yield from sender.finished()
        else:
            return
        engine.check_calls()
    finally:
        if sender.unfinished:
            with suppress(EngineError):
                engine.abort(sender.unfinished)
    if failure is not None:
        raise failure


class Generations:
    """Prompts of an engine that are being gone on with; it may have other requests beside them.

    Args:
        engine: The engine.
        parameters: vLLM's `SamplingParams` for all.
        prefix: Begins the names of requests.
    """

    def __init__(self, engine: PatchedEngine, parameters: Any, prefix: str = "generate") -> None:
        self._engine, self._parameters, self._prefix = engine, parameters, prefix
        self._longest = engine.facts.max_prompt_tokens
        self._most: int = _STEPS_IN_FLIGHT * engine.core.config.scheduler_config.max_num_seqs
        self._requests: dict[str, Generated] = {}
        self._sent: deque[Generated] = deque()
        self._num_sent = 0
        self._ends = {parameters.eos_token_id, *(parameters.stop_token_ids or ())}

    @property
    def unfinished(self) -> list[str]:
        """Names of the requests that the engine has still to compute."""
        return list(self._requests)

    @property
    def has_room(self) -> bool:
        """Whether one more prompt can be sent before others end."""
        # A long text holds up the results of those behind it, which wait here.
        return len(self._requests) < self._most and len(self._sent) < 8 * self._most

    def send(self, prompt: ToGenerate) -> str:
        """Send a prompt; return the name of its request.

        Raises:
            InputError: it is empty or longer than the model takes.
            EngineError: the engine failed.
        """
        ids = list(prompt.token_ids)
        if not ids:
            raise InputError("a prompt without tokens cannot be gone on with")
        room = self._longest + 1 - len(ids)
        if room < 1:
            raise InputError(
                f"a prompt of {len(ids)} tokens is to be gone on with, the model takes {self._longest} "
                "(--max-model-len less one)"
            )
        parameters = copy.copy(self._parameters)
        parameters.max_tokens = min(prompt.most or parameters.max_tokens, room)
        if prompt.seed is not None and parameters.temperature:
            parameters.seed = prompt.seed
        extra: dict[str, Any] = {SAMPLED_KEY: True}
        if prompt.edit is not None:
            extra[EDIT_KEY] = prompt.edit
        self._num_sent += 1
        name = f"{self._prefix}-{self._num_sent}"
        self._engine.send(name, ids, extra, parameters, prompt.salt)
        self._requests[name] = item = Generated()
        self._sent.append(item)
        return name

    def take(self, output: Any) -> bool:
        """Take an output of the engine; whether it was of one of these requests."""
        item = self._requests.get(output.request_id)
        if item is None:
            return False
        item.token_ids += output.new_token_ids
        if output.finished:
            item.reason = str(output.finish_reason)
            if item.reason == "stop" and item.token_ids and item.token_ids[-1] in self._ends:
                item.token_ids.pop()
            del self._requests[output.request_id]
        return True

    def finished(self) -> Iterator[Generated]:
        """Results from the first that was not handed on, up to the first that is not finished."""
        while self._sent and self._sent[0].is_finished:
            yield self._sent.popleft()
