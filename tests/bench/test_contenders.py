"""What contenders find, on a tiny Llama and a tiny BLOOM, is what plain forward passes give; what is wrong is seen."""

from dataclasses import replace

import numpy as np
import pytest

from fastneurons.bench import work as bench_work
from fastneurons.bench.child import Child, ChildError, in_a_process
from fastneurons.bench.contender import Setting, Work
from fastneurons.bench.contenders import CONTENDERS, parse_contenders
from fastneurons.bench.limit import layer_shapes
from fastneurons.bench.reference import differs, reference
from fastneurons.bench.work import languages_of, make_work
from fastneurons.errors import InputError
from tests.bench.scripts import script
from tests.engine import tiny
from tests.engine.forked import context

LANGUAGES = ("en", "de", "th")
ENGINE = {"max_model_len": 128}


def some_work(seed: int = 5) -> Work:
    rng = np.random.default_rng(seed)
    prompts = rng.integers(10, 300, (4, 3, 12)).tolist()
    return Work(prompts, rng.integers(10, 300, (4, 3)).tolist())


@pytest.fixture(scope="module")
def expected(models):
    """Of both models, computed where no vLLM was imported."""
    settings = {name: Setting(str(models(name)), LANGUAGES, "float32", ENGINE) for name in ("Llama", "Bloom")}
    work = some_work()
    return {name: (s, in_a_process(reference, s, work)) for name, s in settings.items()}


@pytest.mark.engine
@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("Llama", "hooks+attribution"),
        ("Bloom", "notebook+attribution"),
        ("Llama", "lape"),
        ("Llama", "any-6"),
        ("Bloom", "attribution"),
        ("Llama", "nnsight"),
        ("Llama", "transformer-lens"),
    ],
)
def test_findings_are_those_of_plain_forward_passes(architecture, name, expected, monkeypatch):
    if CONTENDERS[name].missing() is not None:
        pytest.skip(f"{CONTENDERS[name].missing()} is not installed")
    setting, activations = expected[architecture]
    monkeypatch.setattr("fastneurons.bench.child._context", context)
    child = Child(name, setting)
    try:
        found = child.find(some_work())
    finally:
        child.close()
    assert differs(found, activations) is None
    # Any of them made wrong is seen.
    if found.category is not None:
        changed = found.category.copy()
        decided = (np.abs(activations.last) > 0.01) & (np.abs(activations.largest) > 0.01)
        place = tuple(np.argwhere(decided.all(axis=1))[0])
        changed[(0, *place)] = (changed[(0, *place)] + 1) % 4
        assert "1 of" in str(differs(replace(found, category=changed), activations))
    if found.activation_count is not None:
        changed = found.activation_count + (activations.near + 1) * (np.arange(tiny.NEURONS) == 3)
        assert "counts" in str(differs(replace(found, activation_count=changed), activations))
    if found.top_share is not None:
        changed = np.zeros_like(found.top_share)
        assert "contribution" in str(differs(replace(found, top_share=changed), activations))


def test_a_contender_that_cannot_be_loaded_says_why(tmp_path):
    with pytest.raises(ChildError, match="none"):
        Child("hooks", Setting(str(tmp_path / "none"), LANGUAGES))


def test_without_babel_prompts_are_random_tokens_always_the_same(monkeypatch, tmp_path):
    folder = script("random_model").write_shape("smallest", tmp_path, weights=False)
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    monkeypatch.setattr(bench_work, "has_facts", lambda: False)
    monkeypatch.setattr(bench_work, "facts", None)  # never asked
    work = make_work(tokenizer, ("en", "de"), 16, 4)
    assert {len(prompt) for prompt in work.all_prompts} == {16}
    assert len({tuple(prompt) for prompt in work.all_prompts}) == 8
    assert all(3 <= token < len(tokenizer) for prompt in work.all_prompts for token in prompt)
    assert make_work(tokenizer, ("en", "de"), 16, 4) == work


def test_made_prompts_are_parallel_of_exact_length_and_differ(demo_tokenizer):
    languages = languages_of(20)
    assert len(set(languages)) == 20
    assert languages[16] == "en.2"
    work = make_work(demo_tokenizer, languages, 32, 3)
    assert {len(example) for example in work.prompts} == {20}
    assert {len(prompt) for prompt in work.all_prompts} == {32}
    assert len({tuple(prompt) for prompt in work.all_prompts}) == 60
    german = languages.index("de")
    assert "Land" in demo_tokenizer.decode([token for e in work.prompts for token in e[german]])


@pytest.fixture
def demo_tokenizer():
    transformers = pytest.importorskip("transformers")
    from fastneurons.data.demo.model import demo_model

    return transformers.AutoTokenizer.from_pretrained(str(demo_model()))


def test_shapes_are_those_of_the_layers():
    from transformers import BloomConfig, LlamaConfig

    llama = LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        num_hidden_layers=2,
    )
    assert layer_shapes(llama) == [(576, 960), (576, 576), (576, 3072), (1536, 576)]
    assert layer_shapes(BloomConfig(hidden_size=64, n_head=2)) == [(64, 192), (64, 64), (64, 256), (256, 64)]


def test_names():
    assert parse_contenders("last, hooks") == ("last", "hooks")
    assert "last:compiled" not in parse_contenders(None)
    with pytest.raises(InputError, match="must be some of unpatched, idle"):
        parse_contenders("last,fast")
