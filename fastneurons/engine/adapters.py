"""LoRA adapters: read an adapter's files, and check them against the base model before either is loaded.

Nothing here imports torch or vLLM. An adapter is small, so its weights are hashed, unlike a model's.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastneurons.engine.model_checks import check_files, local_folder, place_in_layer
from fastneurons.engine.model_files import (
    ADAPTER_CONFIG,
    CONFIG,
    ModelFiles,
    TensorHeader,
    open_regular,
    read_headers,
    read_object,
)
from fastneurons.errors import InputError
from fastneurons.model_name import is_path

WEIGHTS = "adapter_model.safetensors"
# Written by `fastneurons align` next to the weights: how they were trained.
RECORD = "alignment.json"

# The ranks for which vLLM can reserve memory (`MaxLoRARanks` in its config/lora.py).
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

# Entries about where and by which program an adapter was written.
_INCIDENTAL = frozenset({"inference_mode", "peft_version"})
_PREFIX = "base_model.model."
_HEAD = "lm_head"
# vLLM applies LoRA to the logits of sampled rows alone.
CHANGES_UNEMBEDDING = (
    "it changes the unembedding, which is not supported where log-probabilities are computed: merge it into the "
    "weights and pass the result"
)
_HASHED_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder and what its files say.

    Args:
        folder: Absolute.
        config: `adapter_config.json`.
        tensors: Of its weights.
        rank: The highest rank among its modules.
        fingerprint: Hex SHA-256 over its configuration and its weights.
        record: How `fastneurons align` trained it; None for adapters from elsewhere.
    """

    folder: Path
    config: dict[str, Any]
    tensors: list[TensorHeader]
    rank: int
    fingerprint: str
    record: dict[str, Any] | None = None

    @property
    def base_model(self) -> str | None:
        """Name or folder of the model that it was trained on, as its configuration has it."""
        name = self.config.get("base_model_name_or_path")
        return name if isinstance(name, str) and name else None

    def engine_arguments(self, on_cpu: bool) -> dict[str, Any]:
        """vLLM's engine arguments for it."""
        rank = next(rank for rank in VLLM_RANKS if rank >= self.rank)
        # vLLM marks rows of the base model with slot -1. Its CPU operators index tensors with that number, which takes
        # the last slot: with a single one, rows of the base model would get the adapter as well. A second, which
        # stays empty, adds zeros to them. On GPUs, kernels skip these rows.
        return {"enable_lora": True, "max_lora_rank": rank, "max_loras": 2 if on_cpu else 1}

    def describe(self) -> dict[str, Any]:
        """Facts about it for a store's header."""
        return {
            "rank": self.rank,
            "base_model": self.base_model,
            "base_revision": self.config.get("revision"),
        }


def read_adapter(folder: str | os.PathLike[str]) -> Adapter:
    """Read an adapter's files.

    Raises:
        InputError: the folder holds no LoRA adapter that vLLM can run; the message names the file or the entry.
    """
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        what = "is a file" if path.is_file() else "no such folder"
        raise InputError(
            f"--lora {folder}: {what}; an adapter is a folder with {ADAPTER_CONFIG} and {WEIGHTS}"
        )
    if not (path / ADAPTER_CONFIG).exists():
        instead = " (it is a model: pass it as MODEL)" if (path / CONFIG).exists() else ""
        raise InputError(f"--lora {folder}: it has no {ADAPTER_CONFIG}{instead}")
    config = read_object(path / ADAPTER_CONFIG)
    if not (path / WEIGHTS).exists():
        pickled = [name for name in ("adapter_model.bin", "adapter_model.pt") if (path / name).exists()]
        instead = f"; {pickled[0]} is pickled: save it as safetensors" if pickled else ""
        raise InputError(f"--lora {folder}: it has no {WEIGHTS}{instead}")
    try:
        rank = _rank(config)
        _check_kind(config)
    except InputError as error:
        raise InputError(f"--lora {folder}: {ADAPTER_CONFIG}: {error}") from error
    tensors = read_headers([path / WEIGHTS])
    if not any(_factor(tensor.name) for tensor in tensors):
        raise InputError(
            f"--lora {folder}: {WEIGHTS} holds no LoRA weights (such as ...down_proj.lora_A.weight)"
        )
    return Adapter(path, config, tensors, rank, _fingerprint(path, config), read_record(path))


def read_record(folder: Path) -> dict[str, Any] | None:
    """How `fastneurons align` made a folder's weights; None if it did not. Raises InputError as `read_object` does."""
    return read_object(folder / RECORD) if (folder / RECORD).exists() else None


