"""Watch a checkpoint being loaded, so that no part of a layer keeps whatever was in memory before.

vLLM exempts linear layers and embeddings from its check that every parameter was loaded, counts a fused one
(`qkv_proj`, `gate_up_proj`) as loaded when one of its parts came, and cuts a tensor that is larger than the
configuration says. So each such parameter is filled with a mark before the weights come: what still holds it
afterwards was not in the checkpoint.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

# The marks. Of floating-point numbers a NaN with a payload that no program writes; of codes any number, which
# counts where a whole row of the layer holds nothing else.
_MARKS = {torch.int32: 0x7FC5A5A5, torch.int16: 0x7FDA, torch.uint8: 0x7F, torch.int64: 0x7FF8A5A5A5A5A5A5}
_FLOAT16_MARK = 0x7EDA
_AS_INTEGERS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
# A row of codes shorter than this could equal the mark by chance.
_SHORTEST_ROW = 32

_MOST_NAMED = 3

# Modules that have a `get_model_loader` of their own.
_RUNNERS = ("vllm.v1.worker.gpu_model_runner", "vllm.v1.worker.gpu.model_runner")


class Loading:
    """One model while its weights are loaded."""

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._marked: dict[str, tuple[nn.Module, Tensor]] = {}
        self._misfits: list[str] = []
        self._problem: str | None = None

    @property
    def begun(self) -> bool:
        """Whether a model was given."""
        return self._model is not None

    @property
    def problem(self) -> str | None:
        """The fault of the weights that were loaded, in one line; None if there is none."""
        return self._problem

    def begin(self, model: nn.Module) -> None:
        """Mark the parameters that the checkpoint must fill."""
        self._model = model
        for path, module in _language_model(model):
            for name in ("weight", "bias", "qweight", "weight_packed"):
                parameter: Any = getattr(module, name, None)
                if not _is_to_be_loaded(module, parameter):
                    continue
                view, mark = _as_marked(parameter.data)
                view.fill_(mark)
                self._marked[f"{path}.{name}"] = module, parameter
                if name == "weight":
                    self._watch_shapes(path, module, parameter)

    def end(self) -> None:
        """Check what was loaded."""
        self._problem = self._find_problem()
        self._marked.clear()

    def _find_problem(self) -> str | None:
        if self._misfits:
            return f"the weights do not fit {_listed(self._misfits)}"
        missing = [name for path in self._marked for name in self._missing_parts(path)]
        if missing:
            return f"the weights are not whole: nothing was loaded into {_listed(missing)}"
        assert self._model is not None
        broken = [path for path, parameter in self._model.named_parameters() if _has_nan(parameter.data)]
        if broken:
            return f"the weights are damaged: there is NaN in {_listed(broken)}"
        return None

    def _missing_parts(self, path: str) -> Iterator[str]:
        module, parameter = self._marked[path]
        owner, _, name = path.rpartition(".")
        if getattr(module, name, None) is not parameter or parameter.is_meta:
            return  # replaced while it was loaded: quantised on the way
        rows = _marked_rows(parameter)
        if rows is None:
            return
        prefix, _, last = owner.rpartition(".")
        sizes = _part_sizes(module)
        parts = _packed(self._model).get(last) or [f"{last} (part {i + 1})" for i in range(len(sizes))]
        if len(sizes) < 2 or rows.all() or len(sizes) != len(parts) or sum(sizes) != len(rows):
            yield path
            return
        for part, its_rows in zip(parts, rows.split(sizes), strict=True):
            if its_rows.any():
                yield f"{prefix}.{part}.{name}"

    def _watch_shapes(self, path: str, module: nn.Module, parameter: Any) -> None:
        """Compare the shape of each tensor with the one that vLLM's loader of a linear layer needs."""
        load = getattr(parameter, "weight_loader", None)
        if getattr(load, "__self__", None) is not module or type(module).__name__ not in _LINEARS:
            return
        linear: Any = module

        def checked(param: Any, loaded: Tensor, *shard: Any, **named: Any) -> Any:
            shard_id = shard[0] if shard else next(iter(named.values()), None)
            shape, local = tuple(loaded.shape), tuple(param.shape)
            needed = _needed_shape(linear, shard_id)
            if needed is None or len(shape) != 2 or shape == needed:
                return load(param, loaded, *shard, **named)  # type: ignore[misc]
            if getattr(param, "is_sharded_weight", False) or (linear.tp_size > 1 and shape == local):
                return load(param, loaded, *shard, **named)  # type: ignore[misc]
            part = "" if shard_id is None else f" (part {shard_id})"
            self._misfits.append(f"{path}{part}, which is {_by(shape)} where {_by(needed)} is needed")
            return None

        parameter.weight_loader = checked


