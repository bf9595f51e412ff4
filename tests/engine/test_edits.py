"""Edits of a running model against Transformers with the same edits made by hooks, in float32."""

from typing import Any

import numpy as np
import pytest

from fastneurons.engine.edits import Edits
from fastneurons.engine.generation import ToGenerate, generate, greedy
from fastneurons.engine.scoring import ToScore, score, scoring_engine
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet
from tests.engine.edited import edited_by_hooks
from tests.engine.support import tiny_options
from tests.engine.test_session import count_preemptions

pytestmark = pytest.mark.engine

WITHIN = 1e-4
MOST = 6

# Site, scale, whether values are added, scope, layers, share of the neurons.
KINDS = [
    ("product", 0.0, False, "both", None, 0.5),  # zero
    ("product", 1.5, False, "both", None, 0.3),  # scale
    ("product", 0.0, True, "both", "1-2", 0.4),  # set to values
    ("product", 1.0, True, "both", None, 0.1),  # add
    ("gate", 0.0, False, "both", "0,2", 1.0),
    ("gate", -0.5, True, "both", None, 0.5),
    ("product", 0.0, False, "prompt", None, 0.5),
    ("gate", 1.0, True, "generation", None, 0.2),
    ("product", 0.0, False, "both", None, 1.0),  # everything
]


def drawn_edits(among: ModelNeurons) -> list[Edit]:
    rng = np.random.default_rng(3)
    edits = []
    for site, scale, adds, scope, layers, share in KINDS:
        chosen = NeuronSet.from_bits(among, (rng.random(among.shape) < share) & among.exists)
        chosen = chosen if layers is None else chosen.in_layers(layers)
        value = rng.normal(0, 0.5, among.shape) if adds else None
        edits.append(Edit(chosen, site=site, scale=scale, scope=scope, value=value))
    return edits


def as_arrays(edits: list[Edit]) -> dict[str, np.ndarray]:
    zeros = np.zeros(edits[0].neurons.among.shape, np.float32)
    return {
        "bits": np.stack([edit.neurons.bits for edit in edits]),
        "values": np.stack([zeros if edit.value is None else edit.value for edit in edits]),
        "scale": np.array([edit.scale for edit in edits]),
        "site": np.array([edit.site for edit in edits]),
        "scope": np.array([edit.scope for edit in edits]),
    }


def texts(number: int, longest: int = 150) -> list[dict[str, Any]]:
    """Texts with every edit and none; each edit has some that begin alike, for the prefix cache."""
    rng = np.random.default_rng(8)
    shared = rng.integers(3, 250, 70).tolist()
    made = []
    for k in range(number):
        ids = rng.integers(3, 250, int(rng.integers(4, longest))).tolist()
        if k % 3 == 0:
            ids = shared + ids[:20]
        edit = k % (len(KINDS) + 1)
        boundary = int(rng.integers(1, len(ids)))
        made.append({"ids": ids, "edit": edit if edit < len(KINDS) else None, "boundary": boundary})
    return [text | {"most": MOST if k < 24 else 0} for k, text in enumerate(made)]


def run(engine: Any, edits: list[Edit], asked: list[dict[str, Any]]) -> Any:
    """Log-probabilities and generated tokens of texts in an engine."""
    bank = Edits(engine)
    slots = [bank.put(edit) for edit in edits]
    slots.append(None)

    def edit_of(text: dict[str, Any]) -> tuple[int | None, str | None]:
        slot = None if text["edit"] is None else slots[text["edit"]]
        return slot, None if slot is None else bank.salt(slot, text["boundary"])

    to_score = [ToScore(text["ids"], text["boundary"], *edit_of(text)) for text in asked]
    prompts = [
        ToGenerate(text["ids"][: text["boundary"]], *edit_of(text), most=text["most"])
        for text in asked
        if text["most"]
    ]
    scores = list(score(engine, to_score))
    generated = [each.token_ids for each in generate(engine, prompts, greedy(engine, MOST, ignore_eos=True))]
    bank.check()
    for slot in slots[:-1]:
        bank.free(slot)
    return scores, generated


def assert_same(found: Any, expected: Any) -> None:
    scores, generated = found
    wanted, tokens = expected
    np.testing.assert_allclose(np.concatenate(scores), np.concatenate(wanted), rtol=0, atol=WITHIN)
    assert generated == [each for each in tokens if each]


@pytest.fixture(scope="module")
def expected(models, tmp_path_factory):
    """Texts, edits, and what hooks make of them, by architecture."""
    made: dict[str, Any] = {}

    def of(architecture: str) -> Any:
        if architecture not in made:
            model = models(architecture)
            among = ModelNeurons(str(model), None, (0, 1, 2), (88,) * 3)
            edits, asked = drawn_edits(among), texts(40)
            folder = tmp_path_factory.mktemp("edited")
            made[architecture] = edits, asked, edited_by_hooks(model, as_arrays(edits), asked, folder)
        return made[architecture]

    return of


def engine_of(model: Any, **options: Any) -> Any:
    return scoring_engine(
        str(model), tiny_options(**options), observation={"edits": len(KINDS) + 1, "edit_values": 4}
    )


@pytest.mark.parametrize("architecture", ["Llama", "OPT"])
def test_every_edit_is_that_of_hooks(architecture, models, expected):
    """Gated and plain; mixed batches, chunks of prompts, cached prefixes, every operation, site and scope."""
    edits, asked, wanted = expected(architecture)
    with engine_of(models(architecture), block_size=16) as engine:
        assert_same(run(engine, edits, asked), wanted)
        # Once more, in other slots, with all prefixes in the cache.
        before = engine.tallies()[0]["forwards"]
        assert_same(run(engine, edits[::-1], [_reversed(text) for text in asked]), wanted)
        assert engine.tallies()[0]["forwards"] - before < before


def _reversed(text: dict[str, Any]) -> dict[str, Any]:
    return text | {"edit": None if text["edit"] is None else len(KINDS) - 1 - text["edit"]}
