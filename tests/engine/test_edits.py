"""Edits of a running model against Transformers with the same edits made by hooks, in float32."""

from typing import Any

import numpy as np
import pytest

from fastneurons.engine.edit_bank import bank_bytes
from fastneurons.engine.edits import Change, Edits, Fill, check_edits
from fastneurons.engine.generation import ToGenerate, generate, greedy
from fastneurons.engine.scoring import ToScore, score, scoring_engine
from fastneurons.errors import EngineError, InputError
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet
from tests.engine.agreement import unpack
from tests.engine.edited import edited_by_hooks
from tests.engine.support import LANGUAGES, examples, measure, tiny_options
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
def expected(models):
    """Texts, edits, and what hooks make of them, by architecture."""
    made: dict[str, Any] = {}

    def of(architecture: str) -> Any:
        if architecture not in made:
            model = models(architecture)
            among = ModelNeurons(str(model), None, (0, 1, 2), (88,) * 3)
            edits, asked = drawn_edits(among), texts(40)
            made[architecture] = edits, asked, edited_by_hooks(model, as_arrays(edits), asked)
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
    with engine_of(models(architecture), block_size=32) as engine:
        assert_same(run(engine, edits, asked), wanted)
        # Once more, in other slots, with all prefixes in the cache.
        before = engine.tallies()[0]["forwards"]
        assert_same(run(engine, edits[::-1], [_reversed(text) for text in asked]), wanted)
        assert engine.tallies()[0]["forwards"] - before < before
        assert_an_mlp_without_neurons_adds_its_bias_or_nothing(engine, architecture)


def assert_an_mlp_without_neurons_adds_its_bias_or_nothing(engine: Any, architecture: str) -> None:
    edits = Edits(engine)
    slot = edits.put(Edit(NeuronSet.from_layers(edits.model)))
    down = engine.core.worker.observer.sites[1].down
    outputs = []
    down.register_forward_hook(lambda _, __, out: outputs.append(out[0].clone()))
    list(score(engine, [ToScore([5, 6, 7, 8, 9], 1, slot, "off")]))
    [out] = outputs
    assert (down.bias is None) == (architecture == "Llama")
    assert out.abs().max() == 0 if down.bias is None else (out == down.bias).all()


def _reversed(text: dict[str, Any]) -> dict[str, Any]:
    return text | {"edit": None if text["edit"] is None else len(KINDS) - 1 - text["edit"]}


def test_preempted_prompts_are_edited_again(models, expected):
    edits, asked, wanted = expected("Llama")
    # Room for the keys and values of two prompts or so; see test_preempted_prompts_are_counted_once.
    blocks = 14
    options = {
        "block_size": 32, "kv_cache_memory_bytes": blocks * 32 * 2 * 3 * 32 * 4, "enable_prefix_caching": False,
        "max_model_len": 300, "max_num_batched_tokens": 128, "long_prefill_token_threshold": 32,
        "scheduler_reserve_full_isl": False,
    }  # fmt: skip
    with engine_of(models(), **options) as engine:
        from types import SimpleNamespace

        preempted = count_preemptions(SimpleNamespace(core=engine.core))
        assert_same(run(engine, edits, asked), wanted)
        assert preempted, "nothing was preempted: the test tests nothing"


def test_edits_of_a_compiled_model(models, expected, tmp_path, monkeypatch):
    """Those of several ranks are in test_parallel.py."""
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    edits, asked, wanted = expected("Llama")
    with engine_of(models(), enforce_eager=False) as engine:
        assert_same(run(engine, edits, asked), wanted)


@pytest.fixture(scope="module")
def session(models):
    """Reads, scores and edits."""
    from fastneurons.engine.session import Session

    with Session(
        str(models()), LANGUAGES, options=tiny_options(), num_edits=1000, num_edit_values=2, judges=True
    ) as opened:
        yield opened


def scores_of(session: Any, asked: list[dict[str, Any]], slot: int | None) -> np.ndarray:
    salt = (
        None if slot is None else f"{session.edits.salt(slot, 1)} {np.random.default_rng().integers(2**60)}"
    )
    return np.concatenate(
        list(score(session.engine, [ToScore(text["ids"], text["boundary"], slot, salt) for text in asked]))
    )


def test_an_edit_of_nothing_keeps_every_bit(session):
    every = NeuronSet.from_layers(session.edits.model)
    asked = texts(12)
    intact = scores_of(session, asked, None)
    for site in ("product", "gate"):
        slot = session.edits.put(Edit(every, site=site, scale=1.0))
        np.testing.assert_array_equal(scores_of(session, asked, slot), intact)
        session.edits.free(slot)
    # Rows without an edit, in steps with edited ones.
    slot = session.edits.put(Edit(every))
    mixed = [
        ToScore(text["ids"], text["boundary"], edit, f"{k}")
        for k, text in enumerate(asked)
        for edit in (None, slot)
    ]
    both = list(score(session.engine, mixed))
    np.testing.assert_array_equal(np.concatenate(both[::2]), intact)
    assert np.abs(np.concatenate(both[1::2]) - intact).max() > 0.1
    session.edits.free(slot)


