"""The worker: vLLM's own, which also patches its model, assigns rows to prompts, and scores given tokens.

`cpu_worker` and `gpu_worker` add it to vLLM's own workers; what the session asks of it is in `worker_replies`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastneurons.engine.buffers import TooLargeError
from fastneurons.engine.discovery import NoSiteError, find_sites
from fastneurons.engine.engine_warnings import collected_warnings, of_rounding
from fastneurons.engine.finite import FiniteWatch
from fastneurons.engine.loading import watched_loading
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.observer import Observer
from fastneurons.engine.patch import original_activation, patch
from fastneurons.engine.requests import EDIT_KEY, ROW_KEY, SAMPLED_KEY, SCORED_KEY, SPANS_KEY, is_ours
from fastneurons.engine.rows import Batch
from fastneurons.engine.runners import unwatched, watch_batches
from fastneurons.engine.scorer import Scorer
from fastneurons.engine.unembedding import Unembedding
from fastneurons.engine.unneeded import can_leave_out_rows, leave_out_logits, leave_out_rows
from fastneurons.engine.values import ValueVectors
from fastneurons.engine.worker_replies import WorkerReplies


class NeuronWorker(WorkerReplies):
    """Our part of both workers: a mixin, put before one of vLLM's worker classes."""

    _own: dict[str, bool]  # requests of ours in the engine, and whether their next tokens are wanted
    _is_ours = False  # whether the step that began last has requests of ours
    _samples = False  # whether it has some of which the next token is wanted
    _in_step = False  # within a step with requests of ours: no dummy, and none of vLLM's warm-up

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """Load as vLLM does, then patch: before the profile run, so that tracing sees the patch.

        A model that cannot be patched is not refused here: an exception would reach the session as a
        dead engine. The session asks, with `fastneurons_describe`, before it sends anything.
        """
        with collected_warnings() as collector, watched_loading() as loading:
            loaded = super().load_model(*args, **kwargs)
        self.warnings = collector.lines
        if loading.problem is not None:
            self.refusal = loading.problem
            return loaded
        self._own = {}
        spec: ObservationSpec = self.vllm_config.additional_config
        layers = range(*self.model_config.get_layers_start_end_indices(self.parallel_config))
        try:
            sites = find_sites(self.model_runner.get_model(), layers)
            values = (
                ValueVectors(sites, self.model_config.dtype, self.model_runner.device)
                if spec.attribution
                else None
            )
            self.observer = Observer(
                spec,
                sites,
                self.model_config.dtype,
                self.model_runner.device,
                self._max_rows(),
                values,
                _gather_ranks,
            )
            self.scorer = self._make_scorer(spec.judged_places, spec.finds_likeliest)
        except (NoSiteError, TooLargeError, LookupError) as error:
            self.refusal = str(error)
            return loaded
        self.warnings += [line for line in {of_rounding(site.down) for site in sites} if line is not None]
        for site, layer in zip(sites, self.observer.layers, strict=True):
            patch(site, layer, spec.engine)
        # Outside of what leaves the logits out: that one calls nothing further.
        if spec.only_reads:
            self._leave_out_what_is_not_read(self.observer)
        FiniteWatch(self.model_runner.get_model(), lambda: self._in_step, self.observer.all_finite)
        watch_batches(self.model_runner, self._on_batch)
        return loaded

    def execute_model(self, scheduler_output: Any) -> Any:
        """Run one step. Rows are read only in its forward pass, never in dummy passes between steps."""
        observer = self.observer
        if observer is None:
            return super().execute_model(scheduler_output)
        for request_id in scheduler_output.finished_req_ids:
            self._own.pop(request_id, None)
            observer.finished(request_id)
            if self.scorer is not None:
                self.scorer.finished(request_id)
        for request in scheduler_output.scheduled_new_reqs:
            extra = (request.sampling_params and request.sampling_params.extra_args) or {}
            if is_ours(extra):
                self._own[request.req_id] = bool(extra.get(SAMPLED_KEY, False))
            if SCORED_KEY in extra and self.scorer is not None:
                self.scorer.scheduled(
                    request.req_id, [int(number) for number in extra[SCORED_KEY]], request.prompt_token_ids
                )
            if EDIT_KEY in extra:
                self._schedule_edit(request.req_id, extra)
            if ROW_KEY in extra:
                observer.scheduled(
                    request.req_id,
                    int(extra[ROW_KEY]),
                    [int(number) for number in extra.get(SPANS_KEY, ())],
                    request.num_computed_tokens,
                )
        # vLLM warms up with whole steps of its own requests, which are computed in full and not read.
        in_step = scheduler_output.num_scheduled_tokens
        self._in_step = self._is_ours = any(each in self._own for each in in_step)
        # Requests of others beside ours are computed as vLLM does.
        self._samples = any(self._own.get(each, True) for each in in_step)
        try:
            output = super().execute_model(scheduler_output)
            self._score()
            return output
        finally:
            self._in_step = False
            observer.disarm()

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Run the second half of a step: one of vLLM's two model runners computes its logits here."""
        self._in_step = self.observer is not None and self._is_ours
        try:
            return super().sample_tokens(grammar_output)
        finally:
            self._in_step = False

    @contextmanager
    def unpatched(self) -> Iterator[None]:
        """The model and its runner as vLLM made them, for as long as the context lasts."""
        observer = self.observer
        assert observer is not None
        self.observer = None
        with unwatched(self.model_runner), ExitStack() as stack:
            for layer in observer.layers:
                stack.enter_context(original_activation(layer))
            try:
                yield
            finally:
                self.observer = observer

    def _schedule_edit(self, request_id: str, extra: dict[str, Any]) -> None:
        """Note a new request's edit. Of a text that is scored, judged tokens count as generated."""
        assert self.observer is not None
        boundary = int(extra[SCORED_KEY][1]) if SCORED_KEY in extra else None
        try:
            if self.observer.bank is None:
                raise LookupError("a request names an edit, and the engine has no bank of edits")
            self.observer.bank.scheduled(request_id, int(extra[EDIT_KEY]), boundary)
        except LookupError as error:  # an exception would leave the engine hanging
            self.observer.tally.error = self.observer.tally.error or str(error)

    def _make_scorer(self, num_places: int, finds_likeliest: bool) -> Scorer | None:
        """The scorer of this rank, if it computes logits and the session judges tokens."""
        from vllm.distributed import get_pp_group

        if not num_places or not get_pp_group().is_last_rank:
            return None
        tensor_parallel = self.parallel_config.tensor_parallel_size > 1
        unembedding = Unembedding(
            self.model_runner.get_model(),
            self.scheduler_config.max_num_seqs,
            _gather_ranks if tensor_parallel else None,
        )
        return Scorer(unembedding, num_places, self.model_runner.device, finds_likeliest=finds_likeliest)

    def _score(self) -> None:
        """Score the step that was just run: both model runners keep its hidden states until they sample."""
        state = self.model_runner.execute_model_state
        if self.scorer is None or self.observer is None or state is None:
            return
        if not isinstance(state.hidden_states, Tensor):
            return
        try:
            self.scorer.score(state.hidden_states)
        except Exception as error:  # the engine would hang; the session sees this one
            if self.observer.tally.error is None:
                self.observer.tally.error = f"scoring: {type(error).__name__}: {error}"

    def _leave_out_what_is_not_read(self, observer: Observer) -> None:
        """Skip logits and, in the last layer of a model that is not compiled, the rows that are not read."""
        leave_out_logits(self.model_runner.get_model(), lambda: self._in_step and not self._samples)
        last = observer.sites[-1]
        is_models_last = last.layer + 1 == self.model_config.get_total_num_hidden_layers()
        if self.model_config.enforce_eager and is_models_last and can_leave_out_rows(last):
            leave_out_rows(last, observer.rows_of_last_layer)

    def _on_batch(self, batch: Batch) -> None:
        assert self.observer is not None
        if not self._in_step:
            self._other_forwards += 1
            return
        needed = self._rows_sampled_from(batch)
        if self.scorer is not None:
            needed = np.concatenate((needed, self.scorer.arm(batch)))
        self.observer.arm(batch, needed)

    def _rows_sampled_from(self, batch: Batch) -> NDArray[np.int64]:
        """The last rows of requests whose next tokens are wanted."""
        wanted = np.array([self._own.get(request_id, True) for request_id in batch.request_ids], bool)
        last = np.add(batch.query_start, batch.num_scheduled_tokens, dtype=np.int64) - 1
        rows: NDArray[np.int64] = last[wanted]
        return rows

    def _max_rows(self) -> int:
        """Rows of the largest forward pass: a full step, or a CUDA graph's padded size."""
        graphs = self.vllm_config.compilation_config.cudagraph_capture_sizes or [0]
        return int(max(self.scheduler_config.max_num_batched_tokens, *graphs))


def _gather_ranks(tensor: Tensor) -> Tensor:
    """The last dimensions of all tensor-parallel ranks side by side."""
    from vllm.distributed import get_tp_group

    # Between processes on CPUs with AVX-512, vLLM gathers floating-point numbers alone; these hold any category.
    sent = tensor.float() if tensor.device.type == "cpu" else tensor
    gathered: Tensor = get_tp_group().all_gather(sent, dim=-1)
    return gathered.to(tensor.dtype).contiguous()
