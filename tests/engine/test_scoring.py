"""Log-probabilities of the score path, against vLLM's own and against those of Transformers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastneurons.engine import generation
from fastneurons.engine.requests import first_needed
from fastneurons.engine.rows import Batch, judged_rows
from fastneurons.engine.scoring import Places, Scores, ToScore, joined_runs, score, scoring_engine
from fastneurons.errors import InputError
from tests.engine.forked import in_fork
from tests.engine.reference import references
from tests.engine.support import tiny_options
from tests.engine.test_session import count_preemptions

WITHIN = 1e-4


def texts(number: int = 14, longest: int = 200, vocabulary: int = 320) -> list[ToScore]:
    """Texts of 2 tokens and more, and others that share what comes before the first judged token or go on behind it."""
    rng = np.random.default_rng(5)
    made = []
    for length in [2, 2, *rng.integers(3, longest, number - 2).tolist()]:
        ids = rng.integers(3, vocabulary, length).tolist()
        made.append(ToScore(ids, int(rng.integers(1, length))))
    shared = rng.integers(3, vocabulary, 97).tolist()
    made += [ToScore([*shared, 7, 8, 9][: 98 + k], 97) for k in range(3)]
    # The same tokens once more, judged from earlier on: their keys and values are all there by then.
    return [*made, ToScore([*shared, 7], 97), ToScore([*shared, 7], 20), ToScore(shared, 97)]


@pytest.fixture(scope="module")
def expected():
    """Log-probabilities of texts by a plain forward pass of Transformers."""

    def of(model: Any, scored: list[ToScore]) -> list[np.ndarray]:
        request = {
            "model": str(model), "dtype": "float32",
            "prompts": [list(text.token_ids) for text in scored], "first": [text.first for text in scored],
        }  # fmt: skip
        [result] = references([request])
        lengths = [len(text.token_ids) - text.first for text in scored]
        return np.split(result["log_probability"], np.cumsum(lengths)[:-1])

    return of


def prompt_logprobs(engine: Any, scored: list[ToScore]) -> list[np.ndarray]:
    """The same by vLLM's `prompt_logprobs`, in the same engine."""
    from vllm.sampling_params import SamplingParams

    found: dict[str, np.ndarray] = {}
    for number, text in enumerate(scored):
        asked = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, prompt_logprobs=0)
        engine.send(f"own-{number}", list(text.token_ids), {}, asked)
    waiting = {f"own-{number}" for number in range(len(scored))}
    while waiting:
        for output in engine.step():
            if output.new_prompt_logprobs_tensors is not None:
                found[output.request_id] = output.new_prompt_logprobs_tensors.logprobs[:, 0].numpy()
            waiting -= {output.request_id} if output.finished else set()
    return [found[f"own-{number}"][text.first - 1 :] for number, text in enumerate(scored)]


def assert_close(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert [len(values) for values in found] == [len(values) for values in wanted]
    assert all(values.dtype == np.float32 for values in found)
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(wanted), rtol=0, atol=WITHIN)


def assert_likeliest(engine: Any, scored: list[ToScore], vocabulary: int = 331) -> None:
    """Tokens that vLLM samples greedily are the likeliest ones, and others in their places are not."""
    prompts = [list(text.token_ids[: text.first]) for text in scored[:6]]
    asked = map(generation.ToGenerate, prompts)
    sampled = generation.generate(engine, asked, generation.greedy(engine, 3, ignore_eos=True))
    texts, wanted = [], []
    for prompt, each in zip(prompts, sampled, strict=True):
        for other in range(4):  # the place of another token; 3: none
            tokens = [(t + (k == other)) % vocabulary for k, t in enumerate(each.token_ids)]
            texts.append(ToScore([*prompt, *tokens], len(prompt)))
            wanted.append([k != other for k in range(min(3, other + 1))])  # what comes after it is not known
    scores, found = Scores(engine, "likeliest"), []
    for text in texts:
        assert scores.send(text) is not None
    while scores.unfinished:
        for output in engine.step():
            scores.finish(output)
        scores.begin()
        found += [judged.is_likeliest for judged in scores.fetch_judged()]
    assert [list(each[: len(known)]) for each, known in zip(found, wanted, strict=True)] == wanted


