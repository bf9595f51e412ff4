"""Facts about a model that is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastneurons.config import EngineOptions
from fastneurons.engine.adapters import Adapter, read_record
from fastneurons.engine.fingerprint import model_fingerprint, tokenizer_fingerprint
from fastneurons.engine.model_checks import local_folder
from fastneurons.engine.model_files import ModelFiles


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model that is loaded, and about where it runs.

    Args:
        slots: Examples that the workers' buffers hold at once.
        buffer_bytes: Memory of each worker's buffers.
        model_fingerprint: Of the files, without reading weights (`engine/fingerprint.py`); None if they are not local.
        warnings: The engine's warnings that may change results.
        adapter: The LoRA adapter that requests use unless they say otherwise; None without one.
        alignment: The record of `fastneurons align`, if it made the adapter or the model.
    """

    model: str
    dtype: str
    layers: tuple[int, ...]
    neurons: int
    function: str
    gated: bool
    max_prompt_tokens: int
    vocabulary: int
    device: str
    workers: int
    threads_per_worker: int
    slots: int
    buffer_bytes: int
    model_fingerprint: str | None = None
    tokenizer_fingerprint: str | None = None
    warnings: tuple[str, ...] = ()
    adapter: Adapter | None = None
    alignment: dict[str, Any] | None = None


def facts_of(
    model: str,
    options: EngineOptions,
    config: Any,
    tokenizer: Any,
    files: ModelFiles | None,
    adapter: Adapter | None,
    ranks: Sequence[dict[str, Any]],
    warnings: Sequence[str],
) -> ModelFacts:
    """Facts about a loaded model, from what its files, vLLM and the ranks say.

    Args:
        config: vLLM's configuration of the model.
        files: None if they are not local.
        ranks: Each rank's description of itself.
        warnings: From starting the engine.
    """
    first = ranks[0]
    lines = [*warnings, *(line for rank in ranks for line in rank["warnings"])]
    return ModelFacts(
        model=model,
        dtype=first["dtype"],
        layers=tuple(sorted({layer for rank in ranks for layer in rank["layers"]})),
        neurons=first["total_neurons"],
        function=first["function"],
        gated=first["gated"],
        max_prompt_tokens=config.max_model_len - 1,  # vLLM always generates at least one token
        vocabulary=config.get_vocab_size(),
        device=first["device"],
        workers=len(ranks),
        threads_per_worker=first["threads"],
        slots=min(rank["slots"] for rank in ranks),
        buffer_bytes=max(rank["buffer_bytes"] for rank in ranks),
        model_fingerprint=model_fingerprint(files.config, files.tensors) if files else None,
        tokenizer_fingerprint=_fingerprint_of_tokenizer(model, options, tokenizer),
        warnings=tuple(dict.fromkeys(lines)),
        adapter=adapter,
        alignment=_alignment(adapter, files),
    )


def _alignment(adapter: Adapter | None, files: ModelFiles | None) -> dict[str, Any] | None:
    """How `fastneurons align` made the adapter, or the model; None if it made neither."""
    if adapter is not None:
        return adapter.record
    return read_record(files.folder) if files is not None else None


def _fingerprint_of_tokenizer(model: str, options: EngineOptions, tokenizer: Any) -> str:
    name = options.tokenizer or model
    revision = options.engine_args.get("tokenizer_revision", options.revision)
    folder = local_folder(name, revision, options.engine_args.get("download_dir"))
    return tokenizer_fingerprint(folder, tokenizer)
