"""What runs on a GPU, run on the CPU: vLLM's second model runner and our Triton kernels, in the interpreter.

vLLM takes that runner only where Triton has a backend for the platform; the script pretends one for
the CPU while vLLM looks. Before the first prompt comes vLLM's own warm-up, which its GPU worker runs through our
`execute_model` and `sample_tokens`. None of it was run on a GPU.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastneurons.arrays import Arrays
from fastneurons.config import Measurement
from fastneurons.engine.session import Session
from fastneurons.experiments.judging import judge_of
from tests.engine import everything, tiny
from tests.engine.agreement import agreement, unpack
from tests.engine.forked import in_fork
from tests.engine.support import LANGUAGES, examples, tiny_options

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]


def on_the_first_runner(model: str) -> Arrays:
    """What the script does next to reading prompts, by vLLM's first model runner and without our Triton kernels."""
    measurement = Measurement(score=True, max_new_tokens=3)
    judge = judge_of(measurement, LANGUAGES)
    with Session(model, LANGUAGES, measurement, tiny_options(), judge=judge, **everything.BANK) as session:
        assert type(session.core.worker.model_runner).__module__ == "vllm.v1.worker.cpu_model_runner"
        return everything.a_little(session)


def test_the_second_runner_and_the_triton_kernels_read_the_same(models, reference, tmp_path):
    model, rows = models(), examples(5, seed=13, longest=150)
    request = {
        "model": str(model),
        "rows": [[r.id, r.prompts] for r in rows],
        "out": str(tmp_path / "bits.npz"),
    }
    environment = {**os.environ, "TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.runner_v2", json.dumps(request)],
        capture_output=True, text=True, check=False, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = np.load(request["out"])
    assert str(result["runner"]) == "vllm.v1.worker.cpu.model_runner.CPUModelRunner"
    found = agreement(result["activated"][:, 0], reference(model, rows))
    assert found.share >= 0.9999, found
    assert found.worst_distance <= 1e-4, found
    bits = unpack(result["activated"], tiny.NEURONS)  # [E, S, L, N, I]
    languages = bits.sum(2)
    masks = np.stack([languages == 0, languages == 1, languages == 2, languages == 3], -1)
    np.testing.assert_array_equal(result["activated_count"], bits.sum(-1))
    np.testing.assert_array_equal(result["category_count"], masks.sum(-2))
    np.testing.assert_array_equal(result["occupancy"], masks.sum(0))
    # Answers, log-probabilities and generated tokens under every kind of edit, and sets that are filled on the device.
    expected = in_fork(on_the_first_runner, str(model))
    assert {name.removeprefix("compared: ") for name in result if name.startswith("compared: ")} == set(
        expected
    )
    for name, array in expected.items():
        within = 1e-4 if name.endswith("log_probability") else 0
        np.testing.assert_allclose(result[f"compared: {name}"], array, 0, within, err_msg=name)
