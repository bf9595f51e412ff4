"""Tensor parallelism: two processes, each with half of every layer's neurons, give the single process's arrays."""

import numpy as np
import pytest

from fastneurons.config import Measurement
from tests.engine.support import examples, measure, tiny_options

pytestmark = pytest.mark.engine


def test_two_ranks_give_the_arrays_of_one(models, open_session):
    # 88 neurons: 44 a rank, which end inside a byte.
    model, rows = models(), examples(12, seed=12, longest=150)
    one = open_session(model, measurement=Measurement((0.0, 0.1)), options=tiny_options())
    alone = measure(one, rows)
    one.close()
    two = open_session(
        model, measurement=Measurement((0.0, 0.1)), options=tiny_options(tensor_parallel_size=2)
    )
    assert two.facts.workers == 2
    assert two.facts.neurons == 88
    together = measure(two, rows)
    assert together.keys() == alone.keys()
    for name, array in alone.items():
        np.testing.assert_array_equal(together[name], array, err_msg=name)
