"""A drawn run of generated texts for the page's tests: words in several scripts, long texts, text to be escaped."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.store.edited import EditedRun
from tests.store.runs import header

WORDS = {
    "en": ["the", "river", "runs", "past", "our", "old", "town", "and", "nobody", "asks", "why"],
    "de": ["der", "Fluss", "fließt", "an", "der", "Altstadt", "vorbei", "und", "keiner", "fragt", "warum"],
    "ar": ["يجري", "النهر", "بجانب", "المدينة", "القديمة", "ولا", "يسأل", "أحد", "لماذا"],
    "zh": list("河水流过老城没有人问它为什么在那里转弯"),
}
CONDITIONS = ["intact", "mask-de", "random-of-the-same-size", "mask-zh"]
TASKS = ["capitals", "colours"]
# Of the examples with these indices, the text in English under every edit.
AWKWARD = {2: "<script>window.hacked = true</script>", 5: '"><img src=x onerror="window.hacked = true">'}


@dataclass(frozen=True, eq=False)
class GeneratedRun(EditedRun):
    """Texts drawn word by word; under an edit, some stay, some go on differently, some become long."""

    def text(self, e: int, k: int, c: int) -> str:
        """The text of an example in a language under a condition."""
        code = self.header.languages[k]
        words, joint = WORDS[code], "" if code == "zh" else " "
        rng = np.random.default_rng([7, e, k])
        intact = [words[i] for i in rng.integers(0, len(words), 8)]
        if c == 0 or (e + k + c) % 3 == 0:
            return joint.join(intact)
        if code == "en" and e in AWKWARD:
            return AWKWARD[e]
        number = 250 if (e + c) % 7 == 0 else 9
        rest = [words[i] for i in np.random.default_rng([8, e, k, c]).integers(0, len(words), number)]
        return joint.join(intact[: 1 + e % 6] + rest)

    def arrays(self, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """What the store must hold."""
        arrays, present = super().arrays(rows), self.present[rows]
        chosen = np.arange(len(self.activation))[rows]
        shape = (len(chosen), len(self.header.languages), len(self.header.conditions))
        text = np.full(shape, "", np.dtypes.StringDType())
        for place in np.ndindex(shape):
            if present[place[:2]]:
                text[place] = self.text(int(chosen[place[0]]), *place[1:])
        lengths = np.array([len(each.split()) for each in text.ravel().tolist()]).reshape(shape)
        return arrays | {"text": text, "generated_count": lengths.astype(np.int32)}


def draw_generated(num_examples: int = 60, **changed: Any) -> GeneratedRun:
    """E examples in four languages and of two tasks, intact and under three edits."""
    given: dict[str, Any] = {
        "kind": "generate", "thresholds": [], "conditions": CONDITIONS, "languages": list(WORDS),
        "tasks": TASKS, "task": ",".join(TASKS), "window": 8, "measures": dict.fromkeys(TASKS, "exact-match"),
        "edits": {
            "max_tokens": 256, "temperature": 0.0, "until": ["\n", "Q:"],
            **{f"edit {name}": "edit ab12" for name in CONDITIONS[1:]},
        },
    }  # fmt: skip
    of = header(**(given | changed))
    shape = (num_examples, len(of.languages), len(of.layers), of.neurons)
    return GeneratedRun(of, np.zeros(shape), False, keep_prompts=True)
