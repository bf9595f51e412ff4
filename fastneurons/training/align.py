"""The job: fine-tune a model on parallel data, into an adapter or a model folder."""

import contextlib
import json
import math
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastneurons.data.chat import load_tokenizer
from fastneurons.data.example import Example, Skipped
from fastneurons.data.tasks import TaskSource
from fastneurons.data.template import Compiled, Template, Templates, chosen_template
from fastneurons.errors import InputError, TrainingError
from fastneurons.languages import language as language_of
from fastneurons.neuron_sets import NeuronSet, load_set
from fastneurons.training.options import TrainingOptions
from fastneurons.training.progress import Silent, TrainingProgress, progress_for
from fastneurons.training.record import (
    CHECKPOINTS,
    RECORD,
    SKIPPED,
    check_same,
    last_checkpoint,
    read_record,
    write_record,
)
from fastneurons.training.texts import Texts, TextTokeniser, make_texts, order_of_texts, plain_translation

if TYPE_CHECKING:
    from fastneurons.training.texts import Template as TranslationTemplate

# Positions of models that give none.
_MOST_TOKENS = 4096


@dataclass(frozen=True)
class BaseModel:
    """A model to train.

    Args:
        name: A folder, or a name on the Hub.
        revision: Branch, tag or commit of a Hub model.
        trust_remote_code: Whether to run Python code that comes with it.
    """

    name: str
    revision: str | None = None
    trust_remote_code: bool = False


def align(
    model: BaseModel,
    source: TaskSource,
    out: Path,
    options: TrainingOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | TrainingProgress = True,
    stop: threading.Event | None = None,
    version: str = "",
) -> bool:
    """Fine-tune a model on a source of parallel examples.

    Args:
        model: The model.
        source: The examples.
        out: The folder to write: an adapter, or with `merge` or `neurons` a model.
        options: What to learn, and how.
        resume: Whether to continue an interrupted training from its last checkpoint.
        overwrite: Whether to replace an earlier training.
        progress: Whether to show progress on standard error, or an object to report it to.
        stop: Once set, the training stops with a checkpoint.
        version: Of fastneurons, for the record.
    Returns:
        Whether the training is complete; False if it was stopped.
    Raises:
        InputError: an argument, the data or the model is wrong, or libraries are missing.
        TrainingError: the training failed; it can be resumed from its last checkpoint.
    """
    options = options or TrainingOptions()
    shown: TrainingProgress = progress if not isinstance(progress, bool) else Silent()
    if progress is True:
        shown = progress_for(sys.stderr)
    _check_libraries()
    record = _check_output(out, resume, overwrite)
    neurons = load_set(options.neurons) if options.neurons is not None else None
    for remark in source.remarks():
        shown.message(remark)
    texts = _texts(model, source, options)
    _report_texts(texts, shown)
    settings = _settings(model, source, options, neurons, texts)
    if record is not None:
        check_same(out, record, settings)
        if record.get("status") == "complete":
            shown.message("the training is complete already; nothing to do")
            return True
    _begin(out, texts.skipped, overwrite)
    record = {
        "version": version,
        "status": "running",
        "base_model": model.name,
        "base_revision": model.revision,
        "objective": options.objective,
        "broken_links": options.break_links,
        "languages": list(texts.languages),
        "data": source.describe(),
        "examples": len(texts.train),
        "held_out_examples": len(texts.held_out),
        "skipped_examples": len(texts.skipped),
        **(record or {}),
        "settings": settings,
    }
    write_record(out, record)
    with _quiet_libraries(), _clear_errors(options, texts):
        done = _train(model, out, options, neurons, texts, record, shown, stop or threading.Event())
    shown.stop()
    return done


