"""Write tasks of lm-evaluation-harness: one for each language of some data, over local JSON Lines, and a group."""

import contextlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from fastneurons.data.example import Example, Skipped
from fastneurons.data.template import gap
from fastneurons.errors import InputError, OutputError, printable


def write_tasks(
    examples: Iterable[Example | Skipped], languages: Sequence[str], folder: Path, name: str
) -> dict[str, int]:
    """Write examples that have answers as tasks `NAME_LANGUAGE` and a group `NAME`, for `--include_path FOLDER`.

    Where all answers of a language are choices, its task is one of multiple choice, judged by log-likelihood; else
    texts are generated up to the end of a line, and are right if they are the answer.

    Args:
        examples: The examples.
        languages: Short codes.
        folder: The folder to write; it must not exist, or be empty.
        name: The group's name.
    Returns:
        Number of examples by language.
    Raises:
        InputError: the name cannot be one of a task, the folder holds something, or no example has an answer.
        OutputError: the folder cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(f"--name {name}: takes letters, digits, - and _")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"--out {folder}: holds something already; name another folder")
        counts, chosen = _write_documents(examples, languages, folder, name)
        if not counts:
            raise InputError("no example has an answer, so there is nothing to judge")
        for language in counts:
            task = f"{name}_{language}"
            settings = _task(task, folder / f"{task}.jsonl", language, chosen[language])
            (folder / f"{task}.yaml").write_text(_yaml(settings), encoding="utf-8")
        group = {"group": name, "task": [f"{name}_{language}" for language in counts]}
        (folder / f"{name}.yaml").write_text(_yaml(group), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return counts


def _write_documents(
    examples: Iterable[Example | Skipped], languages: Sequence[str], folder: Path, name: str
) -> tuple[dict[str, int], dict[str, bool]]:
    """One file for each language; numbers of its documents, and whether all are answered by a choice."""
    counts: dict[str, int] = {}
    chosen: dict[str, bool] = {}
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[str]] = {}
        for example in examples:
            if isinstance(example, Skipped):
                continue
            for language in languages:
                prompt, answer = example.prompts.get(language), example.answers.get(language)
                if prompt is None or not answer:
                    continue
                choices = list(example.choices.get(language, ()))
                if language not in files:
                    path = folder / f"{name}_{language}.jsonl"
                    files[language] = stack.enter_context(path.open("w", encoding="utf-8"))
                counts[language] = counts.get(language, 0) + 1
                chosen[language] = chosen.get(language, True) and answer in choices
                document = {
                    "id": printable(example.id),
                    "prompt": prompt,
                    "answer": answer,
                    "choices": choices,
                    "gold": choices.index(answer) if answer in choices else -1,
                }
                files[language].write(json.dumps(document, ensure_ascii=False) + "\n")
    return counts, chosen


def _task(task: str, path: Path, language: str, chosen: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path.resolve())}},
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "target_delimiter": gap(language, "a"),
        "metadata": {"version": 1.0},
    }
    if chosen:
        return settings | {
            "output_type": "multiple_choice",
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True}
                for metric in ("acc", "acc_norm")
            ],
        }
    return settings | {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 64, "do_sample": False},
        "filter_list": [
            {
                "name": "stripped",
                "filter": [
                    {"function": "regex", "regex_pattern": r"\s*(.*\S)", "fallback": ""},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "ignore_punctuation": True,
            }
        ],
    }


def _yaml(settings: dict[str, Any]) -> str:
    """Settings as YAML: a key a line, with values in JSON, which YAML includes."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items())
