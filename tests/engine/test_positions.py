"""Every position against Transformers' activations of every token: any token, the answer's, a whole corpus."""

import threading
from typing import Any

import numpy as np
import pytest

from fastneurons.config import Measurement
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.session import Session
from fastneurons.errors import InputError
from tests.engine.agreement import Agreement, unpack
from tests.engine.forked import in_fork
from tests.engine.reference import references
from tests.engine.support import LANGUAGES, examples, measure, tiny_options
from tests.engine.test_session import count_preemptions

pytestmark = pytest.mark.engine

# 40 and more tokens in steps of 64: prompts are cut into chunks, and share steps.
ROWS = examples(30, seed=30, longest=100)
WITHIN = 1e-4


@pytest.fixture(scope="module")
def every_token(models):
    """For a model: activations and coefficients of all tokens, by prompt, in the order of example and language."""

    def values(model: Any, prompts: list[str]) -> dict[str, list[np.ndarray]]:
        request = {"model": str(model), "dtype": "float32", "prompts": prompts, "every_token": True}
        [result] = references([request])
        ends = np.cumsum(result["lengths"])[:-1]
        return {name: np.split(result[name], ends) for name in ("activations", "coefficients")}

    return values


def prompts_of(rows: list[Example]) -> list[str]:
    return [row.prompts[language] for row in rows for language in LANGUAGES]


def largest(values: list[np.ndarray], num_rows: int) -> np.ndarray:
    """The largest value over each prompt's tokens: above a threshold where any token is. [E, L, N, I]."""
    flat = np.stack([of_prompt.max(0) for of_prompt in values])
    return flat.reshape(num_rows, len(LANGUAGES), *flat.shape[1:])


def assert_bits(activated: np.ndarray, reference: np.ndarray, threshold: float = 0.0) -> None:
    bits = unpack(activated, reference.shape[-1])
    different = bits != (reference > threshold)
    distance = np.abs(reference - threshold)[different].max(initial=0.0)
    found = Agreement(bits.size, int(different.sum()), float(distance))
    assert found.share >= 0.9999, found
    assert found.worst_distance <= WITHIN, found


@pytest.mark.parametrize("signal", ["gate", "product"])
def test_any_token(signal, models, every_token, open_session):
    model = models()
    what = Measurement((0.0, 0.1), "any", signal)
    measured = measure(open_session(model, measurement=what, options=tiny_options()), ROWS)
    values = every_token(model, prompts_of(ROWS))["activations" if signal == "gate" else "coefficients"]
    reference = largest(values, len(ROWS))
    for s, threshold in enumerate(what.thresholds):
        assert_bits(measured["activated"][:, s], reference, threshold)
        near = (np.abs(reference - np.float32(threshold)) <= 1e-3).sum(-1)
        assert near.sum() > 5
        assert np.abs(measured["near_threshold_count"][:, s] - near).sum() <= 1
    bits = unpack(measured["activated"], reference.shape[-1])
    np.testing.assert_array_equal(measured["activated_count"], bits.sum(-1))
    np.testing.assert_array_equal(measured["category_count"][..., 3], bits.all(2).sum(-1))


def test_product_at_the_last_token(models, every_token, open_session):
    model = models()
    measured = measure(
        open_session(model, measurement=Measurement(signal="product"), options=tiny_options()), ROWS
    )
    values = every_token(model, prompts_of(ROWS))["coefficients"]
    flat = np.stack([of_prompt[-1] for of_prompt in values])
    assert_bits(measured["activated"][:, 0], flat.reshape(len(ROWS), len(LANGUAGES), *flat.shape[1:]))


def test_prompts_that_share_a_prefix_hide_no_token(models, every_token, open_session):
    shared = "shared beginning that is longer than a block of the cache, " * 4
    rows = [
        Example(f"e{i}", {lang: shared + row.prompts[lang] for lang in LANGUAGES})
        for i, row in enumerate(examples(6, seed=31, longest=20))
    ]
    model = models()
    measured = measure(
        open_session(model, measurement=Measurement(position="any"), options=tiny_options(block_size=32)),
        rows,
    )
    assert_bits(
        measured["activated"][:, 0], largest(every_token(model, prompts_of(rows))["activations"], len(rows))
    )


def test_any_token_survives_preemption(models, every_token, open_session):
    model, rows = models(), examples(12, seed=4, longest=250)
    # As in test_session: four prompts are begun in a step, and there is room for the keys and values of two.
    options = tiny_options(
        block_size=32, kv_cache_memory_bytes=14 * 32 * 2 * 3 * 32 * 4, max_model_len=300,
        max_num_batched_tokens=128, long_prefill_token_threshold=32, scheduler_reserve_full_isl=False,
    )  # fmt: skip
    for position in ("any", "corpus"):
        session = open_session(model, LANGUAGES, measurement=Measurement(position=position), options=options)
        preempted = count_preemptions(session)
        values = every_token(model, prompts_of(rows))["activations"]
        if position == "any":
            assert_bits(measure(session, rows)["activated"][:, 0], largest(values, len(rows)))
        else:
            assert_counts(list(session.measure(rows)), rows, values)
        assert preempted, "nothing was preempted: the test tests nothing"
        session.close()


