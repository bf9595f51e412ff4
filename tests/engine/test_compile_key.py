"""The key of vLLM's compiled graphs covers what compiled code depends on, and nothing else."""

import pickle

import msgspec
import pytest

from fastneurons.config import EngineOptions
from fastneurons.engine.observation import ObservationSpec

SPEC = ObservationSpec(patch=2, engine=0, most_slots=100, languages=3)


@pytest.fixture(scope="module")
def config(models):
    from fastneurons.engine.vllm_config import engine_config

    return engine_config(str(models()), EngineOptions(dtype="float32", max_model_len=64))


def key(config, spec: object) -> str:
    config.additional_config = spec
    return config.compute_hash()


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": (0.0, 0.5)},
        {"languages": 10},
        {"most_slots": 7},
        {"memory_bytes": 2**33},
        {"position": "any"},
        {"signal": "product"},
        {"attribution": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_read_does_not_compile_the_model_anew(changes, config):
    assert key(config, msgspec.structs.replace(SPEC, **changes)) == key(config, SPEC)


@pytest.mark.parametrize("changes", [{"patch": 3}, {"engine": 1}], ids=lambda changes: next(iter(changes)))
def test_another_patch_or_engine_is_another_graph(changes, config):
    assert key(config, msgspec.structs.replace(SPEC, **changes)) != key(config, SPEC)


def test_the_unpatched_model_is_another_graph(config):
    assert key(config, {}) != key(config, SPEC)


def test_vllm_takes_the_specification_and_hands_it_to_workers(config):
    """Its validation takes it where it makes a configuration anew, and it crosses to other processes by pickle."""
    from vllm.config.utils import replace

    config.additional_config = SPEC
    anew = replace(config)
    assert anew.additional_config == SPEC
    assert pickle.loads(pickle.dumps(config)).additional_config == SPEC
