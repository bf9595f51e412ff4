"""Jobs over a model: measure its neurons, or have it answer without some of them."""

from collections.abc import Iterable, Mapping, Sequence
from os import fspath
from typing import TYPE_CHECKING, Any

from fastneurons.api.arguments import Path, engine_options, listed, source_of
from fastneurons.config import Measurement, RunOptions, many_engines
from fastneurons.data import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.experiments.measure import measure_into_store
from fastneurons.progress import RunProgress
from fastneurons.shards import Shard
from fastneurons.store import Store

if TYPE_CHECKING:
    from fastneurons.neuron_sets.edits import Scope


def run(
    model: Path,
    data: Path | Mapping[str, Path] | Iterable[Example | Skipped] | None,
    languages: str | Sequence[str] | None,
    out: Path,
    *,
    tasks: str | Sequence[str] | None = None,
    data_options: DataOptions | None = None,
    thresholds: Sequence[float] = (0.0,),
    position: str = "last",
    signal: str = "gate",
    attribution: bool = False,
    top_k: int | None = None,
    keep_coefficients: bool = False,
    block_size: int | None = None,
    tokens_per_language: int | None = None,
    histogram: int | None = None,
    observe_memory: float | None = None,
    include_special_tokens: bool = False,
    add_bos_token: bool | None = None,
    score: bool = False,
    choices_by: str = "likelihood",
    max_new_tokens: int | None = None,
    limit: int | None = None,
    window: int = 256,
    keep_bits: bool = True,
    keep_prompts: bool = True,
    keep_folds: bool = True,
    shard: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    engines: int | str | None = None,
    num_engines: int | None = None,
    window_timeout: float = 600.0,
    progress: bool | RunProgress = True,
    verbose: bool = False,
    **engine: Any,
) -> Store:
    """Measure which neurons each language activates, example by example, into a store.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: A place (a file, folder, pattern, URL or Hub name); a mapping from tasks to places; or an iterable of
            your own examples.
        languages: Codes, as a sequence or "en,de,zh", in the order of the store's language axis. None takes all
            languages in the data.
        out: The store to write: a local path or an fsspec URL.
        tasks: Known data sets, as a sequence or "xnli,mgsm"; without them a place holds your own examples.
        data_options: Options that choose examples and format their prompts.
        thresholds: A neuron is activated if its signal is above the threshold; each has its own plane in the arrays.
        position: Which tokens to read: a prompt's "last" token, "any" of its tokens, any of the "answer"'s tokens;
            or "corpus", to count each language's tokens by themselves.
        signal: "gate", the activation, or "product", the coefficient that enters the down projection.
        attribution: Whether to measure how much each category matters for the answer.
        top_k: Number of a layer's neurons that count as its top contributors; None takes 800 of every 16,384.
        keep_coefficients: Whether to store every coefficient.
        block_size: For a corpus: join each language's texts and cut them into blocks of this many tokens.
        tokens_per_language: For a corpus: stop reading a language after this many tokens; None reads all texts.
        histogram: For a corpus: bins of a histogram of each neuron's signal in each language; None for no histograms.
        observe_memory: Memory on each device for examples in flight, in GiB; None takes 1 on CPUs, and on GPUs a tenth
            of the device's, at most 8.
        include_special_tokens: Whether "any", "answer" and "corpus" also read the tokens that the tokenizer or the
            chat format adds around a text.
        add_bos_token: Whether each prompt gets the tokenizer's begin-of-text token, unless it already begins with
            it; None leaves this to the tokenizer.
        score: Whether to judge the model's answers as well.
        choices_by: With `score`, the choice of the highest "likelihood", or of the highest per unit of its length, in
            "characters", "bytes" or "tokens".
        max_new_tokens: With `score`, most tokens to generate where an answer is written, not chosen.
        limit: Stop after this many examples of each task.
        window: Number of examples to write and commit at a time.
        keep_bits: Whether to store which neurons were activated, or only counts.
        keep_prompts: Whether to store the prompts' texts.
        keep_folds: Whether to count eight parts of a corpus apart as well, which tells how certain findings are.
        shard: "I/N" measures only the I-th of N shares, from 1 to N; `merge` puts the N stores together.
        resume: Whether to continue an interrupted run, or one whose data or limit has grown.
        overwrite: Whether to replace an existing store.
        engines: Run this many engines on this machine, each with its share of the cores or GPUs; or "ray" or
            "ray:ADDRESS" for a Ray cluster. None runs one, in this process.
        num_engines: With "ray": how many; None takes as many as the cluster has room for.
        window_timeout: Seconds after which an engine that has work and reports nothing counts as hung.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
        verbose: Whether to show vLLM's log.
        engine: vLLM's engine arguments by name: `dtype="bfloat16"`, `max_model_len=4096`,
            `tensor_parallel_size=2`, ...; and `lora`, the folder of an adapter that every prompt uses.
    Returns:
        The complete store; after Ctrl-C, the store with what was measured so far.
    Raises:
        InputError: an argument, the data or the model is wrong.
        EngineError: the engine failed; what was measured before is in the store.
        StoreError: the store cannot be written or continued.
    """
    measurement = Measurement(
        tuple(float(t) for t in thresholds),
        position,
        signal,
        attribution,
        top_k,
        keep_coefficients,
        observe_memory,
        include_special_tokens,
        add_bos_token,
        histogram,
        score=score,
        choices_by=choices_by,
        max_new_tokens=max_new_tokens,
    )
    chosen_shard = None if shard is None else Shard.parse(shard)
    options = RunOptions(
        window,
        keep_bits,
        resume,
        overwrite,
        block_size,
        keep_prompts,
        keep_folds=keep_folds,
        shard=chosen_shard,
        tokens_per_language=tokens_per_language,
    )
    many = many_engines(engines, num_engines, window_timeout)
    model, engine_arguments = fspath(model), engine_options(**engine)
    source, codes = source_of(model, data, languages, tasks, data_options, limit, engine_arguments, position)
    if many is None:
        return measure_into_store(
            model, source, codes, fspath(out), measurement, options, engine_arguments, progress, verbose
        )
    from fastneurons.executors.measure import measure_with_engines

    return measure_with_engines(
        model, source, codes, fspath(out), many, measurement, options, engine_arguments, progress, verbose
    )


