"""A real model, SmolLM2-135M, over real facts: every layer and neuron against a plain Transformers pass."""

import numpy as np
import pytest

from fastneurons.config import EngineOptions
from tests.engine.agreement import agreement
from tests.engine.support import LANGUAGES, measure

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def smollm2():
    from fastneurons.data.demo.model import demo_model

    return demo_model()


@pytest.fixture(scope="module")
def rows():
    from itertools import islice

    from fastneurons.data.demo.facts import facts

    return list(islice(facts(LANGUAGES), 8))


def test_bits_agree_in_float32(smollm2, rows, reference, open_session):
    expected = reference(smollm2, rows)
    session = open_session(smollm2, options=EngineOptions(dtype="float32", max_model_len=512))
    measured = measure(session, rows)
    found = agreement(measured["activated"][:, 0], expected)
    assert found.num_bits == 8 * 3 * 30 * 1536
    assert found.share >= 0.9999, found
    assert found.worst_distance <= 1e-4, found


def test_bits_agree_in_bfloat16_within_its_rounding(smollm2, rows, reference, open_session):
    expected = reference(smollm2, rows[:4], "bfloat16")
    session = open_session(smollm2, options=EngineOptions(dtype="bfloat16", max_model_len=512))
    measured = measure(session, rows[:4])
    found = agreement(measured["activated"][:, 0], expected)
    assert found.share >= 0.985, found
    # Rounding moves activations a little; a row read at the wrong place would move them all.
    per_prompt = [agreement(m, e).share for m, e in zip(measured["activated"][:, 0], expected, strict=True)]
    assert np.min(per_prompt) >= 0.98
