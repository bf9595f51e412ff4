"""Scores by category and the largest of them: the kernel and its CPU counterpart against the reference.

No tolerance but for sums, whose order of additions is free.
"""

import pytest
import torch
from fastneurons_kernels import attribution
from fastneurons_kernels.attribution import contributions, contributions_reference
from fastneurons_kernels.attribution_cpu import contributions_cpu
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.conftest import far_apart, launched

contributions_triton = launched(attribution.contributions_triton)
IMPLEMENTATIONS = {"triton": contributions_triton, "cpu": contributions_cpu}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SPECIAL = torch.tensor([torch.nan, -torch.nan, torch.inf, -torch.inf, 0.0, -0.0])


def pack(category):
    """Planes [E, N, 4, W] of categories [E, N, I], in a strided part of a larger buffer."""
    E, N, I = category.shape  # noqa: E741
    W = -(-I // 32)
    bits = torch.zeros((E, N, 4, W * 32), dtype=torch.int64)
    bits[..., :I] = category[:, :, None] == torch.arange(4)[:, None]
    words = (bits.view(E, N, 4, W, 32) << torch.arange(32)).sum(-1).to(torch.int32)
    buffer = torch.full((E, N + 1, 4, W + 3), 0x5A5A5A5A, dtype=torch.int32)
    planes = buffer[:, 1:, :, 2 : 2 + W]
    planes.copy_(words)
    return planes


def strided(tensor):
    """The same values inside a larger buffer of NaN: [first, N, I] of [first, N + 2, I + 5]."""
    size, N, I = tensor.shape  # noqa: E741
    buffer = torch.full((size, N + 2, I + 5), torch.nan, dtype=tensor.dtype)
    inner = buffer[:, 1 : 1 + N, 3 : 3 + I]
    inner.copy_(tensor)
    return inner


def make(seed, examples, languages, layers, neurons, dtype, kinds, ties, special, missing):
    """Arguments of the contract: `kinds` categories occur, some languages and answers are missing."""
    g = torch.Generator().manual_seed(seed)
    num_rows, num_answers = examples * languages + 1, 3
    if ties:
        m = torch.randint(-3, 4, (num_rows, layers, neurons), generator=g) / 2
        norms = torch.randint(0, 3, (layers, neurons), generator=g).float()
    else:
        m = torch.randn((num_rows, layers, neurons), generator=g) ** 3
        norms = torch.rand((layers, neurons), generator=g)
    projections = torch.randn((num_answers, layers, neurons), generator=g)
    for values in (m, projections) if special else ():
        which = torch.randint(0, len(SPECIAL), values.shape, generator=g)
        values[:] = torch.where(torch.rand(values.shape, generator=g) < special, SPECIAL[which], values)
    category = torch.tensor(kinds)[torch.randint(0, len(kinds), (examples, layers, neurons), generator=g)]
    rows = torch.randperm(num_rows, generator=g)[: examples * languages].int().view(examples, languages)
    answers = torch.randint(0, num_answers, rows.shape, generator=g, dtype=torch.int32)
    for index in (rows, answers):
        index[torch.rand(rows.shape, generator=g) < missing] = -1
    return (
        strided(m.to(DTYPES[dtype])),
        rows,
        pack(category),
        strided(norms[None])[0],
        strided(projections),
        answers,
    )


def absolute_sums(arguments):
    """Of the absolute values of each category's scores: what an error of their sums is measured by."""
    m, rows, planes, norms, projections, answers = arguments
    found = contributions_reference(m.float().abs(), rows, planes, norms, projections.abs(), answers, 1)
    return {"contribution_sum": found.contribution_sum, "effective_sum": found.effective_sum}


def assert_as_the_reference(got, want, arguments):
    for name in want._fields:
        x, y = getattr(got, name), getattr(want, name)
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        if not name.endswith("_sum"):
            assert torch.equal(x.isnan(), y.isnan()), name
            assert torch.equal(
                x.nan_to_num(7.0, torch.inf, -torch.inf), y.nan_to_num(7.0, torch.inf, -torch.inf)
            )
            continue
        finite = y.isfinite()
        assert torch.equal(x[~finite].nan_to_num(7.0), y[~finite].nan_to_num(7.0)), name
        assert ((x - y).abs()[finite] <= 1e-6 * absolute_sums(arguments)[name][finite]).all(), name


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@given(
    seed=st.integers(0, 1000),
    examples=st.sampled_from([0, 1, 2]),
    languages=st.sampled_from([1, 3]),
    layers=st.sampled_from([1, 2]),
    neurons=st.sampled_from([1, 31, 33, 100, 1024, 1030, 2100]),
    dtype=st.sampled_from(list(DTYPES)),
    kinds=st.sampled_from([[0, 1, 2, 3], [1, 2], [3]]),
    ties=st.booleans(),
    special=st.sampled_from([0.0, 0.1, 1.0]),
    missing=st.sampled_from([0.0, 0.4, 1.0]),
    top_k=st.sampled_from([1, 5, 50, 5000]),
)
@settings(settings.get_profile("kernels"), max_examples=25)
def test_equals_the_reference(
    implementation,
    runnable,
    seed,
    examples,
    languages,
    layers,
    neurons,
    dtype,
    kinds,
    ties,
    special,
    missing,
    top_k,
):
    arguments = make(seed, examples, languages, layers, neurons, dtype, kinds, ties, special, missing)
    kept = [tensor.clone() for tensor in arguments]
    got = IMPLEMENTATIONS[implementation](*arguments, top_k)
    want = contributions_reference(*arguments, top_k)
    assert got.top_score.shape[-1] == min(top_k, neurons)
    assert_as_the_reference(got, want, arguments)
    for before, after in zip(kept, arguments, strict=True):
        assert torch.equal(before.nan_to_num(7.0), after.nan_to_num(7.0))


def by_hand(m, top_k, *, norm=1.0, projection=2.0, answer=0):
    """One example, language and layer; the neurons' categories are 0, 1, 3, 3, 1, 1, ..."""
    category = torch.tensor([0, 1, 3, 3] + [1] * (len(m) - 4)).view(1, 1, -1)
    return (
        torch.tensor(m).view(1, 1, -1),
        torch.tensor([[0]], dtype=torch.int32),
        pack(category),
        torch.full((1, len(m)), norm),
        torch.full((1, 1, len(m)), projection),
        torch.tensor([[answer]], dtype=torch.int32),
        top_k,
    )


EVERY = pytest.mark.parametrize("implementation", [contributions_reference, *IMPLEMENTATIONS.values()])
INF = torch.inf


@EVERY
def test_by_hand(implementation, runnable):
    out = implementation(*by_hand([-1.0, 3.0, -2.0, 0.5, -5.0], 3, norm=10.0))
    assert out.contribution_max.flatten().tolist() == [10, 50, -INF, 20]
    assert out.contribution_min.flatten().tolist() == [10, 30, INF, 5]
    assert out.contribution_sum.flatten().tolist() == [10, 80, 0, 25]
    assert out.effective_max.flatten().tolist() == [-2, 6, -INF, 1]
    assert out.effective_min.flatten().tolist() == [-2, -10, INF, -4]
    assert out.effective_sum.flatten().tolist() == [-2, -4, 0, -3]
    assert out.top_score.flatten().tolist() == [30, 20, 50]  # in the order of the neurons
    assert out.top_category.flatten().tolist() == [1, 3, 1]


@EVERY
def test_of_equal_scores_the_lowest_neurons_count(implementation, runnable):
    out = implementation(*by_hand([1.0, -1.0, 2.0, 1.0, 1.0], 3))
    assert out.top_score.flatten().tolist() == [1, 1, 2]
    assert out.top_category.flatten().tolist() == [0, 1, 3]
    zeros = implementation(*by_hand([0.0, -0.0, 0.0, 0.0, 0.0], 2))
    assert zeros.top_category.flatten().tolist() == [0, 1]


@EVERY
def test_nan_is_the_largest_and_makes_its_category_nan(implementation, runnable):
    nan = torch.nan
    out = implementation(*by_hand([1.0, INF, nan, 4.0, -nan, nan], 3))
    for kind in ("contribution", "effective"):
        for name in ("max", "min", "sum"):
            values = getattr(out, f"{kind}_{name}").flatten()
            assert values.isnan().tolist() == [False, True, False, True]
    assert out.top_score.isnan().all()
    assert out.top_category.flatten().tolist() == [3, 1, 1]
    product = implementation(*by_hand([1.0, INF, 2.0, 4.0], 2, norm=0.0))  # infinity times 0
    assert product.top_score.flatten().isnan().tolist() == [False, True]


@EVERY
def test_infinities_of_both_signs_have_no_sum_and_are_no_nan(implementation, runnable):
    out = implementation(*by_hand([1.0, INF, 2.0, 4.0, -INF], 2))
    assert out.contribution_sum.flatten().tolist() == [1, INF, 0, 6]
    assert out.effective_max.flatten().tolist() == [2, INF, -INF, 8]
    assert out.effective_min.flatten().tolist() == [2, -INF, INF, 4]
    assert out.effective_sum.flatten().isnan().tolist() == [False, True, False, False]


@EVERY
def test_no_answer_leaves_contributions(implementation, runnable):
    out = implementation(*by_hand([1.0, 1.0, 1.0, 1.0], 2, answer=-1))
    assert out.effective_max.flatten().tolist() == [-INF] * 4
    assert out.effective_min.flatten().tolist() == [INF] * 4
    assert out.effective_sum.flatten().tolist() == [0] * 4
    assert out.contribution_sum.flatten().tolist() == [1, 1, 0, 2]


@EVERY
def test_no_answers_at_all(implementation, runnable):
    m, rows, planes, norms, projections, answers, k = by_hand([1.0, 1.0, 1.0, 1.0], 2, answer=-1)
    out = implementation(m, rows, planes, norms, projections[:0], answers, k)
    assert out.effective_sum.flatten().tolist() == [0] * 4


@EVERY
def test_a_missing_language_has_nothing(implementation, runnable):
    m, _, planes, norms, projections, answers, k = by_hand([1.0, 1.0, 1.0, 1.0], 2)
    out = implementation(m, answers - 1, planes, norms, projections, answers, k)
    assert out.contribution_max.flatten().tolist() == [-INF] * 4
    assert out.effective_min.flatten().tolist() == [INF] * 4
    assert out.top_score.flatten().tolist() == [-INF] * 2
    assert out.top_category.flatten().tolist() == [0] * 2


def test_offsets_past_two_to_the_31(runnable):
    m, projections = (far_apart(torch.float32, (4, 1, 4)) for _ in range(2))
    m[2], m[3], projections[2], projections[3] = 1, 2, 10, 100
    rows, answers = torch.tensor([[3, 2]], dtype=torch.int32), torch.tensor([[2, 3]], dtype=torch.int32)
    planes = pack(torch.ones((1, 1, 4), dtype=torch.int64))
    out = contributions_triton(m, rows, planes, torch.ones(1, 4), projections, answers, 1)
    assert out.contribution_sum[0, :, 0, 1].tolist() == [8, 4]
    assert out.effective_sum[0, :, 0, 1].tolist() == [80, 400]
    assert out.top_score.flatten().tolist() == [2, 1]


def test_wrong_arguments_are_named():
    names = ("coefficients", "rows", "planes", "norms", "projections", "answers", "top_k")
    right = dict(zip(names, by_hand([1.0] * 40, 2), strict=True))
    cases = {
        "coefficients must be bf16": ("coefficients", right["coefficients"].double()),
        "coefficients must be .* last stride 1": ("coefficients", right["coefficients"].expand(1, 40, 40).mT),
        "planes must be": ("planes", right["planes"][..., :1]),
        "norms must be": ("norms", right["norms"][0]),
        "projections must be": ("projections", right["projections"].half()),
        "rows must be int32": ("rows", right["rows"].long()),
        "rows go up to 1, but there are 1": ("rows", right["rows"] + 1),
        "answers go up to 3, but there are 1": ("answers", right["answers"] + 3),
        r"answers must be int32 \[E, L\]": ("answers", right["answers"][0]),
        "top_k must be 1 or more, got 0": ("top_k", 0),
    }
    for message, (name, wrong) in cases.items():
        with pytest.raises(ValueError, match=message):
            contributions(**(right | {name: wrong}))
