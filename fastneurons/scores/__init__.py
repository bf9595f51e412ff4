"""Score outputs, and aggregate scores. Needs numpy and the standard library only."""

from fastneurons.scores.aggregate import (
    Mean,
    difference,
    difference_over_languages,
    mean_by_language,
    mean_over_languages,
    wilson_interval,
)
from fastneurons.scores.choice import Choice, choice_lengths, choose, is_chosen
from fastneurons.scores.matching import exact_match, first_line, first_word, starts_with, word_f1
from fastneurons.scores.normal_form import normalise, words
from fastneurons.scores.numbers import Number, find_numbers, last_number, number_match, read_number

__all__ = [
    "Choice",
    "Mean",
    "Number",
    "choice_lengths",
    "choose",
    "difference",
    "difference_over_languages",
    "exact_match",
    "find_numbers",
    "first_line",
    "first_word",
    "is_chosen",
    "last_number",
    "mean_by_language",
    "mean_over_languages",
    "normalise",
    "number_match",
    "read_number",
    "starts_with",
    "wilson_interval",
    "word_f1",
    "words",
]
