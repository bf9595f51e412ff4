"""The header of a store, as far as every job over a source and an engine makes it."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.engine.facts import ModelFacts
from fastneurons.errors import printable
from fastneurons.experiments.judging import measures_of
from fastneurons.experiments.source import Source
from fastneurons.model_name import short_name
from fastneurons.store import Header


def header_from(
    facts: ModelFacts,
    source: Source,
    languages: tuple[str, ...],
    measurement: Measurement,
    options: RunOptions,
    engine: EngineOptions,
    tokens: dict[str, Any],
) -> Header:
    """Describe a run by its model, its source and its options.

    Args:
        tokens: The header's field of that name.
    """
    import fastneurons

    adapter, blocks = facts.adapter, options.block_size
    return Header(
        version=fastneurons.__version__,
        model=printable(facts.model),
        revision=engine.revision,
        dtype=facts.dtype,
        quantization=engine.quantization,
        lora=printable(str(adapter.folder)) if adapter is not None else None,
        lora_fingerprint=adapter.fingerprint if adapter is not None else None,
        task=",".join(source.tasks),
        tasks=list(source.tasks),
        source=printable(source.name) + (f" --block-size {blocks}" if blocks is not None else ""),
        languages=list(languages),
        position=measurement.position,
        signal=measurement.signal,
        thresholds=list(measurement.thresholds),
        layers=list(facts.layers),
        neurons=facts.neurons,
        tokens=tokens,
        window=options.window,
        config={
            "limit": source.limit,
            "data": _printable(dict(source.options)),
            "engine": _printable(asdict(engine)),
            "function": facts.function,
            "gated": facts.gated,
            **({"lora": _printable(adapter.describe())} if adapter is not None else {}),
            **({"alignment": _printable(facts.alignment)} if facts.alignment is not None else {}),
        },
        model_fingerprint=facts.model_fingerprint,
        tokenizer_fingerprint=facts.tokenizer_fingerprint,
        warnings=list(facts.warnings),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
    )


def model_and_adapter(facts: ModelFacts) -> str:
    """Name a model, and its adapter if it has one, for messages."""
    if facts.adapter is None:
        return short_name(facts.model)
    return f"{short_name(facts.model)} with adapter {facts.adapter.folder.name} (rank {facts.adapter.rank})"


def _printable(value: Any) -> Any:
    """Options in a form that can be stored: paths may hold bytes that are not UTF-8."""
    if isinstance(value, dict):
        return {name: _printable(one) for name, one in value.items()}
    return printable(value) if isinstance(value, str) else value


class Measures(Protocol):
    """What is known of an engine that is ready: a session, or a report of one."""

    @property
    def facts(self) -> ModelFacts:
        """Facts about its model."""

    @property
    def measurement(self) -> Measurement:
        """What it reads."""

    @property
    def languages(self) -> tuple[str, ...]:
        """L codes."""

    @property
    def top_k(self) -> int | None:
        """Neurons of a layer that count as its top contributors."""


def header_of(
    session: Measures, source: Source, options: RunOptions, engine: EngineOptions, tokens: dict[str, Any]
) -> Header:
    """The header of a run's store.

    Args:
        tokens: The header's field of that name.
    """
    facts, measurement = session.facts, session.measurement
    header = header_from(facts, source, session.languages, measurement, options, engine, tokens)
    return msgspec.structs.replace(
        header,
        measures=measures_of(measurement, source.tasks),
        top_k=session.top_k,
        bins=measurement.histogram,
        counts_signs=measurement.histogram is not None and facts.gated,
        tokens_per_language=options.tokens_per_language,
        shard=None if options.shard is None else str(options.shard),
    )
