"""What a loaded model shows of its weights and of itself: parts that nothing was loaded into, NaN, mixtures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastneurons.engine.session import Session
from fastneurons.errors import EngineError, InputError
from tests.engine import tiny
from tests.engine.agreement import agreement
from tests.engine.forked import in_fork
from tests.engine.support import LANGUAGES, examples, measure, tiny_options

pytestmark = pytest.mark.engine

Weights = dict[str, Any]
GATE = "model.layers.1.mlp.gate_proj.weight"


def changed(model: Path, folder: Path, change: Callable[[Weights], Any]) -> Path:
    """A copy of a model whose weights were changed."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    weights = {name: tensor.clone() for name, tensor in load_file(model / "model.safetensors").items()}
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def without(*parts: str) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        lost = [name for name in weights if any(part in name for part in parts)]
        assert lost
        for name in lost:
            del weights[name]

    return change


def wider(weights: Weights) -> None:
    import torch

    for name in weights:
        if ".mlp." in name:
            shape = (64, 100) if "down_proj" in name else (100, 64)
            weights[name] = torch.randn(shape)


def with_nan(name: str) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        weights[name].view(-1)[-1] = float("nan")

    return change


@pytest.mark.parametrize(
    ("architecture", "change", "said"),
    [
        ("Llama", without("k_proj"), "nothing was loaded into model.layers.0.self_attn.k_proj.weight"),
        ("Llama", without("lm_head"), "nothing was loaded into lm_head.weight"),
        (
            "Llama",
            wider,
            "do not fit model.layers.0.mlp.down_proj, which is 64 x 100 where 64 x 88 is needed",
        ),
        ("Llama", with_nan(GATE), "NaN in model.layers.1.mlp.gate_up_proj.weight"),
        ("Llama", with_nan("model.norm.weight"), "NaN in model.norm.weight"),
        ("Gemma2", without(GATE), f"nothing was loaded into {GATE}"),
        (
            "GPTNeoX",
            without("dense_4h_to_h.weight"),
            "nothing was loaded into model.layers.0.mlp.dense_4h_to_h",
        ),
    ],
    ids=["no keys", "no head", "wider than said", "NaN", "NaN in a norm", "no gate", "Transformers backend"],
)
def test_weights_that_are_not_what_the_model_needs_are_named(
    architecture, change, said, models, open_session, tmp_path
):
    folder = changed(models(architecture), tmp_path / "changed", change)
    with pytest.raises(InputError) as refused:
        open_session(folder, options=tiny_options())
    assert said in str(refused.value)


def refusal(folder: str, ranks: int) -> str:
    with pytest.raises(InputError) as refused:
        Session(folder, LANGUAGES, options=tiny_options(tensor_parallel_size=ranks))
    return str(refused.value)


def test_every_process_of_an_engine_looks_at_its_part(models, tmp_path):
    folder = changed(models(), tmp_path / "changed", without("v_proj"))
    said = in_fork(refusal, str(folder), 2)
    assert "nothing was loaded into model.layers.0.self_attn.v_proj.weight" in said


def test_numbers_that_overflow_are_not_measured(models, open_session, tmp_path):
    folder = changed(
        models(), tmp_path / "changed", lambda w: w["model.layers.1.mlp.up_proj.weight"].mul_(1e38)
    )
    session = open_session(folder, options=tiny_options())
    with pytest.raises(EngineError, match="computed NaN or infinity"):
        list(session.measure(examples(4)))


def test_a_sessions_facts_have_fingerprints_and_warnings(models, open_session):
    facts = open_session(models(), options=tiny_options()).facts
    assert len(facts.model_fingerprint) == len(facts.tokenizer_fingerprint) == 64
    assert facts.warnings == ()

    factors = {"short_factor": [1.0] * 16, "long_factor": [1.0 + 0.5 * k for k in range(16)]}
    scaling = {"rope_type": "longrope", "type": "longrope", **factors}
    long = models("Phi3", original_max_position_embeddings=64, rope_scaling=scaling)
    for _ in range(2):  # vLLM warns once a process
        session = open_session(long, options=tiny_options(max_model_len=256))
        [warning] = session.facts.warnings
        assert "--max-model-len 64 gives those of Transformers" in warning
        session.close()
    assert open_session(long, options=tiny_options(max_model_len=64)).facts.warnings == ()


