"""Jobs over a model under edits: have it generate or score texts, with some of its neurons changed."""

from collections.abc import Iterable, Mapping, Sequence
from os import fspath
from typing import TYPE_CHECKING, Any

from fastneurons.api.arguments import Path, engine_options, named_edits, source_of
from fastneurons.config import RunOptions
from fastneurons.data import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.progress import RunProgress
from fastneurons.store import Store

if TYPE_CHECKING:
    from fastneurons.neuron_sets import Edit


def generate(
    model: Path,
    data: Path | Mapping[str, Path] | Iterable[Example | Skipped] | None,
    languages: str | Sequence[str] | None,
    out: Path,
    *,
    edits: "Mapping[str, Edit] | Sequence[Path]" = (),
    tasks: str | Sequence[str] | None = None,
    data_options: DataOptions | None = None,
    max_tokens: int = 64,
    temperature: float = 0.0,
    sampling_seed: int = 0,
    until: Sequence[str] = (),
    measure: str = "starts-with",
    limit: int | None = None,
    window: int = 64,
    keep_prompts: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | RunProgress = True,
    verbose: bool = False,
    **engine: Any,
) -> Store:
    """Generate texts after each prompt, by the intact model and under edits, into a store.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: As for `run`.
        languages: As for `run`; one is enough.
        out: The store to write: a local path or an fsspec URL.
        edits: Edits by their names, or files of edits or of sets of neurons, which are then switched off.
        tasks: As for `run`.
        data_options: As for `run`.
        max_tokens: Most tokens to generate after a prompt.
        temperature: 0 takes the likeliest token each time.
        sampling_seed: Random seed of the texts, for a temperature above 0. A prompt has the same random numbers with
            each edit and without.
        until: Texts are cut before the first of these strings.
        measure: A text is right if its first line "starts-with" the answer, is the answer ("exact-match"), or if the
            answer is the text's "last-number".
        limit: Stop after this many examples of each task.
        window: Number of examples to write and commit at a time.
        keep_prompts: Whether to store the prompts.
        resume: Whether to continue an interrupted run, or one whose data or limit has grown.
        overwrite: Whether to replace an existing store.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
        verbose: Whether to show vLLM's log.
        engine: As for `run`.
    Returns:
        The complete store, of the kind "generate"; after Ctrl-C, the store with what was generated so far.
    Raises:
        InputError: an argument, the data, an edit or the model is wrong.
        EngineError: the engine failed; what was generated before is in the store.
        StoreError: the store cannot be written or continued.
    """
    from fastneurons.experiments.generate import Decoding, generate_into_store

    decoding = Decoding(max_tokens, temperature, sampling_seed, tuple(until), measure)
    named = named_edits(edits)
    options = RunOptions(window, resume=resume, overwrite=overwrite, keep_prompts=keep_prompts)
    model, engine_arguments = fspath(model), engine_options(**engine)
    source, codes = source_of(model, data, languages, tasks, data_options, limit, engine_arguments, "corpus")
    return generate_into_store(
        model,
        source,
        codes,
        fspath(out),
        named,
        decoding,
        options,
        engine_arguments,
        progress,
        verbose,
    )


def perplexity(
    model: Path,
    data: Path | Mapping[str, Path] | Iterable[Example | Skipped] | None,
    languages: str | Sequence[str] | None,
    out: Path,
    *,
    edits: "Mapping[str, Edit] | Sequence[Path]" = (),
    tasks: str | Sequence[str] | None = None,
    data_options: DataOptions | None = None,
    max_length: int | None = None,
    stride: int | None = None,
    block_size: int | None = None,
    limit: int | None = None,
    window: int = 256,
    keep_prompts: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | RunProgress = True,
    verbose: bool = False,
    **engine: Any,
) -> Store:
    """Score texts of each language, by the intact model and under edits, into a store.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: As for `run`; texts need not be parallel.
        languages: Codes, as a sequence or "en,de,zh", in the order of the store's language axis. None takes all
            languages in the data.
        out: The store to write: a local path or an fsspec URL.
        edits: Edits by their names, or files of edits or of sets of neurons, which are then switched off.
        tasks: As for `run`.
        data_options: Options that choose examples.
        max_length: Most tokens that the model reads at once; None takes as many as it takes.
        stride: Of longer texts, tokens between the beginnings of two windows; None takes half of `max_length`.
        block_size: Join each language's texts and cut them into blocks of this many tokens.
        limit: Stop after this many examples of each task.
        window: Number of examples to write and commit at a time.
        keep_prompts: Whether to store the texts.
        resume: Whether to continue an interrupted run, or one whose data or limit has grown.
        overwrite: Whether to replace an existing store.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
        verbose: Whether to show vLLM's log.
        engine: As for `run`.
    Returns:
        The complete store, of the kind "perplexity"; after Ctrl-C, the store with what was scored so far.
    Raises:
        InputError: an argument, the data, an edit or the model is wrong.
        EngineError: the engine failed; what was scored before is in the store.
        StoreError: the store cannot be written or continued.
    """
    from fastneurons.experiments.perplexity import Strides, perplexity_into_store

    strides = Strides(max_length, stride, block_size)
    named = named_edits(edits)
    options = RunOptions(window, resume=resume, overwrite=overwrite, keep_prompts=keep_prompts)
    model, engine_arguments = fspath(model), engine_options(**engine)
    source, codes = source_of(model, data, languages, tasks, data_options, limit, engine_arguments, "corpus")
    return perplexity_into_store(
        model,
        source,
        codes,
        fspath(out),
        named,
        strides,
        options,
        engine_arguments,
        progress,
        verbose,
    )