def test_slots_are_filled_from_categories_and_with_controls(session):
    """Sets and controls that are made on the device, against NeuronSet's own arithmetic on the stored bits."""
    rows = examples(6, seed=17)
    measured = measure(session, rows)
    languages = unpack(measured["activated"], 88)[:, 0].sum(1)  # [E, N, I]
    # All slots of the buffers are free again, and hold what was read: example k is in the slot that it was given.
    words = session.core.worker.observer._buffers["words"]
    stored = words.view(-1, len(LANGUAGES), *words.shape[1:])[:, :, 0]
    want = np.packbits(unpack(measured["activated"], 88)[:, 0], axis=-1, bitorder="little")
    slots = [
        next(k for k, held in enumerate(stored.numpy()) if (held.view(np.uint8)[..., :11] == want[e]).all())
        for e in range(len(rows))
    ]
    edits, change = session.edits, Change()
    fills = [
        Fill(edits.take(), change, 10, 0, ("all-shared",)),
        Fill(edits.take(), change, 10, like=0, seed=1),
        Fill(edits.take(), change, 10, like=0, seed=2),
        Fill(edits.take(), change, 11, 1, ("specific", "partial-shared"), layers=(1, 2)),
        Fill(edits.take(), change, 11, 1, ("non-activated",), share=0.5, seed=3),
        Fill(edits.take(), change, 11, like=4, seed=1),
    ]
    rows_of = [[slot * len(LANGUAGES) + k for k in range(len(LANGUAGES))] for slot in slots]
    filled = edits.fill(rows_of, fills)()
    bank = session.core.worker.observer.bank
    found = [
        np.unpackbits(bank._masks[fill.slot].numpy().view(np.uint8), axis=-1, count=88, bitorder="little")
        for fill in fills
    ]
    np.testing.assert_array_equal(found[0], languages[0] == 3)
    want_three = (languages[1] == 1) | (languages[1] == 2)
    want_three[0] = False
    np.testing.assert_array_equal(found[3], want_three)
    none = languages[1] == 0
    assert (found[4] <= none).all()
    np.testing.assert_array_equal(found[4].sum(-1), (none.sum(-1) * 0.5 + 0.5).astype(int))
    for control, of in ((1, 0), (2, 0), (5, 4)):
        np.testing.assert_array_equal(found[control].sum(-1), found[of].sum(-1))
        np.testing.assert_array_equal(filled.overlap[control], (found[control] & found[of]).sum(-1))
    np.testing.assert_array_equal(filled.neuron_count, np.stack(found).sum(-1))
    assert (found[1] != found[2]).any() and found[0].sum() > 20
    assert len({edits.salt(fill.slot, 1) for fill in fills}) == len(fills)

    # They are what an edit of the same neurons is.
    asked = texts(6)
    same = NeuronSet.from_bits(edits.model, found[3].astype(bool))
    put = edits.put(Edit(same))
    np.testing.assert_array_equal(scores_of(session, asked, put), scores_of(session, asked, fills[3].slot))
    # A later pass over the same engine finds no prefixes of these sets in its cache.
    later = Edits(session.engine)
    later.fill(rows_of, [Fill(fills[0].slot, change, 10, 0, ("all-shared",))])()
    assert later.salt(fills[0].slot, 1) not in {edits.salt(fill.slot, 1) for fill in fills}
    for fill in fills:
        edits.free(fill.slot)
    edits.free(put)


def test_the_bank_is_bounded(session):
    """Full of edits, it takes no more; its memory is counted, and was known before."""
    edits, free = session.edits, session.edits.num_free
    one = NeuronSet.from_pairs(edits.model, [(0, 3)])
    slots = [edits.put(Edit(one, scale=0.25 * k)) for k in range(free)]
    assert free == 1000
    with pytest.raises(EngineError, match="the bank of edits is full"):
        edits.put(Edit(one))
    assert len({edits.salt(slot, 1) for slot in slots}) == free  # different edits share nothing
    for slot in slots[1:]:
        edits.free(slot)
    # Rows of values: equal ones share a row, and a row is free when no edit uses it.
    value = np.arange(3 * 88, dtype=np.float32).reshape(3, 88)
    first, second = edits.put(Edit(one, value=value)), edits.put(Edit(one, scale=1, value=value))
    third = edits.put(Edit(one, value=value + 1))
    with pytest.raises(EngineError, match="no room for the values"):
        edits.put(Edit(one, value=value + 2))
    edits.free(third)
    edits.free(edits.put(Edit(one, value=value + 2)))
    for slot in (slots[0], first, second):
        edits.free(slot)
    edits.check()
    assert edits.num_free == free
    bank = session.core.worker.observer.bank
    assert bank.bytes == bank_bytes(1000, 2, 3, 88, bank.rows.numel())
    assert bank.bytes < session.facts.buffer_bytes


def test_wrong_edits_are_named(session):
    edits = session.edits
    other = NeuronSet.from_layers(ModelNeurons("other", None, (0, 1, 2), (96,) * 3))
    with pytest.raises(
        InputError, match=r"wide.safetensors: is for another model: its layer 0 has 96 neurons"
    ):
        edits.put(Edit(other), "wide.safetensors")
    deep = NeuronSet.from_layers(ModelNeurons("other", None, (3,), (88,)))
    with pytest.raises(InputError, match="it has layer 3"):
        edits.put(Edit(deep))
    with pytest.raises(InputError, match="has 96 neurons"):
        config = {"num_hidden_layers": 3, "intermediate_size": 88}
        check_edits([("wide", Edit(other))], "tiny", config, None)
    check_edits([("wide", Edit(other))], "tiny", {"num_hidden_layers": 3}, None)  # not said: seen when loaded
    assert edits.num_free == 1000
