"""Score requests in a worker: the rows whose next token is judged, and the buffer that its log-probability goes to.

The buffer is allocated once. A request has a run of places in it, one for each token that is judged, whose numbers stay
there until the session has collected them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastneurons.engine.rows import Batch, JudgedRows, judged_rows
from fastneurons.engine.streams import Collection, CollectStream, collect_stream
from fastneurons.engine.to_device import to_device
from fastneurons.engine.unembedding import Unembedding


@dataclass
class _Request:
    """A request of which tokens are judged.

    Args:
        place: Of its first judged token in the buffer.
        first: Its first judged token.
        targets: int64, the judged tokens.
        num_seen: How many of these have a log-probability.
    """

    place: int
    first: int
    targets: NDArray[np.int64]
    num_seen: int = 0
    is_new: bool = True


_NOT_SCORED = _Request(0, 0, np.zeros(0, np.int64))


class Scorer:
    """A worker's log-probabilities of judged tokens.

    Args:
        unembedding: The model's.
        num_places: Judged tokens that the buffer holds.
        device: Where the model is.
        stream: Where collections run; None takes that of the device.
        finds_likeliest: Whether to note, too, which judged tokens are the likeliest ones.

    Attributes:
        tokens_scored: Judged tokens so far; those that a preempted request computes again count once.
    """

    def __init__(
        self,
        unembedding: Unembedding,
        num_places: int,
        device: torch.device,
        stream: CollectStream | None = None,
        finds_likeliest: bool = False,
    ) -> None:
        self._unembedding, self._device = unembedding, device
        self._values = torch.full((num_places,), torch.nan, dtype=torch.float32, device=device)
        self._likeliest = torch.zeros(num_places if finds_likeliest else 0, dtype=torch.uint8, device=device)
        self._stream = stream or collect_stream(device, beside=True)
        self._requests: dict[str, _Request] = {}
        self._judged: JudgedRows | None = None
        self._targets = np.zeros(0, np.int64)
        self._steps = self._collections = 0
        self.tokens_scored = 0

    @property
    def buffer_bytes(self) -> int:
        """Device memory held in addition to the model."""
        return self._values.nbytes + self._likeliest.nbytes

    def scheduled(self, request_id: str, scored: Sequence[int], token_ids: Sequence[int]) -> None:
        """A request enters the engine, or re-enters it after a preemption.

        Args:
            scored: Its place in the buffer, the first token to judge and one past the last; and, where that is the
                one after the tokens of the prompt, which nothing needs to follow, this token itself.
            token_ids: Its prompt.
        """
        if request_id not in self._requests:
            place, first, end, *last = scored
            targets = np.array([*token_ids[first:end], *last], np.int64)
            self._requests[request_id] = _Request(place, first, targets)

    def finished(self, request_id: str) -> None:
        """A request has left the engine."""
        self._requests.pop(request_id, None)

    def arm(self, batch: Batch) -> NDArray[np.int64]:
        """Choose the rows of the next forward pass whose next token is judged; return them, int64 [J]."""
        requests = [self._requests.get(request_id, _NOT_SCORED) for request_id in batch.request_ids]
        self._empty([request for request in requests if request.is_new and len(request.targets)])
        judged = judged_rows(
            batch,
            np.array([request.place for request in requests], np.int64),
            np.array([request.first for request in requests], np.int64),
            np.array([request.first + len(request.targets) for request in requests], np.int64),
        )
        parts = []
        for request, (begin, end) in zip(requests, judged.spans.tolist(), strict=True):
            if begin < end:
                parts.append(request.targets[begin:end])
                self.tokens_scored += max(0, end - max(begin, request.num_seen))
                request.num_seen = max(request.num_seen, end)
        self._targets = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        self._judged = judged
        return judged.rows

    def score(self, hidden_states: Tensor) -> None:
        """Score the rows chosen by `arm`.

        Args:
            hidden_states: [T, H] of the forward pass, after the last norm.
        """
        judged, self._judged = self._judged, None
        if judged is None or not len(judged.rows):
            return
        rows, places, tokens = to_device(np.stack((judged.rows, judged.places, self._targets)), self._device)
        finds = len(self._likeliest) > 0
        self._values[places], likeliest = self._unembedding.judge(
            hidden_states, rows, tokens, likeliest=finds
        )
        if likeliest is not None:
            self._likeliest[places] = likeliest.byte()
        self._steps += 1
        self._stream.step_queued(self._steps)

    def begin(self, ranges: Sequence[Sequence[int]]) -> Collection:
        """Begin to collect log-probabilities. Does not wait for the device.

        Args:
            ranges: Places [first, end) in the buffer. Nothing may be sent to them before they are fetched.
        Returns:
            `log_probability` float32 [places], NaN for a token that was not scored; and, if they are found,
            `is_likeliest` uint8 [places], 1 for a token that greedy decoding would take.
        """
        self._collections += 1
        buffers = {"log_probability": self._values}
        if len(self._likeliest):
            buffers["is_likeliest"] = self._likeliest
        return self._stream.begin(
            self._collections,
            self._steps,
            lambda: {
                name: torch.cat([buffer[first:end] for first, end in ranges])
                for name, buffer in buffers.items()
            },
        )

    def _empty(self, requests: Sequence[_Request]) -> None:
        """Mark the tokens of new requests as not scored."""
        for request in requests:
            request.is_new = False
        if requests:
            places = [np.arange(r.place, r.place + len(r.targets)) for r in requests]
            self._values.index_fill_(0, to_device(np.concatenate(places), self._device), torch.nan)
