"""Hook vLLM's two model runners, which name the owners of a step's rows in different ways.

Both are asked at the one place that real batches pass and dummy ones (profile, warm-up, graph
capture, idle data-parallel ranks) do not, after the order of the rows is final.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastneurons.engine.rows import Batch

OnBatch = Callable[[Batch], None]


def watch_batches(runner: Any, on_batch: OnBatch) -> None:
    """Have `on_batch` called before each real forward pass of a model runner, whichever of the two it is.

    Raises:
        TypeError: a runner with neither of the places known.
    """
    if hasattr(runner, "_model_forward") and hasattr(runner, "input_batch"):
        _watch_v1(runner, on_batch)
    elif hasattr(runner, "prepare_inputs") and hasattr(runner, "req_states"):
        _watch_v2(runner, on_batch)
    else:
        raise TypeError(
            f"{type(runner).__module__}.{type(runner).__name__} is no model runner known to fastneurons"
        )


@contextmanager
def unwatched(runner: Any) -> Iterator[None]:
    """A model runner as vLLM made it, for a while."""
    watched = {
        name: vars(runner).pop(name) for name in ("_model_forward", "prepare_inputs") if name in vars(runner)
    }
    try:
        yield
    finally:
        vars(runner).update(watched)


def _watch_v1(runner: Any, on_batch: OnBatch) -> None:
    """vllm/v1/worker/gpu_model_runner.py: `_model_forward` is called by `execute_model` alone."""
    forward = runner._model_forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        rows = runner.input_batch
        num_requests = rows.num_reqs
        start = runner.query_start_loc.np[: num_requests + 1]
        on_batch(
            Batch(
                request_ids=list(rows.req_ids[:num_requests]),
                query_start=start[:-1],
                num_scheduled_tokens=np.diff(start),
                num_computed_tokens=rows.num_computed_tokens_cpu[:num_requests],
                num_prompt_tokens=rows.num_prompt_tokens[:num_requests],
            )
        )
        return forward(*args, **kwargs)

    runner._model_forward = watched


def _watch_v2(runner: Any, on_batch: OnBatch) -> None:
    """vllm/v1/worker/gpu/model_runner.py: `prepare_inputs` is not called for dummy batches."""
    prepare_inputs = runner.prepare_inputs

    def watched(*args: Any, **kwargs: Any) -> Any:
        batch = prepare_inputs(*args, **kwargs)
        start = batch.query_start_loc_np[: batch.num_reqs + 1]
        on_batch(
            Batch(
                request_ids=list(batch.req_ids),
                query_start=start[:-1],
                num_scheduled_tokens=np.diff(start),
                num_computed_tokens=batch.num_computed_tokens_np,
                # Not prefill_len: after a preemption that includes generated tokens.
                num_prompt_tokens=runner.req_states.prompt_len.np[batch.idx_mapping_np],
            )
        )
        return batch

    runner.prepare_inputs = watched
