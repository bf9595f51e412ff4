"""How a run can be repeated, as far as its store says: the command, and the facts that must be the same."""

import shlex
from collections.abc import Mapping
from typing import Any

from fastneurons.store import Header
from fastneurons.visible import visible

_LONGEST = 2000
# Engine options that `run` has under the same name, and those that say more than the default.
_FLAGS = {"trust_remote_code"}


def command(header: Header) -> str:
    """The command whose options are those in a store's header: `fastneurons run`, or that of the store's kind.

    Data that was passed from Python has no place that a command could name; the header's description stands there.
    """
    config = header.config
    words: list[str] = []
    if header.tasks != ["own"] and header.task:
        words += ["--tasks", header.task]
    words += ["--data", header.source, "--languages", ",".join(header.languages)]
    if header.position != "last" and header.is_measuring:
        words += ["--position", header.position]
    if header.signal != "gate":
        words += ["--signal", header.signal]
    if header.thresholds != [0.0]:
        for threshold in header.thresholds:
            words += ["--threshold", f"{threshold:g}"]
    if header.top_k is not None:
        words += ["--attribution", "--top-k", str(header.top_k)]
    if header.tokens.get("include_special_tokens"):
        words.append("--include-special-tokens")
    if config.get("limit") is not None:
        words += ["--limit", str(config["limit"])]
    for name, value in header.edits.items():
        # An edit of its own goes with a digest, for resuming.
        edit = name.removeprefix("edit ") if name.startswith("edit ") else None
        if edit is not None:
            words += ["--edit", f"{edit}.safetensors"]
        else:
            for each in value if isinstance(value, list) else [value]:
                words += [_option(name), str(each)]
    if header.kind == "generate":
        words += [word for measure in _measures(header) for word in ("--measure", measure)]
    words += _options(config.get("data"))
    words += _options(config.get("engine"))
    shown = [visible(shlex.quote(word), limit=_LONGEST) for word in words]
    verb = "run" if header.is_measuring else header.kind
    lines = [f"fastneurons {verb} {visible(shlex.quote(header.model), limit=_LONGEST)}"]
    for word in shown:
        if word.startswith("--"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return " \\\n  ".join(lines)


def _measures(header: Header) -> list[str]:
    """How texts were judged, where that is not the default."""
    return sorted({str(each) for each in header.measures.values()} - {"starts-with"})


def _options(given: Any) -> list[str]:
    """Options by name, without those that have no value."""
    words: list[str] = []
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if name == "engine_args" and isinstance(value, Mapping):
            for key, each in value.items():
                words += ["--engine-arg", f"{key}={each}"]
        elif value is True:
            words.append(_option(name))
        elif value not in (None, False, 0, 1, "", "auto", {}, []):
            words += [_option(name), str(value)]
    return words


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def facts(header: Header) -> list[list[str]]:
    """What was run, as pairs of a name and a value."""
    # Without thresholds, nothing was said to be activated.
    thresholds = ", ".join(f"{t:g}" for t in header.thresholds)
    rows = [
        ("Model", header.model),
        ("Revision", header.revision),
        ("Model fingerprint", header.model_fingerprint),
        ("Tokenizer fingerprint", header.tokenizer_fingerprint),
        ("Adapter", header.lora),
        ("Adapter fingerprint", header.lora_fingerprint),
        ("Precision", header.dtype),
        ("Quantization", header.quantization),
        ("Activation function", header.config.get("function")),
        ("Data", header.source),
        ("Tasks", ", ".join(header.tasks)),
        ("Languages", ", ".join(header.languages)),
        ("Signal", f"{header.signal}, thresholds {thresholds}" if thresholds else ""),
        ("Position", header.position if thresholds else ""),
        ("Judged by", ", ".join(f"{task}: {how}" for task, how in header.measures.items())),
        ("fastneurons", header.version),
        ("Started", header.created),
    ]
    return [[name, visible(str(value), limit=_LONGEST)] for name, value in rows if value]
