"""Known similarities of languages, and their correlation with the overlap of neurons.

    from fastneurons.analysis.similarity import mantel, same_script

    mantel(overlap, same_script(languages)).rho

Pairs of languages are not independent, since each language is in many of them. So the p value of a correlation over
pairs comes from permuting the languages (Mantel's test), not from the number of pairs.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations as orders
from math import factorial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fastneurons.analysis.bootstrap import Estimate, Floats
from fastneurons.analysis.multiple import permutation_p
from fastneurons.analysis.overlap import pairs
from fastneurons.errors import InputError
from fastneurons.language_families import kinship
from fastneurons.languages import language, short_code

PERMUTATIONS = 9999
_BLOCK_PERMUTATIONS = 500
_LEAST_LANGUAGES = 3


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of two measures over pairs of languages.

    Args:
        rho: With its bootstrap interval over examples; NaN where one of the measures is the same for all pairs, or
            where fewer than three pairs have both.
        p: Two-sided, of Mantel's test.
        num_pairs: Pairs that have both measures.
        num_permutations: Permutations of the languages that were tried; all there are, if these are few.
    """

    rho: Estimate
    p: float
    num_pairs: int
    num_permutations: int


def mantel(
    overlap: Floats,
    similarity: Floats,
    replicates: Floats | None = None,
    permutations: int = PERMUTATIONS,
    rng: np.random.Generator | None = None,
) -> Correlation:
    """Correlate the overlap of pairs of languages with a similarity.

    Args:
        overlap: float64 [P], in the order of `fastneurons.analysis.overlap.pairs`.
        similarity: float64 [P]; NaN where it is not known.
        replicates: float64 [R, P], bootstrap replicates of `overlap`; None for no interval.
        permutations: How many to draw where there are more.
        rng: Draws them; None for one with a fixed seed.
    Source: Mantel 1967, Cancer Research 27(2), with Spearman's rho as its statistic.
    """
    overlap, similarity = np.asarray(overlap, np.float64), np.asarray(similarity, np.float64)
    known = np.isfinite(overlap) & np.isfinite(similarity)
    rho = spearman(overlap[known][None], similarity[known])[0]
    nothing = np.full((0, 1), np.nan)
    drawn = nothing if replicates is None else spearman(replicates[:, known], similarity[known])[:, None]
    estimate = Estimate.of(np.array([rho]), drawn)
    estimate = Estimate(estimate.mean[0], estimate.low[0], estimate.high[0])
    if np.isnan(rho):
        return Correlation(estimate, float("nan"), int(known.sum()), 0)
    permuted = []
    for order in _orders(overlap, permutations, rng or np.random.default_rng(0)):
        values = _square(overlap)[order[:, :, None], order[:, None, :]]  # [R, L, L]
        shuffled = values[(slice(None), *np.triu_indices(values.shape[1], 1))]
        permuted.append(spearman(shuffled[:, known], similarity[known]))
    statistics = np.concatenate(permuted)
    statistics = statistics[np.isfinite(statistics)]
    return Correlation(estimate, permutation_p(rho, statistics), int(known.sum()), len(statistics))


def spearman(values: Floats, others: Floats) -> Floats:
    """Spearman's rho of each row of [R, P] with [P]; NaN where a side is constant or has fewer than three values."""
    if len(others) < 3:
        return np.full(len(values), np.nan)
    ranks, other = stats.rankdata(values, axis=1), stats.rankdata(others)
    ranks, other = ranks - ranks.mean(1, keepdims=True), other - other.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: Floats = ranks @ other / np.sqrt((ranks**2).sum(1) * (other**2).sum())
    return rho


def same_script(languages: Sequence[str]) -> Floats:
    """1 for pairs of languages written in the same script, else 0; NaN where a code is not known. float64 [P]."""
    scripts = [language(code).script if short_code(code) else None for code in languages]
    return np.array(
        [
            np.nan if None in (scripts[i], scripts[j]) else float(scripts[i] == scripts[j])
            for i, j in pairs(len(languages))
        ]
    )


def same_family(languages: Sequence[str]) -> Floats:
    """2 for pairs of the same branch of a family, 1 for the same family, else 0; NaN where a family is not known.

    float64 [P]. The families are those of `fastneurons.language_families`.
    """
    found = [kinship(languages[i], languages[j]) for i, j in pairs(len(languages))]
    return np.array([np.nan if kin is None else float(kin) for kin in found])