# A tied unembedding, a soft cap, two scales, and a bias through the Transformers backend.
MODELS = {
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "soft cap": ("Gemma2", {"final_logit_softcapping": 3.0}),
    "scale": ("Cohere", {"logit_scale": 0.25}),
    "divisor": ("Granite", {"logits_scaling": 4.0}),
    "bias": ("Phi", {}),
}


@pytest.mark.engine
@pytest.mark.parametrize("kind", MODELS)
def test_log_probabilities_are_those_of_transformers_and_of_vllm(kind, models, expected):
    architecture, changes = MODELS[kind]
    model, scored = models(architecture, vocab_size=331, **changes), texts()
    observation = {"finds_likeliest": True}
    with scoring_engine(str(model), tiny_options(block_size=32), observation=observation) as engine:
        found = list(score(engine, scored))
        assert_close(found, prompt_logprobs(engine, scored))
        assert_likeliest(engine, scored)
    assert_close(found, expected(model, scored))


@pytest.mark.engine
def test_preempted_and_cached_texts_are_scored_once(models, expected):
    model, scored = models(), texts(24, 280)
    # As in test_session: four prompts are begun in a step, and there is room for the keys and values of two.
    options = tiny_options(
        block_size=32, kv_cache_memory_bytes=14 * 32 * 2 * 3 * 32 * 4, max_model_len=300,
        max_num_batched_tokens=128, long_prefill_token_threshold=32, scheduler_reserve_full_isl=False,
    )  # fmt: skip
    with scoring_engine(str(model), options) as engine:
        preempted = count_preemptions(engine)
        found = list(score(engine, scored))
        assert preempted, "nothing was preempted: the test tests nothing"
        [tally] = engine.tallies()
        assert tally["tokens_scored"] == sum(map(len, found))
    assert_close(found, expected(model, scored))


def scored_by_two_ranks(model: str, scored: list[ToScore]) -> list[np.ndarray]:
    options = tiny_options(block_size=32, tensor_parallel_size=2)
    with scoring_engine(model, options, observation={"finds_likeliest": True}) as engine:
        found = list(score(engine, scored))
        assert_close(found, prompt_logprobs(engine, scored))
        assert_likeliest(engine, scored)
    return found


@pytest.mark.engine
def test_two_ranks_share_the_vocabulary(models, expected):
    # 331 tokens: the second rank has fewer than the first, and padding behind them.
    model, scored = models("Gemma2", vocab_size=331, final_logit_softcapping=3.0), texts()
    assert_close(in_fork(scored_by_two_ranks, str(model), scored), expected(model, scored))


@pytest.mark.engine
def test_an_engine_generates_while_it_scores_and_reads_its_prefix_cache(models, expected):
    from vllm.sampling_params import SamplingParams

    model, scored = models(), texts()
    greedy = SamplingParams(max_tokens=4, temperature=0.0, detokenize=False, ignore_eos=True)
    with scoring_engine(str(model), tiny_options(block_size=32)) as engine:
        cached: list[int] = []
        found_cached = engine.core.in_process.scheduler.kv_cache_manager.get_computed_blocks

        def watched(request: Any) -> Any:
            found = found_cached(request)
            cached.append(found[1])
            return found

        engine.core.in_process.scheduler.kv_cache_manager.get_computed_blocks = watched
        alone = generate(engine, greedy, Scores(engine), [])
        cached.clear()
        scores = Scores(engine, prefix="beside")
        found: list[np.ndarray] = []
        beside = generate(engine, greedy, scores, scored, found)
        scores.check()
        assert beside == alone
        assert max(cached) >= 64, "nothing was taken from the prefix cache: the test tests nothing"
        assert not list(score(engine, []))
        [nothing] = score(engine, [ToScore([5, 6], 2)])
        assert nothing.shape == (0,)
        with pytest.raises(InputError, match=r"512 \(--max-model-len\)"):
            list(score(engine, [ToScore([5] * 513, 1)]))
        [whole] = score(engine, [ToScore([5] * 512, 1)])
        assert whole.shape == (511,)
    assert_close(found, expected(model, scored))


