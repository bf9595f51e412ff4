"""Check whether a run may continue a store: it must measure what the store holds."""

from collections.abc import Collection
from itertools import takewhile
from pathlib import Path
from typing import Any

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.root import Root
from fastneurons.store.schema import Header

# How to make a run agree with a store, by the field of the header that differs.
_OPTIONS = {
    "dtype": "--dtype",
    "revision": "--revision",
    "quantization": "--quantization",
    "languages": "--languages",
    "thresholds": "--threshold",
    "window": "--window",
    "source": "--data",
    "position": "--position",
    "signal": "--signal",
    "top_k": "--attribution --top-k",
    "shard": "--shard",
    "bins": "--histogram",
    "tokens_per_language": "--tokens-per-language",
}
# Compared in ways of their own.
_APART = (
    "model",
    "model_fingerprint",
    "tokenizer_fingerprint",
    "tokens",
    "edits",
    "lora",
    "lora_fingerprint",
)
_FREE = ("version", "config", "created", "status", "format", "warnings")
_FINGERPRINTS = {
    "model_fingerprint": (
        "the model's files have changed since the run began: its configuration, or the names, types or shapes of its "
        "tensors"
    ),
    "tokenizer_fingerprint": "the tokenizer's files have changed since the run began",
}
_KEPT = {
    schema.ACTIVATED: ("bits of its neurons", "pass --keep-bits", "pass --no-keep-bits"),
    schema.COEFFICIENT: (
        "coefficients of its neurons",
        "pass --keep-coefficients",
        "drop --keep-coefficients",
    ),
    schema.PROMPT: ("texts of its prompts", "pass --keep-prompts", "pass --no-keep-prompts"),
    schema.FOLD_TOKENS: ("counts by folds", "pass --keep-folds", "pass --no-keep-folds"),
}


def check_same(path: str, root: Root, header: Header, kept: Collection[str]) -> None:
    """Check that a run would have begun the store that it is to continue.

    Raises:
        StoreError: naming what differs, both values, and what to do.
    """
    others = "another --out, or --overwrite instead of --resume"
    if root.header.kind != header.kind:
        began, this_run = _command(root.header.kind), _command(header.kind)
        raise StoreError(f"{path} was begun by fastneurons {began}, not by {this_run}; pass {others}")
    if root.header.model != header.model and not same_folder(root.header.model, header.model):
        raise StoreError(
            f"{path} holds {root.header.model}, this run is {header.model}; "
            f"{_if_moved(root.header, header)}pass {others}"
        )
    for name, changed in _FINGERPRINTS.items():
        stored, given = getattr(root.header, name), getattr(header, name)
        if stored is not None and given is not None and stored != given:
            raise StoreError(f"{path} holds {root.header.model}, and {changed}; pass {others}")
    if root.header.lora_fingerprint != header.lora_fingerprint:  # a moved folder is the same adapter
        raise StoreError(f"{path} {_other_adapter(root.header, header)}pass {others}")
    if problem := _other_edits(root.header, header):
        raise StoreError(f"{path} {problem}{others}")
    if root.header.tokens != header.tokens and (problem := _other_tokens(root.header, header)):
        raise StoreError(f"{path} {problem}{others}")
    for name in Header.__struct_fields__:
        stored, given = getattr(root.header, name), getattr(header, name)
        if name in _FREE or name in _APART or stored == given:
            continue
        if name == "source" and _but_for_limit(root.header) == _but_for_limit(header):
            before, now = _limit(root.header), _limit(header)
            raise StoreError(
                f"{path} has {before[0]} of each task, this run {now[0]}, and those of one task come before those of "
                f"the next; pass {before[1]}, or {others}"
            )
        has, this = (f"{name.replace('_', ' ')} {shown(stored, given)}", shown(given, stored))
        if name == "top_k":
            has, this = _attribution(stored), _attribution(given)
        if name == "shard":
            has, this = (f"shard {one}" if one else "no shard" for one in (stored, given))
        option = f"{_OPTIONS[name]} {_spelled(name, stored)}, or " if name in _OPTIONS and stored else ""
        raise StoreError(f"{path} has {has}, this run has {this}; pass {option}{others}")
    held = {*root.arrays, *(spec.name for spec in root.sums)}
    for spec in schema.ARRAYS if root.arrays else ():
        stored, given = spec.name in held, spec.name in kept
        if given and not stored and spec.later:
            continue  # a store of an earlier version goes on without it
        if spec.name in _KEPT and spec.when(header) and stored != given:
            what, keep, keep_not = _KEPT[spec.name]
            has, do = ("has", keep) if stored else ("has no", keep_not)
            raise StoreError(f"{path} {has} {what}, unlike this run; {do}, or pass another --out")


def _command(kind: str) -> str:
    return "run" if kind == "measure" else kind


