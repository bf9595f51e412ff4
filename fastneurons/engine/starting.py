"""Start vLLM's engine core with the patch in its configuration, and say what keeps it from starting."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from fastneurons.config import EngineOptions
from fastneurons.engine.adapters import Adapter, check_judged
from fastneurons.engine.core import Core
from fastneurons.engine.engine_warnings import collected_warnings
from fastneurons.engine.failure import LoadError, cause
from fastneurons.engine.model_checks import check_config
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.vllm_config import engine_config
from fastneurons.errors import InputError

# vLLM's configuration, and the specification of what its workers observe.
Observe = Callable[[Any], ObservationSpec]


def start(
    model: str,
    options: EngineOptions,
    observe: Observe,
    number: int,
    *,
    cache_prefixes: bool = True,
    adapter: Adapter | None = None,
) -> tuple[Core, list[str]]:
    """Start an engine's core; return it with the warnings from starting it.

    Args:
        number: Of the patched engine in this process.
        adapter: The LoRA adapter that its requests may use.
        model, options, observe, cache_prefixes: As of `PatchedEngine`.
    Raises:
        InputError: vLLM cannot load the model, or does not know an engine argument.
    """
    try:
        with _importing():
            from vllm.engine import arg_utils  # noqa: F401 - most of what is imported
            from vllm.platforms import current_platform
            from vllm.v1.engine import core_client  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"vLLM cannot be imported ({error}); install it with pip install 'fastneurons[cpu]' "
            "or, on a machine with an NVIDIA GPU, pip install 'fastneurons[gpu]'"
        ) from error
    try:
        with collected_warnings() as collector:
            core = _load(
                model, options, observe, number, cache_prefixes, adapter, on_cpu=current_platform.is_cpu()
            )
    except InputError:
        raise
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            name = str(error).rpartition(" ")[2].strip("'")
            raise InputError(f"--engine-arg {name}: vLLM has no engine argument of that name") from error
        raise LoadError(f"{model}: vLLM cannot load it: {cause(error)}") from error
    except Exception as error:
        raise LoadError(f"{model}: vLLM cannot load it: {cause(error)}") from error
    return core, collector.lines


def _load(
    model: str,
    options: EngineOptions,
    observe: Observe,
    number: int,
    cache_prefixes: bool,
    adapter: Adapter | None,
    *,
    on_cpu: bool,
) -> Core:
    """The core itself. Raises whatever vLLM raises."""
    from fastneurons.engine.patch import PATCH_VERSION

    worker = f"fastneurons.engine.{'cpu_worker.CPU' if on_cpu else 'gpu_worker.GPU'}NeuronWorker"
    cached = {} if cache_prefixes else {"enable_prefix_caching": False}
    adapted = adapter.engine_arguments(on_cpu) if adapter is not None else {}
    config = engine_config(model, options, worker_cls=worker, **cached, **adapted)
    try:
        # Once more, with the defaults of its family filled in, and before the weights are downloaded.
        check_config(config.model_config.hf_config.to_dict())
    except InputError as error:
        raise InputError(f"{model}: {error}") from error
    observation = observe(config)
    if adapter is not None and observation.judged_places:
        check_judged(adapter)
    config.additional_config = msgspec.structs.replace(observation, patch=PATCH_VERSION, engine=number)
    if config.scheduler_config.scheduler_cls is None:
        kind = "NeuronAsyncScheduler" if config.scheduler_config.async_scheduling else "NeuronScheduler"
        config.scheduler_config.scheduler_cls = f"fastneurons.engine.scheduler.{kind}"
    if on_cpu:
        from fastneurons.engine.cpu_norms import prefer_one_kernel

        prefer_one_kernel(config)
    return Core(config)


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Keep the garbage collector away from the objects of vLLM's import: a million that all stay.

    It would look at them again and again, now and at every collection that vLLM asks for later: 1.4 s of
    13 s of importing, and 4 s at the engine's end.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()
