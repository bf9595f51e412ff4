"""A corpus in which known neurons are activated in one language alone."""

from pathlib import Path

import numpy as np

from fastneurons.analysis.lape import Rates
from fastneurons.store import Store, StoreWriter, Window, open_store
from tests.store.runs import header

# Of 240 probabilities, 34 are 0.5.
RATES = Rates(top_rate=24 / 80, filter_rate=206 / 240, activation_bar_ratio=206 / 240)

LANGUAGES = ["en", "de", "th"]
# Of layers of 40 neurons: 0 to 3 are activated in en alone, 4 to 7 in de, 8 to 11 in th, some more in two or all.
OWN = {"en": range(4), "de": range(4, 8), "th": range(8, 12)}


def planted(windows: int = 16, noise: float = 0.02, seed: int = 0, tokens: int = 200) -> list[Window]:
    """Windows of a corpus, each a text in one language in turn, whose own neurons fire at half of its tokens."""
    rng = np.random.default_rng(seed)
    probability = np.full((3, 2, 40), noise)
    for k, code in enumerate(LANGUAGES):
        probability[k, :, list(OWN[code])] = 0.5
    probability[:2, :, 12] = 0.5
    probability[:, :, 13] = 0.5
    found = []
    for w in range(windows):
        count = np.zeros((1, 3, 2, 40), np.int64)
        own = w % 3
        count[0, own] = rng.binomial(tokens, probability[own])
        number = np.zeros((1, 3), np.int32)
        number[0, own] = tokens
        arrays = {
            "example_id": np.array([f"text {w}"], np.dtypes.StringDType()),
            "digest": np.array([w + 1], np.uint64),
            "task": np.zeros(1, np.int32),
            "outcome": np.ones(1, np.uint8),
            "token_count": number,
            "present": number > 0,
            "activation_count": count,
            "corpus_tokens": number[0].astype(np.int64),
        }
        found.append(Window(w, arrays))
    return found


def written(path: Path, windows: list[Window], keep_folds: bool = True, **changed) -> Store:
    of = header(
        position="corpus",
        window=1,
        languages=LANGUAGES,
        layers=[3, 4],
        neurons=40,
        thresholds=[0.0],
        **changed,
    )
    with StoreWriter.create(str(path), of, keep_folds=keep_folds) as writer:
        for window in windows:
            writer.commit(window)
        writer.finish()
    return open_store(str(path))
