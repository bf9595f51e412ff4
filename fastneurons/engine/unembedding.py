"""Compute log-probabilities of tokens from last hidden states, by the model's own unembedding.

Logits are those of the model's `compute_logits`: with its bias, soft cap and scale, and without what pads its
vocabulary. A tensor-parallel rank computes those of its part of the vocabulary, and the ranks exchange two numbers a
token, or four, in place of whole rows of logits.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# Memory for logits in float32 at once. Fewer rows would leave the matrix product bound by reading its weight.
_LOGITS_BYTES = 2**28


class Unembedding:
    """A loaded model's unembedding. Make it before anything else changes how the model computes its logits.

    Args:
        model: The whole model, as its runner calls it.
        most_rows: The most rows to compute at once; vLLM has measured that so many fit into memory.
        gather: Puts the last dimensions of all tensor-parallel ranks side by side; None for a single rank.
    Raises:
        LookupError: the model has no unembedding, or one that is found nowhere.
    """

    def __init__(
        self, model: nn.Module, most_rows: int, gather: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self._compute: Callable[[Tensor], Tensor] = model.compute_logits  # type: ignore[assignment]
        self._gather = gather
        self._without_adapter = _WithoutAdapter(model)
        shard = find_head(model).shard_indices
        self._first, self._end = int(shard.org_vocab_start_index), int(shard.org_vocab_end_index)
        if gather is not None:
            self._own_part = _OwnPart(model)
        self._rows_at_once = max(1, min(most_rows, _LOGITS_BYTES // (4 * max(1, self._end - self._first))))

    @torch.inference_mode()
    def judge(
        self, hidden_states: Tensor, rows: Tensor, tokens: Tensor, *, likeliest: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Judge each token as the one after its row's.

        Args:
            hidden_states: [T, H], of all rows of a step, after the last norm.
            rows: int64 [J], of these.
            tokens: int64 [J].
            likeliest: Whether to find the likeliest tokens, too: one more pass over the logits.
        Returns:
            The tokens' log-probabilities, float32 [J]; and whether each is the one that greedy decoding takes, bool
            [J]: the first of those with the highest logit. None unless asked for.
        """
        parts = [
            self._of_some(hidden_states[rows[some]], tokens[some], likeliest)
            for some in (
                slice(first, first + self._rows_at_once) for first in range(0, len(rows), self._rows_at_once)
            )
        ]
        values = [part[0] for part in parts] or [hidden_states.new_zeros(0, dtype=torch.float32)]
        if not likeliest:
            return torch.cat(values), None
        chosen = [part[1] for part in parts if part[1] is not None]
        return torch.cat(values), torch.cat(chosen or [hidden_states.new_zeros(0, dtype=torch.bool)])

    def _of_some(
        self, hidden_states: Tensor, tokens: Tensor, likeliest: bool
    ) -> tuple[Tensor, Tensor | None]:
        if self._gather is None:
            with self._without_adapter:
                logits = self._compute(hidden_states).float()
            values = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1)
            return values, logits.argmax(1) == tokens if likeliest else None
        with self._own_part, self._without_adapter:
            logits = self._compute(hidden_states)
        logits = logits.float()
        # Behind a rank's part of the vocabulary comes what makes all parts equally wide.
        num_own = self._end - self._first
        logits[:, num_own:] = -torch.inf
        own = tokens - self._first
        is_own = (own >= 0) & (own < num_own)
        chosen = logits.gather(1, torch.where(is_own, own, 0)[:, None])[:, 0]
        # Another rank's token: minus infinity, the least that any logit is.
        chosen = chosen.masked_fill(~is_own, -torch.inf)
        numbers = [logits.logsumexp(1), chosen]
        if likeliest:
            best = logits.argmax(1)
            # As a float32: exact up to 16 million tokens.
            numbers += [logits.gather(1, best[:, None])[:, 0], (best + self._first).float()]
        gathered = self._gather(torch.stack(numbers, 1))
        of_ranks = gathered.unflatten(1, (-1, len(numbers)))  # [J, ranks, numbers]
        values = of_ranks[:, :, 1].amax(1) - of_ranks[:, :, 0].logsumexp(1)
        if not likeliest:
            return values, None
        first = of_ranks[:, :, 2].argmax(1, keepdim=True)  # of ranks with the same logit: lower tokens
        return values, of_ranks[:, :, 3].gather(1, first)[:, 0].long() == tokens


class _OwnPart:
    """A context in which a model's logits are those of this rank's part of the vocabulary, padding included."""

    def __init__(self, model: nn.Module) -> None:
        from vllm.model_executor.layers.logits_processor import LogitsProcessor

        self._is_on = False
        for module in model.modules():
            if isinstance(module, LogitsProcessor):
                module._gather_logits = self._instead_of(module._gather_logits)

    def _instead_of(self, gather: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        return lambda logits: logits if self._is_on else gather(logits)

    def __enter__(self) -> None:
        self._is_on = True

    def __exit__(self, *_: object) -> None:
        self._is_on = False


class _WithoutAdapter:
    """A context in which logits are those of the base model's unembedding.

    vLLM's LoRA adds its part to the rows of the tokens that are sampled, of which it keeps count, not to those that are
    judged. Adapters that change the unembedding are refused where tokens are judged.
    """

    def __init__(self, model: nn.Module) -> None:
        from vllm.lora.layers import LogitsProcessorWithLoRA

        self._processors: list[Any] = [m for m in model.modules() if isinstance(m, LogitsProcessorWithLoRA)]

    def __enter__(self) -> None:
        for processor in self._processors:
            processor._get_logits = processor.base_layer._get_logits

    def __exit__(self, *_: object) -> None:
        for processor in self._processors:
            del processor._get_logits  # the class's own is behind it


def find_head(model: nn.Module) -> Any:
    """The module that turns the last hidden state into logits: the head, or the embedding tied to it.

    Raises:
        LookupError: there is none.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    found: list[nn.Module] = [m for m in model.modules() if isinstance(m, ParallelLMHead)]
    found += [m for m in model.modules() if isinstance(m, VocabParallelEmbedding)]
    if not found:
        raise LookupError(f"{type(model).__name__} has no unembedding")
    return found[0]
