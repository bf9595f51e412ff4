"""Sources of examples: files, data sets, and the demo's facts."""

from fastneurons.data.example import Example, Skipped
from fastneurons.data.jsonl_examples import JsonlSource

__all__ = ["Example", "JsonlSource", "Skipped"]
