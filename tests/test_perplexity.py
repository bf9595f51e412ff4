"""Perplexities, against the recipe of Hugging Face's documentation, computed slowly."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastneurons.config import EngineOptions, RunOptions
from fastneurons.data.example import Example
from fastneurons.engine.scoring import scoring_engine
from fastneurons.engine.texts import windows_of
from fastneurons.errors import InputError
from fastneurons.experiments.perplexity import Strides, perplexity_into_store, write_perplexity
from fastneurons.experiments.source import example_source
from fastneurons.experiments.under_edits import named_edits
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet, save
from fastneurons.progress import Silent
from fastneurons.store import open_store
from tests.engine import tiny
from tests.engine.reference import references
from tests.engine.support import tiny_options

LANGUAGES = ("en", "de")
LENGTH, STRIDE = 40, 15


def texts() -> list[Example]:
    """Shorter and longer than a window; one language is missing once."""
    rng = np.random.default_rng(8)
    rows = []
    for number, length in enumerate((2, 39, 40, 41, 150, 97)):
        prompts = {
            code: "".join(rng.choice(list("abcdefg äö"), length)).replace(" ", "x", 1) for code in LANGUAGES
        }
        rows.append(Example(f"t{number}", prompts if number != 3 else {"de": prompts["de"]}))
    return rows


def recipe(num_tokens: int) -> list[tuple[int, int, int]]:
    """The windows of the recipe: begin, end, and the first token of it that has a label."""
    found, previous = [], 0
    for begin in range(0, num_tokens, STRIDE):
        end = min(begin + LENGTH, num_tokens)
        labels = end - previous
        found.append((begin, end, max(1, end - begin - labels)))
        previous = end
        if end == num_tokens:
            break
    return found


def slowly(model: Any, ids: list[list[int]]) -> list[float]:
    """Each text's log-probability, summed over its tokens, window by window."""
    asked = [(k, b, e, f) for k, each in enumerate(ids) for b, e, f in recipe(len(each)) if f < e - b]
    request = {
        "model": str(model), "dtype": "float32",
        "prompts": [ids[k][b:e] for k, b, e, _ in asked], "first": [f for *_, f in asked],
    }  # fmt: skip
    [result] = references([request])
    parts = np.split(result["log_probability"], np.cumsum([e - b - f for _, b, e, f in asked])[:-1])
    total = [0.0] * len(ids)
    for (k, *_), values in zip(asked, parts, strict=True):
        total[k] += float(values.sum(dtype=np.float64))
    return total


@pytest.fixture(scope="module")
def neurons() -> NeuronSet:
    among = ModelNeurons("tiny", None, tuple(range(tiny.LAYERS)), (tiny.NEURONS,) * tiny.LAYERS)
    bits = np.random.default_rng(2).random((tiny.LAYERS, tiny.NEURONS)) < 0.3
    return NeuronSet.from_bits(among, bits)


def without(model: Any, neurons: NeuronSet, folder: Any) -> Any:
    """A copy of a model whose neurons of a set have no weight on their way out."""
    import torch
    import transformers

    loaded = transformers.AutoModelForCausalLM.from_pretrained(model)
    for layer, bits in zip(loaded.model.layers, neurons.bits, strict=True):
        with torch.no_grad():
            layer.mlp.down_proj.weight[:, torch.from_numpy(np.array(bits))] = 0
    loaded.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.engine
