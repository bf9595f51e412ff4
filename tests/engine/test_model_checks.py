"""What is refused by a model's files alone, before anything is loaded; and that what is sound is not."""

import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from fastneurons.engine.adapters import check_place
from fastneurons.engine.fingerprint import model_fingerprint, tokenizer_fingerprint
from fastneurons.engine.model_checks import check_config, check_files, check_tensors
from fastneurons.engine.model_files import TensorHeader, read_headers, weight_files
from fastneurons.errors import InputError
from tests.engine import tiny

LAYERS, HIDDEN, NEURONS, ROWS = 4, 8, 12, 20
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": NEURONS,
    "vocab_size": ROWS,
}


def shapes() -> dict[str, tuple[int, ...]]:
    found = {"model.embed_tokens.weight": (ROWS, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}."
        found |= {f"{stem}self_attn.{part}_proj.weight": (HIDDEN, HIDDEN) for part in "qkvo"}
        found |= {f"{stem}mlp.{part}_proj.weight": (NEURONS, HIDDEN) for part in ("gate", "up")}
        found[f"{stem}mlp.down_proj.weight"] = (HIDDEN, NEURONS)
        found[f"{stem}input_layernorm.weight"] = (HIDDEN,)
    return found


def safetensors(tensors: dict[str, tuple[int, ...]]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def write(folder: Path, config: Any = CONFIG, tensors: dict[str, tuple[int, ...]] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(shapes() if tensors is None else tensors))
    return folder


def refusal(folder: Path) -> str:
    began = time.perf_counter()
    with pytest.raises(InputError) as refused:
        check_place(str(folder))
    assert time.perf_counter() - began < 5
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_a_sound_model_is_taken(tmp_path):
    config, tensors = check_files(write(tmp_path / "m"))
    assert config == CONFIG
    assert {t.name: t.shape for t in tensors} == shapes()
    assert tensors[0].dtype == "F32"


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_what_transformers_writes_is_taken_whole_and_refused_without_a_layers_projection(
    architecture, models
):
    folder = models(architecture)
    config, tensors = check_files(folder)
    if architecture == "Gemma2":
        return  # with three layers of two kinds, none has its like; the loaded model tells
    in_layers = [t for t in tensors if ".1." in t.name and len(t.shape) == 2]
    assert len(in_layers) >= 4
    for lost in in_layers:
        with pytest.raises(InputError, match=lost.name.replace(".", r"\.")):
            check_tensors(config, [t for t in tensors if t is not lost])


@pytest.mark.parametrize("lost", [n for n in shapes() if ".2." in n or "embed" in n])
def test_a_missing_tensor_is_named(lost, tmp_path):
    message = refusal(write(tmp_path / "m", tensors={n: s for n, s in shapes().items() if n != lost}))
    assert "not whole" in message
    assert "embedding" in message if "embed" in lost else lost in message


@pytest.mark.parametrize("part", ["gate", "up", "down"])
def test_a_projection_that_all_layers_lack_is_named(part, tmp_path):
    kept = {n: s for n, s in shapes().items() if f"mlp.{part}_proj" not in n}
    if part == "gate":  # an MLP without a gate is one
        check_files(write(tmp_path / "m", tensors=kept))
        return
    assert f"model.layers.0.mlp.{part}_proj.weight" in refusal(write(tmp_path / "m", tensors=kept))


@pytest.mark.parametrize("rows", [NEURONS - 2, NEURONS + 2])
def test_a_tensor_of_another_shape_is_named(rows, tmp_path):
    other = shapes() | {"model.layers.2.mlp.up_proj.weight": (rows, HIDDEN)}
    message = refusal(write(tmp_path / "m", tensors=other))
    assert "model.layers.2.mlp" in message
    assert str(rows) in message


def test_a_vocabulary_that_the_embedding_does_not_have_is_named(tmp_path):
    message = refusal(write(tmp_path / "m", CONFIG | {"vocab_size": ROWS + 5}))
    assert f"vocab_size {ROWS + 5}" in message
    assert f"{ROWS} rows" in message


@pytest.mark.parametrize("layers", [LAYERS + 1, 9_000, 1_000_000, 10**30, 0, -1])
def test_layers_that_are_not_there_are_counted_at_once(layers, tmp_path):
    message = refusal(write(tmp_path / "m", CONFIG | {"num_hidden_layers": layers}))
    assert f"config.json says {layers:,} layers" in message


def test_hybrids_mix_kinds_of_layers(tmp_path):
    mixed = {
        n.replace("self_attn.q_proj", "conv.in_proj") if ".1." in n or ".3." in n else n: s
        for n, s in shapes().items()
        if not ((".1." in n or ".3." in n) and ("k_proj" in n or "v_proj" in n))
    }
    kinds = {"layer_types": ["attention", "conv"] * 2}
    check_files(write(tmp_path / "m", CONFIG | kinds, mixed))
    check_files(write(tmp_path / "m", CONFIG, mixed))  # also where the configuration does not say so
    lost = "model.layers.3.mlp.up_proj.weight"
    without = {n: s for n, s in mixed.items() if n != lost}
    assert lost in refusal(write(tmp_path / "m", CONFIG | kinds, without))


def test_layers_that_share_keys_and_values_need_none(tmp_path):
    shared = {n: s for n, s in shapes().items() if not (".3." in n and ("k_proj" in n or "v_proj" in n))}
    check_files(write(tmp_path / "m", CONFIG | {"num_kv_shared_layers": 1}, shared))
    assert "model.layers.3.self_attn.k_proj.weight" in refusal(write(tmp_path / "m", CONFIG, shared))


def test_quantised_layers_may_hold_other_tensors(tmp_path):
    packed: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes().items():
        if ".mlp." in name and ".0." not in name:
            stem = name.removesuffix("weight")
            packed |= {f"{stem}qweight": (1, shape[0]), f"{stem}scales": (shape[0],)}
        else:
            packed[name] = shape
    config = CONFIG | {"quantization_config": {"quant_method": "gptq"}}
    check_files(write(tmp_path / "m", config, packed))
    without = {n: s for n, s in packed.items() if "layers.2.mlp.down_proj" not in n}
    assert "model.layers.2.mlp.down_proj" in refusal(write(tmp_path / "m", config, without))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("{}", "holds nothing"),
        ("[1, 2]", "a list where a JSON object is needed"),
        ("null", "null where a JSON object is needed"),
        ('{"model_type": ', "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_configuration_that_is_none(text, said, tmp_path):
    message = refusal(write(tmp_path / "m", text))
    assert said in message
    assert "config.json" in message


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_no_file_is_not_waited_for(name, kind, tmp_path):
    path = write(tmp_path / "m") / name
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    message = refusal(tmp_path / "m")
    assert name in message
    assert {"fifo": "a FIFO", "device": "a device", "folder": "a folder"}[kind] in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:4], "not a safetensors file"),
        (lambda data: data[:-4], "cut short"),
        (lambda data: struct.pack("<Q", 2**40) + data[8:], "not a safetensors file"),
        (lambda data: data.replace(b"data_offsets", b"data-offsets", 1), "damaged header"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ],
    ids=["empty", "short", "endless header", "damaged header", "LFS pointer"],
)
def test_weights_that_are_damaged(change, said, tmp_path):
    weights = write(tmp_path / "m") / "model.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    message = refusal(tmp_path / "m")
    assert said in message
    assert "model.safetensors" in message


