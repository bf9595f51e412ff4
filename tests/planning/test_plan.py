"""Plans against numbers worked out by hand, counted in a model, measured on a GPU, or found in stores."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fastneurons.cli import main
from fastneurons.errors import InputError
from fastneurons.planning import Wanted, plan
from fastneurons.planning.shapes import model_shapes
from fastneurons.store import StoreWriter, Window
from tests.bench.scripts import script
from tests.store.runs import header

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "docs" / "scaling"
LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def llama(tmp_path):
    def written(**changed) -> str:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(LLAMA_8B | changed))
        return str(file)

    return written


def wanted(model: str, **changed) -> Wanted:
    return replace(Wanted(model, examples=10_000, languages=10, tokens=30), **changed)


def test_memory_is_that_of_the_table_for_8b(llama):
    """docs/gpu.md, whose figures were worked out for that page."""
    memory = plan(wanted(llama())).memory
    cells = re.search(r"\| Llama 3.1 8B \|(.*)\|", (ROOT / "docs" / "gpu.md").read_text())
    assert cells is not None
    weights, sampler, kv_cache, reading = map(float, cells[1].split("|")[:4])
    assert memory.weights / 1e9 == pytest.approx(weights, abs=0.05)
    assert memory.sampler / 1e9 == pytest.approx(sampler, abs=0.05)
    assert memory.kv_cache / 1e9 == pytest.approx(kv_cache, abs=0.05)
    assert memory.reading / 1e9 == pytest.approx(reading, abs=0.05)


def test_memory_by_hand(llama):
    found = plan(wanted(llama(), tokens=128, tensor_parallel_size=2, gpus=2, edits=5))
    # Half of 32 layers of 218,103,808 weights and of two embeddings of 128,256 by 4,096, two bytes each.
    assert found.memory.weights == 32 * 218_103_808 + 2 * 128_256 * 4096
    # 128 prompts of 128 tokens fill two steps; 4 of 8 key heads of 128, keys and values, two bytes.
    assert found.memory.kv_cache == 128 * 128 * 32 * 2 * 4 * 128 * 2
    # 8,192 rows in slots of ten: of each layer 7,168 bits and 7 counts of near values.
    assert found.memory.reading == 820 * 10 * 32 * 4 * (7168 // 32 + 7)
    assert found.memory.edits == 5 * 32 * 7168 / 8


def test_weights_are_those_of_a_model_with_that_configuration(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for tied in (True, False):
        config = transformers.LlamaConfig(
            hidden_size=96, intermediate_size=200, num_hidden_layers=5, num_attention_heads=6, num_key_value_heads=3,
            head_dim=16, vocab_size=500, tie_word_embeddings=tied,
        )  # fmt: skip
        config.save_pretrained(tmp_path)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
        assert model_shapes(str(tmp_path)).num_parameters == matrices


def test_the_rate_is_calibrated_by_what_was_measured_on_an_h100(llama):
    results = (ROOT / "benchmarks" / "results" / "h100.md").read_text()
    measured = re.search(r"`last`, into a store \| ([\d,]+) \|", results)
    assert measured is not None
    found = plan(wanted(llama()))
    assert found.rate.tokens_per_s == pytest.approx(float(measured[1].replace(",", "")), rel=0.02)
    assert found.figures()["hours"].basis == "estimated"
    assert found.hours == pytest.approx(100_000 * 30 / found.rate.tokens_per_s / 3600)


def test_a_benchmark_of_the_machine_replaces_the_estimate(llama, tmp_path):
    from fastneurons.bench.rounds import Percentiles, Result

    results = [
        Result("last", 30, 10, tokens_per_s=Percentiles(30_000.0, 1.0, 1.0)),
        Result("last+store", 30, 10, tokens_per_s=Percentiles(20_000.0, 19_000.0, 21_000.0)),
        Result("last+store", 300, 10, tokens_per_s=Percentiles(10_000.0, 1.0, 1.0)),
        Result("any", 30, 10),
    ]
    model = llama()
    data = {"model": model, "results": [asdict(result) for result in results]}  # as `Report.as_json` has them
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(data))
    found = plan(wanted(model, bench=str(file)))
    assert (found.rate.tokens_per_s, found.rate.basis) == (20_000, "measured")
    assert plan(wanted(model, bench=str(file), tokens=250)).rate.tokens_per_s == 10_000
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B | {"num_hidden_layers": 16}))
    half = plan(wanted(str(folder), bench=str(file)))
    assert (half.rate.tokens_per_s, half.rate.basis) == (pytest.approx(40_000), "scaled")
    with pytest.raises(InputError, match=r"has no rate of 'corpus'"):
        plan(wanted(model, bench=str(file), position="corpus"))
    file.write_text("[]")
    with pytest.raises(InputError, match="is not a report of fastneurons bench"):
        plan(wanted(model, bench=str(file)))


def test_stores_are_as_large_as_planned(llama, tmp_path):
    """Bits as incompressible as they can be, counts as their sums would be."""
    drawn = script("write_rate").drawn
    of = header(
        languages=["en", "de", "fr", "ru"], thresholds=[0.0], layers=list(range(6)), neurons=2048, window=64
    )
    arrays = drawn(of, 64)
    arrays["activated"] = arrays["activated"][:, :, :4].copy()
    E, shape = 256, {"num_hidden_layers": 6, "intermediate_size": 2048}
    for array in arrays.values():
        assert len(array) in (64, 1)
    with StoreWriter.create(str(tmp_path / "run.zarr"), of) as writer:
        for first in range(0, E, 64):
            writer.commit(Window(first, arrays))
        writer.finish()
    files = [file for file in (tmp_path / "run.zarr").rglob("*") if file.is_file()]
    actual = sum(file.stat().st_size for file in files)
    found = plan(wanted(llama(**shape), examples=E, languages=4, keep_prompts=False)).store
    assert found.at_most == pytest.approx(actual, rel=0.1)
    assert found.expected < actual
    bits = sum(
        file.stat().st_size for file in files if file.parent.name == "activated" and file.name != "zarr.json"
    )
    assert found.arrays["activated"] / 0.8 == pytest.approx(bits, rel=0.01)


def test_bits_of_a_real_model_are_compressed_as_planned(tmp_path):
    """SmolLM2-135M at `last` and `any`: benchmarks/results/write_rate.md."""
    text = (ROOT / "benchmarks" / "results" / "write_rate.md").read_text()
    (tmp_path / "config.json").write_text(
        json.dumps(
            LLAMA_8B
            | {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
        )
    )
    for position in ("last", "any"):
        measured = re.search(rf"\| `{position}` \| 0 \| [\d.]+ % \| ([\d.]+) MB", text)
        assert measured is not None
        found = plan(wanted(str(tmp_path), examples=200, position=position)).store
        assert found.arrays["activated"] / 1e6 == pytest.approx(float(measured[1]), rel=0.03)


def test_attribution_corpora_and_coefficients_are_planned(llama):
    plain, attributed = plan(wanted(llama())), plan(wanted(llama(), attribution=True))
    per_prompt = 2 * 32 * 14336 + 32 * 4 * (14336 // 32 + 14)
    assert attributed.memory.reading == pytest.approx(8e9, rel=0.01) and per_prompt == pytest.approx(
        0.98e6, rel=0.01
    )
    assert attributed.rate.tokens_per_s < plain.rate.tokens_per_s
    kept = plan(wanted(llama(), attribution=True, keep_coefficients=True)).store.arrays["coefficient"]
    assert kept == pytest.approx(0.95 * 10_000 * 10 * 32 * 14336 * 2)
    corpus = plan(wanted(llama(), position="corpus", tokens=512))
    assert "activated" not in corpus.store.arrays
    assert corpus.store.arrays["activation_count"] <= 8 * 10 * 32 * 14336
    assert corpus.prompts == 10_000
    longer = plan(wanted(llama(), position="corpus", tokens=512, examples=10**9)).store
    assert longer.arrays["activation_count"] == corpus.store.arrays["activation_count"]


def test_what_does_not_fit_is_said(capsys):
    with pytest.raises(SystemExit) as end:
        main(["plan", str(SHAPES / "70b.json"), "--examples", "1000", "--languages", "10", "--tokens", "30"])
    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert "does not fit: one engine needs 4 GPUs of this kind, and --gpus is 1" in " ".join(shown.split())
    assert "prompts/s" not in shown
    with pytest.raises(SystemExit):
        main(
            [
                "plan",
                str(SHAPES / "70b.json"),
                "--examples",
                "1000",
                "--languages",
                "10",
                "--tokens",
                "30",
                "--json",
            ]
        )
    found = json.loads(capsys.readouterr().out)
    assert (found["fits"], found["figures"]["hours"]["value"]) == (False, None)
    assert {figure["basis"] for figure in found["figures"].values()} == {"computed", "estimated"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"model": "nothing"},
            "nothing: No such file or directory; plan needs a model's folder or its config.json",
        ),
        ({"gpu": "t4"}, "--gpu t4: must be one of a100, h100, h200, b200"),
        ({"examples": 0}, "--examples 0: must be from 1"),
        ({"languages": 1}, "--languages 1: at least two"),
        ({"top_k": 3}, "--top-k 3: must be at least 1, and needs --attribution"),
        ({"edits": -1}, "--edits -1: must be from 0"),
        ({"bench": "nothing"}, "--bench nothing: No such file"),
    ],
)
def test_wrong_plans_are_refused(llama, changed, says):
    with pytest.raises(InputError, match=re.escape(says)):
        plan(replace(wanted(llama()), **changed))


def test_configurations_of_other_models_are_refused(llama):
    with pytest.raises(InputError, match="num_local_experts 8: mixtures of experts cannot be measured"):
        plan(wanted(llama(num_local_experts=8)))
    with pytest.raises(
        InputError, match="has no vocab_size: it is not the configuration of a language model"
    ):
        plan(wanted(llama(vocab_size=None)))


# -- docs/scaling.md -----------------------------------------------------------------------------------------


def table() -> list[str]:
    """The rows of docs/scaling.md, as the command gives them."""
    rows = []
    for name in ("7b", "70b"):
        for gpus in (1, 8):
            found = plan(Wanted(str(SHAPES / f"{name}.json"), 10_000_000, 10, 30, gpus))
            size = found.engine.tensor_parallel_size
            engines = f"{found.engines} of {size}" if found.fits else f"does not fit: one engine needs {size}"
            rate = f"{found.tokens_per_s / 30:,.0f}" if found.fits else ""
            hours = f"{found.hours:,.1f}" if found.hours is not None else ""
            rows.append(
                f"| {name.upper()} | {gpus} | {engines} | {found.memory.total / 1e9:.1f} | "
                f"{found.store.expected / 1e12:.1f} to {found.store.at_most / 1e12:.1f} | {rate} | {hours} |"
            )
    return rows


def test_the_table_of_the_docs_is_what_the_command_says():
    text = (ROOT / "docs" / "scaling.md").read_text()
    for row in table():
        assert row in text, f"docs/scaling.md should have: {row}"


def test_sizes_of_the_shapes_are_what_they_are_named_after():
    assert model_shapes(str(SHAPES / "7b.json")).num_parameters / 1e9 == pytest.approx(6.7, abs=0.05)
    assert model_shapes(str(SHAPES / "70b.json")).num_parameters / 1e9 == pytest.approx(70.6, abs=0.05)
    assert np.isfinite(
        [plan(wanted(str(SHAPES / "7b.json"), gpu=gpu)).hours for gpu in ("a100", "h200")]
    ).all()
