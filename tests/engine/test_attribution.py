"""How much each category matters, against the definitions in numpy on a plain Transformers pass."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastneurons.arrays import ATTRIBUTION, Arrays
from fastneurons.config import EngineOptions, Measurement
from fastneurons.data.example import Example
from fastneurons.engine.session import Session
from tests.engine.agreement import unpack
from tests.engine.forked import in_fork
from tests.engine.reference import references
from tests.engine.support import LANGUAGES, examples, tiny_options

pytestmark = pytest.mark.engine

TOP = {"contribution_share"}


def expected_attribution(
    reference: dict[str, np.ndarray], bits: np.ndarray, tokens: np.ndarray, top_k: int
) -> dict[str, np.ndarray]:
    """The eight arrays [E, L, N, 4] from coefficients and weights, in float64, one neuron set at a time.

    Args:
        reference: `coefficients` [E, L, N, I], NaN where a language is missing; `values` [N, I, H];
            `unembedding` [V, H].
        bits: Which neurons are activated, bool [E, L, N, I].
        tokens: The first token of each answer, int [E, L]; -1 for none.
    """
    m = reference["coefficients"].astype(np.float64)
    values = reference["values"].astype(np.float64)
    contribution = np.abs(m) * np.linalg.norm(values, axis=-1)
    names = ["max", "mean", "min"]
    out = {
        name: np.full((*m.shape[:3], 4), np.nan)
        for name in [
            "contribution_share",
            *(f"contribution_{n}" for n in [*names, "sum"]),
            *(f"effective_{n}" for n in names),
        ]
    }
    present = ~np.isnan(m[:, :, 0, 0])
    for e, language, n in np.ndindex(*m.shape[:3]):
        if not present[e, language]:
            continue
        activated_in = bits[e, present[e], n].sum(0)
        category = np.select(
            [activated_in == 0, activated_in == present[e].sum(), activated_in == 1], [0, 3, 1], 2
        )
        score = contribution[e, language, n]
        top = np.argsort(-score, kind="stable")[:top_k]
        effective = None
        if tokens[e, language] >= 0:
            effective = m[e, language, n] * (values[n] @ reference["unembedding"][tokens[e, language]])
        place = (e, language, n)
        for c in range(4):
            out["contribution_share"][(*place, c)] = np.mean(category[top] == c)
            mine = category == c
            if not mine.any():
                continue
            for name in [*names, "sum"]:
                out[f"contribution_{name}"][(*place, c)] = getattr(score[mine], name)()
            for name in names if effective is not None else ():
                out[f"effective_{name}"][(*place, c)] = getattr(effective[mine], name)()
    return out


def reference_of(model: Path, rows: list[Example]) -> dict[str, np.ndarray]:
    """What Transformers computes at the last token of each prompt, [E, L, N, I], and the model's weights."""
    places = [
        (e, index)
        for e, row in enumerate(rows)
        for index, code in enumerate(LANGUAGES)
        if code in row.prompts
    ]
    prompts = [rows[e].prompts[LANGUAGES[index]] for e, index in places]
    request = {
        "model": str(model),
        "dtype": "float32",
        "prompts": prompts,
        "every_token": True,
        "weights": True,
        "exact_gelu": True,
    }
    [result] = references([request])
    last = result["coefficients"][np.cumsum(result["lengths"]) - 1]
    whole = np.full((len(rows), len(LANGUAGES), *last.shape[1:]), np.nan, np.float32)
    for place, coefficients in zip(places, last, strict=True):
        whole[place] = coefficients
    return {"coefficients": whole, "values": result["values"], "unembedding": result["unembedding"]}


def assert_equal(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], reference: Any, k: int
) -> None:
    assert found.keys() == expected.keys()
    for name in expected.keys() - TOP:
        # Whatever is near 0 carries float32's errors of the layer's largest values.
        largest = [np.abs(expected[f"{name.partition('_')[0]}_{end}"]) for end in ("max", "min")]
        scale = np.nanmax(largest, axis=(0, 1, 2, 4))[None, None, :, None]
        assert (np.isnan(found[name]) == np.isnan(expected[name])).all(), name
        wrong = np.abs(found[name] - expected[name]) > 1e-4 * np.abs(expected[name]) + 1e-5 * scale
        assert not wrong.any(), (name, int(wrong.sum()), found[name][wrong][:5], expected[name][wrong][:5])
    score = np.abs(reference["coefficients"]) * np.linalg.norm(reference["values"], axis=-1)
    kth = np.sort(score, axis=-1)[..., -k][..., None]
    ties = (np.abs(score - kth) <= 1e-5 * kth).sum(-1) - 1  # neurons that could as well be in or out
    difference = np.abs(found["contribution_share"] - expected["contribution_share"]) * k
    there = ~np.isnan(expected["contribution_share"])
    assert (np.isnan(found["contribution_share"]) == ~there).all()
    assert (difference <= ties[..., None] + 1e-3)[there].all()
    assert (ties[there[..., 0]] == 0).mean() > 0.95
    np.testing.assert_allclose(found["contribution_share"][there[..., 0]].sum(-1), 1, atol=1e-6)


def together(parts: list[Any]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in ATTRIBUTION}


