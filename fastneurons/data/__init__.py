"""Where examples come from: files, and what the demo brings along."""

from fastneurons.data.example import Example, Skipped
from fastneurons.data.jsonl_examples import JsonlSource

__all__ = ["Example", "JsonlSource", "Skipped"]
