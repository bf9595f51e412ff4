"""Collect the warnings that vLLM and Transformers give while a model is loaded, if they may concern results.

Every warning about the model, its configuration, tokenizer and quantisation is shown, unless it is known
to change nothing: a warning that is new comes through.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

# Modules whose warnings concern the model. Others speak of the machine, of serving or of speed.
_ABOUT_THE_MODEL = (
    "vllm.config.model",
    "vllm.model_executor",
    "vllm.tokenizers",
    "vllm.transformers_utils",
    "transformers",
)
# Patterns of warnings that change no result, each with its reason.
_HARMLESS = {
    r"Casting torch\.\w+ to torch\.\w+": "the user's --dtype, which the store's header has",
    r"default sampling parameters": "nothing is sampled",
    r"generation.config|generation flags": "nothing is generated",
    r"no `?chat template": "chat formats are asked for by option, and refused without a template",
    r"has no vLLM implementation": "the Transformers backend computes the same; see README, Which models",
    r"torch_dtype` is deprecated|is deprecated": "an interface's name",
    r"[Uu]sing a slow tokenizer|slow image processor": "speed",
    r"rope_(scaling|parameters|theta)`?'s? \w+ field": "a value's spelling (integer or float) in config.json",
    r"[Pp]erformance (might|may) be sub-?optimal|optimi[sz]ed (kernel|implementation)|fast path": "speed",
    r"TOKENIZERS_PARALLELISM": "speed",
    r"Please set the `factor` field of `rope_parameters`": "a value that is derived where it is not given",
}
# Meanings for a measurement of vLLM warnings that are worded for serving.
_IN_OTHER_WORDS = {
    r"Using LongRoPE scaling factors.*vs original (\d+) tokens.*": (
        r"--max-model-len is beyond the original context of this LongRoPE model, so vLLM computes every prompt with "
        r"the long factors, where Transformers takes the short ones for prompts of up to \1 tokens: activations "
        r"differ; --max-model-len \1 gives those of Transformers"
    ),
}
# Names of vLLM's methods that quantise activations as well as weights.
_CODED_ACTIVATIONS = re.compile(r"W\d+A[48]|Fp8|FP8|NvFp4|NVFP4|MXFP4|Mxfp")
_LONGEST = 400
_LOGGERS = ("vllm", "transformers")


class Collector(logging.Handler):
    """Keeps warnings that may change results, each once and in one line."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record that matters."""
        try:
            message = record.getMessage()
        except Exception:
            message = str(record.msg)
        line = matters(record.name, message)
        if line is not None and line not in self.lines:
            self.lines.append(line)


def matters(module: str, message: str) -> str | None:
    """The warning in one line, if it may change results; else None."""
    if not any(module == name or module.startswith(f"{name}.") for name in _ABOUT_THE_MODEL):
        return None
    line = " ".join(message.split())
    if any(re.search(pattern, line) for pattern in _HARMLESS):
        return None
    for pattern, words in _IN_OTHER_WORDS.items():
        line = re.sub(pattern, words, line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def of_rounding(down: Any) -> str | None:
    """A warning for a model that rounds what enters its linear layers to codes; None for any other.

    Args:
        down: A down projection, as vLLM has loaded it.
    """
    names = [
        type(part).__name__ for part in (getattr(down, "quant_method", None), getattr(down, "scheme", None))
    ]
    coded = [name for name in names if _CODED_ACTIVATIONS.search(name) and "A16" not in name]
    if not coded:
        return None
    return (
        f"{coded[0]} rounds activations to 8 bits or fewer: near_threshold_count counts fewer activations than such "
        "rounding can turn"
    )


@contextlib.contextmanager
def collected_warnings() -> Iterator[Collector]:
    """Collect this process's warnings within the context. vLLM must have been imported before."""
    from vllm import logger as vllm_logger

    # "Once" is once a process: a second engine would not warn at all.
    for once in ("_print_warning_once", "_print_info_once"):
        with contextlib.suppress(AttributeError):
            getattr(vllm_logger, once).cache_clear()
    collector = Collector()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        if logger.getEffectiveLevel() > logging.WARNING:
            logger.setLevel(logging.WARNING)  # handlers have levels of their own
        logger.addHandler(collector)
    try:
        yield collector
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(collector)
            logger.setLevel(level)
