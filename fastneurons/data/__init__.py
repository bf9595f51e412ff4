"""Where examples come from: files, and what the demo brings along."""

from fastneurons.data.example import Example, Skipped
from fastneurons.data.jsonl import JsonlSource, open_jsonl

__all__ = ["Example", "JsonlSource", "Skipped", "open_jsonl"]
