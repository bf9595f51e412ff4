"""The bank of edits of one worker process, and the edit of each row of a step.

A bank has a fixed number of slots in the device's memory. All of it is allocated once, before the profile run, and
changed in place between steps: captured CUDA graphs keep their addresses. A slot is filled from the session, or on the
device: with the neurons of some categories of an example that was just read, or with a random set of the same size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fastneurons_kernels.editing import SITES, Editing
from fastneurons_kernels.editing_cpu import RowsToEdit
from fastneurons_kernels.reading import WORD_BITS, num_words
from numpy.typing import NDArray
from torch import Tensor

from fastneurons.engine.discovery import Site
from fastneurons.engine.draw import drawn
from fastneurons.engine.rows import Batch, row_edits
from fastneurons.engine.to_device import to_device

# Scope of a slot: whether it edits tokens before the boundary between prompt and generation, and those after.
_SCOPES = {"prompt": (True, False), "generation": (False, True), "both": (True, True)}

_NO_END = 2**62


def bank_bytes(num_edits: int, num_values: int, num_layers: int, neurons: int, max_rows: int) -> int:
    """Device memory of a bank, in bytes: what `EditBank` allocates."""
    if not num_edits:
        return 0
    masks = num_edits * num_layers * num_words(neurons)
    values = num_values * num_layers * neurons
    return 4 * (masks + values + 3 * num_edits + 2 * max_rows)


@dataclass
class _Request:
    slot: int
    boundary: int | None


class EditBank:
    """The edits of a worker's layers.

    Args:
        num_edits: K, slots.
        num_values: V, rows of values that slots may share.
        sites: This rank's layers.
        device: Where the model is.
        max_rows: The most rows a forward pass can have, padding included.
        gather: Puts the last dimensions of all tensor-parallel ranks side by side; None where this rank has all
            neurons.
    """

    def __init__(
        self,
        num_edits: int,
        num_values: int,
        sites: Sequence[Site],
        device: torch.device,
        max_rows: int,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.sites, self._device, self._gather = sites, device, gather
        self.neurons = sites[0].neurons if sites else 0
        self._num_edits, self._max_rows = num_edits, max_rows
        shape = (num_edits, len(sites), num_words(self.neurons))
        self._masks = torch.zeros(shape, dtype=torch.int32, device=device)
        self._values = torch.zeros((num_values, len(sites), self.neurons), device=device)
        self._scales = torch.ones(num_edits, device=device)
        self._sites, self._value_rows = (
            torch.full((num_edits,), fill, dtype=torch.int32, device=device) for fill in (0, -1)
        )
        self.rows = torch.full((max_rows,), -1, dtype=torch.int32, device=device)
        self.last_rows = self.rows.clone()
        self._scopes: list[tuple[bool, bool] | None] = [None] * num_edits
        self._requests: dict[str, _Request] = {}
        self._armed = False

    @property
    def bytes(self) -> int:
        """Device memory that it holds."""
        held = (
            self._masks,
            self._values,
            self._scales,
            self._sites,
            self._value_rows,
            self.rows,
            self.last_rows,
        )
        return sum(tensor.nbytes for tensor in held)

    def of_layer(self, n: int) -> Editing:
        """The n-th layer's view of the bank, for the kernels."""
        return Editing(
            rows=self.rows if n + 1 < len(self.sites) else self.last_rows,
            masks=self._masks[:, n],
            scales=self._scales,
            sites=self._sites,
            value_rows=self._value_rows,
            values=self._values[:, n],
        )

    # -- slots ----------------------------------------------------------------------------------------

    def put(
        self,
        slot: int,
        layers: Sequence[int],
        mask: NDArray[np.uint8],
        change: dict[str, Any],
    ) -> None:
        """Fill a slot, ahead of the steps that come after this call.

        Args:
            slot: Which.
            layers: The layer numbers that the mask's rows are of.
            mask: uint8 [layers, B], packed, of all the model's neurons.
            change: `site`, `scale`, `scope`, `value_row` (-1: none).
        """
        words = np.zeros((len(self.sites), num_words(self.neurons)), np.int32)
        row_of = {layer: row for row, layer in enumerate(layers)}
        for n, site in enumerate(self.sites):
            if site.layer in row_of:
                words[n] = _words(mask[row_of[site.layer]], site)
        self._masks[slot].copy_(to_device(words, self._device))
        self._set(slot, change)

    def put_values(self, row: int, layers: Sequence[int], values: NDArray[np.float32]) -> None:
        """Fill a row of values, float32 [layers, I] of all the model's neurons; likewise."""
        own = np.zeros((len(self.sites), self.neurons), np.float32)
        row_of = {layer: number for number, layer in enumerate(layers)}
        for n, site in enumerate(self.sites):
            if site.layer in row_of:
                given = values[row_of[site.layer]]
                own[n] = given[site.first_neuron : site.first_neuron + self.neurons]
        self._values[row].copy_(to_device(own, self._device))

    def clear(self, slot: int) -> None:
        """Empty a slot: a request that names it is an error."""
        self._scopes[slot] = None

    def fill(
        self, planes: Tensor, fills: Sequence[dict[str, Any]], scores: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Fill slots with neurons of categories, and with controls, without moving masks off the device.

        Args:
            planes: int32 [E, N, 4, W], the categories of E examples, as bits.
            fills: In order, each with `slot` and a `change` as for `put`. Either `example` (index of the planes) and
                `categories` (codes): their neurons, in `layers` (numbers; None: all), of which `share` is kept in each
                layer: drawn with `key`, or with `by_score` those with the highest scores. Or `like`, the index of an
                earlier fill: a control, of as many neurons in each layer, drawn with `key` from all of the layer.
            scores: float [E, N, I], for fills `by_score`.
        Returns:
            `neuron_count` int32 [F, N], neurons of each fill in this rank's layers, of all tensor-parallel ranks; and
            `overlap` int32 [F, N], how many a control shares with the set that it is for, else 0.
        """
        done: list[Tensor] = []
        overlaps = []
        for fill in fills:
            like = fill.get("like")
            if like is not None:
                chosen = self._control(done[like], fill["key"])
                overlaps.append((chosen & done[like]).sum(-1))
            else:
                chosen = self._of_categories(planes, fill, scores)
                overlaps.append(torch.zeros(len(self.sites), dtype=torch.int64, device=self._device))
            done.append(chosen)
            self._masks[fill["slot"]].copy_(self._packed(chosen))
            self._set(fill["slot"], fill["change"])
        counts = torch.stack([chosen.sum(-1) for chosen in done])
        return {"neuron_count": counts.int(), "overlap": torch.stack(overlaps).int()}

    def _of_categories(self, planes: Tensor, fill: dict[str, Any], scores: Tensor | None) -> Tensor:
        """bool [N, I of the whole layer]."""
        mask = torch.zeros_like(planes[0, :, 0])
        for code in fill["categories"]:
            mask |= planes[fill["example"], :, code]
        bit = torch.arange(WORD_BITS, device=self._device)
        members = (mask[..., None] >> bit & 1).flatten(-2)[:, : self.neurons].bool()
        if (layers := fill.get("layers")) is not None:
            kept = torch.tensor([site.layer in layers for site in self.sites], device=self._device)
            members &= kept[:, None]
        members = self._of_all_ranks(members.byte()).bool()
        if fill.get("share", 1.0) == 1.0:
            return members
        # As `NeuronSet.sample`: rounded to whole neurons.
        number = (members.sum(-1) * fill["share"] + 0.5).long()
        if fill.get("by_score"):
            assert scores is not None
            own = self._of_all_ranks(scores[fill["example"]])
            order = own.masked_fill(~members, -torch.inf).argsort(dim=-1, descending=True, stable=True)
            first = torch.arange(order.shape[-1], device=self._device) < number[:, None]
            return torch.zeros_like(members).scatter_(-1, order, first) & members
        return drawn(fill["key"], [site.layer for site in self.sites], number, members)

    def _control(self, like: Tensor, key: int) -> Tensor:
        """bool [N, I of the whole layer]: as many of each layer's neurons as are in `like`."""
        every = torch.ones_like(like)
        return drawn(key, [site.layer for site in self.sites], like.sum(-1), every)

    def _of_all_ranks(self, own: Tensor) -> Tensor:
        """[N, I of this rank], then [N, I of the whole layer]."""
        whole = self.sites[0].total_neurons if self.sites else 0
        if self._gather is None or self.neurons == whole:
            return own
        return self._gather(own)

    def _packed(self, whole: Tensor) -> Tensor:
        """bool [N, I of the whole layer] as this rank's words, int32 [N, W]."""
        first = self.sites[0].first_neuron if self.sites else 0
        columns = num_words(self.neurons) * WORD_BITS
        bits = torch.zeros((len(self.sites), columns), dtype=torch.int64, device=self._device)
        bits[:, : self.neurons] = whole[:, first : first + self.neurons]
        weight = 1 << torch.arange(WORD_BITS, device=self._device)
        words: Tensor = (bits.unflatten(-1, (-1, WORD_BITS)) * weight).sum(-1)
        return words.to(torch.int32)

    def _set(self, slot: int, change: dict[str, Any]) -> None:
        self._scales[slot] = change["scale"]
        self._sites[slot] = SITES.index(change["site"])
        self._value_rows[slot] = change["value_row"]
        self._scopes[slot] = _SCOPES[change["scope"]]

    # -- one step -------------------------------------------------------------------------------------

    def scheduled(self, request_id: str, slot: int, boundary: int | None) -> None:
        """A request enters the engine, or re-enters it after a preemption.

        Args:
            slot: Its edit.
            boundary: Its first token that counts as generated; None: the first after its prompt.
        """
        if request_id not in self._requests:
            if self._scopes[slot] is None:
                raise LookupError(f"a request names edit {slot}, and there is none in that slot")
            self._requests[request_id] = _Request(slot, boundary)

    def finished(self, request_id: str) -> None:
        """A request has left the engine."""
        self._requests.pop(request_id, None)

    def arm(self, batch: Batch) -> RowsToEdit | None:
        """Set the edits of the next forward pass's rows; on the CPU, return them."""
        requests = [self._requests.get(request_id) for request_id in batch.request_ids]
        if not any(requests):
            return None
        slot = np.array([r.slot if r else -1 for r in requests], np.int32)
        first, end = np.zeros(len(slot), np.int64), np.full(len(slot), _NO_END)
        for k, request in enumerate(requests):
            if request is None:
                continue
            scope = self._scopes[request.slot]
            assert scope is not None
            boundary = request.boundary or int(batch.num_prompt_tokens[k])
            if not scope[0]:
                first[k] = boundary
            if not scope[1]:
                end[k] = boundary
        edits = row_edits(batch, slot, first, end, self._max_rows)
        self._armed = True
        self.rows.copy_(to_device(edits, self._device), non_blocking=True)
        self.last_rows.copy_(self.rows)
        if self._device.type != "cpu":
            return None
        return RowsToEdit.of(edits[: int(batch.num_scheduled_tokens.sum())], self._num_edits)

    def choose_last_rows(self, index: Tensor) -> RowsToEdit | None:
        """Have the last layer compute the rows of an index alone; on the CPU, return those that it edits."""
        if not self._armed:
            return None
        self.last_rows.fill_(-1)
        self.last_rows[: len(index)] = self.rows[index]
        if self._device.type != "cpu":
            return None
        return RowsToEdit.of(self.last_rows[: len(index)].numpy(), self._num_edits)

    def disarm(self) -> None:
        """Edit no row until the next `arm`."""
        if self._armed:
            self.rows.fill_(-1)
            self.last_rows.fill_(-1)
            self._armed = False


def _words(packed: NDArray[np.uint8], site: Site) -> NDArray[np.int32]:
    """A rank's words [W] of a layer's packed mask [B]."""
    bits = np.unpackbits(packed, count=site.total_neurons, bitorder="little")
    own = np.packbits(bits[site.first_neuron : site.first_neuron + site.neurons], bitorder="little")
    return np.pad(own, (0, 4 * num_words(site.neurons) - len(own))).view(np.int32)
