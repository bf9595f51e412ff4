"""Measuring changes nothing: log-probabilities of the patched and the unpatched engine, bit for bit, on the CPU."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.logprobs import log_probabilities
from tests.engine.support import LANGUAGES, examples

pytestmark = pytest.mark.engine

WHATS: list[dict[str, Any]] = [
    {},
    {"attribution": True},
    {"position": "any", "signal": "product"},
    {"position": "corpus"},
]


def hashes(model: Path, dtype: str, eager: bool, cache: Path, whats: list[dict[str, Any]]) -> list[list[str]]:
    """Of the log-probabilities after each of 24 prompts: the unpatched engine's first."""
    prompts = [row.prompts[language] for row in examples(8, seed=11, longest=150) for language in LANGUAGES]
    request = {"model": str(model), "dtype": dtype, "eager": eager, "prompts": prompts, "whats": whats}
    found = log_probabilities(request | {"cache": str(cache)})
    assert all(len(set(each)) == 24 for each in found)
    return found


def test_logits_are_bit_equal_to_the_unpatched_engines(models, tmp_path):
    plain, *patched = hashes(models(), "float32", True, tmp_path, WHATS)
    assert patched == [plain] * len(WHATS)
    in_bfloat16, measured = hashes(models(), "bfloat16", True, tmp_path, WHATS[1:2])
    assert measured == in_bfloat16
    assert in_bfloat16 != plain


def test_logits_are_bit_equal_when_compiled(models, tmp_path):
    """One cache for all: a graph of the one, served to the other, would fail or not be counted."""
    plain, *patched = hashes(models(num_hidden_layers=2), "float32", False, tmp_path, WHATS[1:2])
    assert patched == [plain]
