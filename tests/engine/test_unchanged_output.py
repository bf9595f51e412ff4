"""Measuring changes nothing: log-probabilities of the patched and the unpatched engine, bit for bit, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.support import LANGUAGES, examples

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]


WHATS: list[dict[str, Any]] = [
    {},
    {"attribution": True},
    {"position": "any", "signal": "product"},
    {"position": "corpus"},
]


def hashes(
    model: Path, dtypes: list[str], eager: bool, cache: Path, whats: list[dict[str, Any]]
) -> dict[str, list[list[str]]]:
    """Of the log-probabilities after each of 24 prompts, by dtype: the unpatched engine's first."""
    prompts = [row.prompts[language] for row in examples(8, seed=11, longest=150) for language in LANGUAGES]
    request = {"model": str(model), "dtypes": dtypes, "eager": eager, "prompts": prompts, "whats": whats}
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CACHE_ROOT": str(cache)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.logprobs", json.dumps(request)],
        capture_output=True, text=True, check=False, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[list[str]]] = json.loads(done.stdout.splitlines()[-1])
    assert all(len(set(each)) == 24 for engines in found.values() for each in engines)
    return found


def test_logits_are_bit_equal_to_the_unpatched_engines(models, tmp_path):
    [[plain, *patched]] = hashes(models(), ["float32"], True, tmp_path, WHATS).values()
    assert patched == [plain] * len(WHATS)
    [[in_bfloat16, measured]] = hashes(models(), ["bfloat16"], True, tmp_path, WHATS[1:2]).values()
    assert measured == in_bfloat16
    assert in_bfloat16 != plain


def test_logits_are_bit_equal_when_compiled(models, tmp_path):
    """One cache for all: a graph of the one, served to the other, would fail or not be counted."""
    [[plain, *patched]] = hashes(models(), ["float32"], False, tmp_path, WHATS[1:2]).values()
    assert patched == [plain]