def assert_counts(
    parts: list[Any], rows: list[Example], values: list[np.ndarray], threshold: float = 0.0
) -> None:
    """Counts of a corpus against the tokens above the threshold, but for those too close to tell."""
    counts = np.sum([part["activation_count"] for part in parts], axis=0)[0]  # [L, N, I]
    tokens = np.sum([part["corpus_tokens"] for part in parts], axis=0)
    for index in range(len(LANGUAGES)):
        of_language = np.concatenate(values[index :: len(LANGUAGES)])
        assert tokens[index] == len(of_language)
        above, close = (of_language > threshold), np.abs(of_language - threshold) <= WITHIN
        difference = np.abs(counts[index] - above.sum(0))
        assert (difference <= close.sum(0)).all()
    assert counts.sum() > 0


def assert_distributions(
    parts: list[Any], values: dict[str, list[np.ndarray]], signal: str, edges: np.ndarray
) -> None:
    """Histograms, sums and sign cases of a corpus against those of the reference, but for what is too close to tell."""
    total = {
        name: np.sum([part[name] for part in parts], axis=0)
        for name in ("histogram", "signal_sum", "signal_square_sum", "sign_count")
    }
    for index in range(len(LANGUAGES)):
        a, m = (
            np.concatenate(values[name][index :: len(LANGUAGES)]) for name in ("activations", "coefficients")
        )  # [T, N, I]
        x = (a if signal == "gate" else m).astype(np.float64)
        assert (total["histogram"][index].sum(-1) == len(x)).all()
        # Tokens below each edge, which are more robust than those between two of them.
        below = np.cumsum(total["histogram"][index], axis=-1)[..., :-1]
        distance = x[..., None] - edges[:, None]
        assert (np.abs(below - (distance < 0).sum(0)) <= (np.abs(distance) <= WITHIN).sum(0)).all()
        np.testing.assert_allclose(total["signal_sum"][index], x.sum(0), atol=len(x) * WITHIN / 10)
        np.testing.assert_allclose(total["signal_square_sum"][index], (x**2).sum(0), rtol=1e-4, atol=1e-3)
        # The tiny model's gate is that of silu, which keeps its sign; so does up, where the activation is not 0.
        gate, up = a > 0, m * np.sign(a) > 0
        close = ((np.abs(a) <= WITHIN) | (np.abs(m) <= WITHIN * np.abs(a))).sum(0)
        for case, there in enumerate([gate & up, gate & ~up, ~gate & up, ~gate & ~up]):
            assert (np.abs(total["sign_count"][index, ..., case] - there.sum(0)) <= close).all(), case
        assert (total["sign_count"][index].sum(-1) == len(x)).all()


@pytest.mark.parametrize("signal", ["gate", "product"])
def test_corpus(signal, models, every_token, open_session):
    model = models()
    what = Measurement((0.0, 0.1), "corpus", signal, histogram=32)
    session = open_session(model, measurement=what, options=tiny_options())
    texts = [Example(row.id, {code: row.prompts[code]}) for row in ROWS[:5] for code in LANGUAGES]
    edges = session.choose_edges(texts)
    np.testing.assert_array_equal(session.choose_edges(texts), edges)
    parts = list(session.measure(ROWS, window=16))
    values = every_token(model, prompts_of(ROWS))["activations" if signal == "gate" else "coefficients"]
    assert_counts(parts, ROWS, values)
    assert_distributions(parts, every_token(model, prompts_of(ROWS)), signal, edges)
    # The edges are of use: no bin has more than a quarter of the values, and few are outside.
    share = np.sum([part["histogram"].sum((0, 2)) for part in parts], axis=0) / (
        sum(part["corpus_tokens"].sum() for part in parts) * session.facts.neurons
    )  # [N, B]
    assert share.max() < 1 / 4 and share[:, [0, -1]].max() < 1e-3
    above_zero = np.array([int((each <= np.float32(2.0**-133)).sum()) for each in edges])
    for part in parts:
        for n, first in enumerate(above_zero):
            counted = part["histogram"][:, n, :, first:].sum(-1)
            np.testing.assert_array_equal(counted, part["activation_count"][0, :, n])
    # Documents are rows, one language each; windows of 16 of them are counted together.
    assert [len(part.examples) for part in parts] == [16, 16, 16, 16, 16, 10]
    assert all((part["present"].sum(1) == 1).all() for part in parts)
    again = list(session.measure(ROWS, first=32, window=16))
    for part, before in zip(again, parts[2:], strict=True):
        for name in ("activation_count", "histogram", "signal_sum", "signal_square_sum", "sign_count"):
            np.testing.assert_array_equal(part[name], before[name])


