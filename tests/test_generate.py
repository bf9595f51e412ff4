"""Texts of an intact and an edited model into a store: what is stored, judged, tabled and resumed."""

import io
import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastneurons
from fastneurons.arrays import Answer
from fastneurons.config import EngineOptions, RunOptions
from fastneurons.data.example import Example
from fastneurons.engine.scoring import scoring_engine
from fastneurons.errors import InputError
from fastneurons.experiments.generate import Decoding, GenerationJob, generate_into_store
from fastneurons.experiments.source import example_source
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet
from fastneurons.progress import Silent
from fastneurons.report import compute_findings, print_findings, summary_json
from fastneurons.store import open_store
from tests.engine import tiny
from tests.engine.edited import edited_by_hooks
from tests.engine.support import tiny_options

LANGUAGES = ("en", "de")
MOST = 5


def prompts() -> list[Example]:
    rng = np.random.default_rng(4)
    rows = []
    for number in range(7):
        texts = {code: "".join(rng.choice(list("abcdefg"), 20 + 9 * number)) for code in LANGUAGES}
        rows.append(Example(f"p{number}", texts if number != 3 else {"en": texts["en"]}))
    return rows


@pytest.fixture(scope="module")
def edits() -> list[tuple[str, Edit]]:
    among = ModelNeurons("tiny", None, tuple(range(tiny.LAYERS)), (tiny.NEURONS,) * tiny.LAYERS)
    bits = np.random.default_rng(2).random(among.shape) < 0.4
    off = NeuronSet.from_bits(among, bits)
    return [
        ("off", Edit(off)),
        ("later", Edit(off, scale=-1.0, scope="generation")),
        ("same", Edit(off, scale=1)),
    ]


@pytest.fixture(scope="module")
def job(models, edits) -> Any:
    with scoring_engine(str(models()), tiny_options(), observation={"edits": 3}) as engine:
        source = example_source("own", "rows", prompts())
        decoding = Decoding(MOST)
        yield GenerationJob(engine, source, LANGUAGES, edits, decoding, RunOptions(window=4), EngineOptions())


@pytest.mark.engine
def test_texts_are_those_of_hooks_and_a_resumed_run_gives_the_same(job, edits, models, tmp_path):
    job.write(str(tmp_path / "whole.zarr"), Silent(), threading.Event())
    store = open_store(str(tmp_path / "whole.zarr"))
    assert store.header.kind == "generate"
    assert store.header.conditions == ["intact", "off", "later", "same"]
    text, count, present = store["text"][:], store["generated_count"][:], store["present"][:]
    assert text.shape == count.shape == (7, 2, 4)
    assert present.sum() == 13 and not present[3, 1]
    assert (count[present] <= MOST).all() and (count[~present] == 0).all() and (text[~present] == "").all()
    assert (text[..., 3] == text[..., 0]).all()  # a scale of 1 changes nothing
    assert (text[present, 1] != text[present, 0]).mean() > 0.5

    tokenizer = tiny.tokenizer()
    asked = [
        {"ids": tokenizer(row.prompts[code])["input_ids"], "edit": edit, "most": MOST}
        for row in prompts()
        for code in LANGUAGES
        if code in row.prompts
        for edit in (None, 0, 1)
    ]
    asked = [each | {"ids": [*each["ids"], 5], "boundary": len(each["ids"])} for each in asked]
    zeros = np.zeros((2, *edits[0][1].neurons.among.shape), np.float32)
    arrays = {
        "bits": np.stack([edit.neurons.bits for _, edit in edits[:2]]), "values": zeros,
        "scale": np.array([0.0, -1.0]), "site": np.array(["product"] * 2), "scope": np.array(["both", "generation"]),
    }  # fmt: skip
    _, wanted = edited_by_hooks(models(), arrays, asked)
    texts = []
    for tokens in wanted:
        ended = tokens[: tokens.index(2)] if 2 in tokens else tokens  # the end mark
        texts.append(tokenizer.decode(ended, skip_special_tokens=True))
    assert text[present][:, :3].ravel().tolist() == texts

    # Stopped after a window, and resumed.
    part = replace(job, source=example_source("own", "rows", prompts(), 4))
    part.write(str(tmp_path / "parts.zarr"), Silent(), threading.Event())
    resumed = replace(
        job, options=RunOptions(window=4, resume=True), source=example_source("own", "rows", prompts())
    )
    resumed.write(str(tmp_path / "parts.zarr"), Silent(), threading.Event())
    again = open_store(str(tmp_path / "parts.zarr"))
    assert again.is_complete
    for name in ("text", "generated_count", "correct", "prompt", "example_id"):
        np.testing.assert_array_equal(again[name][:], store[name][:], err_msg=name)
    # With another edit, or other options, it is another run.
    for other, message in (
        (replace(resumed, edits=[("off", edits[1][1]), *edits[1:]]), "other edits: off is not the same"),
        (replace(resumed, decoding=Decoding(MOST + 1)), "max.tokens"),
    ):
        with pytest.raises(Exception, match=message):
            other.write(str(tmp_path / "parts.zarr"), Silent(), threading.Event())