SMALL = {
    "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
MIXTURES = {
    "Mixtral": {"num_local_experts": 4, "intermediate_size": 64},
    "Qwen2Moe": {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64},
    "GraniteMoeShared": {"num_local_experts": 4, "intermediate_size": 64, "shared_intermediate_size": 64},
}


def random_model(config: str, folder: Path, **arguments: Any) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    made = getattr(transformers, f"{config}Config")(**(SMALL | arguments))
    model = transformers.AutoModelForCausalLM.from_config(made).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", MIXTURES)
def test_mixtures_are_refused_before_they_are_loaded_and_by_what_is_there(
    family, tmp_path, open_session, monkeypatch
):
    folder = random_model(family, tmp_path, num_experts_per_tok=2, **MIXTURES[family])
    with pytest.raises(InputError, match=r"is a mixture of experts \(num_(local_)?experts 4\)"):
        open_session(folder, options=tiny_options(max_model_len=128))

    for module in ("starting", "model_checks"):  # had the configuration not said so
        monkeypatch.setattr(f"fastneurons.engine.{module}.check_config", lambda config: None)
    with pytest.raises(InputError, match=r"layer 0: model\.layers\.0\.\S+ is a mixture of experts"):
        open_session(folder, options=tiny_options(max_model_len=128))


def test_a_family_of_mixtures_may_have_none(tmp_path, open_session):
    kinds = ["attention", "attention"]
    folder = random_model(
        "GraniteMoeHybrid", tmp_path, num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=88,
        layer_types=kinds, mamba_n_heads=2, mamba_d_head=64,
    )  # fmt: skip
    session = open_session(folder, options=tiny_options(max_model_len=128))
    assert session.facts.neurons == 88


def test_the_gate_of_a_per_layer_embedding_is_no_mlp(tmp_path, open_session, reference):
    folder = random_model(
        "Gemma3nText", tmp_path, num_hidden_layers=3, intermediate_size=88, head_dim=32, num_kv_shared_layers=0,
        activation_sparsity_pattern=[0.0] * 3, hidden_size_per_layer_input=16, vocab_size_per_layer_input=320,
        layer_types=["full_attention"] * 3, laurel_rank=8, altup_num_inputs=2,
    )  # fmt: skip
    rows = examples(6, seed=1)
    expected = reference(folder, rows)
    session = open_session(folder, options=tiny_options(max_model_len=256))
    assert [site.path for site in session.core.worker.observer.sites] == [
        f"model.layers.{layer}.mlp.act_fn" for layer in range(3)
    ]
    found = agreement(measure(session, rows)["activated"][:, 0], expected)
    assert found.share >= 0.999, found


def test_value_vectors_of_codes_are_pushed_through_as_minus_one():
    """The sign is taken back; and an adder of 16 bits, as CPUs without VNNI have, does not overflow."""
    import torch

    from fastneurons.engine.discovery import ActivationKind, Site
    from fastneurons.engine.values import value_vectors

    codes = torch.full((5, 64), 127, dtype=torch.int8)
    codes[1::2] = -127

    class Codes:
        """Products of u8 and s8 whose pairs are summed in 16 bits; rows are scaled to 127 and shifted by 128."""

        def apply(self, layer: Any, x: torch.Tensor, bias: Any) -> torch.Tensor:
            scale = x.abs().amax(1, keepdim=True) / 127
            shifted = ((x / scale).round() + 128).long()  # [T, I]
            pairs = (shifted[:, None] * codes.long()).unflatten(2, (-1, 2)).sum(3)
            sums = pairs.clamp(-(2**15), 2**15 - 1).sum(2) - 128 * codes.long().sum(1)
            return sums.float() * scale

    down = torch.nn.Module()
    down.weight, down.output_size, down.quant_method = None, 5, Codes()
    site = Site(0, "down", torch.nn.Module(), "act", ActivationKind("silu", True), down, 64, 64, 0)
    vectors = value_vectors(site, torch.float32, torch.device("cpu"))
    np.testing.assert_allclose(vectors.numpy(), codes.T.float().numpy(), rtol=1e-6)


def test_the_model_that_a_store_names_is_described(models, tmp_path):
    import fastneurons
    from fastneurons.data.example import Example

    rows = [Example(row.id, row.prompts) for row in examples(3)]
    store = fastneurons.run(models(), rows, LANGUAGES, tmp_path / "out.zarr", dtype="float32", progress=False)
    header = json.loads((tmp_path / "out.zarr" / "zarr.json").read_text())["attributes"]
    text = json.dumps(header)
    assert store.header.model_fingerprint in text
    assert store.header.tokenizer_fingerprint in text
    assert store.header.warnings == []
