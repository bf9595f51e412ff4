"""Tensor and pipeline parallelism: ranks with some of the neurons, or of the layers, give one rank's arrays.

Engines for "last" also judge answers, score and generate under edits, and deactivate: see `everything.py`.
"""

from functools import cache

import numpy as np
import pytest

from fastneurons.arrays import ATTRIBUTION, Arrays
from fastneurons.config import Measurement
from tests.engine.forked import in_fork
from tests.engine.ranks import done, killed

pytestmark = pytest.mark.engine

# Of a model of 3 layers, so that stages differ; of 88 neurons, of which two ranks have 44, no multiple of 8; of one
# head of keys and values, which both have.
MEASUREMENTS = {
    "last": Measurement(
        (0.0, 0.1), attribution=True, top_k=5, keep_coefficients=True, score=True, max_new_tokens=3
    ),
    "any": Measurement((0.0, 0.1), "any"),
    "answer": Measurement((0.0, 0.1), "answer", "product", score=True, max_new_tokens=3),
    "corpus": Measurement((0.0, 0.1), "corpus"),
}
# Positions take turns at having embeddings that are the unembedding as well.
TIED = {"last": True, "any": False, "answer": True, "corpus": False}
RANKS = {"TP": (2, 1), "PP": (1, 2), "TP x PP": (2, 2)}


def done_with(models, position: str, tensor: int = 1, pipeline: int = 1) -> Arrays:
    """All arrays of a position with an engine of so many ranks."""
    model = models(tie_word_embeddings=TIED[position], vocab_size=331)
    found, number = in_fork(
        done,
        str(model),
        MEASUREMENTS[position],
        edits=position == "last",
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
        block_size=32,
    )
    assert number == tensor * pipeline
    return found


@pytest.fixture(scope="module")
def alone(models):
    """The arrays of one rank, once for each position."""
    return cache(lambda position: done_with(models, position))


@pytest.mark.parametrize(
    ("position", "ranks"),
    [("last", "TP"), ("last", "PP"), *((position, "TP x PP") for position in MEASUREMENTS)],
)
def test_ranks_give_the_arrays_of_one(position, ranks, alone, models):
    tensor, pipeline = RANKS[ranks]
    found = done_with(models, position, tensor, pipeline)
    expected = alone(position)
    assert found.keys() == expected.keys()
    scores = {*ATTRIBUTION, "neuron_contribution", "coefficient"}
    for name, array in expected.items():
        if name.endswith("log_probability"):  # other prompts share a step
            np.testing.assert_allclose(found[name], array, 2e-5, 2e-5, err_msg=name)
        elif tensor > 1 and name in scores:  # sums of two ranks' products round differently
            bound = 2e-3 if name == "coefficient" else 2e-5  # those are float16
            np.testing.assert_allclose(found[name], array, bound, bound, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_killed_stage_of_a_pipeline_is_named(models):
    error, pid, seconds = in_fork(killed, str(models()), 0, pipeline_parallel_size=2)
    assert error == (
        f"the engine failed: rank 0 (process {pid}) ended without a word; it may have been killed for want of memory"
    )
    assert seconds < 30
