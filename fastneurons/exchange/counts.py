"""Counts of activations in the format of LAPE's published code and its descendants, from and to stores of a corpus.

    from fastneurons.exchange.counts import import_counts, write_counts

    import_counts(["activation.en.train.llama-7b", "activation.de.train.llama-7b"], "counts.zarr", model="llama-7b")
    write_counts(store, Path("counts"))

A file is of one language: `n` (or `total_tokens`), the number of tokens, and `over_zero`, int [N, I], how many of them
activate each neuron. Some also have `average_activations`, float [N, I], the mean of each neuron's activation.

Source: activation.py of github.com/RUCAIBox/Language-Specific-Neurons (Tang et al. 2024, arXiv:2402.16438).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastneurons
from fastneurons.errors import InputError, printable
from fastneurons.exchange import pt_files
from fastneurons.languages import language, read_code
from fastneurons.store import Header, Outcome, Store, StoreWriter, Window, check_output, open_store

# In `Header.config` of a store that was imported: the files.
IMPORTED_FROM = "imported_from"
_NUMBERS = ("n", "total_tokens", "num_tokens")
_COUNTS = ("over_zero", "activated_neuron_counts")
_AVERAGE = "average_activations"
_MOST_TOKEN_COUNT = 2**31 - 1


@dataclass(frozen=True, eq=False)
class LanguageCounts:
    """The counts of one file.

    Args:
        tokens: Tokens that were read.
        over_zero: int64 [N, I], tokens that activate each neuron.
    """

    path: Path
    tokens: int
    over_zero: NDArray[np.int64]


def read_counts(path: str | Path) -> LanguageCounts:
    """Read a file of counts.

    Raises:
        InputError: in a line, what is wrong with the file.
    """
    path = Path(path)
    found = pt_files.load(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds a {type(found).__name__}: must be a dictionary with n and over_zero")
    keys = [str(key) for key in found]
    try:
        number, counts = (
            next((name for name in names if name in found), None) for names in (_NUMBERS, _COUNTS)
        )
        if number is None or counts is None:
            lacking = " or ".join(_NUMBERS if number is None else _COUNTS[:1])
            raise InputError(f"has no {lacking}; it has {', '.join(keys[:8]) or 'nothing'}")
        tokens = pt_files.whole_number(found[number], number)
        over_zero = pt_files.numbers(found[counts], counts, 2)
        if tokens < 0:
            raise InputError(f"{number} is {tokens}: must be 0 or greater")
        if not over_zero.size:
            raise InputError(
                f"{counts} is {list(over_zero.shape)}: must be layers by neurons, and there are none"
            )
        if over_zero.min() < 0:
            raise InputError(
                f"{counts} has a count of {over_zero.min():,}: must be 0 or greater (did int32 overflow?)"
            )
        if over_zero.max() > tokens:
            layer, neuron = (int(k) for k in np.unravel_index(over_zero.argmax(), over_zero.shape))
            raise InputError(
                f"{over_zero.max():,} tokens activate neuron {layer}:{neuron}, and {number} is {tokens:,}"
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return LanguageCounts(path, tokens, over_zero.astype(np.int64))


def read_average(path: str | Path) -> NDArray[np.float32]:
    """Read the `average_activations` of a file, float32 [N, I].

    Raises:
        InputError: in a line, what is wrong with the file.
    """
    path = Path(path)
    found = pt_files.load(path)
    if not isinstance(found, dict) or _AVERAGE not in found:
        raise InputError(f"{path}: has no {_AVERAGE}")
    try:
        average = pt_files.numbers(found[_AVERAGE], _AVERAGE, 2, "f")
        if not np.isfinite(average).all():
            raise InputError(f"{_AVERAGE} has numbers that are not finite")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return average.astype(np.float32)


def language_of(path: Path) -> str:
    """The language that a file's name says: the part after `activation`, or the only part that is a code.

    Raises:
        InputError: it says none, or more than one.
    """
    name = path.name.removesuffix(".pth").removesuffix(".pt")  # no Portuguese
    parts = [part for part in re.split(r"[-_.]", name) if part]
    if len(parts) > 1 and parts[0] in ("activation", "activations"):
        whole = name.split(".")[1] if "." in name else parts[1]  # zho_Hans
        parts = [whole] if read_code(whole) else [parts[1]]
    codes = {reading.code for reading in map(read_code, parts) if reading is not None}
    if len(codes) != 1:
        what = "names no language" if not codes else f"may be of {' or '.join(sorted(codes))}"
        raise InputError(f"{path}: its name {what}; give --languages, one for each file in their order")
    return codes.pop()


def import_counts(
    files: Sequence[str | Path],
    out: str,
    languages: Sequence[str] = (),
    model: str = "unknown",
    overwrite: bool = False,
) -> Store:
    """Make a store of a corpus from files of counts, one for each language.

    It has one row for each file. What the files do not say is unknown in the store: the model's dtype, the texts, and
    parts of the corpus.

    Args:
        out: The store to write: a local path or an fsspec URL.
        languages: One for each file; empty takes them from the files' names.
        model: Name of the model that the counts are of.
        overwrite: Whether to replace a store that is there.
    Raises:
        InputError: a file is wrong, two are of one language, or their shapes differ.
        StoreError: the store cannot be written.
    """
    check_output(out, overwrite=overwrite)
    if not files:
        raise InputError("names no file of counts")
    paths = [Path(file) for file in files]
    if languages and len(languages) != len(paths):
        raise InputError(
            f"--languages names {len(languages)}, and there are {len(paths)} files: give one for each"
        )
    codes = (
        [language(code).code for code in languages] if languages else [language_of(path) for path in paths]
    )
    for k, code in enumerate(codes):
        if code in codes[:k]:
            raise InputError(
                f"{paths[codes.index(code)]} and {paths[k]} are both of {code}: give one for each language"
            )
    read = [read_counts(path) for path in paths]
    shape = read[0].over_zero.shape
    for each in read:
        if each.over_zero.shape != shape:
            raise InputError(
                f"{each.path} has {each.over_zero.shape[0]} layers of {each.over_zero.shape[1]:,} neurons, and "
                f"{paths[0]} {shape[0]} of {shape[1]:,}: they are of different models"
            )
    header = _header(paths, codes, model, shape)
    with StoreWriter.create(out, header, keep_folds=False, overwrite=overwrite) as writer:
        writer.commit(_window(read))
        writer.finish()
    return open_store(out)


def write_counts(store: Store, folder: Path, threshold: float | None = None) -> list[Path]:
    """Write the counts of a corpus, a file for each language, `activation.CODE.train.MODEL`, as LAPE's code names them.

    With `average_activations` if the store has sums of the signal.

    Args:
        folder: Made if it does not exist.
        threshold: One of the store's; None for its first.
    Returns:
        The files.
    Raises:
        InputError: the store is of no corpus, or has no such threshold.
        StoreError: an array is damaged.
        OutputError: a file cannot be written.
    """
    header = store.header
    if not header.is_corpus:
        raise InputError(f"{store.path} is not of a corpus; measure with --position corpus")
    t, tokens = store.threshold_index(threshold), store["corpus_tokens"][...]
    folder.mkdir(exist_ok=True)
    name = "".join(
        c if c.isalnum() or c in "-_." else "-" for c in header.model.rstrip("/").rpartition("/")[2]
    )
    written = []
    for k, code in enumerate(header.languages):
        path = (
            folder
            / f"activation.{''.join(c for c in code if c.isalnum() or c in '-_')}.train.{name or 'model'}"
        )
        content: dict[str, Any] = {"n": int(tokens[k]), "over_zero": store["activation_count"][t, k]}
        if "signal_sum" in store and tokens[k]:
            content[_AVERAGE] = (store["signal_sum"][k] / tokens[k]).astype(np.float32)
        pt_files.save(content, path)
        written.append(path)
    return written


def _header(paths: Sequence[Path], codes: Sequence[str], model: str, shape: tuple[int, ...]) -> Header:
    return Header(
        version=fastneurons.__version__,
        model=printable(model),
        dtype="unknown",
        task="counts",
        tasks=["counts"],
        source=printable(f"counts of {', '.join(map(str, paths))}"),
        languages=list(codes),
        position="corpus",
        thresholds=[0.0],
        layers=list(range(shape[0])),
        neurons=shape[1],
        window=max(1, len(paths)),
        config={IMPORTED_FROM: [printable(str(path)) for path in paths]},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _window(read: Sequence[LanguageCounts]) -> Window:
    L = len(read)
    tokens = np.array([each.tokens for each in read], np.int64)
    return Window(
        0,
        {
            "example_id": np.array([printable(each.path.name) for each in read], np.dtypes.StringDType()),
            "digest": np.zeros(L, np.uint64),
            "task": np.zeros(L, np.int32),
            "outcome": np.full(L, Outcome.MEASURED, np.uint8),
            # Of a text, which has fewer tokens; `corpus_tokens` has their number in any case.
            "token_count": np.diag(np.minimum(tokens, _MOST_TOKEN_COUNT)).astype(np.int32),
            "present": np.eye(L, dtype=np.bool_),
            "activation_count": np.stack([each.over_zero for each in read])[None],
            "corpus_tokens": tokens,
        },
    )