def _other_edits(stored: Header, given: Header) -> str | None:
    """How the edits of a store differ from this run's, and what to pass; None if they are the same."""
    before, now = stored.edits, given.edits
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            if name.startswith("edit "):
                edit = name.removeprefix("edit ")
                return f"was begun with other edits: {edit} is not the same, or is there once only; pass the same, or "
            had = _option(name, before.get(name), now.get(name))
            has = _option(name, now.get(name), before.get(name))
            return f"was begun with {had}, this run has {has}; pass {had}, or "
    return None


def _option(name: str, value: Any, other: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    return f"no {option}" if value is None else f"{option} {shown(value, other)}"


def same_folder(stored: str, given: str) -> bool:
    """Whether two models are one folder, by two paths or through a link."""
    try:
        return Path(stored).samefile(given)
    except (
        OSError,
        ValueError,
    ):  # one of them is a name on the Hub, or gone, or no name that a file may have
        return False


def _if_moved(stored: Header, given: Header) -> str:
    """Give advice if a model's folder may have been moved.

    A model and its fine-tuned sister have the same fingerprint, as weights are not in it: only the path tells the two
    apart, and only a person knows that a folder was moved.
    """
    fingerprint = stored.model_fingerprint
    if fingerprint is None or fingerprint != given.model_fingerprint:
        return ""
    before, now = Path(stored.model), Path(given.model)
    if before.exists() or not before.is_absolute() or not now.is_dir():
        return ""
    return (
        f"if the folder was moved, make a link at its old place (ln -s {now.absolute()} {before}); if not, "
    )


def _other_adapter(stored: Header, given: Header) -> str:
    """How the adapters of a store and a run differ, and what to pass."""
    if stored.lora is None:
        return f"was measured without an adapter, this run has --lora {given.lora}; drop --lora, or "
    if given.lora is None:
        return (
            f"was measured with the adapter {stored.lora}, this run has none; pass --lora {stored.lora}, or "
        )
    if stored.lora == given.lora:
        return f"was measured with the adapter {stored.lora}, whose files have changed since the run began; "
    return (
        f"was measured with the adapter {stored.lora}, this run has {given.lora}, which is another; "
        f"pass --lora {stored.lora}, or "
    )


def _other_tokens(stored: Header, given: Header) -> str | None:
    """How the tokens of a store differ from this run's, and what to pass; None if they are the same.

    Earlier versions sent and read all that a tokenizer puts around a text, and did not say so in the header.
    """
    before, now = stored.tokens, given.tokens
    for name in sorted(before.keys() | now.keys()) if before else ():
        if before.get(name) != now.get(name):
            has, this = (each.get(name) or "nothing" for each in (before, now))
            return (
                f"was read with other tokens ({name.replace('_', ' ')}: {shown(has, this)}, in this run "
                f"{shown(this, has)}); pass {_token_option(name, before.get(name))}"
            )
    if not before and now.get("removed"):
        return (
            f"was begun by a version that read {shown(now['removed'], '')}, which the tokenizer puts after each text; "
            "pass "
        )
    if not before and given.position != "last" and not now.get("include_special_tokens"):
        return (
            "was begun by a version that read the tokenizer's and the chat format's own tokens like text; "
            "pass --include-special-tokens, or "
        )
    return None


def _token_option(name: str, stored: Any) -> str:
    if name == "include_special_tokens":
        return "--include-special-tokens, or " if stored else "no --include-special-tokens, or "
    if name == "add_bos_token":
        return "" if stored is None else f"--{'' if stored else 'no-'}add-bos-token, or "
    return ""


def _spelled(name: str, value: Any) -> str:
    if name == "thresholds":
        return " --threshold ".join(f"{threshold:g}" for threshold in value)
    return ",".join(value) if isinstance(value, list) else str(value)


def shown(value: Any, other: Any) -> str:
    """A value; of a long one, the part where it begins to differ from the other."""
    text, beside = (
        ",".join(f"{item}" for item in each) if isinstance(each, list) else str(each)
        for each in (value, other)
    )
    if len(text) <= 80:
        return text
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, beside, strict=False)))
    begin = max(0, min(same - 20, len(text) - 74))
    return f"{'...' if begin else ''}{text[begin : begin + 74]}{'...' if begin + 74 < len(text) else ''}"


def _but_for_limit(header: Header) -> str:
    """The source without its limit, which is part of the description of several tasks."""
    return header.source.replace(f" --limit {header.config.get('limit')}", "", 1)


def _limit(header: Header) -> tuple[str, str]:
    """The examples that a run measures, and the options that choose them."""
    limit = header.config.get("limit")
    return ("all examples", "no --limit") if limit is None else (f"the first {limit}", f"--limit {limit}")


def _attribution(top_k: int | None) -> str:
    return "no attribution" if top_k is None else f"attribution with top k {top_k}"
