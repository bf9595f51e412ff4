"""Measuring changes nothing: log-probabilities of the patched and the unpatched engine, bit for bit, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import LANGUAGES, examples

pytestmark = pytest.mark.engine

SCRIPT = Path(__file__).with_name("logprobs.py")


def logprobs(model: Path, patched: bool, dtype: str, eager: bool, cache: Path) -> list[str]:
    """Every log-probability after each prompt, as exact hexadecimal numbers, from an engine in its own process."""
    prompts = [row.prompts[language] for row in examples(8, seed=11, longest=150) for language in LANGUAGES]
    request = {"model": str(model), "patched": patched, "dtype": dtype, "eager": eager, "prompts": prompts}
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CACHE_ROOT": str(cache)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(request)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_are_bit_equal_to_the_unpatched_engine(dtype, models, tmp_path):
    model = models()
    plain, patched = (logprobs(model, which, dtype, True, tmp_path) for which in (False, True))
    assert len(plain) == 24
    assert patched == plain


def test_logits_are_bit_equal_when_compiled(models, tmp_path):
    """One cache for both: a graph of the one, served to the other, would show as an error or a difference."""
    model = models()
    plain, patched = (logprobs(model, which, "float32", False, tmp_path) for which in (False, True))
    assert patched == plain