@contextlib.contextmanager
def watched_loading() -> Iterator[Loading]:
    """Watch what a model runner loads within the context; afterwards, `problem` names the fault."""
    from vllm.model_executor import model_loader

    loading = Loading()
    make: Callable[..., Any] = model_loader.get_model_loader

    def get_model_loader(load_config: Any) -> Any:
        loader = make(load_config)
        load_weights = loader.load_weights

        def watched(model: nn.Module, model_config: Any) -> None:
            loading.begin(model)
            load_weights(model, model_config)
            loading.end()  # here: afterwards, backends repack weights and drop the originals

        # A draft model would be loaded after the first one; random weights fill floating-point numbers alone.
        if load_config.load_format != "dummy" and not loading.begun:
            loader.load_weights = watched
        return loader

    # The runner exists already, so its module is there.
    places: list[Any] = [model_loader, *(sys.modules[name] for name in _RUNNERS if name in sys.modules)]
    for place in places:
        place.get_model_loader = get_model_loader
    try:
        yield loading
    finally:
        for place in places:
            place.get_model_loader = make


def _language_model(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of the text part, by their paths in the whole model."""
    inner = getattr(model, "get_language_model", None)
    part = inner() if callable(inner) else model
    prefix = next((path for path, module in model.named_modules() if module is part), "")
    for path, module in part.named_modules():
        yield ".".join(filter(None, (prefix, path))), module


def _is_to_be_loaded(module: nn.Module, parameter: Any) -> bool:
    """Whether a parameter comes from the checkpoint alone: its layer gives it no value of its own."""
    from vllm.model_executor.layers.linear import LinearBase
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    return (
        isinstance(module, LinearBase | VocabParallelEmbedding)
        and isinstance(parameter, nn.Parameter)
        and not parameter.is_meta
        and parameter.numel() > 0
    )


def _as_marked(data: Tensor) -> tuple[Tensor, int]:
    """A tensor's bits as integers, and the mark."""
    view = data.view(_AS_INTEGERS[data.element_size()])
    return view, _FLOAT16_MARK if data.dtype == torch.float16 else _MARKS[view.dtype]


def _marked_rows(parameter: Any) -> Tensor | None:
    """bool, for each row of the layer's output whether it holds the mark; None if none does."""
    data = parameter.data
    view, mark = _as_marked(data)
    is_number = data.is_floating_point() and data.element_size() > 1
    axis = getattr(parameter, "output_dim", 0) or 0
    if axis >= view.dim():
        return None
    rows = view.movedim(axis, 0).flatten(1) if view.dim() > 1 else view[:, None]
    if not is_number and rows.shape[1] * rows.element_size() < _SHORTEST_ROW:
        return None
    # A row is loaded whole or not at all: for most, the first number decides.
    found = rows[:, 0] == mark
    if not found.any():
        return None
    found[found.clone()] = (rows[found] == mark).all(dim=1)
    return found if found.any() else None


def _has_nan(data: Tensor) -> bool:
    """Whether a parameter holds NaN. One pass, and no copy: the extremes of numbers with a NaN among them are NaN."""
    if not data.is_floating_point() or data.element_size() < 2 or data.numel() == 0 or data.is_meta:
        return False
    return bool(torch.isnan(torch.aminmax(data).max))


def _part_sizes(module: Any) -> list[int]:
    """Rows of the parts of a fused layer on this rank; of any other layer one part."""
    sizes = list(getattr(module, "output_partition_sizes", None) or [0])
    if hasattr(module, "num_kv_heads") and hasattr(module, "v_head_size"):
        return [
            module.num_heads * module.head_size,
            module.num_kv_heads * module.head_size,
            module.num_kv_heads * module.v_head_size,
        ]
    return sizes


# Of these vLLM's loaders take whole tensors and cut out this rank's part; what derives from them may do otherwise.
_LINEARS = frozenset(
    {
        "ReplicatedLinear",
        "ColumnParallelLinear",
        "RowParallelLinear",
        "MergedColumnParallelLinear",
        "QKVParallelLinear",
    }
)


def _needed_shape(module: Any, shard_id: Any) -> tuple[int, int] | None:
    """The shape that a tensor must have on disk; None if it is unknown, as with quantised weights."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod

    if not isinstance(module.quant_method, UnquantizedLinearMethod):
        return None
    kind = type(module).__name__
    if kind == "QKVParallelLinear":
        parts = {
            "q": module.total_num_heads * module.head_size,
            "k": module.total_num_kv_heads * module.head_size,
            "v": module.total_num_kv_heads * module.v_head_size,
        }
        rows = sum(parts.values()) if shard_id is None else parts[shard_id]
    elif kind == "MergedColumnParallelLinear":
        sizes = module.output_sizes
        indices = range(len(sizes)) if shard_id is None else shard_id
        rows = sum(sizes[i] for i in ([indices] if isinstance(indices, int) else indices))
    else:
        rows = module.output_size
    return rows, module.input_size


def _packed(model: Any) -> dict[str, list[str]]:
    """The parts of fused layers, by name: {"qkv_proj": ["q_proj", "k_proj", "v_proj"], ...}."""
    packed: dict[str, list[str]] = {}
    for module in model.modules():
        own = getattr(module, "packed_modules_mapping", None)
        if isinstance(own, dict):
            packed |= own
    return packed


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
