"""LAPE and its variants by their definitions: exact fractions, 100 digits of entropy, one neuron at a time."""

from fractions import Fraction

import numpy as np
from mpmath import mp, mpf

mp.dps = 100


def probabilities(count: np.ndarray, tokens: np.ndarray) -> list[list[list[Fraction]]]:
    """[L][N][I]."""
    return [
        [[Fraction(int(c), int(t)) for c in layer] for layer in language]
        for language, t in zip(count, tokens, strict=True)
    ]


def value_at(rate: float, values: list[Fraction]) -> Fraction:
    return sorted(values)[round(rate * len(values)) - 1]


def entropy(p: list[Fraction]) -> mpf:
    total = sum(p)
    shares = [each / total for each in p if each] if total else []
    return -sum(
        (mpf(s.numerator) / s.denominator * mp.log(mpf(s.numerator) / s.denominator) for s in shares), mpf(0)
    )


def slow_lape(
    count: np.ndarray, tokens: np.ndarray, top_rate: float, filter_rate: float, activation_bar_ratio: float
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """bool [L, N, I], and the selected neurons in order."""
    p = probabilities(count, tokens)
    L, N, neurons = count.shape
    everything = [value for language in p for layer in language for value in layer]
    bar = value_at(filter_rate, everything)
    candidates = []
    for n in range(N):
        for i in range(neurons):
            own = [p[language][n][i] for language in range(L)]
            if any(value > bar for value in own):
                candidates.append((mp.nint(entropy(own) * mpf(10) ** 70), n, i))
    chosen = [(n, i) for _, n, i in sorted(candidates)[: round(top_rate * N * neurons)]]
    member_bar = value_at(activation_bar_ratio, everything)
    member = np.zeros(count.shape, np.bool_)
    for n, i in chosen:
        for language in range(L):
            member[language, n, i] = p[language][n][i] > member_bar
    return member, chosen


def slow_k_of_l(count: np.ndarray, tokens: np.ndarray, activation_bar_ratio: float) -> np.ndarray:
    """bool [L + 2, N, I]: specific to each language, related, agnostic."""
    p = probabilities(count, tokens)
    L, N, neurons = count.shape
    bar = value_at(activation_bar_ratio, [value for language in p for layer in language for value in layer])
    found = np.zeros((L + 2, N, neurons), np.bool_)
    for n in range(N):
        for i in range(neurons):
            there = [language for language in range(L) if p[language][n][i] > bar]
            if there:
                place = there[0] if len(there) == 1 else L + (len(there) == L)
                found[place, n, i] = True
    return found