@pytest.mark.engine
def test_answers_are_judged_and_tabled(job, tmp_path):
    job.write(str(tmp_path / "first.zarr"), Silent(), threading.Event())
    text = open_store(str(tmp_path / "first.zarr"))["text"][:]
    # What the intact model says to each English prompt is its answer; German has none.
    rows = [
        Example(row.id, row.prompts, {"en": str(said) or "x"})
        for row, said in zip(prompts(), text[:, 0, 0], strict=True)
    ]
    judged = replace(
        job, source=example_source("own", "rows", rows), decoding=Decoding(MOST, measure="exact-match")
    )
    out = str(tmp_path / "judged.zarr")
    judged.write(out, Silent(), threading.Event())
    store = open_store(out)
    correct = store["correct"][:]
    assert (correct[:, 1] == Answer.NOT_JUDGED).all()
    assert set(np.unique(correct[:, 0])) <= {0, 1}
    found = compute_findings(store)
    right = found.texts["intact"]["en"].right.mean
    assert right == (correct[:, 0, 0] == 1).mean()
    change = found.texts["off"]["en"].change
    assert change.mean == pytest.approx((correct[:, 0, 1] == 1).mean() - right)
    assert found.texts["same"]["en"].unchanged == 1 and found.texts["off"]["en"].unchanged < 1
    stream = io.StringIO()
    print_findings(found, stream)
    shown = stream.getvalue()
    assert "English (en): 7 prompts" in shown and "German (de): 6 prompts" in shown and "unchanged" in shown
    assert max(map(len, shown.splitlines())) <= 80
    numbers = json.loads(summary_json(store))
    assert numbers["texts"]["off"]["en"]["change"]["mean"] == change.mean
    assert numbers["texts"]["off"]["de"]["right"] is None


def test_judging():
    example = Example("a", {}, {"en": "Paris", "de": "12"}, aliases={"en": ("City of Light",)})
    starts, exact, number = (Decoding(measure=name) for name in ("starts-with", "exact-match", "last-number"))
    assert starts.judge(" Paris, of course\nRome", example, "en") == Answer.RIGHT
    assert exact.judge(" Paris, of course\nRome", example, "en") == Answer.WRONG
    assert exact.judge("the City of Light\nand", example, "en") == Answer.RIGHT
    assert number.judge("3 mal 4 ist 12.", example, "de") == Answer.RIGHT
    assert number.judge("Paris", example, "en") == Answer.NOT_JUDGED
    assert starts.judge("x", example, "fr") == Answer.NOT_JUDGED
    assert Decoding(until=("\n", "Q:")).cut("one Q: two\n") == "one "
    assert Decoding().cut("one\n") == "one\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_tokens": 0}, "--max-tokens 0"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"until": ("",)}, "--until"),
        ({"measure": "bleu"}, "--measure bleu: must be one of starts-with"),
    ],
)
def test_wrong_decoding(wrong, message):
    with pytest.raises(InputError, match=message):
        Decoding(**wrong)


def test_several_engines_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="engines: only run and deactivate use several engines"):
        fastneurons.generate("no/model", [], "en", tmp_path / "g.zarr", engines=2)


def test_an_edit_for_another_model_is_refused_before_loading(models, tmp_path):
    other = NeuronSet.from_layers(ModelNeurons("other", None, (0, 1, 2), (96,) * 3))
    source = example_source("own", "rows", prompts())
    with pytest.raises(
        InputError, match=r"wide: is for another model: its layer 0 has 96 neurons, that of .* 88"
    ):
        generate_into_store(
            str(models()),
            source,
            LANGUAGES,
            str(tmp_path / "o.zarr"),
            [("wide", Edit(other))],
            progress=False,
        )