def deactivate(
    model: Path,
    data: Path | Mapping[str, Path] | Iterable[Example | Skipped] | None,
    languages: str | Sequence[str] | None,
    out: Path,
    *,
    tasks: str | Sequence[str] | None = None,
    data_options: DataOptions | None = None,
    categories: str | Sequence[str] | None = None,
    controls: int = 5,
    operation: str = "zero",
    scope: "Scope" = "both",
    layers: str | None = None,
    fraction: float = 1.0,
    rank: str = "random",
    min_share: float | None = None,
    from_store: Path | None = None,
    threshold: float = 0.0,
    position: str = "last",
    signal: str = "gate",
    observe_memory: float | None = None,
    include_special_tokens: bool = False,
    add_bos_token: bool | None = None,
    limit: int | None = None,
    window: int = 16,
    keep_prompts: bool = True,
    shard: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    engines: int | str | None = None,
    num_engines: int | None = None,
    window_timeout: float = 600.0,
    progress: bool | RunProgress = True,
    verbose: bool = False,
    **engine: Any,
) -> Store:
    """Answer each prompt intact, without each category's neurons, and without as many random ones, into a store.

    An answer is right if it is the likeliest choice or, without choices, what greedy decoding would write.
    `fastneurons.analysis.deactivation.deactivation` computes the differences, with intervals.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: As for `run`; examples need answers.
        languages: As for `run`.
        out: The store to write: a local path or an fsspec URL.
        tasks: As for `run`.
        data_options: As for `run`.
        categories: Which categories to edit, one at a time, as a sequence or "all-shared,specific"; None takes all.
        controls: Number of random sets for each category, drawn by the engine's `seed` and those after it.
        operation: "zero" holds the neurons at 0; "scale=1.5" multiplies them.
        scope: Whether to edit tokens of the "prompt", of the answer ("generation") or "both".
        layers: "10-20", both ends included; None takes all layers.
        fraction: Share of a category's neurons in each layer to edit.
        rank: With a fraction, whether to take a "random" one or the neurons with the highest "contribution".
        min_share: Edit one set for all examples: the neurons that are in the category in at least this share of
            them. None edits each example's own.
        from_store: With `min_share`, a store that says how often each neuron is in each category. None reads the
            examples first.
        threshold: A neuron is activated if its signal is above the threshold.
        position: As for `run`, except "corpus".
        signal: As for `run`, and so are all other arguments.
        window: Number of examples to write and commit at a time.
        shard: "I/N" answers only the I-th of N shares, from 1 to N; `merge` puts the N stores together.
    Returns:
        The complete store; after Ctrl-C, the store with what was answered so far.
    Raises:
        InputError: an argument, the data or the model is wrong.
        EngineError: the engine failed; what was answered before is in the store.
        StoreError: the store cannot be written or continued.
    """
    from fastneurons.experiments.deactivate import deactivate_into_store
    from fastneurons.experiments.design import Deactivation

    names = None if categories is None else listed(categories).split(",")
    wanted = Deactivation(
        None if names is None else tuple(name.strip() for name in names),
        controls,
        operation,
        scope,
        layers,
        fraction,
        rank,
        min_share,
        None if from_store is None else fspath(from_store),
    )
    measurement = Measurement(
        (float(threshold),),
        position,
        signal,
        observe_memory=observe_memory,
        include_special_tokens=include_special_tokens,
        add_bos_token=add_bos_token,
    )
    options = RunOptions(
        window,
        resume=resume,
        overwrite=overwrite,
        keep_prompts=keep_prompts,
        shard=None if shard is None else Shard.parse(shard),
    )
    many = many_engines(engines, num_engines, window_timeout)
    model, engine_arguments = fspath(model), engine_options(**engine)
    source, codes = source_of(
        model,
        data,
        languages,
        tasks,
        data_options,
        limit,
        engine_arguments,
        position,
        again=min_share is not None,
    )
    if many is None:
        return deactivate_into_store(
            model,
            source,
            codes,
            fspath(out),
            wanted,
            measurement,
            options,
            engine_arguments,
            progress,
            verbose,
        )
    from fastneurons.executors.deactivate import deactivate_with_engines

    return deactivate_with_engines(
        model,
        source,
        codes,
        fspath(out),
        many,
        wanted,
        measurement,
        options,
        engine_arguments,
        progress,
        verbose,
    )
