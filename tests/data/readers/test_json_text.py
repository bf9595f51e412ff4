"""JSON with a key twice is refused, wherever it is and whatever texts hold; all else is what `json` makes of it."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.json_text import decoded

TEXTS = st.sampled_from(["a", "b", "", ":", '":', '" :', "\\", 'a": {"b', "é"])
SPACES = st.sampled_from(["", "", " ", "\t", "\n "])


def written(values):
    """JSON objects in any layout, with keys that may come twice."""
    pair = st.tuples(TEXTS, SPACES, SPACES, values)
    shown = st.lists(pair, max_size=4).map(
        lambda pairs: "{" + ",".join(f"{json.dumps(key)}{a}:{b}{value}" for key, a, b, value in pairs) + "}"
    )
    return shown | st.lists(values, max_size=3).map(lambda items: f"[{', '.join(items)}]")


def repeats(text):
    """Whether any object of a JSON text has a key twice, as Python's own reader hands it over."""
    found = []

    def look(pairs):
        found.append(len({key for key, _ in pairs}) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return any(found)


@given(st.recursive(TEXTS.map(json.dumps) | st.just("1"), written, max_leaves=12))
@example('{"a": 1, "a" : 2, "b": "\\":"}')  # as many of `":` as the keys that are left
@example('{"a": {"b": 1, "b": 2}, "c": ":"}')
@example('{"a": [{"b": 1, "b": 2}]}')
@example('[{"a": "x: y"}, {"a" : "x"}]')
def test_a_key_twice_is_seen_and_nothing_else_is_refused(text):
    if repeats(text):
        with pytest.raises(UnusableError, match="is there twice in one object"):
            decoded(text.encode())
    else:
        assert decoded(text.encode()) == json.loads(text)
