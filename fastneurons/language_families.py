"""Families of languages and their main branches, for comparing neurons with kinship.

The table `language_families.csv` has a line for each language of `fastneurons.languages` that belongs to a family.
Families and branches follow Glottolog (Hammarström, Forkel, Haspelmath and Bank, https://glottolog.org, CC BY 4.0),
shortened to two levels; creoles stand with the language that most of their words come from. Constructed languages have
no entry.
"""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastneurons.languages import short_code


class Kin(NamedTuple):
    """The family of a language, and its main branch; the branch is empty where the table has one level."""

    family: str
    branch: str


def kin_of(code: str) -> Kin | None:
    """Return the family and branch of a language, given by its code in any spelling and script; None if not known."""
    short = short_code(code)
    return None if short is None else _table().get(short.partition("-")[0])


def kinship(code: str, other: str) -> int | None:
    """Return 2 for two languages of the same branch, 1 for the same family, 0 otherwise; None if one is not known."""
    first, second = kin_of(code), kin_of(other)
    if first is None or second is None:
        return None
    if first == second:
        return 2
    return int(first.family == second.family)


@cache
def _table() -> dict[str, Kin]:
    text = files("fastneurons").joinpath("language_families.csv").read_text(encoding="utf-8")
    return {row["code"]: Kin(row["family"], row["branch"]) for row in csv.DictReader(text.splitlines())}
