"""Each architecture that is said to work: bits of a tiny random model against Transformers' own forward pass."""

import numpy as np
import pytest

from tests.engine import tiny
from tests.engine.agreement import agreement
from tests.engine.reference import references
from tests.engine.support import LANGUAGES, examples, measure, tiny_options

pytestmark = pytest.mark.engine

ROWS = examples(12, seed=1)
# vLLM computes these two with other constants than Transformers does, so bits near the threshold
# differ: BLOOM's GELU exactly rather than by tanh, Apertus' xIELU with constants in bfloat16.
WITHIN = {"Bloom": 5e-3, "Apertus": 5e-2}


@pytest.fixture(scope="module")
def all_references(models):
    """One process for all of them: Transformers takes seconds to import."""
    prompts = [row.prompts[language] for row in ROWS for language in LANGUAGES]
    requests = [{"model": str(models(a)), "dtype": "float32", "prompts": prompts} for a in tiny.ARCHITECTURES]
    results = references(requests)
    return dict(zip(tiny.ARCHITECTURES, results, strict=True))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_bits_agree_with_transformers(architecture, models, all_references, open_session):
    session = open_session(models(architecture), options=tiny_options())
    assert session.facts.layers == tuple(range(tiny.LAYERS))
    assert session.facts.neurons == tiny.neurons(architecture)

    measured = measure(session, ROWS)

    expected = all_references[architecture]["activations"]
    expected = expected.reshape(len(ROWS), len(LANGUAGES), *expected.shape[1:])
    assert 0.02 < (expected > 0).mean() < 0.98  # else agreement would say little
    found = agreement(measured["activated"][:, 0], expected)
    within = WITHIN.get(architecture, 1e-4)
    assert found.worst_distance <= within, found
    assert found.share >= (0.999 if architecture in WITHIN else 0.9999), found
    np.testing.assert_array_equal(
        measured["token_count"], [[len(r.prompts[lang].encode()) for lang in LANGUAGES] for r in ROWS]
    )
