"""Options of a run: what to measure, how to write it, and the engine's options under vLLM's names."""

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

import msgspec

from fastneurons.engine_arguments import check_engine_arguments
from fastneurons.errors import InputError
from fastneurons.shards import Shard

# Bounds that keep a slip of the keyboard from counting without end or overflowing 64 bits.
_MOST_WINDOW = 2**20
_MOST_EXAMPLES = 2**62
_MOST_TOKENS = 2**31 - 1
_MOST_GIB = 2**20
_MOST_DEVICES = 2**16
_MOST_ENGINES = 2**12

# A histogram's; a bin's number has eight bits, and with fewer bins a sample does not tell where they should lie.
_FEWEST_BINS, _MOST_BINS = 16, 256

POSITIONS = ("last", "any", "answer", "corpus")
SIGNALS = ("gate", "product")
CHOICES_BY = ("likelihood", "characters", "bytes", "tokens")


@dataclass(frozen=True)
class Measurement:
    """Options that choose what to measure.

    Args:
        thresholds: A neuron is activated if its signal is above the threshold; each has its own plane in the arrays.
        position: "last": read the prompt's last token. "any": any of its tokens. "answer": any of the answer's
            tokens, which follow the prompt. "corpus": count the tokens that activate each neuron, language by
            language, without comparing languages.
        signal: "gate": the activation, after the activation function. "product": the coefficient, which
            enters the down projection; the same in models without a gate.
        attribution: Whether to measure how much each category matters for the answer.
        top_k: Number of a layer's neurons that count as its top contributors; None takes 800 of every 16,384.
        keep_coefficients: Whether to store every coefficient.
        observe_memory: Memory for a worker's buffers on its device, in GiB; None takes 1 on CPUs, and on GPUs a
            tenth of the device's, at most 8.
        include_special_tokens: Whether "any", "answer" and "corpus" also read the tokens that the tokenizer or the
            chat format adds around a text, which are the same in every language.
        add_bos_token: Whether each prompt gets the tokenizer's begin-of-text token, unless it already begins with
            it; None leaves this to the tokenizer.
        histogram: For a corpus: bins of a histogram of each neuron's signal in each language; None for no histograms.
        score: Whether to judge the model's answers as well: `log_probability`, `judged_count` and `correct`.
        choices_by: Which choice counts as the model's: that of the highest "likelihood", or the highest per unit of its
            length, in "characters", "bytes" or "tokens".
        max_new_tokens: Most tokens to generate where an answer is written, not chosen; None takes what a task needs.
    """

    thresholds: tuple[float, ...] = (0.0,)
    position: str = "last"
    signal: str = "gate"
    attribution: bool = False
    top_k: int | None = None
    keep_coefficients: bool = False
    observe_memory: float | None = None
    include_special_tokens: bool = False
    add_bos_token: bool | None = None
    histogram: int | None = None
    score: bool = False
    choices_by: str = "likelihood"
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        shown = ", ".join(f"{t:g}" for t in self.thresholds)
        if not self.thresholds:
            raise InputError("at least one --threshold is needed")
        if not all(map(isfinite, self.thresholds)):
            raise InputError(f"--threshold {shown}: must be finite numbers")
        if len(set(self.thresholds)) != len(self.thresholds):
            raise InputError(f"--threshold {shown}: the same threshold is given twice")
        if self.position not in POSITIONS:
            raise InputError(f"--position {self.position}: must be one of {', '.join(POSITIONS)}")
        if self.signal not in SIGNALS:
            raise InputError(f"--signal {self.signal}: must be one of {', '.join(SIGNALS)}")
        if self.score and self.position == "corpus":
            raise InputError("--score with --position corpus: the texts of a corpus have no answers to judge")
        if self.choices_by not in CHOICES_BY:
            raise InputError(f"--choices-by {self.choices_by}: must be one of {', '.join(CHOICES_BY)}")
        if not self.score and (self.choices_by != "likelihood" or self.max_new_tokens is not None):
            raise InputError("--choices-by and --max-new-tokens need --score")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise InputError(f"--max-new-tokens {self.max_new_tokens}: must be at least 1")
        if self.attribution and self.position != "last":
            raise InputError(
                f"--attribution with --position {self.position}: attribution reads the last prompt token; "
                "use --position last"
            )
        if self.top_k is not None and (not self.attribution or self.top_k < 1):
            raise InputError(f"--top-k {self.top_k}: must be at least 1, and needs --attribution")
        if self.keep_coefficients and not self.attribution:
            raise InputError("--keep-coefficients needs --attribution")
        if self.include_special_tokens and self.position == "last":
            raise InputError(
                "--include-special-tokens with --position last: only the prompt's own last token is read"
            )
        if self.histogram is not None:
            if self.position != "corpus":
                raise InputError(f"--histogram with --position {self.position}: needs --position corpus")
            if not _FEWEST_BINS <= self.histogram <= _MOST_BINS:
                raise InputError(
                    f"--histogram {self.histogram}: must be from {_FEWEST_BINS} to {_MOST_BINS} bins"
                )
        memory = self.observe_memory
        if memory is not None and not (isfinite(memory) and memory > 0):
            raise InputError(f"--observe-memory {memory:g}: must be above 0 (GiB)")
        if memory is not None and memory > _MOST_GIB:
            raise InputError(f"--observe-memory {memory:g}: must be at most {_MOST_GIB:,} (GiB)")

    @property
    def memory_bytes(self) -> int:
        """Memory for a worker's buffers on its device. Only once a session has put the device's default in."""
        assert self.observe_memory is not None
        return int(self.observe_memory * 2**30)

    def neurons_in_top(self, neurons: int) -> int | None:
        """Return how many of a layer's neurons count as its top contributors; None without attribution.

        The published code takes 800 of a layer's 16,384 neurons (arXiv 2406.09265).
        """
        if not self.attribution:
            return None
        return min(neurons, self.top_k or max(1, round(neurons * 800 / 16384)))


