"""The memory of one GPU, by what takes it; every formula is the one by which vLLM or a worker allocates."""

from dataclasses import dataclass
from typing import Any

from fastneurons.engine.device import gpu_defaults, observe_memory_of
from fastneurons.planning.gpus import Gpu
from fastneurons.planning.shapes import BF16_BYTES, Model

# vLLM's, unless --gpu-memory-utilization is given.
MEMORY_SHARE = 0.92
_KV_BLOCK = 16  # tokens
_STEPS_IN_FLIGHT = 2
# Rows of the workers' buffers: prompts of four steps (engine/session.py).
_STEPS_OF_ROWS, _FEWEST_ROWS = 4, 1024
_NEURONS_OF_A_NEAR_COUNT = 1024


@dataclass(frozen=True)
class Reading:
    """What is read of each prompt, as far as it takes memory.

    Args:
        languages: L.
        thresholds: S.
        tokens: Of a prompt.
        edits: Slots of the bank of edits.
    """

    languages: int
    thresholds: int
    tokens: int
    position: str
    attribution: bool
    edits: int


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest GPU of an engine.

    Args:
        weights: The matrices.
        sampler: Counts of each token of the vocabulary for each prompt in flight, and logits while vLLM profiles.
        kv_cache: Keys and values of two steps' prompts.
        reading: The workers' buffers.
        edits: Masks of the bank of edits.
        activations: Of a step; estimated.
    """

    weights: float
    sampler: float
    kv_cache: float
    reading: float
    edits: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(vars(self).values()))


@dataclass(frozen=True)
class Engine:
    """The size of an engine's steps, and the GPUs that it is spread over."""

    tensor_parallel_size: int
    pipeline_parallel_size: int
    max_num_batched_tokens: int
    max_num_seqs: int

    @classmethod
    def on(cls, gpu: Gpu, tensor: int, pipeline: int, given: dict[str, Any]) -> "Engine":
        """An engine with a GPU's defaults, but for what is given."""
        chosen = {**gpu_defaults(int(gpu.memory_bytes), given), **given}
        return cls(tensor, pipeline, chosen["max_num_batched_tokens"], chosen["max_num_seqs"])


def memory_of(gpu: Gpu, model: Model, engine: Engine, reading: Reading) -> Memory:
    """The memory that a run takes on the fullest GPU of an engine."""
    ranks, stages = engine.tensor_parallel_size, engine.pipeline_parallel_size
    layers = -(-model.num_layers // stages)
    embedding = BF16_BYTES * model.embedding_parameters / ranks
    # The first stage has the embedding and the last one the unembedding.
    embeddings = embedding * (1 if stages > 1 or model.tied else 2)
    weights = layers * model.layer_parameters * model.bytes_per_weight / ranks + embeddings
    tokens, seqs = engine.max_num_batched_tokens, engine.max_num_seqs
    prompts = -(-_STEPS_IN_FLIGHT * tokens // reading.tokens)
    blocks = -(-reading.tokens // _KV_BLOCK) * min(prompts, seqs)
    kv_heads = max(1, model.num_kv_heads // ranks)
    kv_cache = blocks * _KV_BLOCK * layers * 2 * kv_heads * model.head_dim * BF16_BYTES
    neurons = -(-model.intermediate_size // ranks)
    words = layers * 4 * -(-neurons // 32)
    return Memory(
        weights=weights,
        sampler=seqs * model.vocab_size * (4 + 2 + 4),  # int32 counts; logits in bf16 and float32
        kv_cache=kv_cache,
        reading=_buffers(gpu, seqs, layers, neurons, words, reading),
        edits=reading.edits * words,
        activations=BF16_BYTES * tokens * ((2 + model.gated) * neurons + 6 * model.hidden_size),
    )


def _buffers(gpu: Gpu, seqs: int, layers: int, neurons: int, words: int, reading: Reading) -> float:
    """The workers' buffers (engine/buffers.py); never more than the default of --observe-memory."""
    L, S = reading.languages, reading.thresholds
    if reading.position == "corpus":
        return 2 * L * S * layers * neurons * 4.0
    near = layers * 4 * -(-neurons // _NEURONS_OF_A_NEAR_COUNT)
    row = S * (words + (near if reading.position == "last" else 2 * words))
    if reading.attribution:
        row += layers * neurons * BF16_BYTES
    slots = max(2, -(-max(_FEWEST_ROWS, _STEPS_OF_ROWS * seqs) // L))
    return float(min(slots * L * row, max(2 * L * row, observe_memory_of(int(gpu.memory_bytes)))))
