"""Options of a training: what to learn, how long, and which weights change."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from fastneurons.errors import InputError

OBJECTIVES = ("answers", "translate")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training, with the names of vLLM, Transformers and PEFT where these have one.

    Args:
        objective: "answers": each language's prompt, continued with its answer. "translate": an example's text in one
            language, continued with the same in another, for every ordered pair of languages.
        break_links: Whether to break the parallel link, as a control: "translate" continues a text with that of
            another example; "answers" puts the examples of each language in an order of their own, so that the texts
            of a step do not say the same.
        translation_template: A file of templates for "translate", TOML or JSON, by target language.
        neurons: A file with a set of neurons. Only their rows of the up and gate projections and their columns of the
            down projection change, instead of an adapter.
        merge: Whether to write a whole model, with the adapter merged into its weights, instead of an adapter.
        max_steps: Number of optimizer steps; None for `num_train_epochs`.
        num_train_epochs: How often to train on each text, unless `max_steps` is given.
        learning_rate: The highest one; it falls linearly to 0.
        warmup_steps: Steps in which it rises from 0 at first.
        per_device_train_batch_size: Texts in a forward pass.
        gradient_accumulation_steps: Forward passes in a step.
        gradient_checkpointing: Whether to compute activations twice instead of keeping them: slower, less memory.
        lora_rank: The adapter's rank.
        lora_alpha: The adapter's scale, times its rank; None for twice the rank.
        lora_dropout: Share of the adapter's inputs that are dropped in training.
        target_modules: Names of the linear layers that get an adapter; empty for all of the decoder layers.
        dtype: In which to load the model and compute; "auto" takes the checkpoint's, or float32 with `neurons`.
            Weights that are trained are kept in float32.
        max_model_len: Tokens of the longest text; None for the model's longest.
        validation_share: Share of the examples, drawn by the seed, that are held out.
        seed: Of the weights that are made, the order of texts and the examples that are held out.
        save_steps: Steps between checkpoints.
        eval_steps: Steps between looks at the loss on held-out examples; None for a tenth of all.
        logging_steps: Steps between reports of the loss.
    Raises:
        InputError: a value that cannot be, or two that contradict each other.
    """

    objective: str = "answers"
    break_links: bool = False
    translation_template: str | None = None
    neurons: str | None = None
    merge: bool = False
    max_steps: int | None = None
    num_train_epochs: float = 1.0
    learning_rate: float = 2e-4
    warmup_steps: int = 0
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    lora_rank: int = 16
    lora_alpha: int | None = None
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    dtype: str = "auto"
    max_model_len: int | None = None
    validation_share: float = 0.1
    seed: int = 0
    save_steps: int = 100
    eval_steps: int | None = None
    logging_steps: int = 10

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"--objective {self.objective}: must be one of {', '.join(OBJECTIVES)}")
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype {self.dtype}: must be one of {', '.join(DTYPES)}")
        for name in (
            "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "lora_rank", "lora_alpha",
            "max_model_len", "save_steps", "eval_steps", "logging_steps",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 1 <= value < 2**31:
                raise InputError(f"{_option(name)} {value}: must be from 1 to {2**31 - 1:,}")
        for name in ("learning_rate", "num_train_epochs"):
            value = getattr(self, name)
            if not (isfinite(value) and 0 < value < 1e9):
                raise InputError(f"{_option(name)} {value:g}: must be above 0")
        if not 0 <= self.warmup_steps < 2**31:
            raise InputError(f"--warmup-steps {self.warmup_steps}: must not be negative")
        if not 0 <= self.lora_dropout < 1:
            raise InputError(f"--lora-dropout {self.lora_dropout:g}: must be at least 0 and below 1")
        if not 0 <= self.validation_share <= 0.9:
            raise InputError(f"--validation-share {self.validation_share:g}: must be from 0 to 0.9")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed {self.seed}: must be from 0 to {2**32 - 1:,}")
        if self.translation_template is not None and self.objective != "translate":
            raise InputError("--translation-template needs --objective translate")
        if self.neurons is not None and self.target_modules:
            raise InputError(
                "--neurons trains the projections of its neurons, so it takes no --target-modules"
            )

    @property
    def alpha(self) -> int:
        """The adapter's `lora_alpha`."""
        return 2 * self.lora_rank if self.lora_alpha is None else self.lora_alpha

    @property
    def writes_a_model(self) -> bool:
        """Whether a whole model is written, instead of an adapter."""
        return self.merge or self.neurons is not None

    def settings(self) -> dict[str, Any]:
        """The options that decide what is learned; those of a training that is resumed must be equal."""
        free = ("save_steps", "eval_steps", "logging_steps", "merge")
        chosen = {name: value for name, value in asdict(self).items() if name not in free}
        return chosen | {"target_modules": list(self.target_modules)}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
