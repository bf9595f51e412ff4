"""Prompts through vLLM's engine core, which schedules and runs them, and nothing around it.

`LLMEngine.add_request` and `step` are made for serving: each request is checked, copied, given a detokenizer and
an account of its own. Prompts that are only read need none of that, and it took longer than the scheduling itself.
"""

import copy
import time
from typing import Any


class Prompts:
    """Sends prompts to an engine and tells which of them are through.

    Args:
        engine: A `LLMEngine`, whose own `add_request` and `step` must not be used beside this.
    """

    def __init__(self, engine: Any) -> None:
        from vllm.sampling_params import RequestOutputKind, SamplingParams
        from vllm.v1.engine import EngineCoreRequest

        self._core = engine.engine_core
        self._request = EngineCoreRequest
        self._parameters = SamplingParams(
            max_tokens=1, temperature=0.0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )

    def send(self, request_id: str, token_ids: list[int], extra: dict[str, int]) -> None:
        """Queue a prompt; `extra` reaches the workers with it."""
        # Made once and copied: what makes one checks it, which takes longer than all else here.
        parameters = copy.copy(self._parameters)
        parameters.extra_args = extra
        self._core.add_request(
            self._request(
                request_id=request_id,
                prompt_token_ids=token_ids,
                mm_features=None,
                sampling_params=parameters,
                pooling_params=None,
                arrival_time=time.time(),
                lora_request=None,
                cache_salt=None,
                data_parallel_rank=None,
            )
        )

    def step(self) -> list[str]:
        """One step of the engine; the requests that it finished. Raises whatever the engine raises."""
        return [output.request_id for output in self._core.get_output().outputs if output.finished]

    def abort(self, request_ids: list[str]) -> None:
        """Take back what was sent and is not through."""
        self._core.abort_requests(request_ids)