def attributed(
    model: str, rows: list[Example], answers: list[str], ranks: int
) -> tuple[list[Arrays], np.ndarray, int, dict[str, int]]:
    """Arrays of groups of examples, norms of value vectors, the top k, and the answers' first tokens."""
    # A budget that holds one example's projections at a time: what is collected together is cut up.
    what = Measurement(attribution=True, keep_coefficients=True, observe_memory=0.0008)
    with Session(model, LANGUAGES, what, tiny_options(tensor_parallel_size=ranks)) as session:
        parts = [part.arrays for part in session.measure(rows, window=16)]
        # A token a byte: the answer's first is that of its first byte.
        first = [session.engine.tokenizer(answer)["input_ids"][0] for answer in answers]
        norms = session.constants()["value_norm"]
        assert session.top_k is not None
        return parts, norms, session.top_k, dict(zip(answers, first, strict=True))


@pytest.mark.parametrize(("architecture", "ranks"), [("Bloom", 1), ("Llama", 1), ("Llama", 2)])
def test_a_random_model(architecture, ranks, models):
    model = models(architecture)
    answers = {"en": "Wien", "de": "Ulm", "th": "กข"}
    rows = [Example(row.id, row.prompts, answers) for row in examples(24, seed=40)]
    rows[3] = Example("without an answer", rows[3].prompts, {"en": "Ulm"})
    rows[5] = Example("without Thai", {code: rows[5].prompts[code] for code in ("en", "de")}, answers)
    parts, norm, top_k, by_answer = in_fork(attributed, str(model), rows, list(answers.values()), ranks)
    reference = reference_of(model, rows)
    num_neurons = reference["values"].shape[1]
    assert top_k == max(1, round(num_neurons * 800 / 16384))
    tokens = np.array(
        [
            [
                by_answer.get(row.answers.get(code, ""), -1) if code in row.prompts else -1
                for code in LANGUAGES
            ]
            for row in rows
        ]
    )
    bits = unpack(np.concatenate([part["activated"] for part in parts])[:, 0], num_neurons).astype(bool)
    expected = expected_attribution(reference, bits, tokens, top_k)
    assert_equal(together(parts), expected, reference, top_k)
    coefficients = np.concatenate([part["coefficient"] for part in parts])
    assert coefficients.dtype == np.float16
    np.testing.assert_allclose(coefficients, reference["coefficients"], rtol=2e-3, atol=1e-4)
    assert norm.dtype == np.float32
    np.testing.assert_allclose(norm, np.linalg.norm(reference["values"], axis=-1), rtol=1e-5)
    contribution = sum(part["neuron_contribution"] for part in parts)  # [L, N, I]
    assert contribution.dtype == np.float64
    for m, relative in ((reference["coefficients"], 1e-4), (coefficients, 2e-3)):
        wanted = np.nansum(np.abs(m.astype(np.float64)) * norm, axis=0)
        np.testing.assert_allclose(contribution, wanted, rtol=relative, atol=1e-4 * wanted.max())


def test_smollm2_on_facts(open_session):
    from fastneurons.data.demo.facts import facts
    from fastneurons.data.demo.model import demo_model

    model, rows = demo_model(), list(islice(facts(LANGUAGES), 6))
    options = EngineOptions(dtype="float32", max_model_len=512)
    session = open_session(model, measurement=Measurement((0.0, 0.1), attribution=True), options=options)
    parts = list(session.measure(rows))
    assert session.top_k == 75
    reference = reference_of(model, rows)
    tokens = np.array(
        [[first_answer_token(session.engine.tokenizer, row, code) for code in LANGUAGES] for row in rows]
    )
    bits = unpack(np.concatenate([part["activated"] for part in parts])[:, 0], 1536).astype(bool)
    expected = expected_attribution(reference, bits, tokens, 75)
    assert_equal(together(parts), expected, reference, 75)


def first_answer_token(tokenizer: Any, row: Example, code: str) -> int:
    """Where the prompt's tokens and those of the prompt with its answer part."""
    space = "" if code == "th" else " "
    alone = tokenizer(row.prompts[code])["input_ids"]
    joined = tokenizer(row.prompts[code] + space + row.answers[code])["input_ids"]
    part = next(k for k, token in enumerate(joined) if k >= len(alone) or token != alone[k])
    return int(joined[part])


def test_what_was_skipped_has_no_scores(models, open_session):
    rows = examples(4, seed=41)
    rows[1] = Example("long", dict.fromkeys(LANGUAGES, "x" * 600))
    session = open_session(models(), measurement=Measurement(attribution=True), options=tiny_options())
    found = together(list(session.measure(rows)))
    assert np.isnan(found["contribution_max"][1]).all()
    assert not np.isnan(found["contribution_share"][[0, 2, 3]]).any()
    assert np.isnan(found["effective_max"]).all()  # no answers


def test_a_session_whose_rows_are_all_skipped(models, open_session):
    session = open_session(models(), measurement=Measurement(attribution=True), options=tiny_options())
    [part] = session.measure([Example("long", dict.fromkeys(LANGUAGES, "x" * 600))])
    assert np.isnan(part["contribution_share"]).all()
