"""`alignment.json`, next to the weights that a training writes: how they were made, and whether they are complete."""

import contextlib
import json
from pathlib import Path
from typing import Any

from fastneurons.errors import InputError

RECORD = "alignment.json"
FORMAT = "fastneurons-alignment-1"
CHECKPOINTS = "checkpoints"
SKIPPED = "skipped.jsonl"

# How to make a training agree with one that it is to continue, by the setting that differs.
_OTHERS = "another --out, or --overwrite instead of --resume"


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write or replace the record, whole or not at all."""
    new = folder / f".{RECORD}.new"
    new.write_text(json.dumps({"format": FORMAT} | record, indent=2, ensure_ascii=False, default=str) + "\n")
    new.replace(folder / RECORD)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a folder; None if it has none.

    Raises:
        InputError: it is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    with contextlib.suppress(ValueError, OSError):
        record = json.loads(path.read_text())
        if isinstance(record, dict) and record.get("format") == FORMAT:
            return record
    raise InputError(f"{path} is damaged, or not a record of a training")


def check_same(folder: Path, record: dict[str, Any], settings: dict[str, Any]) -> None:
    """Check that a training would have begun what it is to continue.

    Raises:
        InputError: naming the first setting that differs, and both values.
    """
    before = record.get("settings", {})
    for name in sorted(before.keys() | settings.keys()):
        stored, given = before.get(name), settings.get(name)
        if stored == given:
            continue
        if name == "texts":
            raise InputError(f"{folder} was begun with other texts: the data has changed; pass {_OTHERS}")
        option = f"--{name.replace('_', '-')}"
        raise InputError(
            f"{folder} was begun with {option} {stored}, this is {option} {given}; pass {_OTHERS}"
        )


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint; None if there is none.

    Transformers writes `trainer_state.json` last, so that a checkpoint cut short has none.
    """
    found = [
        (int(path.name.rpartition("-")[2]), path)
        for path in (folder / CHECKPOINTS).glob("checkpoint-*")
        if path.name.rpartition("-")[2].isdigit() and _is_json(path / "trainer_state.json")
    ]
    return max(found)[1] if found else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True
