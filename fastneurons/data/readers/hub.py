"""Read records from data sets on the Hugging Face Hub.

`datasets` finds the files of a configuration and a split; fastneurons then reads those whose format it knows like any
others. Streaming by `datasets` is only for the rest: it turns "01" into 1 if a column holds both texts and numbers,
and fails at a key that comes late in a JSONL file.
"""

from collections.abc import Iterator
from typing import Any

from fastneurons.data.example import Skipped
from fastneurons.data.readers.any_format import read_file
from fastneurons.data.readers.files import check_shards
from fastneurons.data.readers.hub_access import why_unreachable
from fastneurons.data.readers.raw_record import Record
from fastneurons.errors import InputError

_MAX_SHOWN = 20


def hub_records(
    name: str, split: str | None = None, config: str | None = None, revision: str | None = None
) -> Iterator[Record | Skipped]:
    """The rows of one split of a data set on the Hub.

    Without network, those of a copy that was downloaded before, if there is one.

    Raises:
        InputError: `datasets` is not installed; the Hub cannot be reached and there is no copy; there is no
            such data set, configuration or split, or several and none was chosen.
    """
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"{name}: there is no such file or folder; if it is a data set on the Hugging Face Hub, that needs "
            "another package: pip install 'fastneurons[hub]'"
        ) from error
    datasets.disable_progress_bars()
    why = why_unreachable()
    folder = _copy(name, revision, why) if why else None
    builder = _builder(name, folder, config, revision)
    splits = builder.config.data_files or dict.fromkeys(builder.info.splits or ())
    chosen = _split(name, list(splits), split)
    paths = [str(path) for path in splits[chosen] or ()]
    if folder is not None:
        check_shards(folder, paths)
    format = _format(builder)
    if format is None or not paths or any("::" in path for path in paths):
        yield from _streamed(name, builder, chosen)
        return
    for path in paths:
        yield from read_file(path, format=format)


def _copy(name: str, revision: str | None, why: str) -> str:
    """The folder of a data set in the cache of the Hub's client."""
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True))
    except Exception as error:  # several, not all of them its own
        at = f" --revision {revision}" if revision else ""
        raise InputError(
            f"{name}: there is no such file or folder here, and the Hugging Face Hub cannot be asked for a data set "
            f"of this name: {why}. Where there is network, run `hf download {name} --repo-type dataset{at} "
            "--local-dir FOLDER`, bring the folder here and name it, or the file in it that is meant, in place of "
            f"{name}"
        ) from error


def _builder(name: str, folder: str | None, config: str | None, revision: str | None) -> Any:
    import datasets

    try:
        if folder is not None:
            return datasets.load_dataset_builder(folder, config)
        return datasets.load_dataset_builder(name, config, revision=revision)
    except Exception as error:
        message = " ".join(str(error).split())
        if "Config name is missing" in message or "BuilderConfig" in message:
            there = sorted(datasets.get_dataset_config_names(folder or name))
            said = f"has no configuration {config!r}" if config else "has several configurations"
            raise InputError(f"{name} {said}; there is {_shown(there)} (--config)") from error
        if "script" in message:
            raise InputError(
                f"{name} is a program that makes its data set, which is not run here; most such data sets are on "
                "the Hub as Parquet, too: --revision refs/convert/parquet"
            ) from error
        raise InputError(f"{name} cannot be read from the Hugging Face Hub: {message[:300]}") from error


def _split(name: str, there: list[str], asked: str | None) -> str:
    there = [str(split) for split in there]
    if asked in there:
        return asked
    if asked is None and len(there) == 1:
        return there[0]
    said = f"has no split {asked!r}" if asked else "has several splits"
    raise InputError(f"{name} {said}; there is {_shown(there)} (--split)")


def _format(builder: Any) -> str | None:
    """The format of a builder's files; None if reading them needs something unknown here."""
    kind, config = builder.name, builder.config
    if kind == "parquet":
        return "parquet"
    if kind == "json" and not config.field:
        return "json"
    if kind == "text" and config.sample_by == "line":
        return "text"
    if kind == "csv" and not config.names and not config.column_names and config.header == "infer":
        sign = config.delimiter or config.sep
        return {",": "csv", "\t": "tsv"}.get(sign)
    return None


def _streamed(name: str, builder: Any, split: str) -> Iterator[Record | Skipped]:
    row = 0
    try:
        for fields in builder.as_streaming_dataset(split=split):
            row += 1
            yield Record(dict(fields), f"{name} ({split}): row {row}")
    except InputError:
        raise
    except Exception as error:
        after = f" after row {row:,}" if row else ""
        message = " ".join(str(error).split())[:300]
        raise InputError(f"{name} cannot be read{after}: {message}") from error


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return (", ".join(names[:_MAX_SHOWN]) or "none") + more
