"""What is left out of a run that only reads: nothing that is read changes, and the work is really not done."""

from typing import Any

import numpy as np
import pytest

from fastneurons.config import Measurement
from tests.engine.support import examples, measure, tiny_options

pytestmark = pytest.mark.engine


def worker_of(session: Any) -> Any:
    return session.core.worker


class Counter:
    """Rows that pass a module in forward passes."""

    def __init__(self, module: Any) -> None:
        self.rows = 0
        module.register_forward_hook(self._count)

    def _count(self, module: Any, inputs: Any, output: Any) -> None:
        self.rows += inputs[0].reshape(-1, inputs[0].shape[-1]).shape[0]


def test_logits_and_the_last_layers_other_rows_are_not_computed(models, open_session):
    session = open_session(models(), options=tiny_options(enable_prefix_caching=False))
    worker = worker_of(session)
    sites = worker.observer.sites
    first, last = Counter(sites[0].down), Counter(sites[-1].down)
    logits = []
    processor = worker.model_runner.get_model().logits_processor
    processor.register_forward_hook(lambda *_: logits.append(1))
    rows = examples(10, seed=31, longest=200)
    shortened = measure(session, rows)

    tokens, prompts = int(shortened["token_count"].sum()), shortened["token_count"].size
    steps = session.totals.steps
    assert first.rows == tokens
    # A step of which nothing is read still computes a row; one of which most rows are read computes all.
    assert prompts <= last.rows <= prompts + steps < tokens / 2
    assert not logits

    # All of it, with the same engine: the same bits.
    worker.observer._rows_that_matter = lambda *_: None
    last.rows = 0
    whole = measure(session, rows)
    assert last.rows == tokens
    for name, array in shortened.items():
        np.testing.assert_array_equal(array, whole[name], err_msg=name)


def test_positions_that_read_most_rows_compute_all(models, open_session):
    session = open_session(models(), measurement=Measurement(position="any"), options=tiny_options())
    last = Counter(worker_of(session).observer.sites[-1].down)
    measured = measure(session, examples(4, seed=32))
    assert last.rows == measured["token_count"].sum()


def test_only_a_feed_forward_part_by_itself_is_shortened(models, open_session):
    """In OPT the decoder layer itself holds the projections, with its attention between them."""
    from fastneurons.engine.unneeded import can_leave_out_rows

    llama = worker_of(open_session(models(), options=tiny_options())).observer.sites[-1]
    assert can_leave_out_rows(llama)
    opt = worker_of(open_session(models("OPT"), options=tiny_options())).observer.sites[-1]
    assert not can_leave_out_rows(opt)
