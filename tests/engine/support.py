"""What tests of the engine share: languages, prompts, options for tiny models, and how a session is drained."""

from typing import Any

import numpy as np

from fastneurons.config import EngineOptions
from fastneurons.data.example import Example

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


def measure(session: Any, rows: list[Any], **arguments: Any) -> dict[str, np.ndarray]:
    """All arrays of a session's `measure`, put together; `occupancy` added up."""
    parts = list(session.measure(rows, **arguments))
    names = ["token_count", "present", "activated_count", "near_threshold_count", "category_count"]
    if "activated" in parts[0]:
        names.append("activated")
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in names}
    arrays["occupancy"] = np.sum([p["occupancy"] for p in parts], axis=0)
    assert [row.id for p in parts for row in p.examples] == [row.id for row in rows]
    return arrays
