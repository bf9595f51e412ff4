"""The buffers of one worker process: the prompt of each row of a step, and its readings.

Every buffer is allocated once, before the profile run, and updated in place between steps: captured
CUDA graphs keep their addresses.
"""

import hashlib
import itertools
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import torch
from fastneurons_kernels.activation import ActivationLauncher
from fastneurons_kernels.activation_cpu import Reader, RowsToRead
from fastneurons_kernels.attribution import contributions
from fastneurons_kernels.bins import FEWEST_BINS, NUM_CELLS, anchors, tables
from fastneurons_kernels.categories import categories
from fastneurons_kernels.editing import Editing
from fastneurons_kernels.editing_cpu import Editor, RowsToEdit
from fastneurons_kernels.histogram import Distribution
from fastneurons_kernels.reading import Reading, near_parts, near_threshold_count, num_words
from fastneurons_kernels.top import top_count
from numpy.typing import NDArray
from torch import Tensor, nn

from fastneurons.engine.discovery import Site
from fastneurons.engine.edges import first_edges
from fastneurons.engine.edit_bank import EditBank, bank_bytes
from fastneurons.engine.finite import NOT_FINITE
from fastneurons.engine.host_memory import HostMemory
from fastneurons.engine.rows import (
    Batch,
    Spans,
    completes_prompt,
    new_prompt_tokens,
    num_rows_read,
    row_targets,
)
from fastneurons.engine.streams import Collection, CollectStream, collect_stream
from fastneurons.engine.values import AdaptedValueVectors, ValueVectors

_Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]

# Share of the memory budget for products of value vectors and answers while examples are collected.
_PROJECTIONS_SHARE = 1 / 8

# Buffers of distributions, by the kernel's names for them.
_DISTRIBUTION = {"bin_counts": "counts", "sums": "sums", "signs": "signs"}

# Sums of values up to this many times as large as a layer's outermost edge are exact.
_BEYOND_EDGES = 2**8

# Comes with the arrays of a collection: whether the model has computed finite numbers.
_ALL_FINITE = "all_finite"


class TooLargeError(Exception):
    """The memory budget does not hold the least that must be in flight at once."""


def uses_fused_kernel(device: torch.device) -> bool:
    """Whether our kernel computes the product and reads it; else the model's own module computes it."""
    return device.type == "cuda"


class ObservationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A specification of what to observe; crosses to the workers as vLLM's `additional_config`.

    Of that, vLLM asks for `compute_hash`, which becomes part of the key of its compiled graphs.
    """

    patch: int = -1  # set by the engine, as is the next
    engine: int = -1  # which patched engine of this process
    most_slots: int  # examples in flight that a session has a use for
    languages: int
    thresholds: tuple[float, ...] = (0.0,)
    position: str = "last"
    signal: str = "gate"
    attribution: bool = False
    memory_bytes: int = 2**30
    edits: int = 0  # slots of the workers' bank of edits
    edit_values: int = 0  # rows of values that these may add
    judged_places: int = 0  # judged tokens in flight whose log-probabilities the workers hold
    finds_likeliest: bool = False  # whether they hold, too, which of these tokens greedy decoding would take
    bins: int | None = None  # of a corpus's histograms; None: there are none
    # Whether the engine only reads, so that work that no reading depends on may be skipped.
    only_reads: bool = False

    @property
    def is_corpus(self) -> bool:
        """Whether tokens are counted, instead of keeping prompts apart."""
        return self.position == "corpus"

    def compute_hash(self) -> str:
        """Return a hash of what compiled code depends on: the ops, and the engine's number, which graphs hold.

        Nothing else: thresholds, languages, the number of edits and sizes of buffers are behind the ops, and no graph
        on disk holds an address. With them in the key, each other run would compile anew.
        """
        edits = " with edits" if self.edits else ""
        return hashlib.sha256(f"fastneurons {self.patch} {self.engine}{edits}".encode()).hexdigest()


@dataclass
class Tally:
    """Counts of a worker's work since the engine started."""

    prompts: int = 0  # of which the last token was computed
    prompt_tokens: int = 0  # computed by this engine, each position once
    cached_tokens: int = 0  # taken from the prefix cache
    rows_read: int = 0  # those that a preempted request computes again count once
    forwards: int = 0  # real forward passes
    error: str | None = None