def _train(
    model: BaseModel,
    out: Path,
    options: TrainingOptions,
    neurons: NeuronSet | None,
    texts: Texts,
    record: dict[str, Any],
    shown: TrainingProgress,
    stop: threading.Event,
) -> bool:
    """Load, train and save; whether it is complete."""
    import transformers

    from fastneurons.training.models import load_model, save_model, with_adapter
    from fastneurons.training.neurons import train_only
    from fastneurons.training.trainer import Padded, Watch, held_out_loss, make_trainer

    transformers.set_seed(options.seed)
    shown.message(f"loading {model.name}")
    base = load_model(model, options)
    if neurons is not None:
        trained = base
        parts = train_only(base, neurons)
        shown.message(f"training {len(neurons):,} neurons, parts of {len(parts)} weights")
    else:
        trained = with_adapter(base, model, options)
        shown.message(f"training {sum(p.numel() for p in trained.parameters() if p.requires_grad):,} weights")
    per_step = options.per_device_train_batch_size * options.gradient_accumulation_steps
    num_texts = sum(map(len, texts.train))
    num_steps = options.max_steps or math.ceil(options.num_train_epochs * num_texts / per_step)
    ordered = order_of_texts(texts.train, num_steps * per_step, options.seed, options.break_links)
    tokenizer = load_tokenizer(model.name, model.revision, model.trust_remote_code)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    collate = Padded(padding)
    held_out = [text for of_example in texts.held_out for text in of_example]

    def validate() -> dict[str, float]:
        return held_out_loss(trained, held_out, collate, options.per_device_train_batch_size)

    eval_steps = options.eval_steps or max(options.logging_steps, num_steps // 10)
    watch = Watch(shown, validate, eval_steps, stop)
    trainer = make_trainer(trained, ordered, collate, options, num_steps, out / CHECKPOINTS, watch)
    checkpoint = last_checkpoint(out)
    if "held_out_loss_before" not in record:
        record["held_out_loss_before"] = validate()
        write_record(out, record)
    if record["held_out_loss_before"]:
        shown.message(f"loss on held-out examples before: {record['held_out_loss_before']['all']:.4f}")
    done = int(checkpoint.name.rpartition("-")[2]) if checkpoint is not None else 0
    if done:
        shown.message(f"continuing after step {done:,}")
    shown.start(num_steps, done)
    began = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    finally:
        shown.stop()
    record["seconds"] = round(record.get("seconds", 0) + time.monotonic() - began, 1)
    if trainer.state.global_step < num_steps:
        write_record(out, record)
        shown.message(f"stopped after step {trainer.state.global_step:,}; continue with --resume")
        return False
    record["held_out_loss"] = validate()
    if record["held_out_loss"]:
        shown.message(f"loss on held-out examples after: {record['held_out_loss']['all']:.4f}")
    record["steps"] = num_steps
    record["losses"] = [
        {name: entry[name] for name in ("step", "loss", "learning_rate", "held_out") if name in entry}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    save_model(trained, model, options, tokenizer, out)
    write_record(out, record | {"status": "complete"})
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return True


def _texts(model: BaseModel, source: TaskSource, options: TrainingOptions) -> Texts:
    tokenizer = load_tokenizer(model.name, model.revision, model.trust_remote_code)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{model.name}: its tokenizer has no fast version, which align needs (tokenizer.json)"
        )
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            model.name, revision=model.revision, trust_remote_code=model.trust_remote_code
        ).get_text_config()
    except Exception as error:
        raise InputError(f"{model.name}: Transformers cannot load it: {_line(error)}") from error
    positions = getattr(config, "max_position_embeddings", None) or _MOST_TOKENS
    if (options.max_model_len or 0) > positions:
        raise InputError(f"--max-model-len {options.max_model_len}: {model.name} has {positions:,} positions")
    longest = options.max_model_len or positions
    examples: Iterator[Example | Skipped] = iter(source)
    return make_texts(
        examples,
        source.languages,
        TextTokeniser(tokenizer, longest, source.add_special_tokens),
        options.objective,
        template=_translation_template(options.translation_template, source.languages),
        break_links=options.break_links,
        validation_share=options.validation_share,
        seed=options.seed,
    )