def test_perplexities_are_those_of_the_recipe(models, neurons, tmp_path):
    model, rows = models(), texts()
    tokenise = tiny.tokenizer()
    ids = [
        tokenise(row.prompts[code])["input_ids"] for row in rows for code in LANGUAGES if code in row.prompts
    ]
    expected = [slowly(each, ids) for each in (model, without(model, neurons, tmp_path / "without"))]
    save(neurons, tmp_path / "off.safetensors")
    edits = named_edits([str(tmp_path / "off.safetensors")])

    def write(name: str, limit: int | None = None, **options: Any) -> Any:
        source = example_source("own", "texts", rows, limit)
        write_perplexity(
            engine, source, LANGUAGES, str(tmp_path / name), edits, Strides(LENGTH, STRIDE),
            RunOptions(window=2, **options), EngineOptions(), Silent(), threading.Event(),
        )  # fmt: skip
        return open_store(str(tmp_path / name))

    with scoring_engine(str(model), tiny_options(), observation={"edits": 1}) as engine:
        whole = write("whole.zarr")
        write("resumed.zarr", 3)
        resumed = write("resumed.zarr", resume=True)
    present = whole["present"][:]
    assert whole.header.conditions == ["intact", "off"]
    assert present.sum() == len(ids)
    found = whole["log_probability"][:][present]  # [texts, 2]
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-5, atol=1e-3)
    # Every token once, but for the first of each text.
    assert whole["judged_count"][:][present].tolist() == [len(each) - 1 for each in ids]
    assert np.isnan(whole["log_probability"][:][~present]).all()
    for name in ("log_probability", "judged_count", "example_id", "digest"):
        np.testing.assert_array_equal(resumed[name][:], whole[name][:], err_msg=name)


@given(st.integers(1, 90), st.integers(2, 30), st.data())
def test_windows_judge_each_token_once(num_tokens, length, data):
    stride = data.draw(st.integers(1, length - 1))
    first = data.draw(st.integers(1, 3))
    judged = [
        w.begin + k
        for w in windows_of(num_tokens, first, length, stride)
        for k in range(w.first, w.end - w.begin)
    ]
    assert judged == list(range(first, num_tokens))
    for window in windows_of(num_tokens, first, length, stride):
        assert 1 <= window.first < window.end - window.begin <= length
        # Those before it, or a window less its stride.
        assert window.begin == 0 or window.first >= length - stride


def test_windows_that_have_nothing_in_common_leave_out_their_first_tokens():
    judged = [w.begin + k for w in windows_of(10, 1, 4, 4) for k in range(w.first, w.end - w.begin)]
    assert judged == [1, 2, 3, 5, 6, 7, 9]


def test_edits_are_checked_before_a_model_is_loaded(models, neurons, tmp_path):
    source = example_source("own", "texts", [], None)
    other = NeuronSet.from_bits(ModelNeurons("other", None, (0, 1), (8, 8)), np.ones((2, 8), bool))
    with pytest.raises(InputError, match="elsewhere: is for another model"):
        perplexity_into_store(
            str(models()), source, LANGUAGES, str(tmp_path / "a.zarr"), [("elsewhere", Edit(other))]
        )
    with pytest.raises(InputError, match="--edit half: is for prompts or for generated tokens alone"):
        perplexity_into_store(
            str(models()),
            source,
            LANGUAGES,
            str(tmp_path / "a.zarr"),
            [("half", Edit(neurons, scope="prompt"))],
        )
    save(neurons, tmp_path / "intact.safetensors")
    with pytest.raises(InputError, match="the unedited model is called so"):
        named_edits([str(tmp_path / "intact.safetensors")])


def test_a_folder_stands_for_all_its_edits(neurons, tmp_path):
    with pytest.raises(InputError, match=r"the folder has no \.safetensors file"):
        named_edits([str(tmp_path)])
    for name in ("th", "de"):
        save(neurons, tmp_path / f"{name}.safetensors")
    save(neurons, tmp_path / "one.edit")
    assert [name for name, _ in named_edits([str(tmp_path)])] == ["de", "th"]
    with pytest.raises(InputError, match="another --edit has that name"):
        named_edits([str(tmp_path), str(tmp_path / "th.safetensors")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 1}, "--max-length 1: must be at least 2"),
        ({"max_length": 10, "stride": 11}, "would not be judged"),
        ({"block_size": 10, "stride": 5}, "--block-size goes without"),
    ],
)
def test_strides_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        Strides(**arguments)


def test_strides_within_a_model():
    assert Strides().within(100) == (100, 50)
    assert Strides(block_size=30).within(100) == (30, 30)
    with pytest.raises(InputError, match="the model takes 100 tokens"):
        Strides(101).within(100)
