"""Put together what a run will need: GPUs, memory, store and hours; and say which figures are estimates."""

from dataclasses import dataclass, field
from typing import Any, Literal

from fastneurons.config import Measurement
from fastneurons.errors import InputError
from fastneurons.planning.gpus import GPUS, Gpu
from fastneurons.planning.memory import MEMORY_SHARE, Engine, Memory, Reading, memory_of
from fastneurons.planning.rate import Rate, benched_rate, estimated_rate
from fastneurons.planning.shapes import Model, model_shapes
from fastneurons.planning.store_size import StoreSize, header_for, store_size
from fastneurons.store.schema import later_names

_MOST = 2**50
# One thread writes so much (benchmarks/results/write_rate.md).
_WRITE_BYTES_PER_S = 800e6

Basis = Literal["computed", "estimated", "scaled", "measured"]


@dataclass(frozen=True)
class Wanted:
    """A run that is planned; fields that are options of `run` mean the same.

    Args:
        model: A model's folder, or its config.json.
        examples: How many.
        languages: L, how many.
        tokens: Of a prompt; of a corpus, of a text.
        gpus: How many there are.
        gpu: Which, a name of `GPUS`.
        edits: Edits that are active at once; 0 for a run that only measures.
        bench: A file of `fastneurons bench --json`, measured on such a GPU.
    """

    model: str
    examples: int
    languages: int
    tokens: int
    gpus: int = 1
    gpu: str = "h100"
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int = 1
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    quantization: str | None = None
    thresholds: tuple[float, ...] = (0.0,)
    position: str = "last"
    attribution: bool = False
    top_k: int | None = None
    keep_coefficients: bool = False
    keep_bits: bool = True
    keep_prompts: bool = True
    window: int = 256
    edits: int = 0
    bench: str | None = None

    def __post_init__(self) -> None:
        # Raises for what contradicts itself, as a run does.
        Measurement(
            self.thresholds,
            self.position,
            attribution=self.attribution,
            top_k=self.top_k,
            keep_coefficients=self.keep_coefficients,
        )
        for name in ("examples", "languages", "tokens", "gpus", "window", "pipeline_parallel_size"):
            _check(name, getattr(self, name), 1)
        for name in ("tensor_parallel_size", "max_num_batched_tokens", "max_num_seqs"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), 1)
        _check("edits", self.edits, 0)
        if self.languages < 2 and self.position != "corpus":
            raise InputError(f"--languages {self.languages}: at least two are compared, except in a corpus")
        if self.gpu not in GPUS:
            raise InputError(f"--gpu {self.gpu}: must be one of {', '.join(GPUS)}")


def _check(name: str, value: int, least: int) -> None:
    if not least <= value <= _MOST:
        raise InputError(f"--{name.replace('_', '-')} {value}: must be from {least} to {_MOST:,}")


