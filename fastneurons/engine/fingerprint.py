"""Compute fingerprints that show whether two runs used the same model and tokenizer.

Weights themselves are not hashed: reading 16 GB would take longer than most runs. A model's fingerprint covers its
configuration and the name, dtype and shape of each tensor, so that fine-tuned weights of the same shapes have the
fingerprint of the model they come from.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastneurons.engine.model_files import TensorHeader, open_regular

# Configuration entries about where and by which program it was written, which change no result.
_INCIDENTAL = frozenset({"_name_or_path", "name_or_path", "transformers_version"})

# Every file that a tokenizer of Transformers can be made from, and the chat templates next to them.
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def model_fingerprint(config: dict[str, Any], tensors: Iterable[TensorHeader]) -> str:
    """Hex SHA-256 over a model's configuration and its tensors' names, dtypes and shapes; not over its weights.

    The order of keys and of tensors, how the tensors are spread over files, and what names the writing program or
    folder do not matter.
    """
    described = [[t.name, t.dtype, list(t.shape)] for t in sorted(tensors, key=lambda t: t.name)]
    return _digest({"config": _normalised(config), "tensors": described})


def tokenizer_fingerprint(folder: Path | None, tokenizer: Any) -> str:
    """Hex SHA-256 over a tokenizer's files, chat template included.

    Args:
        folder: Where they are; None where that is not known.
        tokenizer: The loaded one, whose vocabulary, special tokens and chat template are hashed where there are no
            files.
    """
    digest = hashlib.sha256()
    found = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()] if folder else []
    for path in [*found, *(sorted(folder.glob("*.tiktoken")) if folder else ())]:
        with open_regular(path) as file:
            content = hashlib.sha256(file.read()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
        found.append(path)
    if found:
        return digest.hexdigest()
    return _digest(
        {
            "vocabulary": tokenizer.get_vocab(),
            "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
            "chat_template": getattr(tokenizer, "chat_template", None),
        }
    )


def _normalised(value: Any) -> Any:
    """A configuration without the entries that change no result, at any depth."""
    if isinstance(value, dict):
        return {key: _normalised(inner) for key, inner in value.items() if key not in _INCIDENTAL}
    return [_normalised(inner) for inner in value] if isinstance(value, list) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
