import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastneurons.config import EngineOptions
from fastneurons.data.example import Example
from tests.engine import tiny
from tests.engine.reference import references

LANGUAGES = ("en", "de", "th")


def examples(number: int, seed: int = 0, longest: int = 60) -> list[Example]:
    """Prompts of 1 to `longest` bytes, different in each language, a few in a script of three bytes a letter."""
    rng = np.random.default_rng(seed)

    def prompt(language: str) -> str:
        letters = {"en": "abcdefgh ", "de": "äöüßxyz ", "th": "กขคงจฉช"}[language]
        length = int(rng.integers(1, longest + 1))
        text = "".join(rng.choice(list(letters), length))
        return (text.strip() or "x").encode()[:length].decode(errors="ignore") or "x"

    return [Example(f"e{i}", {lang: prompt(lang) for lang in LANGUAGES}) for i in range(number)]


def tiny_options(**changes: Any) -> EngineOptions:
    """Float32, steps of 64 tokens: prompts are cut into chunks and share steps."""
    arguments: dict[str, Any] = {"dtype": "float32", "max_model_len": 512, "max_num_batched_tokens": 64}
    arguments |= changes
    own = {
        name: arguments.pop(name) for name in list(arguments) if name in EngineOptions.__dataclass_fields__
    }
    return EngineOptions(**own, engine_args=arguments)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes tiny models, each once."""
    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("models")

    def model(architecture: str = "Llama", **changes: Any) -> Path:
        key = json.dumps([architecture, changes], sort_keys=True)
        if key not in made:
            made[key] = tiny.make(architecture, root / f"{architecture}-{len(made)}", **changes)
        return made[key]

    return model


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    """Activations float32 [E, L, N, I] of a model's plain forward passes."""

    def activations(model: Path, rows: list[Example], dtype: str = "float32") -> np.ndarray:
        prompts = [row.prompts[language] for row in rows for language in LANGUAGES]
        request = {"model": str(model), "dtype": dtype, "prompts": prompts}
        [result] = references([request], tmp_path_factory.mktemp("reference"))
        flat = result["activations"]
        return flat.reshape(len(rows), len(LANGUAGES), *flat.shape[1:])

    return activations


def measure(session: Any, rows: list[Any], **arguments: Any) -> dict[str, np.ndarray]:
    """All arrays of a session's `measure`, put together; `occupancy` added up."""
    parts = list(session.measure(rows, **arguments))
    names = ["token_count", "present", "activated_count", "near_threshold_count", "category_count"]
    if parts[0].activated is not None:
        names.append("activated")
    arrays = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    arrays["occupancy"] = np.sum([p.occupancy for p in parts], axis=0)
    assert [row.id for p in parts for row in p.rows] == [row.id for row in rows]
    return arrays


@pytest.fixture
def open_session() -> Iterator[Callable[..., Any]]:
    """Opens sessions and closes them after the test."""
    from fastneurons.engine.session import Session

    opened: list[Session] = []

    def session(model: Path, languages: tuple[str, ...] = LANGUAGES, **arguments: Any) -> Session:
        opened.append(Session(str(model), languages, **arguments))
        return opened[-1]

    yield session
    for each in opened:
        each.close()
