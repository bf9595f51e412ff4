"""The buffers of one worker process: the prompt of each row of a step, and its readings.

Every buffer is allocated once, before the profile run, and updated in place between steps: captured
CUDA graphs keep their addresses.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fastneurons_kernels.activation_cpu import Reader, RowsToRead
from fastneurons_kernels.bins import NUM_CELLS, anchors, tables
from fastneurons_kernels.editing_cpu import Editor
from fastneurons_kernels.histogram import Distribution
from fastneurons_kernels.reading import Reading
from numpy.typing import NDArray
from torch import Tensor

from fastneurons.engine.buffers import (
    DISTRIBUTION,
    allocate,
    make_bank,
    neurons_of,
    row_shapes,
    slots_that_fit,
)
from fastneurons.engine.discovery import Site
from fastneurons.engine.edges import first_edges
from fastneurons.engine.finite import NOT_FINITE
from fastneurons.engine.gathering import Gatherer
from fastneurons.engine.host_memory import HostMemory
from fastneurons.engine.layer_observer import LayerObserver, Tally, uses_fused_kernel
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.rows import (
    Batch,
    Spans,
    completes_prompt,
    new_prompt_tokens,
    num_rows_read,
    row_targets,
)
from fastneurons.engine.streams import Collection, CollectStream, collect_stream
from fastneurons.engine.to_device import to_device
from fastneurons.engine.values import AdaptedValueVectors, ValueVectors

# Sums of values up to this many times as large as a layer's outermost edge are exact.
_BEYOND_EDGES = 2**8

# Comes with the arrays of a collection: whether the model has computed finite numbers.
_ALL_FINITE = "all_finite"


@dataclass
class _Request:
    row: int
    spans: Sequence[int]
    prompt_tokens_seen: int
    is_new: bool = True


@dataclass
class Observer:
    """A worker's buffers for all its layers, and the owners of the next forward pass's rows.

    Args:
        spec: What is observed.
        sites: This rank's layers.
        dtype: What the model computes in.
        device: Where it is.
        max_rows: The most rows a forward pass can have, padding included.
        values: Value vectors; with attribution.
        gather: Puts the last dimensions of all tensor-parallel ranks side by side, in their order.
        stream: Where collections run; None takes that of the device.
    Raises:
        TooLargeError: the memory budget does not hold two examples.
    """

    spec: ObservationSpec
    sites: Sequence[Site]
    dtype: torch.dtype
    device: torch.device
    max_rows: int
    values: ValueVectors | None = None
    gather: Callable[[Tensor], Tensor] | None = None
    stream: CollectStream | None = None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.neurons = neurons_of(self.sites)
        spec, sites, values = self.spec, self.sites, self.values
        self.bank = make_bank(spec, sites, self.device, self.max_rows, self.gather)
        self.num_slots = slots_that_fit(spec, sites, self.dtype, self.max_rows, values, self.bank)
        self._buffers = allocate(spec, row_shapes(spec, sites, self.dtype), self.num_slots, self.device)
        self._gatherer = Gatherer(spec, sites, self.device, self._buffers, values, self.gather)
        self.targets = torch.full((self.max_rows,), -1, dtype=torch.int32, device=self.device)
        # The last layer's, which may compute fewer rows than the others.
        self.last_targets = self.targets.clone()
        self.thresholds = torch.tensor(self.spec.thresholds, dtype=torch.float32, device=self.device)
        if self.spec.bins is not None:
            layers = len(self.sites)
            self.bin_tables = torch.zeros((layers, NUM_CELLS), dtype=torch.uint8, device=self.device)
            self.anchors = torch.zeros((layers, 4), dtype=torch.float64, device=self.device)
            self.set_edges(np.tile(first_edges(self.spec.bins), (layers, 1)))
        self.calls = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in self.sites]
        self.layers = [
            LayerObserver(
                site=site,
                original=site.module,
                reading=Reading(
                    targets=self.targets if n + 1 < len(self.sites) else self.last_targets,
                    thresholds=self.thresholds,
                    signal=self.spec.signal,
                    distribution=self._distribution(n),
                    **{
                        name: buffer[:, n] if name == "coefficients" else buffer[:, :, n]
                        for name, buffer in self._buffers.items()
                        if name not in DISTRIBUTION
                    },
                ),
                calls=self.calls[n],
                fused=uses_fused_kernel(self.device),
                tally=self.tally,
                editing=self.bank.of_layer(n) if self.bank is not None else None,
            )
            for n, site in enumerate(self.sites)
        ]
        for layer in self.layers:
            if not layer.fused:
                kind = layer.site.kind
                activation: dict[str, Any] = {
                    "function": kind.function,
                    "gated": kind.gated,
                    "parameters": kind.parameters,
                }
                layer.reader = Reader(layer.reading, self.dtype, layer.neurons, **activation)
                if layer.editing is not None:
                    layer.editor = Editor(layer.editing, self.dtype, layer.neurons, **activation)
        # Whether all numbers so far were finite; comes with each collection, since asking waits for the device.
        self.all_finite = torch.ones((), dtype=torch.bool, device=self.device)
        self._stream = self.stream or collect_stream(
            self.device, beside=not self._gatherer.exchanges_candidates
        )
        self._collections_begun = itertools.count(1)
        # For each row of the buffers: the last forward pass that read into it, and the last collection that took it.
        self._read_in_step = np.zeros(self.num_slots * self.spec.languages, np.int64)
        self._taken_by = np.zeros(self.num_slots * self.spec.languages, np.int64)
        self._requests: dict[str, _Request] = {}
        self._read_rows: Tensor | None = None
        self._armed = False

    @property
    def buffer_bytes(self) -> int:
        """Device memory held in addition to the model."""
        held = [self.targets, self.last_targets, *self._buffers.values()]
        beside = [part.bytes for part in (self.values, self.bank) if part is not None]
        return sum(t.numel() * t.element_size() for t in held) + sum(beside)

    def scheduled(self, request_id: str, row: int, spans: Sequence[int], num_cached_tokens: int) -> None:
        """A request enters the engine, or re-enters it after a preemption.

        Args:
            row: Of the buffers, which its tokens are read into.
            spans: The tokens to read, in order: first, end, first, end, ...; position "last" needs none.
            num_cached_tokens: Not computed, as the prefix cache has them.
        """
        if request_id in self._requests:
            return
        self._requests[request_id] = _Request(row, spans, num_cached_tokens)
        self.tally.cached_tokens += num_cached_tokens

    def finished(self, request_id: str) -> None:
        """A request has left the engine."""
        self._requests.pop(request_id, None)
        if self.bank is not None:
            self.bank.finished(request_id)

    def arm(self, batch: Batch, needed: NDArray[np.int64] | None = None) -> None:
        """Set the targets of the next forward pass's rows.

        Those that are not read have target -1: the other prompt tokens, generated tokens, padding, and
        the rows of requests that are not ours.

        Args:
            batch: The step's requests.
            needed: int64, rows that the last layer must compute although nothing is read of them.
        """
        self.tally.forwards += 1
        requests = [self._requests.get(request_id) for request_id in batch.request_ids]
        seen = np.array([r.prompt_tokens_seen if r else 0 for r in requests], np.int64)
        target = np.array([r.row if r else -1 for r in requests], np.int32)
        self._hold_for_collections(target[target >= 0])
        spans = self._spans(batch, requests)
        unread = spans.after(seen)
        # Bits are read again where a preempted request computes its tokens again; counts are not.
        targets, num_read = row_targets(
            batch, target, unread if self.spec.is_corpus else spans, self.max_rows
        )
        if not self.spec.is_corpus:
            num_read = num_rows_read(batch, target, unread)
        self._empty([r.row for r in requests if r and r.is_new])
        new = new_prompt_tokens(batch, seen)
        for request, tokens in zip(requests, new.tolist(), strict=True):
            if request is not None:
                request.prompt_tokens_seen += tokens
                request.is_new = False
                self.tally.prompt_tokens += tokens
        self.tally.prompts += int(np.count_nonzero(completes_prompt(batch) & (target >= 0)))
        self.tally.rows_read += int(num_read.sum())
        self.targets.copy_(to_device(targets, self.device), non_blocking=True)
        self.last_targets.copy_(self.targets)
        num_rows = int(batch.num_scheduled_tokens.sum())
        self._read_rows = self._rows_that_matter(targets, num_rows, needed)
        self._tell_readers(self.layers, targets[:num_rows])
        rows_to_edit = self.bank.arm(batch) if self.bank is not None else None
        for layer in self.layers:
            layer.rows_to_edit = rows_to_edit
        self._armed = True

    def disarm(self) -> None:
        """Read no row until the next `arm`: dummy and capture passes run in between."""
        if self._armed:
            self._stream.step_queued(self.tally.forwards)
            self.targets.fill_(-1)
            self.last_targets.fill_(-1)
            if self.bank is not None:
                self.bank.disarm()
            for layer in self.layers:
                layer.rows_to_read = layer.rows_to_edit = None
            self._armed = False

    def rows_of_last_layer(self) -> Tensor | None:
        """The rows for the last layer to compute in this step, int64; None for all.

        The targets stay until the next call, so call it before each forward pass.
        """
        index = self._read_rows if self._armed else None
        if index is not None:
            self.last_targets.fill_(-1)
            self.last_targets[: len(index)] = self.targets[index]
            if self.layers[-1].reader is not None:
                self._tell_readers(self.layers[-1:], self.last_targets[: len(index)].numpy())
            if self.bank is not None:
                self.layers[-1].rows_to_edit = self.bank.choose_last_rows(index)
        return index

    def num_calls(self) -> int:
        """Calls of the op, over all layers, since the buffers were made. Waits for the device."""
        return int(sum(int(c) for c in self.calls))

    def begin(
        self, rows: list[list[int]], keep_bits: bool, attribution: dict[str, Any] | None = None
    ) -> Collection:
        """Begin to collect the readings of some finished examples. Does not wait for the device.

        From here on, the rows may be given to other prompts.

        Args:
            rows: For each of E examples, the row of each of the L languages; -1 where it has none.
            keep_bits: Whether `activated` comes along.
            attribution: None without it. `index`, as `rows`: which of the answer tokens it is, -1 for none;
                `unembedding`, float32 [U, H]: the tokens' rows; `top_k`; `keep_coefficients`; `adapted`: whether
                the examples were computed with the adapter.
        """
        used = np.array(rows, np.int64)
        return self._begin(used[used >= 0], lambda: self._gatherer.examples(rows, keep_bits, attribution))

    def begin_count(self, parity: int, languages: Sequence[int]) -> Collection:
        """Begin to collect the counts of a window of a corpus, and reset its half of the buffer to 0.

        Args:
            parity: Which half: windows take them by turns.
            languages: Those that the window has tokens of, by index; nothing was counted for the others.
        """
        half = np.arange(self.spec.languages) + parity * self.spec.languages
        return self._begin(half, lambda: self._gatherer.counts(parity, languages))

    def set_edges(self, edges: np.ndarray) -> None:
        """Sort the signal into bins with other edges from the next forward pass on.

        Args:
            edges: float32 [N, B - 1], of this rank's layers.
        """
        largest = _BEYOND_EDGES * np.abs(edges).max(1, initial=0.0)
        self.bin_tables.copy_(torch.from_numpy(tables(edges)))
        self.anchors.copy_(torch.from_numpy(np.stack([anchors(float(each)) for each in largest])))

    def fill_edits(
        self,
        rows: list[list[int]],
        fills: Sequence[dict[str, Any]],
        threshold: int = 0,
    ) -> Collection:
        """Fill slots of the bank from the categories of examples that were read, ahead of the steps to come.

        Args:
            rows: As for `begin`.
            fills: See `EditBank.fill`.
            threshold: Index of the threshold that categories are by.
        Returns:
            Has the arrays of `EditBank.fill`.
        """
        assert self.bank is not None, "the engine has no bank of edits"
        planes = self._gatherer.planes(rows, threshold)
        scores = self._gatherer.scores(rows) if any(fill.get("by_score") for fill in fills) else None
        filled = self.bank.fill(planes, fills, scores)
        # Queued among the forward passes, as the bank is what these read; the few numbers follow by themselves.
        return self._stream.begin(
            next(self._collections_begun),
            self.tally.forwards,
            lambda: filled | {_ALL_FINITE: self.all_finite.clone()},
        )

    def fetch(self, collection: Collection) -> dict[str, np.ndarray]:
        """Wait for a collection that has begun; its arrays, on the host.

        Returns:
            For this rank's N layers and I neurons. Of examples: `activated` uint8 [E, S, L, N, B] (zeros where a
            language is missing), `activated_count` and `near_threshold_count` int32 [E, S, L, N],
            `category_count` int32 [E, S, N, 4], `occupancy` int32 [S, N, I, 4] over the E examples; with
            attribution `neuron_contribution` float64 [L, N, I], each neuron's contribution scores summed over the
            E examples; what `contributions` gives, but for the largest scores `top_count` int32 [E, L, N, 4], of
            the neurons of all tensor-parallel ranks; `present` and `answered` bool [E, L]; and `coefficient`
            float16 [E, L, N, I] if it is to be kept (NaN where a language is missing). Of a corpus:
            `activation_count`, int64 [S, L, N, I]; with histograms, of the l languages asked for, `histogram` int32
            [l, N, I, B], `signal_sum` and `signal_square_sum` float64 [l, N, I], and of a gated model `sign_count`
            int32 [l, N, I, 4].
        """
        arrays = collection.arrays()
        self.check_finite(bool(arrays.pop(_ALL_FINITE)))
        return arrays

    def check_finite(self, all_finite: bool) -> None:
        """Record a model that did not compute finite numbers as this worker's first error."""
        if not all_finite and self.tally.error is None:
            self.tally.error = NOT_FINITE

    def adapt(self, factors: Sequence[tuple[Tensor, Tensor] | None]) -> None:
        """Take the value vectors under a LoRA adapter, for collections with `adapted`; see `AdaptedValueVectors`."""
        if self.values is not None:
            self._gatherer.adapted = AdaptedValueVectors(self.values, factors)

    def constants(self, adapted: bool = False) -> dict[str, np.ndarray]:
        """Copy attribution's constants of the model to the host: `value_norm`, float32 [N, I].

        Args:
            adapted: Whether those under the adapter.
        """
        norms = self._gatherer.values_of(adapted).norms
        return self.beside_forward_passes(lambda: {"value_norm": norms.contiguous()})

    def collect_into(self, memory: HostMemory) -> None:
        """Copy collections that begin from here on into this memory."""
        self._stream.memory = memory

    def beside_forward_passes(self, gather: Callable[[], dict[str, Tensor]]) -> dict[str, np.ndarray]:
        """Fetch tensors that depend on no forward pass, without waiting for the queued ones."""
        return self._stream.begin(next(self._collections_begun), 0, gather).arrays()

    def _distribution(self, layer: int) -> Distribution | None:
        """A layer's view of the buffers for distributions; None without them."""
        if self.spec.bins is None:
            return None
        buffers = {
            DISTRIBUTION[name]: t[:, layer] for name, t in self._buffers.items() if name in DISTRIBUTION
        }
        return Distribution(table=self.bin_tables[layer], anchors=self.anchors[layer], **buffers)

    # -- one step -----------------------------------------------------------------------------------

    def _spans(self, batch: Batch, requests: list[_Request | None]) -> Spans:
        """The tokens to read in each request of a step."""
        if self.spec.position == "last" and not any(r.spans for r in requests if r):
            return Spans.last_tokens(batch)
        spans = [r.spans if r else () for r in requests]
        if self.spec.position == "last":
            # Others may have an answer behind their prompt, which is scored.
            spans = [own or (n - 1, n) for own, n in zip(spans, batch.num_prompt_tokens, strict=True)]
        return Spans.of(spans)

    def _tell_readers(self, layers: Sequence[LayerObserver], targets: np.ndarray) -> None:
        """Set the rows that the CPU reads in the next forward pass; `targets` [T]."""
        if layers and layers[0].reader is not None:
            rows_to_read = RowsToRead.of(targets, layers[0].reading)
            for layer in layers:
                layer.rows_to_read = rows_to_read

    def _empty(self, rows: list[int]) -> None:
        """Empty the rows of prompts that begin: bits of several tokens are OR-ed into them."""
        if rows and "edges" in self._buffers:
            index = to_device(np.array(rows, np.int64), self.device)
            for buffer in self._buffers.values():
                buffer.index_fill_(0, index, 0)

    def _rows_that_matter(
        self, targets: np.ndarray, num_rows: int, needed: NDArray[np.int64] | None = None
    ) -> Tensor | None:
        """A step's rows to read, and others that are needed; None if leaving out the rest gains nothing, or is off."""
        if not self.spec.only_reads:
            return None
        read = np.flatnonzero(targets >= 0)
        if needed is not None and len(needed):
            read = np.union1d(read, needed)
        if 2 * len(read) > num_rows:
            return None
        # A step that reads nothing, in the middle of a long prompt, still computes a row: no layer accepts zero rows.
        return to_device(read if len(read) else np.zeros(1, np.int64), self.device)

    # -- collecting ---------------------------------------------------------------------------------

    def _begin(self, rows: np.ndarray, gather: Callable[[], dict[str, Tensor]]) -> Collection:
        """Begin a collection that empties `rows` of the buffers."""
        number = next(self._collections_begun)
        step = int(self._read_in_step[rows].max(initial=0))
        self._taken_by[rows] = number
        return self._stream.begin(number, step, lambda: gather() | {_ALL_FINITE: self.all_finite.clone()})

    def _hold_for_collections(self, rows: np.ndarray) -> None:
        """Have the next forward pass, which reads into `rows`, wait for collections that still need them."""
        self._read_in_step[rows] = self.tally.forwards
        # They leave the buffers in order: the last is enough.
        if last := int(self._taken_by[rows].max(initial=0)):
            self._stream.hold_model(last)
