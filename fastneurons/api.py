"""The Python interface: the commands as functions."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from fastneurons.config import EngineOptions, Measurement, RunOptions, many_engines
from fastneurons.data import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.own_rows import checked_examples
from fastneurons.data.tasks import tasks_and_data
from fastneurons.errors import InputError
from fastneurons.experiments.measure import measure_into_store
from fastneurons.experiments.source import Source, example_source, task_source
from fastneurons.languages import parse_languages
from fastneurons.progress import RunProgress, Silent, progress_for
from fastneurons.shards import Shard
from fastneurons.store import Store, Verification, merge_stores, open_store, verify_store

if TYPE_CHECKING:
    from fastneurons.neuron_sets import Edit
    from fastneurons.neuron_sets.edits import Scope
    from fastneurons.report import AnyFindings
    from fastneurons.training.progress import TrainingProgress

Path = str | PathLike[str]


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
    source, codes = _source(model, data, languages, tasks, data_options, limit, engine_arguments, position)
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

    names = None if categories is None else _listed(categories).split(",")
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
    model, engine_arguments = fspath(model), engine_options(**engine)
    source, codes = _source(
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
    return deactivate_into_store(
        model, source, codes, fspath(out), wanted, measurement, options, engine_arguments, progress, verbose
    )


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
    named = _named(edits)
    options = RunOptions(window, resume=resume, overwrite=overwrite, keep_prompts=keep_prompts)
    model, engine_arguments = fspath(model), engine_options(**engine)
    source, codes = _source(model, data, languages, tasks, data_options, limit, engine_arguments, "corpus")
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
    named = _named(edits)
    options = RunOptions(window, resume=resume, overwrite=overwrite, keep_prompts=keep_prompts)
    model, engine_arguments = fspath(model), engine_options(**engine)
    source, codes = _source(model, data, languages, tasks, data_options, limit, engine_arguments, "corpus")
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


def _named(edits: "Mapping[str, Edit] | Sequence[Path]") -> "list[tuple[str, Edit]]":
    """Edits with their names; those in files are named by these.

    Raises:
        InputError: a file cannot be read or holds no edit, or two have the same name.
    """
    from fastneurons.experiments.under_edits import named_edits

    return (
        list(edits.items()) if isinstance(edits, Mapping) else named_edits([fspath(path) for path in edits])
    )


def _source(
    model: str,
    data: Path | Mapping[str, Path] | Iterable[Example | Skipped] | None,
    languages: str | Sequence[str] | None,
    tasks: str | Sequence[str] | None,
    data_options: DataOptions | None,
    limit: int | None,
    engine: EngineOptions,
    position: str,
    again: bool = False,
) -> tuple[Source, tuple[str, ...]]:
    """Make a source from what `run` and others take as data; return it with its languages.

    Args:
        again: Whether the source is read more than once.
    Raises:
        InputError: the arguments contradict each other, or the data is wrong.
    """
    codes = (
        None if languages is None else parse_languages(_listed(languages), 1 if position == "corpus" else 2)
    )
    if data is None or isinstance(data, str | PathLike | Mapping):
        chosen = data_options or DataOptions()
        if limit is not None:
            chosen = replace(chosen, limit=limit)
        places = [] if data is None else [fspath(data)] if isinstance(data, str | PathLike) else []
        if isinstance(data, Mapping):
            places = [f"{name}={fspath(place)}" for name, place in data.items()]
        names, by_task = tasks_and_data(None if tasks is None else _listed(tasks), places)
        return task_source(model, names, by_task, codes, chosen, engine, position)
    if codes is None:
        raise InputError("your own examples need languages, e.g. languages=['en', 'de']")
    if tasks is not None or data_options is not None:
        raise InputError("tasks and data_options are for data in a place, not for your own examples")
    rows = checked_examples(data)
    return example_source("python", type(data).__name__, list(rows) if again else rows, limit), codes


def align(
    model: Path,
    data: Path | Mapping[str, Path] | Sequence[str],
    languages: str | Sequence[str] | None,
    out: Path,
    *,
    tasks: str | Sequence[str] | None = None,
    data_options: DataOptions | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: "bool | TrainingProgress" = True,
    **training: Any,
) -> bool:
    """Fine-tune a model on parallel data, into a LoRA adapter, or into a model with `merge` or `neurons`.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: A place (a file, folder, pattern, URL or Hub name); a mapping from tasks to places; or a sequence of
            places as on the command line.
        languages: Codes, as a sequence or "en,de,zh". None takes all languages in the data.
        out: The folder to write.
        tasks: Known data sets, as a sequence or "xnli,mgsm"; without them a place holds your own examples.
        data_options: Options that choose examples and format their prompts.
        revision: Branch, tag or commit of a Hub model.
        trust_remote_code: Whether to run Python code that comes with the model.
        resume: Whether to continue an interrupted training from its last checkpoint.
        overwrite: Whether to replace an earlier training.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
        training: The options of `fastneurons.training.TrainingOptions` by name: `objective="translate"`,
            `max_steps=200`, `lora_rank=8`, ...
    Returns:
        Whether the training is complete; False after Ctrl-C, with a checkpoint to resume from.
    Raises:
        InputError: an argument, the data or the model is wrong, or libraries are missing.
        TrainingError: the training failed.
    """
    from pathlib import Path as LocalPath

    from fastneurons.data.chat import ChatTemplate
    from fastneurons.data.tasks import open_tasks
    from fastneurons.experiments.interrupts import interruptible
    from fastneurons.training import TrainingOptions
    from fastneurons.training import align as train
    from fastneurons.training.align import BaseModel

    unknown = sorted(training.keys() - set(TrainingOptions.__dataclass_fields__))
    if unknown:
        raise InputError(f"{unknown[0]}: align has no option of that name")
    options, chosen = TrainingOptions(**training), data_options or DataOptions()
    codes = None
    if languages is not None:
        codes = parse_languages(_listed(languages), 2 if options.objective == "translate" else 1)
    if isinstance(data, Mapping):
        places = [f"{name}={fspath(place)}" for name, place in data.items()]
    else:
        places = [fspath(data)] if isinstance(data, str | PathLike) else list(data)
    names, by_task = tasks_and_data(None if tasks is None else _listed(tasks), places)
    base = BaseModel(fspath(model), revision, trust_remote_code)
    chat = None
    if chosen.apply_chat_template:
        chat = ChatTemplate(base.name, revision, trust_remote_code, chosen.chat_template_kwargs)
    source = open_tasks(names, by_task, codes, chosen, chat)
    source.check()
    with interruptible() as stop:
        return train(
            base,
            source,
            LocalPath(fspath(out)),
            options,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            stop=stop,
            version=_version(),
        )


def _version() -> str:
    from fastneurons import __version__

    return __version__


def _listed(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ",".join(names)


def open(path: Path, check: bool = True) -> Store:
    """Open a store for reading.

    Args:
        path: A local path or an fsspec URL.
        check: Whether to check first that every part of the store exists. Without this check, a damaged store
            opens, too, so that you can read what is left; every read is checked in either case.
    Raises:
        StoreError: nothing exists there, or it is not a store, or it is damaged.
    """
    return open_store(fspath(path), check)


def verify(path: Path) -> Verification:
    """Read all of a store and compare it with the checksums made when it was written.

    Args:
        path: A local path or an fsspec URL.
    Returns:
        A report of what is damaged and what is still usable.
    Raises:
        StoreError: nothing exists there, or it is not a store, or it is too damaged to open.
    """
    return verify_store(open_store(fspath(path)))


def merge(
    parts: Sequence[Path], out: Path, *, overwrite: bool = False, progress: bool | RunProgress = True
) -> Store:
    """Merge finished stores into one, as a single run would have left it.

    The parts are either all shards of one run, in any order, or whole stores, whose rows follow one another in the
    order given. A merge that was interrupted goes on when it is called again.

    Args:
        parts: Local paths or fsspec URLs.
        out: The store to write: a local path or an fsspec URL.
        overwrite: Whether to replace an existing store.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
    Returns:
        The merged store.
    Raises:
        InputError: a shard is missing, given twice or too short, or `out` may not be written.
        StoreError: the parts are of different runs, overlap or are damaged, or a store cannot be read or written.
    """
    shown = progress if not isinstance(progress, bool) else Silent()
    if progress is True:
        shown = progress_for(sys.stderr, "merging")
    done: int | None = None

    def advance(now: int, total: int) -> None:
        nonlocal done
        if done is None:
            shown.start(total, now)
        else:
            shown.advance(now - done, 0, 0)
        done = now

    try:
        return merge_stores([fspath(part) for part in parts], fspath(out), overwrite, advance)
    finally:
        shown.stop()


def findings(store: Store | Path, threshold: float | None = None) -> "AnyFindings":
    """Compute everything that `fastneurons summary` and `plot` show.

    Args:
        store: An open store, or its local path or fsspec URL; complete or not.
        threshold: One of the store's thresholds; None takes the first.
    Returns:
        Findings for `fastneurons.report`: `print_findings`, `findings_json`, `draw_findings`.
    Raises:
        InputError: the store has no such threshold.
        StoreError: nothing exists there, or it is not a store, or it is damaged.
    """
    from fastneurons.report import compute_findings  # here: a run needs no report

    return compute_findings(store if isinstance(store, Store) else open(store), threshold)


def write_report(
    stores: Store | Path | Sequence[Store | Path],
    path: Path,
    threshold: float | None = None,
    folder: bool = False,
) -> None:
    """Write a report that opens in any browser, without a network.

    Args:
        stores: One or several open stores, or their local paths or fsspec URLs; complete or not.
        path: The file to write; with `folder`, the folder, which gets an `index.html`.
        threshold: One that every store has; None takes each one's first.
        folder: Whether to write everything, in files that the page loads when they are needed, instead of what fits
            into one file of a few megabytes.
    Raises:
        InputError: a store has no such threshold, or the path cannot be written.
        StoreError: nothing exists at a path, or it is not a store, or it is damaged.
    """
    from fastneurons.report.page import write_report as write  # here: a run needs no report

    several = [stores] if isinstance(stores, Store | str | PathLike) else stores
    opened = [store if isinstance(store, Store) else open(store) for store in several]
    if not opened:
        raise InputError("a report needs at least one store")
    write(opened, fspath(path), threshold, folder)


def engine_options(**arguments: Any) -> EngineOptions:
    """Make `EngineOptions` from vLLM's argument names, whether or not they have their own field."""
    from dataclasses import fields

    own = {field.name for field in fields(EngineOptions)} - {"engine_args"}
    named = {name: value for name, value in arguments.items() if name in own}
    others = {name: value for name, value in arguments.items() if name not in own}
    return EngineOptions(**named, engine_args=others)
