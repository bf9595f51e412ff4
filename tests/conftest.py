"""What all tests share: nothing is fetched, tiny models are made once, and sessions are closed."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

from fastneurons.data.example import Example
from tests import own_cores  # noqa: F401 - the first import of ours, as torch counts the cores
from tests.engine import quick_starts, tiny
from tests.engine.forked import in_fork
from tests.engine.reference import references
from tests.engine.support import LANGUAGES

# A busy machine must not fail a test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start engines first: they take minutes, the others fill the time until the last has ended."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes tiny models, each once."""
    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("models")

    def model(architecture: str = "Llama", **changes: Any) -> Path:
        key = json.dumps([architecture, changes], sort_keys=True)
        if key not in made:
            # Once vLLM has run a class of Transformers' here, nobody else can make a model of it in this process.
            taken_over = "vllm.model_executor.models.transformers" in sys.modules
            make = functools.partial(in_fork, tiny.make) if taken_over else tiny.make
            made[key] = make(architecture, root / f"{architecture}-{len(made)}", **changes)
        return made[key]

    return model


@pytest.fixture(scope="session")
def reference() -> Callable[..., np.ndarray]:
    """Activations float32 [E, L, N, I] of a model's plain forward passes."""

    def activations(model: Path, rows: list[Example], dtype: str = "float32") -> np.ndarray:
        prompts = [row.prompts[language] for row in rows for language in LANGUAGES]
        request = {"model": str(model), "dtype": dtype, "prompts": prompts}
        [result] = references([request])
        flat = result["activations"]
        return flat.reshape(len(rows), len(LANGUAGES), *flat.shape[1:])

    return activations


@pytest.fixture
def open_session() -> Iterator[Callable[..., Any]]:
    """Opens sessions and closes them after the test."""
    from fastneurons.engine.session import Session

    quick_starts.prepare()
    opened: list[Session] = []

    def session(model: Path, languages: tuple[str, ...] = LANGUAGES, **arguments: Any) -> Session:
        opened.append(Session(str(model), languages, **arguments))
        return opened[-1]

    yield session
    for each in opened:
        each.close()