@dataclass(frozen=True)
class EngineOptions:
    """Engine arguments that have their own option; `None` keeps vLLM's default.

    `engine_args` takes any other vLLM engine argument by vLLM's name.
    """

    dtype: str = "auto"
    revision: str | None = None
    tokenizer: str | None = None
    quantization: str | None = None
    trust_remote_code: bool = False
    seed: int = 0
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    gpu_memory_utilization: float | None = None
    # None: eager. On CPUs, compiling takes longer than most runs; on GPUs, it gains little (docs/gpu.md).
    enforce_eager: bool | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    # Folder of a LoRA adapter that every prompt uses.
    lora: str | None = None
    engine_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_model_len", "max_num_batched_tokens", "max_num_seqs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} {value}: must be at least 1")
            if value is not None and value > _MOST_TOKENS:
                raise InputError(f"--{name.replace('_', '-')} {value}: must be at most {_MOST_TOKENS:,}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed {self.seed}: must be from 0 to {2**32 - 1:,}")
        if self.world_size > _MOST_DEVICES:
            raise InputError(
                f"--tensor-parallel-size {self.tensor_parallel_size}, --pipeline-parallel-size "
                f"{self.pipeline_parallel_size}: at most {_MOST_DEVICES:,} devices"
            )
        if self.tensor_parallel_size < 1 or self.pipeline_parallel_size < 1:
            raise InputError("--tensor-parallel-size and --pipeline-parallel-size must be at least 1")
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise InputError(f"--gpu-memory-utilization {share}: must be above 0 and at most 1")
        named = {f.name for f in fields(self)} - {"engine_args"}
        for name in self.engine_args:
            if name in named:
                raise InputError(f"--engine-arg {name}: use --{name.replace('_', '-')}")
        check_engine_arguments(self.engine_args)

    @property
    def world_size(self) -> int:
        """Number of processes over which the model is spread."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


@dataclass(frozen=True)
class ManyEngines:
    """Options of a run with several engines.

    Args:
        place: "local": processes of this machine. "ray": actors of a Ray cluster.
        number: How many; None on a Ray cluster: as many as it has room for.
        address: Of a Ray cluster; None: the one that this process belongs to, or else one of this machine.
        window_timeout: Seconds without a word after which an engine that has work counts as hung.
    """

    place: str
    number: int | None = None
    address: str | None = None
    window_timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.number is not None and not 1 <= self.number <= _MOST_ENGINES:
            option = "--engines" if self.place == "local" else "--num-engines"
            raise InputError(f"{option} {self.number}: must be from 1 to {_MOST_ENGINES:,}")
        if not (isfinite(self.window_timeout) and self.window_timeout > 0):
            raise InputError(f"--window-timeout {self.window_timeout:g}: must be above 0 (seconds)")

    @classmethod
    def parse(cls, engines: str, number: int | None = None, window_timeout: float = 600.0) -> "ManyEngines":
        """Read the value of `--engines`: a number, `ray`, or `ray:ADDRESS`.

        Args:
            number: That of `--num-engines`.
            window_timeout: That of `--window-timeout`.
        Raises:
            InputError: it is none of these.
        """
        place, colon, address = engines.partition(":")
        if place == "ray" and (address or not colon):
            return cls("ray", number, address or None, window_timeout)
        if not (engines.isascii() and engines.isdigit()):
            raise InputError(f"--engines {engines}: must be a number of engines, ray, or ray:ADDRESS")
        if number is not None:
            raise InputError(
                f"--num-engines {number} goes with --engines ray; --engines {engines} says how many"
            )
        return cls("local", int(engines), None, window_timeout)


def many_engines(
    engines: str | int | None, number: int | None = None, window_timeout: float = 600.0
) -> ManyEngines | None:
    """The options of a run with several engines; None for a run with one, in this process.

    Raises:
        InputError: as `ManyEngines.parse`; or there is a number and no `--engines ray`.
    """
    if engines is None:
        if number is not None:
            raise InputError(f"--num-engines {number} needs --engines ray; --engines {number} runs them here")
        return None
    return ManyEngines.parse(str(engines), number, window_timeout)


@dataclass(frozen=True)
class RunOptions:
    """Options that say how a run reads and writes.

    Args:
        window: Number of examples to write and commit at a time.
        keep_bits: Whether to store which neurons were activated, or only counts.
        keep_prompts: Whether to store the prompts' texts.
        keep_folds: For a corpus: whether to count its parts apart as well, for the uncertainty of findings.
        tokens_per_language: For a corpus: stop reading a language after this many tokens that count; None reads all.
        resume: Whether to continue an interrupted run, or one whose source has more examples by now.
        overwrite: Whether to replace an existing store.
        block_size: For a corpus: join each language's texts and cut them into blocks of this many tokens.
        shard: Measure only this share of the examples; None for all.
    """

    window: int = 256
    keep_bits: bool = True
    resume: bool = False
    overwrite: bool = False
    block_size: int | None = None
    keep_prompts: bool = True
    keep_folds: bool = True
    shard: Shard | None = None
    tokens_per_language: int | None = None

    def __post_init__(self) -> None:
        for name, value, most in (
            ("window", self.window, _MOST_WINDOW),
            ("block-size", self.block_size, _MOST_TOKENS),
            ("tokens-per-language", self.tokens_per_language, _MOST_EXAMPLES),
        ):
            if value is not None and value < 1:
                raise InputError(f"--{name} {value}: must be at least 1")
            if value is not None and value > most:
                raise InputError(f"--{name} {value}: must be at most {most:,}")
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite cannot be combined")


def check_together(measurement: Measurement, options: RunOptions, engine: EngineOptions) -> None:
    """Refuse options that contradict each other.

    Raises:
        InputError: naming both.
    """
    if options.block_size is not None and measurement.position != "corpus":
        raise InputError("--block-size needs --position corpus")
    if options.tokens_per_language is not None and measurement.position != "corpus":
        raise InputError("--tokens-per-language needs --position corpus")
    if measurement.position != "last" and engine.engine_args.get("enable_prefix_caching"):
        raise InputError(
            f"--engine-arg enable_prefix_caching with --position {measurement.position}: tokens taken from the cache "
            "pass through no layer and would not be read"
        )


def parse_engine_args(assignments: list[str]) -> dict[str, Any]:
    """Parse `["block_size=32", "kv_cache_dtype=fp8"]` into a dictionary; values that are JSON are read as JSON.

    Raises:
        InputError: an assignment without `=`, or a name given twice.
    """
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not equals or not name:
            raise InputError(
                f"--engine-arg {assignment!r}: must be KEY=VALUE, e.g. --engine-arg block_size=32"
            )
        if name in parsed:
            raise InputError(f"--engine-arg {name}: given twice")
        try:
            parsed[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            parsed[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return parsed
