"""Models with a LoRA adapter against Transformers with the adapter merged into the weights by PEFT."""

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fastneurons.arrays import Arrays
from fastneurons.config import Measurement, RunOptions
from fastneurons.data.example import Example
from fastneurons.engine.adapters import VLLM_RANKS, check_fits, check_place, read_adapter
from fastneurons.engine.generation import ToGenerate, generate, greedy
from fastneurons.engine.model_checks import check_files
from fastneurons.engine.model_files import ModelFiles
from fastneurons.engine.scoring import scoring_engine
from fastneurons.engine.session import Session
from fastneurons.errors import InputError, StoreError
from fastneurons.experiments.generate import Decoding, GenerationJob
from fastneurons.experiments.perplexity import Strides, write_perplexity
from fastneurons.experiments.source import example_source
from fastneurons.experiments.under_edits import writer_under_edits
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet
from fastneurons.progress import Silent
from fastneurons.store import open_store
from tests.engine import tiny
from tests.engine.agreement import agreement, unpack
from tests.engine.edited import edited_by_hooks
from tests.engine.forked import in_fork
from tests.engine.lora import MLP, make_adapter, merge
from tests.engine.reference import references
from tests.engine.support import LANGUAGES, examples, tiny_options
from tests.engine.test_attribution import assert_equal, expected_attribution, reference_of, together
from tests.engine.test_positions import assert_bits, assert_counts, largest, prompts_of

pytest.importorskip("peft")

ROWS = examples(9, seed=50, longest=100)
MOST = 5  # generated tokens


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


def every_token(model: Path, prompts: list[str]) -> list[np.ndarray]:
    """Activations of all tokens, by prompt."""
    request = {"model": str(model), "dtype": "float32", "prompts": prompts, "every_token": True}
    [result] = references([request])
    return np.split(result["activations"], np.cumsum(result["lengths"])[:-1])


@dataclass(frozen=True)
class Attributed:
    """What an engine with an adapter finds at the last tokens of prompts."""

    parts: dict[bool, list[Arrays]]  # with the adapter and without it
    answer_tokens: list[int]  # the first of each language's answer
    top_k: int
    norms: np.ndarray  # of value vectors
    cached_tokens: int


def attributed(model: str, adapter: str, rows: list[Example], answers: list[str], ranks: int) -> Attributed:
    options = tiny_options(lora=adapter, tensor_parallel_size=ranks, block_size=32)
    with Session(model, LANGUAGES, Measurement(attribution=True), options) as session:
        parts = {
            adapted: [part.arrays for part in session.measure(rows, adapted=adapted)]
            for adapted in (True, False)
        }
        tokens = [ids[0] for ids in session.engine.tokenizer(answers)["input_ids"]]
        assert session.top_k is not None
        cached = session.engine.tallies()[0]["cached_tokens"]
        return Attributed(parts, tokens, session.top_k, session.constants()["value_norm"], cached)


@pytest.mark.engine
@pytest.mark.parametrize("ranks", [1, 2])
def test_bits_and_attribution_of_adapter_and_base(ranks, model, adapter, merged):
    """One engine measures with the adapter and without, and caches of one never serve the other."""
    answers = {"en": "Wien", "de": "Ulm", "th": "กข"}
    shared = "the same beginning for all of these prompts, which fills a block of the prefix cache: "
    rows = [
        Example(row.id, {code: shared + text for code, text in row.prompts.items()}, answers) for row in ROWS
    ]
    engines = in_fork(attributed, str(model), str(adapter), rows, ["W", "U", "ก"], ranks)
    tokens = np.tile(engines.answer_tokens, (len(rows), 1))
    found, bits = {}, {}
    for adapted, same in ((True, merged), (False, model)):
        parts = engines.parts[adapted]
        reference = reference_of(same, rows)
        bits[adapted] = unpack(np.concatenate([part["activated"] for part in parts])[:, 0], 88)
        prompts = prompts_of(rows)
        [of_last] = references([{"model": str(same), "dtype": "float32", "prompts": prompts}])
        activations = of_last["activations"].reshape(bits[adapted].shape)
        assert_bits(np.packbits(bits[adapted], axis=-1, bitorder="little"), activations)
        expected = expected_attribution(reference, bits[adapted], tokens, engines.top_k)
        assert_equal(together(parts), expected, reference, engines.top_k)
        sums, wanted = together(parts)["contribution_sum"], expected["contribution_sum"]
        np.testing.assert_allclose(sums, wanted, rtol=2e-5)
        found[adapted] = sums
    norms = np.linalg.norm(reference_of(merged, rows[:1])["values"], axis=-1)
    np.testing.assert_allclose(engines.norms, norms, rtol=1e-5)
    assert (bits[True] != bits[False]).mean() > 0.05, "the adapter changes too little to tell"
    assert np.nanmax(np.abs(found[True] / found[False] - 1)) > 0.1
    assert engines.cached_tokens > 0, "nothing came from the cache: it was not tested"


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
    adapted, base = (result["activations"] for result in references(requests))
    wanted = np.where(with_adapter[:, None, None], adapted, base)
    found = agreement(arrays["activated"][:, 0].reshape(9, *arrays["activated"].shape[3:]), wanted)
    assert found.num_different == 0
    # Sampled rows meet an unembedding that the adapter changes as well.
    ids = [engine.tokenizer(text)["input_ids"] for text in prompts]
    texts = [{"ids": [*each, 5], "edit": None, "boundary": len(each), "most": MOST} for each in ids]
    nothing = {name: np.zeros((1, 1, 1)) for name in ("bits", "values", "scale", "site", "scope")}
    generated = generate(engine, [ToGenerate(each) for each in ids], greedy(engine, MOST, ignore_eos=True))
    _, after = edited_by_hooks(merged, nothing, texts)
    assert [each.token_ids for each in generated] == after
    assert [likeliest_tokens(model, each) for each in ids[:3]] != after[:3]


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
            for of_prompt, code in zip(every_token(merged, joined), LANGUAGES * len(rows), strict=True)
        ]
    else:
        values = every_token(merged, texts)
    if position == "corpus":
        assert_counts(parts, rows, values)
    else:
        activated = np.concatenate([part["activated"] for part in parts])[:, 0]
        assert_bits(activated, largest(values, len(rows)))