def generate(
    engine: Any, parameters: Any, scores: Scores, scored: list[ToScore], found: Any = None
) -> list[list[int]]:
    """Tokens that follow a few prompts, generated among texts that are scored."""
    prompts = [[3, 4, 5 + k] for k in range(3)]
    tokens: dict[str, list[int]] = {f"generated-{k}": [] for k in range(len(prompts))}
    for name, prompt in zip(tokens, prompts, strict=True):
        engine.send(name, prompt, {}, parameters)
    for text in scored:
        assert scores.send(text) is not None
    unfinished = len(prompts)
    while unfinished or scores.unfinished:
        for output in engine.step():
            if not scores.finish(output) and output.request_id in tokens:
                tokens[output.request_id] += output.new_token_ids
                unfinished -= output.finished
        scores.begin()
        if found is not None:
            found += scores.fetch()
    assert all(len(each) == parameters.max_tokens for each in tokens.values())
    return list(tokens.values())


# -- rules ------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 31)), max_size=5
    )
)
def test_judged_rows_against_token_by_token(requests):
    starts, rows, places, spans, row, place = [], [], [], [], 0, 0
    for scheduled, first, judged, computed in requests:
        starts.append(row)
        own = [t - first for t in range(first, first + judged) if computed <= t - 1 < computed + scheduled]
        rows += [row + t + first - 1 - computed for t in own]
        places += [place + t for t in own]
        spans.append(own)
        row, place = row + scheduled, place + judged
    lengths = np.array([judged for _, _, judged, _ in requests], np.int64)
    first = np.array([each[1] for each in requests], np.int64)
    found = judged_rows(
        Batch(
            [str(k) for k in range(len(requests))],
            np.array(starts, np.int32),
            np.array([each[0] for each in requests], np.int32),
            np.array([each[3] for each in requests], np.int32),
            first + lengths,
        ),
        np.cumsum(lengths) - lengths,
        first,
        first + lengths,
    )
    assert found.rows.tolist() == rows
    assert found.places.tolist() == places
    assert [list(range(*span)) for span in found.spans.tolist()] == spans


@given(st.integers(1, 12), st.lists(st.one_of(st.none(), st.integers(0, 13)), max_size=60))
@example(1, [1, 0, None, 1, 0, 1])
def test_places_never_overlap_and_are_all_used(size, steps):
    ring, taken = Places(size), []
    for step in steps:
        if step is None:
            if taken:
                ring.free()
                taken.pop(0)
            continue
        first = ring.take(step)
        busy = {place for begin, number in taken for place in range(begin, begin + number)}
        if first is None:
            assert taken or step > size
            continue
        own = set(range(first, first + step))
        assert not own & busy
        assert not own or (min(own) >= 0 and max(own) < size)
        taken.append((first, step))


def test_runs_of_places_that_follow_each_other_are_one():
    assert joined_runs([(5, 7), (7, 9), (0, 2), (2, 3)]) == [[5, 9], [0, 3]]


def test_the_first_token_that_no_cache_may_have():
    assert first_needed({}) is None
    assert first_needed({"fastneurons_row": 3}) is None
    assert first_needed({"fastneurons_spans": [1, 9]}) == 1
    assert first_needed({"fastneurons_scored": [0, 8, 12], "fastneurons_spans": [9, 12]}) == 7