def check_fits(adapter: Adapter, model: str, files: ModelFiles) -> None:
    """Refuse an adapter of another model, by the layers and shapes of the modules that it changes.

    Modules that cannot be found by name are left to vLLM, which may rename them; so are those of quantised models.

    Raises:
        InputError: naming the first module that does not fit.
    """
    shapes = {
        place: tensor.shape
        for tensor in files.tensors
        if (place := place_in_layer(tensor.name)) is not None and len(tensor.shape) == 2
    }
    if not shapes or "quantization_config" in files.config:
        return
    layers = 1 + max(layer for layer, _ in shapes)
    of = f" of {adapter.base_model}" if adapter.base_model else ""
    for module, (rows, columns) in _module_shapes(adapter.tensors).items():
        place = place_in_layer(f"{module}.weight")
        if place is None:
            continue
        if place[0] >= layers:
            raise InputError(
                f"--lora {adapter.folder}: an adapter of another model{of}: it has {module}, and {model} has "
                f"{layers} layers"
            )
        has = shapes.get(place)
        # GPT-2 and its like hold their weights transposed.
        if has is not None and has not in ((rows, columns), (columns, rows)):
            raise InputError(
                f"--lora {adapter.folder}: an adapter of another model{of}: its {module} is {rows} x {columns}, "
                f"that of {model} is {has[0]} x {has[1]}"
            )


def check_judged(adapter: Adapter) -> None:
    """Refuse an adapter of the unembedding where tokens are judged, before the model is loaded.

    Raises:
        InputError: it has such a module, by its usual name; others are found by the workers.
    """
    if any(module.rpartition(".")[2] == _HEAD for module in _module_shapes(adapter.tensors)):
        raise InputError(f"--lora {adapter.folder}: {CHANGES_UNEMBEDDING}")


def check_loaded(folder: str, replies: Sequence[Mapping[str, Any]]) -> None:
    """Check that vLLM has loaded an adapter, and that each of its modules changes the model.

    Args:
        folder: Of the adapter.
        replies: What `fastneurons_load_adapter` returned on each rank.
    Raises:
        InputError: vLLM refuses it, or would leave a part of it out.
    """
    for reply in replies:
        if reply["error"] is not None:
            raise InputError(f"--lora {folder}: vLLM cannot load it: {reply['error']}")
    unused = set.intersection(*(set(reply["unused"]) for reply in replies))
    if unused:
        more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
        raise InputError(
            f"--lora {folder}: vLLM would not apply its {min(unused)}{more}: merge the adapter into the weights and "
            "pass the result"
        )


def check_place(model: str, lora: str | None = None) -> None:
    """Refuse folders that hold no model that can be measured, or no adapter of it.

    Names on the Hub are left to the session.

    Raises:
        InputError: as `check_files`, `read_adapter` and `check_fits` raise it, or where no folder is.
    """
    adapter = read_adapter(lora) if lora is not None else None
    if is_path(model) or Path(model).exists():
        folder = local_folder(model, None)
        assert folder is not None
        files = ModelFiles(folder, *check_files(folder))
        if adapter is not None:
            check_fits(adapter, model, files)


def _module_shapes(tensors: Sequence[TensorHeader]) -> dict[str, tuple[int, int]]:
    """Output and input size of each module of which both factors are there."""
    factors: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor in tensors:
        found = _factor(tensor.name)
        if found is not None and len(tensor.shape) == 2:
            factors.setdefault(found[0], {})[found[1]] = tensor.shape
    return {
        module: (both["B"][0], both["A"][1]) for module, both in factors.items() if both.keys() == {"A", "B"}
    }


def _factor(name: str) -> tuple[str, str] | None:
    """Module and factor ("A" or "B") of a tensor of an adapter; None for other tensors."""
    for factor in ("A", "B"):
        module, found, _ = name.rpartition(f".lora_{factor}.")
        if found:
            return module.removeprefix(_PREFIX), factor
    return None


def _rank(config: dict[str, Any]) -> int:
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks):
        raise InputError("r, the rank, must be a whole number above 0")
    rank = max(int(rank) for rank in ranks if rank is not None)
    if rank > VLLM_RANKS[-1]:
        raise InputError(
            f"rank {rank}: vLLM runs adapters up to rank {VLLM_RANKS[-1]}; merge it into the weights"
        )
    return rank


def _check_kind(config: dict[str, Any]) -> None:
    """Refuse what vLLM's LoRA does not compute."""
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise InputError(
            f"peft_type {kind}: vLLM runs LORA adapters; merge it into the weights and pass the result"
        )
    problem = None
    if config.get("use_dora"):
        problem = "use_dora"
    elif config.get("lora_bias") or config.get("bias", "none") != "none":
        problem = "trained biases"
    elif config.get("modules_to_save"):
        problem = f"modules_to_save {config['modules_to_save']}"
    elif config.get("trainable_token_indices"):
        problem = "trainable_token_indices"
    if problem is not None:
        raise InputError(
            f"{problem}: vLLM does not run these; merge the adapter into the weights and pass the result"
        )


def _fingerprint(folder: Path, config: dict[str, Any]) -> str:
    described = {key: value for key, value in config.items() if key not in _INCIDENTAL}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    with open_regular(folder / WEIGHTS) as file:
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()
