"""What vLLM reads from the environment while an engine is made."""

import os

from fastneurons.engine.environment import engine_environment


def test_onednn_keeps_few_compiled_products_unless_the_user_says_otherwise(monkeypatch):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv(name, raising=False)
    with engine_environment(1, verbose=False):
        assert int(os.environ[name]) <= 128
    assert int(os.environ[name]) <= 128  # it may be read later
    monkeypatch.setenv(name, "512")
    with engine_environment(1, verbose=False):
        assert os.environ[name] == "512"
