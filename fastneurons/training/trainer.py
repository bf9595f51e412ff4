"""Transformers' `Trainer` with texts in a fixed order, losses on held-out examples, and a way to stop."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler

from fastneurons.errors import TrainingError
from fastneurons.training.options import TrainingOptions
from fastneurons.training.progress import TrainingProgress
from fastneurons.training.texts import NOT_COUNTED, Text


class TextsInOrder(Dataset[dict[str, Any]]):
    """The texts of a whole training: each position is one that is trained on once."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        text = self._texts[index]
        return {"input_ids": text.token_ids, "labels": text.labels}


class Padded:
    """Puts texts into a batch [B, T], padded at the end."""

    def __init__(self, padding: int) -> None:
        self._padding = padding

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` and `labels`."""
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, value: int) -> Tensor:
            return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

        mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
        return {
            "input_ids": padded("input_ids", self._padding),
            "attention_mask": torch.tensor(mask),
            "labels": padded("labels", NOT_COUNTED),
        }


class OrderedTrainer(transformers.Trainer):
    """A trainer that takes its texts in their order."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return SequentialSampler(self.train_dataset)


@torch.no_grad()
def held_out_loss(model: Any, texts: Sequence[Text], collate: Padded, batch_size: int) -> dict[str, float]:
    """Mean loss per counted token, in nats: by language, and over all as "all". Empty without texts."""
    was_training = model.training
    model.eval()
    total: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for code in sorted({text.language for text in texts}):
        mine = sorted((text for text in texts if text.language == code), key=lambda text: len(text.token_ids))
        total[code], tokens[code] = 0.0, 0
        for first in range(0, len(mine), batch_size):
            rows = TextsInOrder(mine[first : first + batch_size])
            batch = collate([rows[k] for k in range(len(rows))])
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            labels = batch.pop("labels")[:, 1:]
            logits = model(**batch).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]),
                labels.reshape(-1),
                ignore_index=NOT_COUNTED,
                reduction="sum",
            )
            total[code] += float(loss)
            tokens[code] += int((labels != NOT_COUNTED).sum())
    model.train(was_training)
    means = {code: total[code] / tokens[code] for code in total if tokens[code]}
    return means | ({"all": sum(total.values()) / sum(tokens.values())} if means else {})


class Watch(transformers.TrainerCallback):
    """Reports progress, looks at held-out examples, and stops when asked to, with a checkpoint.

    Args:
        progress: Where to report.
        validate: Computes the losses on held-out examples, as `held_out_loss`.
        eval_steps: Steps between looks.
        stop: Once set, the training stops after the step that runs.
    """

    def __init__(
        self, progress: TrainingProgress, validate: Any, eval_steps: int, stop: threading.Event
    ) -> None:
        self._progress, self._validate, self._eval_steps, self._stop = progress, validate, eval_steps, stop

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After each step."""
        self._progress.step(state.global_step)
        if self._stop.is_set():
            control.should_save = control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """After each report of the loss."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {state.global_step}: try a smaller --learning-rate, or --dtype float32"
            )
        validation = None
        if state.global_step % self._eval_steps == 0 and (found := self._validate()):
            validation = found["all"]
            # Transformers keeps these entries in its checkpoints.
            state.log_history[-1]["held_out"] = found
        self._progress.loss(state.global_step, loss, validation)


def make_trainer(
    model: Any,
    texts: Sequence[Text],
    collate: Padded,
    options: TrainingOptions,
    num_steps: int,
    checkpoints: Path,
    watch: Watch,
) -> OrderedTrainer:
    """A trainer of the texts, which are those of all steps."""
    arguments = transformers.TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=num_steps,
        per_device_train_batch_size=options.per_device_train_batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        gradient_checkpointing=options.gradient_checkpointing,
        learning_rate=options.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=options.warmup_steps,
        weight_decay=0.0,  # it would change weights whose gradient is 0
        logging_steps=options.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=options.save_steps,
        save_total_limit=2,
        eval_strategy="no",
        seed=options.seed,
        data_seed=options.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )
    trainer = OrderedTrainer(
        model=model,
        args=arguments,
        train_dataset=TextsInOrder(texts),
        data_collator=collate,
        callbacks=[watch],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.remove_callback(transformers.ProgressCallback)
    return trainer
