"""What tests of trainings share: a toy task whose answers can be learned, and one thread."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")
pytest.importorskip("accelerate")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that share their cores with other processes wait for each other at every product."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Examples whose answer is the last letter of the prompt, a capital in German."""
    rows = [
        {
            "id": f"e{k}",
            "prompts": {"en": f"say {k} {letter}", "de": f"sag {k} {letter}"},
            "answers": {"en": letter * 2, "de": letter.upper() * 2},
        }
        for k, letter in enumerate("abcd" * 10)
    ]
    return write_rows(tmp_path / "toy.jsonl", rows)


@pytest.fixture
def said() -> "Callable[[], Said]":
    return Said


class Said:
    """Keeps what a training reports."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.losses: list[tuple[int, float, float | None]] = []
        self.steps: list[int] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def start(self, steps: int, done: int) -> None:
        self.steps = [done]

    def step(self, done: int) -> None:
        self.steps.append(done)

    def loss(self, done: int, loss: float, validation: float | None) -> None:
        self.losses.append((done, loss, validation))

    def stop(self) -> None:
        pass