def likeliest_tokens(model: Path, ids: list[int]) -> list[int]:
    """Tokens that a model of Transformers adds to a prompt, without its end mark's meaning."""
    import torch
    import transformers

    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    for _ in range(MOST):
        with torch.no_grad():
            ids = [*ids, int(loaded(torch.tensor([ids])).logits[0, -1].argmax())]
    return ids[-MOST:]


def answered_by(model: Path, edit: Edit, prompts: list[list[int]]) -> tuple[np.ndarray, list[list[int]]]:
    """A model of Transformers, intact and with an edit made by hooks.

    Returns:
        float64 [prompts, 2], each prompt's log-probability without its first token, and for each prompt the tokens
        that follow it, intact and edited.
    """
    texts = [
        text
        for ids in prompts
        for which in (None, 0)
        for text in (
            {"ids": ids, "edit": which, "boundary": 1, "most": 0},
            {"ids": [*ids, 5], "edit": which, "boundary": len(ids), "most": MOST},
        )
    ]
    arrays = {
        "bits": edit.neurons.bits[None], "values": np.zeros((1, *edit.neurons.among.shape), np.float32),
        "scale": np.zeros(1), "site": np.array(["product"]), "scope": np.array(["both"]),
    }  # fmt: skip
    logs, generated = edited_by_hooks(model, arrays, texts)
    sums = [each.sum(dtype=np.float64) for each in logs[::2]]
    return np.reshape(sums, (len(prompts), 2)), generated[1::2]


@pytest.mark.engine
def test_texts_and_log_probabilities_under_an_adapter_and_an_edit(model, tmp_path):
    """Stores of `generate` and of `perplexity` have the merged model's answers, and name the adapter."""
    plain = make_adapter(model, tmp_path / "plain", (*MLP, "q_proj"))
    merged = merge(model, plain, tmp_path / "merged")
    rows = [row for row in ROWS if min(len(row.prompts[code]) for code in LANGUAGES) > 1]
    among = ModelNeurons("tiny", None, tuple(range(tiny.LAYERS)), (tiny.NEURONS,) * tiny.LAYERS)
    edits = [("off", Edit(NeuronSet.from_bits(among, np.random.default_rng(3).random(among.shape) < 0.3)))]
    options = tiny_options(lora=str(plain))
    with scoring_engine(str(model), options, observation={"edits": 1}) as engine:
        job = GenerationJob(
            engine,
            example_source("own", "rows", rows),
            LANGUAGES,
            edits,
            Decoding(MOST),
            RunOptions(),
            options,
        )
        job.write(str(tmp_path / "g.zarr"), Silent(), threading.Event())
        write_perplexity(
            engine, example_source("own", "rows", rows), LANGUAGES, str(tmp_path / "p.zarr"), edits, Strides(),
            RunOptions(), options, Silent(), threading.Event(),
        )  # fmt: skip
    texts, scores = (open_store(str(tmp_path / name)) for name in ("g.zarr", "p.zarr"))
    tokenizer = tiny.tokenizer()
    prompts = [tokenizer(row.prompts[code])["input_ids"] for row in rows for code in LANGUAGES]
    wanted, generated = answered_by(merged, edits[0][1], prompts)
    judged = scores["judged_count"][:].reshape(-1, 1)
    assert judged.ravel().tolist() == [len(ids) - 1 for ids in prompts]
    found = scores["log_probability"][:].reshape(-1, 2)
    np.testing.assert_allclose(found / judged, wanted / judged, rtol=0, atol=1e-5)
    ended = [tokens[: tokens.index(2)] if 2 in tokens else tokens for tokens in generated]  # the end mark
    assert texts["text"][:].ravel().tolist() == tokenizer.batch_decode(ended, skip_special_tokens=True)
    base = [likeliest_tokens(model, ids) for ids in prompts[:3]]
    assert base != generated[:6:2], "the adapter changes too little to tell"
    # What `--resume` compares.
    for store in (texts, scores):
        header = store.header
        assert header.lora == str(plain) and header.lora_fingerprint == read_adapter(plain).fingerprint
        assert header.config["lora"]["rank"] == 8
        without = msgspec.structs.replace(header, lora=None, lora_fingerprint=None)
        with pytest.raises(StoreError, match=r"was measured with the adapter .*plain, this run has none"):
            writer_under_edits(store.path, without, RunOptions(resume=True), False)


@pytest.mark.engine
def test_an_adapter_of_the_unembedding_is_refused_where_tokens_are_judged(model, adapter):
    with pytest.raises(
        InputError, match="changes the unembedding, which is not supported where log-prob"
    ) as refused:
        scoring_engine(str(model), tiny_options(lora=str(adapter)))
    # Before the model is loaded.
    assert "vLLM" not in str(refused.value) and "\n" not in str(refused.value)


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
