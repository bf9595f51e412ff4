"""Choices: worked by hand, and against the harness's formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastneurons.errors import InputError
from fastneurons.scores.choice import choice_lengths, choose, is_chosen

INF = float("inf")


def test_length_changes_the_choice():
    choices = ["no", "certainly"]
    loglikelihoods = [-4.0, -9.0]
    assert choose(loglikelihoods).index == 0
    assert choose(loglikelihoods, choice_lengths(choices, "characters")).index == 1  # -2 and -1
    assert choose(loglikelihoods, [1, 2]).index == 0  # tokens: -4 and -4.5
    assert choose(loglikelihoods, [1, 3]).index == 1


def test_characters_and_bytes_differ():
    choices = ["да", "a nein"]
    assert choice_lengths(choices, "characters").tolist() == [2, 6]
    assert choice_lengths(choices, "bytes").tolist() == [4, 6]
    assert choice_lengths(["ไทย", "泰", "\U0001f600"], "bytes").tolist() == [9, 3, 4]
    assert choose([-2.0, -5.0], choice_lengths(choices, "characters")).index == 1
    assert choose([-2.0, -5.0], choice_lengths(choices, "bytes")).index == 0


def test_a_tie_goes_to_the_first_and_is_told():
    choice = choose([[-1.0, -1.0, -2.0], [-2.0, -1.0, -1.0], [-3.0, -2.0, -1.0]])
    assert choice.index.tolist() == [0, 1, 2]
    assert choice.tied.tolist() == [True, True, False]
    assert choice.best.tolist() == [[True, True, False], [False, True, True], [False, False, True]]
    assert choice.margin.tolist() == [0.0, 0.0, 1.0]


def test_a_tie_may_be_shared():
    choice = choose([[-1.0, -1.0, -2.0]] * 4 + [[-1.0] * 3, [-2.0, -3.0, -1.0]])
    gold = [0, 1, 2, -1, 1, 2]
    np.testing.assert_array_equal(is_chosen(choice, gold), [1, 0, 0, np.nan, 0, 1])
    np.testing.assert_array_equal(is_chosen(choice, gold, share_ties=True), [0.5, 0.5, 0, np.nan, 1 / 3, 1])


def test_examples_may_have_fewer_choices():
    loglikelihoods = [[-3.0, -2.0, -INF], [-3.0, -2.0, -1.0], [-5.0, -INF, -INF]]
    lengths = [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    for choice in (choose(loglikelihoods), choose(loglikelihoods, lengths)):
        assert choice.index.tolist() == [1, 2, 0]
        assert choice.margin.tolist() == [1.0, 1.0, INF]
        assert not choice.tied.any()


def test_many_axes():
    loglikelihoods = -np.arange(24.0).reshape(2, 3, 4)
    choice = choose(loglikelihoods, [1, 1, 1, 1])
    assert choice.index.shape == (2, 3)
    assert (choice.index == 0).all()
    assert is_chosen(choice, np.zeros((2, 3), int)).all()
    assert choose(np.empty((0, 4))).index.shape == (0,)


@given(hnp.arrays(np.float32, (5, 4), elements=st.floats(-1000, 0, width=32)), st.data())
def test_as_the_harness_has_it(loglikelihoods, data):
    choices = data.draw(st.lists(st.text(min_size=1), min_size=4, max_size=4))
    for unit, lengths in (
        ("characters", [float(len(c)) for c in choices]),
        ("bytes", [float(len(c.encode())) for c in choices]),
    ):
        for row, index in zip(
            loglikelihoods, choose(loglikelihoods, choice_lengths(choices, unit)).index, strict=True
        ):
            assert index == np.argmax(row.astype(np.float64) / np.array(lengths))
    assert (choose(loglikelihoods).index == loglikelihoods.argmax(-1)).all()


@pytest.mark.parametrize(
    ("loglikelihoods", "lengths", "message"),
    [
        ([[-1.0, -1.0], [-1.0, float("nan")]], None, r"NaN or inf, first at \(1, 1\)"),
        ([-1.0, INF], None, r"NaN or inf, first at \(1,\)"),
        ([[-1.0, -2.0], [-INF, -INF]], None, r"every choice has log-likelihood -inf, first at \(1,\)"),
        ([-INF, -INF], None, r"every choice has log-likelihood -inf"),
        ([-1.0, -2.0], [3, 0], r"not above 0, first at \(1,\)"),
        ([-1.0, -2.0], [3, float("nan")], "not above 0"),
        ([-1.0, -2.0], [1, 2, 3], r"lengths of shape \(3,\) for log-likelihoods of \(2,\)"),
        (-1.0, None, "the last axis is that of the choices"),
        ([], None, "the last axis is that of the choices"),
    ],
)
def test_what_cannot_be_chosen_from(loglikelihoods, lengths, message):
    with pytest.raises(InputError, match=message):
        choose(loglikelihoods, lengths)


def test_wrong_calls_are_told():
    with pytest.raises(InputError, match="choice 1 is empty"):
        choice_lengths(["a", ""], "bytes")
    with pytest.raises(InputError, match=r"gold has shape \(1,\)"):
        is_chosen(choose([[-1.0, -2.0]] * 2), [0])
    with pytest.raises(InputError, match="gold is 2, there are 2 choices"):
        is_chosen(choose([[-1.0, -2.0]]), [2])
