"""The largest scores by category: the kernel and its CPU counterpart against the reference. No tolerance."""

import pytest
import torch
from fastneurons_kernels import top
from fastneurons_kernels.top import top_count, top_count_cpu, top_count_reference
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import launched

top_count_triton = launched(top.top_count_triton)
IMPLEMENTATIONS = {"triton": top_count_triton, "cpu": top_count_cpu}
EVERY = pytest.mark.parametrize("implementation", [top_count_reference, *IMPLEMENTATIONS.values()])
SPECIAL = torch.tensor([torch.nan, -torch.nan, torch.inf, 0.0])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(0,), (1,), (2, 3), (5, 1, 1)]),
    scores=st.sampled_from([1, 2, 100, 1024, 1025, 2100]),
    ties=st.booleans(),
    special=st.sampled_from([0.0, 0.1, 1.0]),
    missing=st.sampled_from([0.0, 0.4]),
    top_k=st.sampled_from([1, 7, 100, 1500]),
)
@settings(settings.get_profile("kernels"), max_examples=25)
def test_equals_the_reference(implementation, runnable, seed, shape, scores, ties, special, missing, top_k):
    g = torch.Generator().manual_seed(seed)
    score = torch.randn((*shape, scores), generator=g).abs()
    if ties:
        score = score.round()
    which = torch.randint(0, len(SPECIAL), score.shape, generator=g)
    score = torch.where(torch.rand(score.shape, generator=g) < special, SPECIAL[which], score)
    score[torch.rand(shape, generator=g) < missing] = -torch.inf
    category = torch.randint(0, 4, score.shape, generator=g, dtype=torch.uint8)
    got = IMPLEMENTATIONS[implementation](score, category, top_k)
    want = top_count_reference(score, category, top_k)
    assert got.dtype == want.dtype == torch.int32
    assert torch.equal(got, want)
    has_scores = score[..., 0] != -torch.inf
    assert torch.equal(got.sum(-1), has_scores * min(top_k, scores))


@EVERY
def test_of_equal_scores_the_first_count(implementation, runnable):
    score = torch.tensor([[1.0, 2.0, 1.0, 1.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    category = torch.tensor([[0, 1, 2, 3, 3], [3, 2, 1, 0, 0]], dtype=torch.uint8)
    assert implementation(score, category, 3).tolist() == [[1, 1, 0, 1], [0, 1, 1, 1]]


@EVERY
def test_nan_is_the_largest(implementation, runnable):
    score = torch.tensor([[1.0, torch.inf, -torch.nan, 4.0, torch.nan]])
    category = torch.tensor([[0, 1, 2, 0, 3]], dtype=torch.uint8)
    assert implementation(score, category, 1).tolist() == [[0, 0, 1, 0]]
    assert implementation(score, category, 3).tolist() == [[0, 1, 1, 1]]


@EVERY
def test_a_row_without_scores_counts_nothing(implementation, runnable):
    score = torch.full((1, 3), -torch.inf)
    for top_k in (2, 3):
        assert implementation(score, torch.zeros(1, 3, dtype=torch.uint8), top_k).tolist() == [[0, 0, 0, 0]]


def test_wrong_arguments_are_named():
    score, category = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.uint8)
    cases = {
        "score must be contiguous": (score.double(), category, 1),
        "score must be": (torch.zeros(3, 2).mT, category, 1),
        "category must be": (score, category[:1], 1),
        "top_k must be 1 or more, got 0": (score, category, 0),
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            top_count(*arguments)
