"""Slow, obvious definitions of analyses, on unpacked bits: bool [E, L, N, I]."""

from itertools import combinations, product
from math import comb, log

import numpy as np


def jaccard(bits: np.ndarray, first: int, second: int) -> float:
    one, other = bits[:, first], bits[:, second]
    either = (one | other).sum()
    return (one & other).sum() / either if either else np.nan


def unpaired_jaccard(bits: np.ndarray, first: int, second: int) -> float:
    """Every prompt of one language with every prompt of the other that is not of the same example."""
    E = len(bits)
    met = [(bits[e, first] & bits[f, second]).sum() for e in range(E) for f in range(E) if e != f]
    common = sum(met) / (E - 1)
    sizes = bits[:, first].sum() + bits[:, second].sum()
    return common / (sizes - common) if sizes else np.nan


def hypergeometric(neurons: int, marked: int, drawn: int) -> dict[int, float]:
    """The distribution of the number in common, from its definition."""
    return {
        k: comb(marked, k) * comb(neurons - marked, drawn - k) / comb(neurons, drawn)
        for k in range(max(0, marked + drawn - neurons), min(marked, drawn) + 1)
    }


def chance_common(bits: np.ndarray, first: int, second: int) -> tuple[float, float]:
    """Mean and variance of the neurons in common if each prompt's were drawn at random in each layer."""
    E, _, N, I = bits.shape  # noqa: E741
    mean = variance = 0.0
    for e, n in product(range(E), range(N)):
        law = hypergeometric(I, int(bits[e, first, n].sum()), int(bits[e, second, n].sum()))
        of_one = sum(k * p for k, p in law.items())
        mean += of_one
        variance += sum((k - of_one) ** 2 * p for k, p in law.items())
    return mean, variance


def set_shares(bits: np.ndarray) -> dict[frozenset[int], float]:
    E, L, N, I = bits.shape  # noqa: E741
    shares = {frozenset(s): 0.0 for k in range(L + 1) for s in combinations(range(L), k)}
    for e, n, i in product(range(E), range(N), range(I)):
        shares[frozenset(np.flatnonzero(bits[e, :, n, i]).tolist())] += 1 / (E * N * I)
    return shares


def categories(bits: np.ndarray) -> np.ndarray:
    """Codes [E, N, I]."""
    L = bits.shape[1]
    number = bits.sum(1)
    return np.where(number == 0, 0, np.where(number == L, 3, np.where(number == 1, 1, 2)))


def entropy(counts: np.ndarray) -> float:
    total = counts.sum()
    if not total:
        return np.nan
    return -sum(c / total * log(c / total) for c in counts if c) / log(len(counts))


def aligned(first: np.ndarray, second: np.ndarray) -> list[bool]:
    """Of prompts bool [n, I] of two languages: which pairs are each other's strictly nearest neighbours by cosine."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return (a & b).sum() / np.sqrt(float(a.sum()) * float(b.sum())) if a.any() and b.any() else 0.0

    n = len(first)
    return [
        all(cosine(first[i], second[i]) > cosine(first[i], second[j]) for j in range(n) if j != i)
        and all(cosine(first[i], second[i]) > cosine(first[j], second[i]) for j in range(n) if j != i)
        for i in range(n)
    ]