def test_pickled_weights_are_not_read(tmp_path):
    (write(tmp_path / "m") / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    assert "weights must be safetensors" in refusal(tmp_path / "m")


def test_a_shard_that_the_index_names_must_be_there(tmp_path):
    folder = write(tmp_path / "m")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-2.safetensors, which is missing" in refusal(folder)
    (folder / "model-2.safetensors").write_bytes(safetensors({"b": (2,)}))
    (folder / "other.safetensors").write_bytes(b"not read")
    assert [path.name for path in weight_files(folder)] == ["model-2.safetensors", "model.safetensors"]
    assert len(read_headers(weight_files(folder))) == len(shapes()) + 1


def test_an_adapter_names_its_base_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    message = refusal(tmp_path)
    assert "adapter of org/base" in message
    assert "pass org/base and --lora" in message


@pytest.mark.parametrize(
    "config",
    [
        {"num_local_experts": 8},
        {"num_experts": 60, "shared_expert_intermediate_size": 64},
        {"n_routed_experts": 64, "n_shared_experts": 2},
        {"ffn_config": {"moe_num_experts": 16}},
        {"moe_num_experts": [64, 64]},
        {"text_config": {"num_local_experts": 16}},
        {"num_experts": 16, "mlp_only_layers": [0]},
        {"enable_moe_block": True, "num_experts": 128},
    ],
    ids=str,
)
def test_mixtures_are_refused_by_their_configuration(config):
    with pytest.raises(InputError, match="mixture of experts"):
        check_config(CONFIG | config)


@pytest.mark.parametrize(
    "config",
    [
        {"num_local_experts": 0},
        {"num_experts": None, "enable_moe_block": False},
        {"num_experts": 1},
        {"num_experts_per_tok": 2},
        {"n_routed_experts": 64, "first_k_dense_replace": LAYERS},
        {"num_experts": 60, "mlp_only_layers": list(range(LAYERS))},
        {"n_shared_experts": 2},
        {"vision_config": {"num_experts": 8}},
        {"id2label": {0: "no"}},
    ],
    ids=str,
)
def test_dense_members_of_families_with_experts_are_not(config):
    check_config(CONFIG | config)


def test_families_are_told_apart_by_their_defaults():
    """Every family of decoders of Transformers, as its configuration is by default."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    refused, taken = set(), set()
    for name in MIXTURES + DENSE:
        try:
            check_config(CONFIG_MAPPING[name]().to_dict())
            taken.add(name)
        except InputError as error:
            assert "mixture of experts" in str(error)
            refused.add(name)
    assert refused == set(MIXTURES)
    assert taken == set(DENSE)


MIXTURES = [
    "mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "glm4_moe", "llama4", "llama4_text", "granitemoe",
    "granitemoeshared", "granitemoehybrid", "deepseek_v2", "deepseek_v3", "olmoe", "phimoe", "jamba", "dbrx", "jetmoe",
    "gpt_oss", "ernie4_5_moe", "lfm2_moe", "minimax", "aria_text", "flex_olmo",
]  # fmt: skip
DENSE = [
    "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "phi", "phi3", "falcon",
    "bloom", "opt", "gpt2", "gptj", "gpt_neox", "granite", "cohere", "cohere2", "stablelm", "starcoder2", "nemotron",
    "apertus", "olmo2", "olmo3", "exaone4", "glm4", "ernie4_5", "hunyuan_v1_dense", "lfm2", "smollm3", "falcon_h1",
]  # fmt: skip


def test_encoder_decoders_are_refused_by_name():
    with pytest.raises(
        InputError, match="T5ForConditionalGeneration is an encoder-decoder; only decoder models"
    ):
        check_config({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True})


def test_a_models_fingerprint_is_of_what_was_loaded_not_of_where_it_lay():
    tensors = [TensorHeader("a", "F32", (2, 3), "one"), TensorHeader("b", "BF16", (4,), "one")]
    known = model_fingerprint(CONFIG, tensors)
    assert len(known) == 64
    moved = [TensorHeader(t.name, t.dtype, t.shape, "two") for t in reversed(tensors)]
    written = {"_name_or_path": "/elsewhere", "transformers_version": "9"}
    assert model_fingerprint(dict(reversed(CONFIG.items())) | written, moved) == known
    assert model_fingerprint(CONFIG | {"rope_theta": 1e6}, tensors) != known
    for other in (
        TensorHeader("c", "F32", (2, 3), "one"),
        TensorHeader("a", "F16", (2, 3), "one"),
        TensorHeader("a", "F32", (3, 2), "one"),
    ):
        assert model_fingerprint(CONFIG, [other, tensors[1]]) != known
    assert model_fingerprint(CONFIG, tensors[:1]) != known


def test_a_tokenizers_fingerprint_is_of_its_files(tmp_path):
    tokenizer = tiny.tokenizer()
    for name in ("a", "b"):
        tokenizer.save_pretrained(tmp_path / name)
    known = tokenizer_fingerprint(tmp_path / "a", tokenizer)
    assert tokenizer_fingerprint(tmp_path / "b", tokenizer) == known
    (tmp_path / "b" / "chat_template.jinja").write_text("{{ today }}")
    assert tokenizer_fingerprint(tmp_path / "b", tokenizer) != known
    by_vocabulary = tokenizer_fingerprint(None, tokenizer)
    assert len(by_vocabulary) == 64
    tokenizer.add_tokens(["new"])
    assert tokenizer_fingerprint(None, tokenizer) != by_vocabulary