def read_similarity(path: Path | str, languages: Sequence[str]) -> Floats:
    """Read a similarity of languages from a CSV or TSV file.

    The file has either two languages and a value on each line, after an optional heading, or a square matrix: the
    languages on its first line, and each other line a language and its values. Languages may be in any order and
    spelling; those that are not among `languages` are ignored.

    Returns:
        float64 [P], in the order of `fastneurons.analysis.overlap.pairs`; NaN for pairs that are not in the file.
    Raises:
        InputError: the file cannot be read, a line is neither, a pair has two values, or fewer than three of the
            languages are in it.
    """
    rows = _rows(path)
    is_matrix = len(rows[0][1]) > 3
    entries = _entries_of_matrix(path, rows) if is_matrix else _entries_of_lines(path, rows)
    values: dict[frozenset[str], tuple[float, int]] = {}
    known = set(languages)
    for line, first, second, value in entries:
        if first == second or not {first, second} <= known:
            continue
        pair = frozenset((first, second))
        if pair in values and values[pair][0] != value:
            raise InputError(
                f"{path}:{line}: {first} and {second} have {value:g} here and {values[pair][0]:g} "
                f"on line {values[pair][1]}; a similarity has one value for both directions"
            )
        values.setdefault(pair, (value, line))
    covered = set().union(*values) if values else set()
    if len(covered) < _LEAST_LANGUAGES:
        raise InputError(
            f"{path}: has values for {len(covered)} of the languages {', '.join(languages)}; "
            f"a correlation needs at least {_LEAST_LANGUAGES}"
        )
    found = (frozenset((languages[i], languages[j])) for i, j in pairs(len(languages)))
    return np.array([values[pair][0] if pair in values else np.nan for pair in found])


def _rows(path: Path | str) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, each with its number, as stripped cells."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(",\t;", key=first.count)
    found = [
        (number, [cell.strip() for cell in cells])
        for number, line in enumerate(lines, 1)
        for cells in csv.reader([line], delimiter=delimiter)
        if any(cell.strip() for cell in cells)
    ]
    if not found:
        raise InputError(f"{path}: is empty")
    return found


def _entries_of_lines(
    path: Path | str, rows: list[tuple[int, list[str]]]
) -> list[tuple[int, str, str, float]]:
    entries = []
    for index, (line, cells) in enumerate(rows):
        if len(cells) != 3:
            raise InputError(f"{path}:{line}: has {len(cells)} cells; expected two languages and a value")
        if index == 0 and _number(cells[2]) is None and short_code(cells[0]) is None:
            continue  # a heading
        entries.append(
            (line, _code(path, line, cells[0]), _code(path, line, cells[1]), _value(path, line, cells[2]))
        )
    return entries


def _entries_of_matrix(
    path: Path | str, rows: list[tuple[int, list[str]]]
) -> list[tuple[int, str, str, float]]:
    (line, heading), *others = rows
    columns = [_code(path, line, cell) for cell in heading[1:]]
    if len(set(columns)) < len(columns):
        raise InputError(f"{path}:{line}: names a language twice")
    entries = []
    for line, cells in others:
        if len(cells) != len(heading):
            raise InputError(f"{path}:{line}: has {len(cells)} cells; the first line has {len(heading)}")
        row = _code(path, line, cells[0])
        entries += [
            (line, row, column, _value(path, line, cell))
            for column, cell in zip(columns, cells[1:], strict=True)
            if cell and column != row
        ]
    return entries


def _code(path: Path | str, line: int, text: str) -> str:
    try:
        return language(text).code
    except InputError as error:
        raise InputError(f"{path}:{line}: {error}") from None


def _value(path: Path | str, line: int, text: str) -> float:
    value = _number(text)
    if value is None:
        raise InputError(f"{path}:{line}: {text!r} is not a finite number")
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _square(values: Floats) -> Floats:
    """[L, L] from [P], symmetric; the diagonal is never used."""
    L = round((1 + np.sqrt(1 + 8 * len(values))) / 2)
    square = np.zeros((L, L))
    square[np.triu_indices(L, 1)] = values
    return square + square.T


def _orders(values: Floats, permutations: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Permutations of the languages except the identity, in blocks [R, L]: all if there are no more than wanted."""
    L = len(_square(values))
    if factorial(L) - 1 <= permutations:
        every = np.array(list(orders(range(L))), np.intp)[1:]
    else:
        every = rng.permuted(np.tile(np.arange(L, dtype=np.intp), (permutations, 1)), axis=1)
    return [every[at : at + _BLOCK_PERMUTATIONS] for at in range(0, len(every), _BLOCK_PERMUTATIONS)]
