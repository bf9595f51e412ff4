"""Models with a LoRA adapter against Transformers with the adapter merged into the weights by PEFT."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers

from fastneurons.config import Measurement
from fastneurons.data.example import Example
from fastneurons.engine.adapters import VLLM_RANKS, check_fits, check_place, read_adapter
from fastneurons.engine.model_checks import check_files
from fastneurons.engine.model_files import ModelFiles
from fastneurons.errors import InputError
from tests.engine.agreement import agreement, unpack
from tests.engine.lora import MLP, make_adapter, merge
from tests.engine.reference import references
from tests.engine.support import LANGUAGES, examples, tiny_options
from tests.engine.test_attribution import assert_equal, expected_attribution, reference_of, together
from tests.engine.test_positions import assert_bits, assert_counts, largest, prompts_of

pytest.importorskip("peft")

ROWS = examples(9, seed=50, longest=100)


@pytest.fixture(scope="module")
def model(models):
    # An unembedding of its own, which the adapter changes as well.
    return models("Llama", tie_word_embeddings=False)


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    return make_adapter(model, tmp_path_factory.mktemp("adapter"), (*MLP, "q_proj", "o_proj", "lm_head"))


@pytest.fixture(scope="module")
def merged(model, adapter, tmp_path_factory):
    return merge(model, adapter, tmp_path_factory.mktemp("merged"))


def every_token(model: Path, folder: Path, prompts: list[str]) -> list[np.ndarray]:
    """Activations of all tokens, by prompt."""
    request = {"model": str(model), "dtype": "float32", "prompts": prompts, "every_token": True}
    [result] = references([request], folder)
    return np.split(result["activations"], np.cumsum(result["lengths"])[:-1])


@pytest.mark.engine
@pytest.mark.parametrize("ranks", [1, 2])
def test_bits_and_attribution_of_adapter_and_base(ranks, model, adapter, merged, open_session, tmp_path):
    """One engine measures with the adapter and without, and caches of one never serve the other."""
    answers = {"en": "Wien", "de": "Ulm", "th": "กข"}
    shared = "the same beginning for all of these prompts, which fills a block of the prefix cache: "
    rows = [
        Example(row.id, {code: shared + text for code, text in row.prompts.items()}, answers) for row in ROWS
    ]
    what = Measurement(attribution=True)
    options = tiny_options(lora=str(adapter), tensor_parallel_size=ranks, block_size=32)
    session = open_session(model, measurement=what, options=options)
    first = session.engine.tokenizer(["W", "U", "ก"])["input_ids"]
    tokens = np.tile([ids[0] for ids in first], (len(rows), 1))
    found, bits = {}, {}
    for adapted, same in ((True, merged), (False, model)):
        parts = list(session.measure(rows, adapted=adapted))
        reference = reference_of(same, rows, tmp_path)
        bits[adapted] = unpack(np.concatenate([part["activated"] for part in parts])[:, 0], 88)
        prompts = prompts_of(rows)
        [of_last] = references([{"model": str(same), "dtype": "float32", "prompts": prompts}], tmp_path)
        activations = of_last["activations"].reshape(bits[adapted].shape)
        assert_bits(np.packbits(bits[adapted], axis=-1, bitorder="little"), activations)
        expected = expected_attribution(reference, bits[adapted], tokens, session.top_k)
        assert_equal(together(parts), expected, reference, session.top_k)
        sums, wanted = together(parts)["contribution_sum"], expected["contribution_sum"]
        np.testing.assert_allclose(sums, wanted, rtol=2e-5)
        found[adapted] = sums
    norms = np.linalg.norm(reference_of(merged, rows[:1], tmp_path)["values"], axis=-1)
    np.testing.assert_allclose(session.constants()["value_norm"], norms, rtol=1e-5)
    assert (bits[True] != bits[False]).mean() > 0.05, "the adapter changes too little to tell"
    assert np.nanmax(np.abs(found[True] / found[False] - 1)) > 0.1
    assert session.engine.tallies()[0]["cached_tokens"] > 0, "nothing came from the cache: it was not tested"


@pytest.mark.engine
def test_requests_with_and_without_the_adapter_share_steps(model, adapter, merged, open_session, tmp_path):
    from fastneurons.engine.worker import ROW_KEY

    engine = open_session(model, options=tiny_options(lora=str(adapter), max_num_batched_tokens=256)).engine
    prompts = [row.prompts["en"] for row in ROWS[:9]]
    with_adapter = np.arange(len(prompts)) % 3 == 0
    for index, text in enumerate(prompts):
        ids = engine.tokenizer(text)["input_ids"]
        engine.send(str(index), ids, {ROW_KEY: index}, adapted=bool(with_adapter[index]))
    steps, left = 0, len(prompts)
    while left:
        left -= sum(output.finished for output in engine.step())
        steps += 1
    assert steps < len(prompts)
    arrays = engine.ask_whole("fastneurons_collect", rows=[[0, 1, 2], [3, 4, 5], [6, 7, 8]], keep_bits=True)
    requests = [{"model": str(each), "dtype": "float32", "prompts": prompts} for each in (merged, model)]
    adapted, base = (result["activations"] for result in references(requests, tmp_path))
    wanted = np.where(with_adapter[:, None, None], adapted, base)
    found = agreement(arrays["activated"][:, 0].reshape(9, *arrays["activated"].shape[3:]), wanted)
    assert found.num_different == 0


@pytest.mark.engine
@pytest.mark.parametrize("position", ["any", "answer", "corpus"])
def test_every_position(position, model, adapter, merged, open_session, tmp_path):
    answers = dict(zip(LANGUAGES, ("of all", "aus ä", "กขค"), strict=True))
    rows = [Example(row.id, row.prompts, answers) for row in ROWS]
    session = open_session(
        model, measurement=Measurement(position=position), options=tiny_options(lora=str(adapter))
    )
    parts = list(session.measure(rows))
    texts = prompts_of(rows)
    if position == "answer":
        # Words are apart in English and German, not in Thai.
        joined = [
            row.prompts[code] + ("" if code == "th" or row.prompts[code][-1] == " " else " ") + answers[code]
            for row in rows
            for code in LANGUAGES
        ]
        values = [
            of_prompt[-len(answers[code].encode()) :]
            for of_prompt, code in zip(
                every_token(merged, tmp_path, joined), LANGUAGES * len(rows), strict=True
            )
        ]
    else:
        values = every_token(merged, tmp_path, texts)
    if position == "corpus":
        assert_counts(parts, rows, values)
    else:
        activated = np.concatenate([part["activated"] for part in parts])[:, 0]
        assert_bits(activated, largest(values, len(rows)))


@pytest.mark.engine
def test_log_probabilities_under_an_adapter(model, adapter, tmp_path):
    """Judged rows are those of prompts with the adapter; one that changes the unembedding is refused."""
    from fastneurons.engine.scoring import ToScore, score, scoring_engine

    plain = make_adapter(model, tmp_path / "plain", (*MLP, "q_proj"))
    merged = merge(model, plain, tmp_path / "merged")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    texts = [tokenizer(row.prompts["en"])["input_ids"] for row in ROWS if len(row.prompts["en"]) > 1]
    with scoring_engine(str(model), tiny_options(lora=str(plain))) as engine:
        found = [values[-1] for values in score(engine, [ToScore(ids, 1) for ids in texts])]
    wanted = []
    for each in (merged, model):
        request = {"model": str(each), "dtype": "float32", "prompts": [ids[:-1] for ids in texts]}
        [result] = references([request], tmp_path)
        logs = result["logits"] - np.logaddexp.reduce(result["logits"].astype(np.float64), axis=1)[:, None]
        wanted.append([of_one[ids[-1]] for of_one, ids in zip(logs, texts, strict=True)])
    np.testing.assert_allclose(found, wanted[0], atol=2e-5)
    assert np.abs(np.subtract(*wanted)).max() > 0.1
    with pytest.raises(InputError, match="changes the unembedding, which is not supported where log-prob"):
        scoring_engine(str(model), tiny_options(lora=str(adapter)))


# -- refusals ------------------------------------------------------------------------------------------------------


def copy(adapter: Path, folder: Path, **changes: object) -> Path:
    """A copy of an adapter, with another configuration."""
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": 600}, "rank 600: vLLM runs adapters up to rank 512"),
        ({"rank_pattern": {"q_proj": 1000}}, "rank 1000"),
        ({"r": "8"}, "r, the rank, must be a whole number"),
        ({"r": 0}, "r, the rank, must be a whole number"),
        ({"peft_type": "IA3"}, "peft_type IA3: vLLM runs LORA adapters"),
        ({"use_dora": True}, "use_dora: vLLM does not run these"),
        ({"bias": "all"}, "trained biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_adapters_that_vllm_does_not_run(changes, said, adapter, tmp_path):
    with pytest.raises(InputError, match=r"^--lora .*adapter_config.json: ") as refused:
        read_adapter(copy(adapter, tmp_path / "copy", **changes))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_folders_that_hold_no_adapter(model, adapter, tmp_path):
    missing, pickled = copy(adapter, tmp_path / "missing"), copy(adapter, tmp_path / "pickled")
    (missing / "adapter_model.safetensors").unlink()
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    (tmp_path / "file").write_text("{}")
    for folder, said in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "file", "is a file"),
        (model, "it is a model: pass it as MODEL"),
        (missing, "it has no adapter_model.safetensors"),
        (pickled, "adapter_model.bin is pickled"),
    ):
        with pytest.raises(InputError, match=r"^--lora ") as refused:
            check_place(str(model), str(folder))
        assert said in str(refused.value)


def test_an_adapter_of_another_model_is_named(models, adapter):
    wider, shallower = models("Llama", intermediate_size=96), models("Llama", num_hidden_layers=2)
    with pytest.raises(InputError, match=r"another model of .*mlp.down_proj is 64 x 88, .* is 64 x 96"):
        check_place(str(wider), str(adapter))
    with pytest.raises(InputError, match=r"another model of .* has 2 layers"):
        check_place(str(shallower), str(adapter))


def test_names_that_vllm_maps_are_left_to_it(models, adapter):
    """A model whose tensors have other names is not refused by them."""
    other = models("GPT2")
    check_fits(read_adapter(adapter), str(other), ModelFiles(other, *check_files(other)))


@pytest.mark.engine
def test_modules_that_vllm_would_leave_out_are_refused(model, adapter, open_session, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = copy(adapter, tmp_path / "renamed")
    tensors = load_file(folder / "adapter_model.safetensors")
    renamed = {name.replace("layers.2.", "layers.2.extra."): values for name, values in tensors.items()}
    save_file(renamed, folder / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"vLLM would not apply its model.layers.2.extra.*merge the adapter"):
        open_session(model, options=tiny_options(lora=str(folder)))


def test_the_fingerprint_is_of_configuration_and_weights(adapter, tmp_path):
    from safetensors.numpy import load_file, save_file

    of = read_adapter(adapter).fingerprint
    assert read_adapter(copy(adapter, tmp_path / "same")).fingerprint == of
    assert read_adapter(copy(adapter, tmp_path / "alpha", lora_alpha=1)).fingerprint != of
    other = copy(adapter, tmp_path / "weights")
    tensors = load_file(other / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] += 1
    save_file(tensors, other / "adapter_model.safetensors")
    assert read_adapter(other).fingerprint != of


def test_the_ranks_are_those_of_vllm():
    from importlib.util import find_spec

    spec = find_spec("vllm")
    assert spec is not None and spec.origin is not None
    source = (Path(spec.origin).parent / "config" / "lora.py").read_text()
    assert f"MaxLoRARanks = Literal[{', '.join(map(str, VLLM_RANKS))}]" in source
