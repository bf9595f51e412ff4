"""Sessions on a tiny Llama in float32: whatever the engine does with its batches, the bits are Transformers'."""

import itertools
import re

import numpy as np
import pytest

from fastneurons.config import Measurement
from fastneurons.data.example import Example, Skipped
from fastneurons.errors import EngineError, InputError
from tests.engine import tiny
from tests.engine.agreement import agreement, unpack
from tests.engine.support import LANGUAGES, examples, measure, tiny_options

pytestmark = pytest.mark.engine

PREFIX = "The same long beginning of every prompt, which fills more than one block of the cache. " * 2


def assert_agrees(measured: dict[str, np.ndarray], expected: np.ndarray) -> None:
    found = agreement(measured["activated"][:, 0], expected)
    assert found.share >= 0.9999, found
    assert found.worst_distance <= 1e-4, found


def test_chunked_prompts_mixed_in_a_step_are_read_once_at_their_last_token(models, reference, open_session):
    model, rows = models(), examples(20, seed=2, longest=200)
    expected = reference(model, rows)
    session = open_session(model, options=tiny_options())
    measured = measure(session, rows)
    assert_agrees(measured, expected)
    # 64 tokens a step, prompts of up to 200: most were cut.
    assert measured["token_count"].max() > 128
    # What stands one token earlier would not pass: the check can fail.
    shifted = [Example(r.id, {lang: r.prompts[lang][:-1] or "x" for lang in LANGUAGES}) for r in rows]
    assert agreement(measured["activated"][:, 0], reference(model, shifted)).share < 0.9


def test_prompts_that_share_a_cached_prefix_are_read_at_their_own_last_token(models, reference, open_session):
    model = models()
    rows = [
        Example(r.id, {lang: PREFIX + r.prompts[lang] for lang in LANGUAGES}) for r in examples(8, seed=3)
    ]
    rows.append(Example("again", rows[0].prompts))  # the whole prompt is cached but for its last block
    expected = reference(model, rows)
    session = open_session(model, options=tiny_options(block_size=32))
    measured = measure(session, rows)
    [tally] = session.engine.tallies()
    assert tally["cached_tokens"] > 500
    assert_agrees(measured, expected)


def test_preempted_prompts_are_counted_once(models, reference, open_session):
    model, rows = models(), examples(12, seed=4, longest=250)
    expected = reference(model, rows)
    # Four prompts are begun in a step, 32 tokens of each, and there is room for the keys and values
    # of two: 3 layers, a head of 32, float32.
    blocks = 14
    options = tiny_options(
        block_size=32, kv_cache_memory_bytes=blocks * 32 * 2 * 3 * 32 * 4, enable_prefix_caching=False,
        max_model_len=300, max_num_batched_tokens=128, long_prefill_token_threshold=32,
        scheduler_reserve_full_isl=False,
    )  # fmt: skip
    session = open_session(model, options=options)
    preempted = count_preemptions(session)
    measured = measure(session, rows)
    assert preempted, "nothing was preempted: the test tests nothing"
    assert_agrees(measured, expected)


def count_preemptions(session) -> list[str]:
    """Ids that the scheduler preempts, as it goes."""
    scheduler = session.core.in_process.scheduler
    preempt, seen = scheduler._preempt_request, []

    def watched(request, *args, **kwargs):
        seen.append(request.request_id)
        return preempt(request, *args, **kwargs)

    scheduler._preempt_request = watched
    return seen


def test_counts_and_categories_are_those_of_the_bits(models, open_session):
    session = open_session(models(), measurement=Measurement((0.0, 0.1, -0.05)), options=tiny_options())
    measured = measure(session, examples(10, seed=5))
    bits = unpack(measured["activated"], tiny.NEURONS)  # [E, S, L, N, I]
    languages = bits.sum(2)  # [E, S, N, I]
    np.testing.assert_array_equal(measured["activated_count"], bits.sum(-1))
    masks = [languages == 0, languages == 1, (languages > 1) & (languages < 3), languages == 3]
    np.testing.assert_array_equal(measured["category_count"], np.stack([m.sum(-1) for m in masks], -1))
    np.testing.assert_array_equal(measured["occupancy"], np.stack([m.sum(0) for m in masks], -1))
    assert bits[:, 2].sum() > bits[:, 0].sum() > bits[:, 1].sum() > 0


def test_activations_near_the_threshold_are_counted(models, reference, open_session):
    model, rows = models(), examples(60, seed=6)
    expected = reference(model, rows)
    session = open_session(model, measurement=Measurement((0.0, 0.1)), options=tiny_options())
    measured = measure(session, rows)
    for s, threshold in enumerate((0.0, 0.1)):
        near = (np.abs(expected - np.float32(threshold)) <= 1e-3).sum(-1)
        found = measured["near_threshold_count"][:, s]
        assert near.sum() > 20
        # One at the margin's own edge may fall on either side.
        assert np.abs(found - near).sum() <= 1