@dataclass(frozen=True)
class Figure:
    """A number of a plan.

    Args:
        value: The number; None where there is none.
        unit: Its unit.
        basis: "computed" from shapes; "estimated"; "measured" on such a machine, or "scaled" from that.
        about: Where it comes from, or what it means.
    """

    value: float | None
    unit: str
    basis: Basis
    about: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run will need.

    Args:
        engines: How many there will be.
        fits: Whether the memory of each GPU is enough.
        memory: On the fullest GPU of an engine.
        rate: Of one engine.
        notes: For people.
    """

    wanted: Wanted
    model: Model
    gpu: Gpu
    engine: Engine
    engines: int
    fits: bool
    memory: Memory
    store: StoreSize
    rate: Rate
    notes: list[str] = field(default_factory=list)

    @property
    def prompts(self) -> int:
        """Of the whole run; of a corpus, its texts."""
        per_example = 1 if self.wanted.position == "corpus" else self.wanted.languages
        return self.wanted.examples * per_example

    @property
    def tokens_per_s(self) -> float:
        """Of all engines."""
        return self.engines * self.rate.tokens_per_s

    @property
    def hours(self) -> float | None:
        """Of the run, without starting engines; None if the model does not fit."""
        if not self.fits:
            return None
        return self.prompts * self.wanted.tokens / self.tokens_per_s / 3600

    def figures(self) -> dict[str, Figure]:
        """All figures by name, with what they rest on."""
        memory = {
            f"memory_{name}": Figure(value, "bytes", "estimated" if name == "activations" else "computed")
            for name, value in vars(self.memory).items()
        }
        basis: Basis = self.rate.basis  # type: ignore[assignment]
        return {
            "parameters": Figure(self.model.num_parameters, "", "computed"),
            **memory,
            "memory_of_a_gpu": Figure(self.memory.total, "bytes", "estimated"),
            "memory_available": Figure(MEMORY_SHARE * self.gpu.memory_bytes, "bytes", "computed"),
            "store": Figure(
                self.store.expected, "bytes", "estimated", "with what compression is expected to save"
            ),
            "store_at_most": Figure(
                self.store.at_most, "bytes", "computed", "if the bits cannot be compressed"
            ),
            "store_of_an_example": Figure(self.store.example, "bytes", "estimated"),
            "tokens_per_s_of_an_engine": Figure(self.rate.tokens_per_s, "tokens/s", basis, self.rate.about),
            "prompts_per_s": Figure(
                self.tokens_per_s / self.wanted.tokens if self.fits else None, "prompts/s", basis
            ),
            "hours": Figure(self.hours, "h", basis),
        }

    def as_json(self) -> dict[str, Any]:
        """The plan as `fastneurons plan --json` prints it."""
        return {
            "model": self.model.name,
            "gpu": self.gpu.name,
            "gpus": self.wanted.gpus,
            "engines": self.engines,
            "tensor_parallel_size": self.engine.tensor_parallel_size,
            "pipeline_parallel_size": self.engine.pipeline_parallel_size,
            "max_num_batched_tokens": self.engine.max_num_batched_tokens,
            "max_num_seqs": self.engine.max_num_seqs,
            "fits": self.fits,
            "figures": {name: vars(figure) for name, figure in self.figures().items()},
            "store_arrays": self.store.arrays,
            "notes": self.notes,
        }


def plan(wanted: Wanted) -> Plan:
    """Plan a run.

    Raises:
        InputError: the configuration, the benchmark's file, or what is wanted is wrong.
    """
    model, gpu = model_shapes(wanted.model, wanted.quantization), GPUS[wanted.gpu]
    reading = Reading(
        wanted.languages,
        len(wanted.thresholds),
        wanted.tokens,
        wanted.position,
        wanted.attribution,
        wanted.edits,
    )
    given = {
        name: value
        for name in ("max_num_batched_tokens", "max_num_seqs")
        if (value := getattr(wanted, name)) is not None
    }
    engine = _engine(wanted, gpu, model, reading, given)
    memory = memory_of(gpu, model, engine, reading)
    world = engine.tensor_parallel_size * engine.pipeline_parallel_size
    engines = wanted.gpus // world
    fits = engines > 0 and memory.total <= MEMORY_SHARE * gpu.memory_bytes
    if wanted.bench is None:
        rate = estimated_rate(gpu, model, engine, reading)
    else:
        rate = benched_rate(wanted.bench, model, reading)
    planned = Plan(wanted, model, gpu, engine, max(1, engines), fits, memory, _store(wanted, model), rate)
    planned.notes.extend(_notes(planned, world))
    return planned


def _engine(wanted: Wanted, gpu: Gpu, model: Model, reading: Reading, given: dict[str, Any]) -> Engine:
    """The engine that was asked for, or the one with the fewest GPUs, a power of two, whose memory is enough."""
    tensor = wanted.tensor_parallel_size
    if tensor is not None:
        return Engine.on(gpu, tensor, wanted.pipeline_parallel_size, given)
    tensor = 1
    while True:
        engine = Engine.on(gpu, tensor, wanted.pipeline_parallel_size, given)
        enough = memory_of(gpu, model, engine, reading).total <= MEMORY_SHARE * gpu.memory_bytes
        if enough or model.num_heads % (2 * tensor):
            return engine
        tensor *= 2


def _store(wanted: Wanted, model: Model) -> StoreSize:
    top_k = Measurement(attribution=wanted.attribution, top_k=wanted.top_k).neurons_in_top(
        model.intermediate_size
    )
    header = header_for(
        model,
        model.num_layers,
        wanted.languages,
        list(wanted.thresholds),
        wanted.position,
        top_k,
        wanted.window,
    )
    optional = {
        "activated": wanted.keep_bits,
        "coefficient": wanted.keep_coefficients,
        "prompt": wanted.keep_prompts,
    }
    kept = [name for name in {*optional, *later_names()} if optional.get(name, True)]
    return store_size(header, wanted.examples, wanted.tokens, kept)


def _notes(planned: Plan, world: int) -> list[str]:
    """What a person should know of a plan."""
    wanted, notes = planned.wanted, []
    if not planned.fits:
        needed = f"{world} GPU{'s' if world > 1 else ''}"
        if wanted.gpus < world:
            notes.append(f"does not fit: one engine needs {needed} of this kind, and --gpus is {wanted.gpus}")
        else:
            notes.append("does not fit: pass a larger --tensor-parallel-size, or smaller steps")
    elif wanted.gpus % world:
        notes.append(f"{wanted.gpus % world} of {wanted.gpus} GPUs are left over by engines of {world}")
    if planned.rate.limit == "host":
        notes.append("short prompts: the host limits the rate, not the GPU; two engines on one GPU go faster")
    bytes_per_s = planned.store.example * planned.tokens_per_s / wanted.tokens
    bytes_per_s /= 1 if wanted.position == "corpus" else wanted.languages
    if planned.fits and bytes_per_s / planned.engines > _WRITE_BYTES_PER_S:
        notes.append(
            f"writing {bytes_per_s / planned.engines / 1e6:,.0f} MB/s an engine is more than one thread writes "
            f"({_WRITE_BYTES_PER_S / 1e6:,.0f}): the store sets the pace"
        )
    if wanted.edits:
        notes.append(
            "edits that add values take two bytes more for each of their neurons, all layers' in a row"
        )
    if planned.rate.basis == "estimated":
        notes.append(
            "rate and hours rest on data sheets and one measurement (8B on one H100); several GPUs, other cards and "
            "other lengths were not measured: expect them within a third, and measure with fastneurons bench --json"
        )
    return notes
