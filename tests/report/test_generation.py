"""Findings of generated texts, on drawn stores, against plain loops."""

import io
import json

import numpy as np
import pytest

from fastneurons.errors import InputError
from fastneurons.report import compute_findings, draw_findings, print_findings, summary_json
from fastneurons.store import open_store
from tests.store.edited import draw_edited


@pytest.mark.parametrize("measures", [{}, {"capitals": "starts-with"}])
def test_texts_are_counted_and_compared(tmp_path, measures):
    run = draw_edited("generate", 40, measures=measures)
    run.write(tmp_path / "g.zarr")
    store = open_store(str(tmp_path / "g.zarr"))
    found = compute_findings(store)
    arrays, header = run.arrays(), store.header
    there = run.present & run.measured[:, None]
    assert found.is_judged == bool(measures)
    for k, language in enumerate(header.languages):
        rows = np.flatnonzero(there[:, k])
        for c, condition in enumerate(header.conditions):
            texts = found.texts[condition][language]
            assert texts.number == len(rows)
            assert texts.tokens == pytest.approx(arrays["generated_count"][rows, k, c].mean())
            same = [arrays["text"][e, k, c] == arrays["text"][e, k, 0] for e in rows]
            assert texts.unchanged == pytest.approx(np.mean(same))
            if measures:
                right = arrays["correct"][rows, k]
                assert texts.right.mean == pytest.approx((right[:, c] == 1).mean())
                if c:
                    change = (right[:, c] == 1).mean() - (right[:, 0] == 1).mean()
                    assert texts.change.mean == pytest.approx(change)
                    assert texts.change.low < texts.change.mean < texts.change.high
    stream = io.StringIO()
    print_findings(found, stream)
    assert max(map(len, stream.getvalue().splitlines())) <= 80
    assert ("right" in stream.getvalue()) == bool(measures)
    numbers = json.loads(summary_json(store))
    assert numbers["texts"].keys() == set(header.conditions)
    with pytest.raises(InputError, match="there is no figure"):
        draw_findings(found, tmp_path / "g.png")