@dataclass
class _Request:
    row: int
    spans: Sequence[int]
    prompt_tokens_seen: int
    is_new: bool = True


@dataclass
class LayerObserver:
    """One layer's view of the buffers, in the shape that the kernels take."""

    site: Site
    original: nn.Module
    reading: Reading
    calls: Tensor  # int64 [1]
    fused: bool
    tally: Tally
    # On CPUs: the reader, and the rows to read in the next forward pass; None: read no row.
    reader: Reader | None = None
    rows_to_read: RowsToRead | None = None
    # This layer's view of the bank of edits; None: the engine edits nothing. On CPUs also the editor, and the rows that
    # the next forward pass edits; None: no row.
    editing: Editing | None = None
    editor: Editor | None = None
    rows_to_edit: RowsToEdit | None = None
    # On GPUs: launches the kernel; made at the first forward pass.
    launcher: ActivationLauncher | None = None

    @property
    def neurons(self) -> int:
        """Neurons of this layer on this rank."""
        return self.site.neurons

    def observe(self, x: Tensor, product: Tensor) -> None:
        """Read the targeted rows of the input `x` [T, I] or [T, 2I] and of the product [T, I]; the CPU's path."""
        if self.reader is not None and self.rows_to_read is not None:
            self.reader(x, product, self.rows_to_read)

    def edit(self, x: Tensor, product: Tensor) -> None:
        """Change the product [T, I], in place, where rows have an edit; after `observe`, on the CPU's path."""
        if self.editor is not None and self.rows_to_edit is not None:
            self.editor(x, product, self.rows_to_edit)

    def activation(self, x: Tensor, calls: Tensor) -> Tensor:
        """The activated product [T, I], reading and editing rows on the way; the GPU's path."""
        if self.launcher is None:
            kind = self.site.kind
            self.launcher = ActivationLauncher(
                self.reading,
                x.dtype,
                self.neurons,
                function=kind.function,
                gated=kind.gated,
                parameters=kind.parameters,
                editing=self.editing,
            )
        return self.launcher(x, calls)

    def failed(self, error: Exception) -> None:
        """Keep the first error, with its layer, for the session."""
        if self.tally.error is None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.tally.error = (
                f"{self.site.path}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            )


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
        self.neurons = self.sites[0].neurons if self.sites else 0
        self.bank = self._make_bank()
        self.num_slots = self._slots_that_fit()
        self._buffers = self._allocate()
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
                        if name not in _DISTRIBUTION
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
        self._stream = self.stream or collect_stream(self.device, beside=not self._exchanges_candidates)
        self._collections_begun = itertools.count(1)
        # For each row of the buffers: the last forward pass that read into it, and the last collection that took it.
        self._read_in_step = np.zeros(self.num_slots * self.spec.languages, np.int64)
        self._taken_by = np.zeros(self.num_slots * self.spec.languages, np.int64)
        self._requests: dict[str, _Request] = {}
        self._read_rows: Tensor | None = None
        self._armed = False
        self._adapted: AdaptedValueVectors | None = None

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
        self.targets.copy_(self._to_device(targets), non_blocking=True)
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
        return self._begin(used[used >= 0], lambda: self._collect(rows, keep_bits, attribution))

    def begin_count(self, parity: int, languages: Sequence[int]) -> Collection:
        """Begin to collect the counts of a window of a corpus, and reset its half of the buffer to 0.

        Args:
            parity: Which half: windows take them by turns.
            languages: Those that the window has tokens of, by index; nothing was counted for the others.
        """
        half = np.arange(self.spec.languages) + parity * self.spec.languages
        return self._begin(half, lambda: self._count(parity, languages))

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
        index = torch.tensor(rows, dtype=torch.int32)
        words = self._buffers["words"][:, threshold : threshold + 1]
        planes = categories(words, self._page_locked(index), self.neurons, planes=True).planes
        assert planes is not None
        scores = None
        if any(fill.get("by_score") for fill in fills):
            assert self.values is not None, "contributions need attribution"
            gathered, missing = self._to_device(index.clamp(min=0).long()), self._to_device(index < 0)
            norms = self.values_of(self._adapted is not None).norms
            scores = self._buffers["coefficients"][gathered].float().abs() * norms  # [E, L, N, I]
            scores = scores.masked_fill_(missing[..., None, None], 0).sum(1)
        filled = self.bank.fill(planes[:, 0], fills, scores)
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
            self._adapted = AdaptedValueVectors(self.values, factors)

    def values_of(self, adapted: bool) -> ValueVectors | AdaptedValueVectors:
        """The value vectors of the base model, or those under the adapter."""
        values = self._adapted if adapted else self.values
        assert values is not None
        return values

    def constants(self, adapted: bool = False) -> dict[str, np.ndarray]:
        """Copy attribution's constants of the model to the host: `value_norm`, float32 [N, I].

        Args:
            adapted: Whether those under the adapter.
        """
        norms = self.values_of(adapted).norms
        return self.beside_forward_passes(lambda: {"value_norm": norms.contiguous()})

    def collect_into(self, memory: HostMemory) -> None:
        """Copy collections that begin from here on into this memory."""
        self._stream.memory = memory

    def beside_forward_passes(self, gather: Callable[[], dict[str, Tensor]]) -> dict[str, np.ndarray]:
        """Fetch tensors that depend on no forward pass, without waiting for the queued ones."""
        return self._stream.begin(next(self._collections_begun), 0, gather).arrays()

    # -- buffers ------------------------------------------------------------------------------------

    def _row_shapes(self) -> _Shapes:
        """Shape and dtype of each buffer, for one row.

        Neurons innermost and layers next, as the store has them: what is copied out is contiguous.
        """
        S, N = len(self.spec.thresholds), len(self.sites)
        W, P = num_words(self.neurons), near_parts(self.neurons)
        if self.spec.is_corpus:
            corpus: _Shapes = {"counts": ((S, N, self.neurons), torch.int32)}
            if self.spec.bins is not None:
                corpus["bin_counts"] = ((N, self.neurons, self.spec.bins), torch.int32)
                corpus["sums"] = ((N, 4, self.neurons), torch.float64)
                if self.sites and self.sites[0].kind.gated:
                    corpus["signs"] = ((N, 4, self.neurons), torch.int32)
            return corpus
        shapes: _Shapes = {"words": ((S, N, W), torch.int32)}
        if self.spec.position == "last":
            shapes["near"] = ((S, N, P), torch.int32)
        else:
            shapes["edges"] = ((S, N, 2, W), torch.int32)
        if self.spec.attribution:
            shapes["coefficients"] = ((N, self.neurons), self.dtype)
        return shapes

    def _make_bank(self) -> EditBank | None:
        spec = self.spec
        if not spec.edits:
            return None
        needed = bank_bytes(spec.edits, spec.edit_values, len(self.sites), self.neurons, self.max_rows)
        if needed > spec.memory_bytes:
            raise TooLargeError(
                f"{spec.edits} edits, {spec.edit_values} of them with values, take {needed / 2**20:,.1f} MiB of each "
                f"device, more than --observe-memory {spec.memory_bytes / 2**30:g} (GiB)"
            )
        return EditBank(spec.edits, spec.edit_values, self.sites, self.device, self.max_rows, self.gather)

    def _slots_that_fit(self) -> int:
        spec = self.spec
        row = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self._row_shapes().values())
        slot = row * spec.languages
        bank = self.bank.bytes if self.bank is not None else 0
        fixed = 2 * 4 * self.max_rows + (self.values.bytes if self.values else 0) + bank
        needed = fixed + 2 * slot
        if needed > spec.memory_bytes:
            what = "two windows of counts" if spec.is_corpus else "two examples in flight"
            values = ", value vectors" if self.values else ""
            values += f", {spec.edits} edits" if spec.edits else ""
            values += "" if spec.bins is None else f", {spec.bins} bins"
            raise TooLargeError(
                f"{what} take {needed / 2**20:,.1f} MiB of each device ({spec.languages} languages, "
                f"{len(spec.thresholds)} thresholds{values}), more than --observe-memory "
                f"{spec.memory_bytes / 2**30:g}: give {np.ceil(100 * needed / 2**30) / 100:g} or more (GiB)"
                f"{self._bins_that_fit(needed)}"
            )
        return 2 if spec.is_corpus else min(spec.most_slots, (spec.memory_bytes - fixed) // max(1, slot))

    def _bins_that_fit(self, needed: int) -> str:
        """Say how many bins the budget holds, if any."""
        if self.spec.bins is None:
            return ""
        of_a_bin = 2 * self.spec.languages * len(self.sites) * self.neurons * 4
        fitting = self.spec.bins - -(-(needed - self.spec.memory_bytes) // of_a_bin)
        return f"; --histogram {fitting} fits" if fitting >= FEWEST_BINS else "; without --histogram it fits"

    def _distribution(self, layer: int) -> Distribution | None:
        """A layer's view of the buffers for distributions; None without them."""
        if self.spec.bins is None:
            return None
        buffers = {
            _DISTRIBUTION[name]: t[:, layer] for name, t in self._buffers.items() if name in _DISTRIBUTION
        }
        return Distribution(table=self.bin_tables[layer], anchors=self.anchors[layer], **buffers)

    def _allocate(self) -> dict[str, Tensor]:
        rows = self.num_slots * self.spec.languages
        return {
            name: torch.zeros((rows, *shape), dtype=dtype, device=self.device)
            for name, (shape, dtype) in self._row_shapes().items()
        }

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
            index = self._to_device(np.array(rows, np.int64))
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
        return self._to_device(read if len(read) else np.zeros(1, np.int64))

    def _to_device(self, array: np.ndarray | Tensor) -> Tensor:
        host = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        return self._page_locked(host).to(self.device, non_blocking=True)

    def _page_locked(self, host: Tensor) -> Tensor:
        """Copy a tensor to the device without holding up the host."""
        # The caching allocator keeps the memory until the copy is done.
        return host if self.device.type == "cpu" else host.pin_memory()

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

    def _collect(
        self, rows: list[list[int]], keep_bits: bool, attribution: dict[str, Any] | None
    ) -> dict[str, Tensor]:
        """Queue the gathering for `begin`; return the arrays of `fetch`, contiguous, on the device."""
        index = self._page_locked(torch.tensor(rows, dtype=torch.int32))
        words = self._buffers["words"]
        occupancy = torch.zeros((*words.shape[1:3], self.neurons, 4), dtype=torch.int32, device=self.device)
        counted = categories(words, index, self.neurons, occupancy=occupancy, planes=attribution is not None)
        gathered = self._to_device(index.clamp(min=0).long())
        missing = self._to_device(index < 0)[..., None, None]
        near = self._near_threshold_count(gathered)  # [E, L, S, N]
        near.masked_fill_(missing, 0)
        out = {
            "activated_count": counted.activated_count,
            "category_count": counted.category_count,
            "near_threshold_count": near.transpose(1, 2),
            "occupancy": occupancy,
        }
        if keep_bits:
            bits = words[gathered]  # [E, L, S, N, W]
            bits.masked_fill_(missing[..., None], 0)
            out["activated"] = bits.view(torch.uint8)[..., : -(-self.neurons // 8)].transpose(1, 2)
        if attribution is not None:
            assert counted.planes is not None
            out |= self._contributions(index, counted.planes[:, 0], attribution)
            out["neuron_contribution"] = self._neuron_contribution(gathered, missing, attribution["adapted"])
            if attribution["keep_coefficients"]:
                coefficient = self._buffers["coefficients"][gathered].half()
                coefficient.masked_fill_(missing, torch.nan)
                out["coefficient"] = coefficient
        # Transposed on the device: a copy to the host keeps strides, and the host is slow at this.
        return {name: tensor.contiguous() for name, tensor in out.items()}

    def _count(self, parity: int, languages: Sequence[int]) -> dict[str, Tensor]:
        """Queue the gathering for `begin_count`; likewise."""
        half = self._buffers["counts"].unflatten(0, (2, -1))[parity]  # [L, S, N, I]
        counts = half.transpose(0, 1).long().contiguous()
        half.zero_()
        out = {"activation_count": counts}
        if self.spec.bins is None:
            return out
        first = parity * self.spec.languages
        rows = self._to_device(np.array([first + index for index in languages], np.int64))
        taken = {}
        for name in _DISTRIBUTION:
            if name in self._buffers:
                taken[name] = self._buffers[name][rows]
                self._buffers[name].index_fill_(0, rows, 0)
        sums = taken["sums"]
        out["histogram"] = taken["bin_counts"]
        out["signal_sum"] = sums[:, :, 0] + sums[:, :, 1]
        out["signal_square_sum"] = sums[:, :, 2] + sums[:, :, 3]
        if "signs" in taken:
            out["sign_count"] = taken["signs"].transpose(2, 3).contiguous()
        return out

    def _near_threshold_count(self, rows: Tensor) -> Tensor:
        """int32 [*rows, S, N]."""
        if "near" in self._buffers:
            return self._buffers["near"][rows].sum(-1, dtype=torch.int32)
        count: Tensor = near_threshold_count(self._buffers["edges"][rows])
        return count

    def _contributions(self, rows: Tensor, planes: Tensor, attribution: dict[str, Any]) -> dict[str, Tensor]:
        """Compute `contributions`, a few examples at a time.

        An answer's projection is as large as a row of coefficients in float32.
        """
        values = self.values_of(attribution["adapted"])
        index = torch.tensor(attribution["index"], dtype=torch.int32)
        unembedding = torch.tensor(attribution["unembedding"])
        answer_bytes = 4 * len(self.sites) * self.neurons
        at_once = int(self.spec.memory_bytes * _PROJECTIONS_SHARE) // (answer_bytes * self.spec.languages)
        parts = []
        at_once = max(1, at_once)
        for some in (slice(first, first + at_once) for first in range(0, len(rows), at_once)):
            tokens, own = torch.unique(index[some], return_inverse=True)
            if tokens[0] < 0:
                tokens, own = tokens[1:], own - 1
            found = contributions(
                self._buffers["coefficients"],
                self._page_locked(rows[some]),
                planes[some],
                values.norms,
                values.projections(self._to_device(unembedding[tokens.long()])),
                self._page_locked(own.int()),
                attribution["top_k"],
            )._asdict()
            # Counted here: the candidates of a large model on eight devices are 45 MB an example.
            score, category = (
                self._of_all_ranks(found.pop("top_score")),
                self._of_all_ranks(found.pop("top_category")),
            )
            found["top_count"] = top_count(score, category, attribution["top_k"])
            parts.append(found)
        out = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return out | {"present": rows >= 0, "answered": index >= 0}

    @property
    def _exchanges_candidates(self) -> bool:
        """Whether collecting needs numbers from other ranks, which hold the layers' other neurons."""
        if self.values is None or self.gather is None or not self.sites:
            return False
        return self.sites[0].neurons != self.sites[0].total_neurons

    def _neuron_contribution(self, rows: Tensor, missing: Tensor, adapted: bool) -> Tensor:
        """Contribution scores, summed over examples: float64 [L, N, I], of `rows` [E, L] without those missing.

        An example at a time: the scores of all are several times as large as their coefficients.
        """
        norms = self.values_of(adapted).norms
        shape = (self.spec.languages, len(self.sites), self.neurons)
        total = torch.zeros(shape, dtype=torch.float64, device=self.device)
        for row, absent in zip(rows, missing, strict=True):
            scores = self._buffers["coefficients"][row].float().abs()
            scores *= norms
            total += scores.masked_fill_(absent, 0)
        return total

    def _of_all_ranks(self, candidates: Tensor) -> Tensor:
        """[..., k] of this rank's neurons, then [..., k of each rank] of the whole layer's."""
        if not self._exchanges_candidates:
            return candidates
        assert self.gather is not None
        return self.gather(candidates)