def test_corpus_in_blocks(models, every_token, open_session):
    model = models()
    session = open_session(model, ("en",), measurement=Measurement(position="corpus"), options=tiny_options())
    rows = [Example(row.id, {"en": row.prompts["en"]}) for row in ROWS]
    parts = list(session.measure(rows, window=8, block_size=50))
    text = "".join(row.prompts["en"] for row in rows)
    blocks = [text[k : k + 50] for k in range(0, len(text), 50)]
    assert [row.id for part in parts for row in part.examples] == [f"en:{k}" for k in range(len(blocks))]
    values = np.concatenate(every_token(model, blocks)["activations"])
    counts = np.sum([part["activation_count"] for part in parts], axis=0)[0, 0]
    close = (np.abs(values) <= WITHIN).sum(0)
    assert (np.abs(counts - (values > 0).sum(0)) <= close).all()
    assert sum(part["corpus_tokens"][0] for part in parts) == len(text)


def test_a_corpus_that_is_stopped_hands_on_what_was_in_flight(models, open_session):
    session = open_session(models(), measurement=Measurement(position="corpus"), options=tiny_options())
    stop = threading.Event()
    parts = []
    for part in session.measure(ROWS * 10, window=30, stop=stop):
        parts.append(part)
        stop.set()
    assert 30 <= sum(len(part.examples) for part in parts) < 900
    whole = list(session.measure(ROWS * 10, window=30))
    for part, expected in zip(parts, whole, strict=False):
        if len(part.examples) == 30:
            np.testing.assert_array_equal(part["activation_count"], expected["activation_count"])


def test_the_answer_given_the_prompt(models, every_token, open_session):
    answers = {"en": "a bed", "de": "äüö", "th": "กข"}
    rows = [Example(row.id, row.prompts, answers) for row in ROWS]
    rows[3] = Example("no answer", rows[3].prompts, {"en": "abc"})
    model = models()
    session = open_session(model, measurement=Measurement(position="answer"), options=tiny_options())
    parts = list(session.measure(rows))
    flat = [row for part in parts for row in part.examples]
    assert isinstance(flat[3], Skipped)
    assert "no answer in de" in flat[3].reason
    good = [row for k, row in enumerate(rows) if k != 3]
    # Words are apart in English and German, not in Thai.
    texts = [
        row.prompts[lang] + ("" if lang == "th" or row.prompts[lang][-1] == " " else " ") + answers[lang]
        for row in good
        for lang in LANGUAGES
    ]
    values = every_token(model, texts)["activations"]
    spans = [
        of_prompt[-len(answers[lang].encode()) :]
        for of_prompt, lang in zip(values, LANGUAGES * len(good), strict=True)
    ]
    activated = np.concatenate([part["activated"] for part in parts])
    assert_bits(np.delete(activated, 3, axis=0)[:, 0], largest(spans, len(good)))


def counted(model: str, ranks: int) -> dict[str, np.ndarray]:
    """The sums of a corpus, by an engine of so many ranks."""
    what, options = Measurement((0.0, 0.1), "corpus", histogram=16), tiny_options(tensor_parallel_size=ranks)
    with Session(model, LANGUAGES, what, options) as session:
        parts = list(session.measure(ROWS))
    names = ("activation_count", "histogram", "sign_count", "signal_sum", "signal_square_sum")
    return {name: np.sum([part[name] for part in parts], axis=0) for name in names}


def test_two_ranks_count_as_one(models):
    # In forks: each binds threads to cores in its own way.
    found = [in_fork(counted, str(models()), ranks) for ranks in (1, 2)]
    np.testing.assert_array_equal(found[0]["activation_count"], found[1]["activation_count"])
    for name in ("histogram", "sign_count"):  # a value next to an edge may come to lie beyond it
        one, other = (each[name].astype(np.int64) for each in found)
        np.testing.assert_array_equal(one.sum(-1), other.sum(-1), err_msg=name)
        assert np.abs(one - other).sum() <= 1e-4 * one.sum(), name
    for name in ("signal_sum", "signal_square_sum"):  # ranks add up their products in another order
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-4, atol=1e-3, err_msg=name)


def test_histograms_that_do_not_fit_are_refused_with_what_does(models, open_session):
    what = Measurement(position="corpus", histogram=256, observe_memory=1 / 1024)
    with pytest.raises(InputError, match=r"256 bins\), more than --observe-memory .*; --histogram \d+ fits"):
        open_session(models(), measurement=what, options=tiny_options())


def test_a_budget_too_small_for_two_examples_is_refused(models, open_session):
    with pytest.raises(InputError, match=r"--observe-memory"):
        open_session(models(), measurement=Measurement(observe_memory=200 / 2**30), options=tiny_options())


def test_the_budget_bounds_what_is_in_flight(models, open_session):
    small = open_session(
        models(), measurement=Measurement(observe_memory=5_000 / 2**30), options=tiny_options()
    )
    assert 2 <= small.facts.slots < 40
    assert small.facts.buffer_bytes <= 5_000
    measured = measure(small, ROWS)
    assert (measured["category_count"].sum(-1) == small.facts.neurons).all()