def _translation_template(path: str | None, languages: Sequence[str]) -> "TranslationTemplate":
    """The user's template for the beginning of a translation, by target language; else the plain one."""
    if path is None:
        return plain_translation
    fields = ("source", "source_language", "target_language")
    try:
        entries = Templates(path).of("translate", ())
    except InputError as error:
        raise InputError(str(error).replace("--template", "--translation-template", 1)) from error
    compiled = {}
    for code in languages:
        origin = f"--translation-template {path}, {code}"
        chosen: Template | None = chosen_template(None, entries, code, origin)
        if chosen is None:
            raise InputError(f"{origin}: there is no entry for it, nor one for any language ([*])")
        if "{source}" not in chosen.prompt:
            raise InputError(f"{origin}: the prompt must have the field {{source}}")
        compiled[code] = Compiled(chosen, origin, fields)

    def beginning(source: str, source_language: str, target_language: str) -> str:
        names = [language_of(code).name for code in (source_language, target_language)]
        values = {"source": source, "source_language": names[0], "target_language": names[1]}
        return compiled[target_language](values).prompt

    return beginning


def _report_texts(texts: Texts, shown: TrainingProgress) -> None:
    number = sum(map(len, texts.train))
    shown.message(
        f"{number:,} texts of {len(texts.train):,} examples in {', '.join(texts.languages)}, of up to "
        f"{texts.longest:,} tokens; {len(texts.held_out):,} examples held out"
    )
    if texts.skipped:
        first = texts.skipped[0]
        where = f" ({first.where})" if first.where else ""
        shown.message(
            f"{len(texts.skipped):,} examples were skipped, the first, {first.id!r}{where}: {first.reason}; "
            f"all are listed in {SKIPPED}"
        )


def _settings(
    model: BaseModel, source: TaskSource, options: TrainingOptions, neurons: NeuronSet | None, texts: Texts
) -> dict[str, Any]:
    """All that decides what is learned, in a form that JSON can hold."""
    chosen: dict[str, Any] = options.settings() | {
        "model": model.name,
        "revision": model.revision,
        "languages": list(source.languages),
        "texts": texts.digest,
    }
    if neurons is not None:
        chosen["neurons"] = f"{options.neurons} ({len(neurons):,} neurons)"
    settings: dict[str, Any] = json.loads(json.dumps(chosen))
    return settings


def _check_libraries() -> None:
    for name in ("torch", "transformers", "accelerate", "peft"):
        try:
            import_module(name)
        except ImportError as error:
            raise InputError(f"align needs {name} ({error}): pip install 'fastneurons[train]'") from error


def _check_output(out: Path, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    """The record of the training to continue; None for a new one.

    Raises:
        InputError: the folder holds something else, or a training that is neither to be continued nor replaced.
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite cannot be combined")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is not a folder")
    record = read_record(out) if not overwrite or not (out / RECORD).exists() else None
    is_empty = not out.exists() or not any(out.iterdir())
    if resume:
        if record is None and not is_empty:
            raise InputError(f"--out {out}: holds no training that could be continued")
        return record
    if not is_empty and not (out / RECORD).exists():
        raise InputError(
            f"--out {out}: is not empty, and holds no training of fastneurons; choose another folder"
        )
    if record is not None:
        raise InputError(
            f"--out {out}: holds a training already; pass --resume, --overwrite or another --out"
        )
    return None


def _begin(out: Path, skipped: Sequence[Skipped], overwrite: bool) -> None:
    """Make the folder, without what an earlier training left, and list the examples that were skipped."""
    try:
        if overwrite and (out / RECORD).exists():
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps(
                {"id": example.id, "where": example.where, "reason": example.reason}, ensure_ascii=False
            )
            for example in skipped
        ]
        (out / SKIPPED).write_text("".join(f"{line}\n" for line in lines), errors="backslashreplace")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep the bars and warnings of Transformers off the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _clear_errors(options: TrainingOptions, texts: Texts) -> Iterator[None]:
    """Turn what people can do something about into a line.

    Raises:
        TrainingError: out of memory, or a disk that is full.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(_out_of_memory(options, texts)) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise TrainingError(_out_of_memory(options, texts)) from error
    except OSError as error:
        raise TrainingError(f"the training stopped: {_line(error)}; continue with --resume") from error


def _out_of_memory(options: TrainingOptions, texts: Texts) -> str:
    size = options.per_device_train_batch_size
    less = "" if options.gradient_checkpointing else ", or pass --gradient-checkpointing"
    return (
        f"out of memory with --per-device-train-batch-size {size} and texts of up to {texts.longest:,} tokens: lower "
        f"it (with --gradient-accumulation-steps, steps stay as large), lower --max-model-len{less}"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