def test_skipped_rows_and_missing_languages_take_their_place(models, open_session):
    rows = examples(6, seed=7)
    rows[2] = Example("lacks th", {lang: rows[2].prompts[lang] for lang in ("en", "de")})
    rows.insert(1, Skipped("bad", "file:2", "no prompts"))
    rows.append(Example("too long", {**rows[0].prompts, "de": "x" * 600}))
    rows.append(Skipped("last", "file:9", "no id"))
    session = open_session(models(), options=tiny_options())
    parts = list(session.measure(rows, window=4))
    flat = [row for part in parts for row in part.examples]
    assert [row.id for row in flat] == [row.id for row in rows]
    long = flat[-2]
    assert isinstance(long, Skipped)
    assert "prompt in de has 600 tokens, the model takes 511" in long.reason
    assert all(part.first // 4 == (part.first + len(part.examples) - 1) // 4 for part in parts)
    counts = np.concatenate([part["category_count"] for part in parts])
    assert (counts.sum(-1) == tiny.NEURONS).all(axis=(1, 2)).tolist() == [True, False] + [True] * 5 + [
        False
    ] * 2
    present = np.concatenate([part["present"] for part in parts])
    assert present[3].tolist() == [True, True, False]
    # With two languages present, none is shared by some but not all.
    assert (counts[3, 0, :, 2] == 0).all()


def test_a_stream_is_read_no_further_than_what_is_in_flight(models, open_session):
    session = open_session(models(), options=tiny_options(max_num_seqs=8))
    taken = itertools.count()
    endless = (Example(str(next(taken)), examples(1, seed=i % 50)[0].prompts) for i in itertools.count())
    measuring = session.measure(endless)
    first = next(measuring)
    ahead = next(taken) - len(first.examples)
    measuring.close()
    assert ahead < 3 * session.facts.slots + 300


def test_an_error_of_the_source_comes_after_all_rows_before_it(models, open_session):
    rows = examples(5, seed=8)

    def broken():
        yield from rows
        raise InputError("data.jsonl: the file ends inside a compressed block")

    session = open_session(models(), options=tiny_options())
    got = []
    with pytest.raises(InputError, match="inside a compressed block"):
        for part in session.measure(broken()):
            got += [row.id for row in part.examples]
    assert got == [row.id for row in rows]


def test_an_error_in_the_op_is_told_and_does_not_hang_the_engine(models, open_session, monkeypatch):
    session = open_session(models(), options=tiny_options())
    from fastneurons_kernels.activation_cpu import Reader

    def fails(*args, **kwargs):
        raise ValueError("no such plane")

    monkeypatch.setattr(Reader, "__call__", fails)
    with pytest.raises(EngineError, match=r"layers\.0\.mlp\.act_fn: ValueError: no such plane"):
        list(session.measure(examples(3, seed=9)))


@pytest.mark.parametrize("call", ["add_request", "get_output", "collective_rpc", "abort_requests"])
def test_an_engine_that_died_is_told_whatever_is_asked_of_it(call, models, open_session, monkeypatch):
    from vllm.v1.engine.exceptions import EngineDeadError

    session = open_session(models(), options=tiny_options())

    def dead(*args, **kwargs):
        raise EngineDeadError

    monkeypatch.setattr(session.core.client, call, dead)
    with pytest.raises(
        EngineError, match=r"^the engine failed: a process of the engine ended without a word"
    ):
        list(session.measure(examples(3, seed=9)))
        session.engine.abort(["0"])


def test_prompts_that_were_sent_and_not_read_are_noticed(models, open_session, monkeypatch):
    from fastneurons.engine import observer

    session = open_session(models(), options=tiny_options())
    real = observer.completes_prompt

    def forgets(batch):
        completes = real(batch)
        completes[np.flatnonzero(completes)[:1]] = False
        return completes

    monkeypatch.setattr(observer, "completes_prompt", forgets)
    with pytest.raises(EngineError, match=r"prompts and .* tokens were sent"):
        list(session.measure(examples(3, seed=9)))


def test_a_graph_without_the_patch_is_noticed(models, open_session):
    session = open_session(models(), options=tiny_options())
    model = session.core.worker.model_runner.model
    mlp = model.model.layers[1].mlp
    mlp.act_fn = mlp.act_fn.original
    with pytest.raises(EngineError, match="patched layers were called") as noticed:
        list(session.measure(examples(3, seed=9)))
    # What was seen, then what to try; a cache is named only where the model is compiled.
    seen, _, advice = str(noticed.value).partition("; ")
    assert re.search(r"called \d+ times in (\d+) forward passes of 3 layers, where \d+ were expected$", seen)
    assert "fastneurons info" in advice
    assert "cache" not in advice
    session.core.config.model_config.enforce_eager = False
    with pytest.raises(EngineError, match=r"expected; the model is compiled: try --enforce-eager, .* cache"):
        session.engine.check_calls()


def test_an_executor_without_a_worker_here_is_closed_as_well(models, open_session):
    """As Ray's, for one GPU: the core is in this process, and the worker is not."""
    session = open_session(models(), options=tiny_options())
    core = session.core.in_process
    executor = core.model_executor

    class Elsewhere:
        def __getattr__(self, name):
            if name == "driver_worker":
                raise AttributeError(name)
            return getattr(executor, name)

    core.model_executor = Elsewhere()
    session.close()


def test_stopping_hands_on_what_is_complete(models, open_session):
    import threading

    session = open_session(models(), options=tiny_options(max_num_seqs=8))
    stop = threading.Event()
    got = []
    for part in session.measure((examples(1, seed=i)[0] for i in range(5000)), window=50, stop=stop):
        got.append(part)
        stop.set()
    assert 0 < sum(len(part.examples) for part in got) < 5000
