"""Runs that judge answers while they read prompts."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import fastneurons
from fastneurons.analysis.align_report import OUTCOMES, align_report
from fastneurons.arrays import Answer
from fastneurons.config import Measurement
from fastneurons.data.example import Example
from fastneurons.data.template import gap
from fastneurons.engine.answers import Answerable, Candidate
from fastneurons.engine.judging import ExampleAnswers
from fastneurons.errors import InputError
from fastneurons.experiments.judging import AnswerJudge, measures_of, measures_without_texts
from fastneurons.store import open_store
from tests.engine import tiny
from tests.engine.agreement import agreement
from tests.engine.lora import make_adapter
from tests.engine.reference import references
from tests.engine.support import LANGUAGES, examples, tiny_options
from tests.store.runs import raw_arrays

MOST = 3  # tokens to generate


def rows() -> list[Example]:
    """Four examples with choices, and four whose answer is written; one has no answer in one language."""
    made = []
    for number, row in enumerate(examples(8, seed=61, longest=90)):
        choices = dict.fromkeys(LANGUAGES, ("ab", "äöü x", "abcdefg", "b")) if number < 4 else {}
        answers = dict.fromkeys(LANGUAGES, ("ab", "b", "abcdefg", "äöü x")[number % 4])
        if number == 5:
            del answers["de"]
        made.append(Example(row.id, row.prompts, answers, choices=choices))
    return made


@dataclass(frozen=True)
class Recording(AnswerJudge):
    """Keeps what it is given."""

    seen: dict[str, tuple[Answerable, ExampleAnswers]] = field(default_factory=dict)

    def __call__(self, row: Answerable, answers: ExampleAnswers) -> Any:
        self.seen[row.example.id] = row, answers
        return super().__call__(row, answers)


def text_before_answer(row: Example, code: str) -> str:
    return row.prompts[code] + gap(code, row.prompts[code])


def expected_log_likelihoods(model: Any, some: list[Example]) -> dict[tuple[str, str], list[float]]:
    """By example and language, of each choice or of the answer: by plain forward passes."""
    tokenise = tiny.tokenizer()
    keys, prompts, firsts = [], [], []
    for row in some:
        for code in LANGUAGES:
            for answer in row.choices.get(code) or [row.answers[code]] if code in row.answers else ():
                before = tokenise(text_before_answer(row, code))["input_ids"]
                keys.append((row.id, code))
                prompts.append(before + tokenise(answer)["input_ids"])
                firsts.append(len(before))
    [result] = references([{"model": str(model), "dtype": "float32", "prompts": prompts, "first": firsts}])
    lengths = [len(ids) - first for ids, first in zip(prompts, firsts, strict=True)]
    found: dict[tuple[str, str], list[float]] = {}
    for key, values in zip(keys, np.split(result["log_probability"], np.cumsum(lengths)[:-1]), strict=True):
        found.setdefault(key, []).append(float(values.sum(dtype=np.float64)))
    return found


def greedy_texts(model: Any, prompts: list[list[int]]) -> list[str]:
    """What follows each prompt, token by token by plain forward passes."""
    ids = [list(prompt) for prompt in prompts]
    for _ in range(MOST):
        [result] = references([{"model": str(model), "dtype": "float32", "prompts": ids}])
        ids = [[*each, int(k)] for each, k in zip(ids, result["logits"].argmax(-1), strict=True)]
    tokenise = tiny.tokenizer()
    return [
        tokenise.decode(each[len(prompt) :], skip_special_tokens=True)
        for each, prompt in zip(ids, prompts, strict=True)
    ]


@pytest.mark.engine
@pytest.mark.parametrize("position", ["last", "any", "answer"])
def test_answers_are_judged_while_prompts_are_read(position, models, reference, open_session, tmp_path):
    model, some = models(), [row for row in rows() if position != "answer" or row.id != "e5"]
    judge = Recording(LANGUAGES, max_new_tokens=MOST)
    measurement = Measurement(position=position, score=True)
    session = open_session(model, measurement=measurement, options=tiny_options(block_size=32), judge=judge)
    parts = list(session.measure(some, window=4))
    found = {
        name: np.concatenate([part[name] for part in parts])
        for name in ("log_probability", "judged_count", "correct", "activated")
    }
    expected = expected_log_likelihoods(model, some)
    prompts, texts = [], []
    for e, row in enumerate(some):
        for index, code in enumerate(LANGUAGES):
            if code not in row.answers:
                assert np.isnan(found["log_probability"][e, index])
                assert found["correct"][e, index] == Answer.NOT_JUDGED
                continue
            of_answers = expected[row.id, code]
            choices = row.choices.get(code) or (row.answers[code],)
            right = choices.index(row.answers[code])
            np.testing.assert_allclose(judge.seen[row.id][1].log_likelihood[index], of_answers, atol=1e-3)
            np.testing.assert_allclose(found["log_probability"][e, index], of_answers[right], atol=1e-3)
            assert found["judged_count"][e, index] == len(row.answers[code].encode())
            if row.choices:
                assert found["correct"][e, index] == (int(np.argmax(of_answers)) == right)
            else:
                before = text_before_answer(row, code) if position == "answer" else row.prompts[code]
                prompts.append(tiny.tokenizer()(before)["input_ids"])
                texts.append(judge.seen[row.id][1].text[index])
    assert texts == greedy_texts(model, prompts)
    assert {Answer.RIGHT, Answer.WRONG} <= set(found["correct"].ravel().tolist())
    if position == "last":
        # An answer behind the prompt, in the same request, changes nothing of the prompt.
        agrees = agreement(found["activated"][:, 0], reference(model, some))
        assert agrees.share >= 0.9999 and agrees.worst_distance <= 1e-4, agrees


# -- before and after an adapter ----------------------------------------------------------------------


@pytest.mark.engine
def test_align_report_of_runs_with_and_without_an_adapter_equals_slow_numpy(models, tmp_path):
    """What the report says of accuracy, log-probability and categories, example by example from the raw arrays."""
    pytest.importorskip("peft")
    model = models()
    adapter = make_adapter(model, tmp_path / "adapter")
    paths = [tmp_path / "before.zarr", tmp_path / "after.zarr"]
    for path, more in zip(paths, ({}, {"lora": str(adapter)}), strict=True):
        fastneurons.run(
            model, rows(), LANGUAGES, path, score=True, max_new_tokens=MOST, progress=False,
            dtype="float32", max_model_len=512, **more,
        )  # fmt: skip
    found = align_report(*(open_store(str(path)) for path in paths), replicates=20)
    assert [bool(each) for each in found.attrs["adapters"]] == [False, True]
    before, after = (raw_arrays(path) for path in paths)
    E, L = before["correct"].shape
    assert E == 8 and found.attrs["examples"] == E
    outcomes = dict.fromkeys(OUTCOMES, 0)
    for k, code in enumerate(LANGUAGES):
        logs, right = [], []
        for e in range(E):
            if before["judged_count"][e, k] == 0:
                assert rows()[e].answers.get(code) is None
                continue
            logs.append(
                [
                    float(each["log_probability"][e, k]) / int(each["judged_count"][e, k])
                    for each in (before, after)
                ]
            )
            was, is_now = (int(each["correct"][e, k]) for each in (before, after))
            right.append([was, is_now])
            outcomes[(("stayed wrong", "became right"), ("became wrong", "stayed right"))[was][is_now]] += 1
        at = found.sel(language=code)
        for name, values in (("log_probability", np.mean(logs, 0)), ("accuracy", np.mean(right, 0))):
            np.testing.assert_allclose(at[name].values, values, rtol=1e-6)
            np.testing.assert_allclose(
                at[f"{name}_change"].values, [values[1] - values[0]], rtol=1e-5, atol=1e-12
            )
    assert found["pairs"].values[0].tolist() == [outcomes[name] for name in OUTCOMES]
    shares, neurons = [], open_store(str(paths[0])).header.neurons
    for each in (before, after):
        bits = np.unpackbits(each["activated"][:, 0], axis=-1, bitorder="little")[..., :neurons]
        of_example = []
        for e in range(E):
            languages = bits[e].astype(int).sum(0)  # [N, I]
            masks = [languages == 0, languages == 1, (languages > 1) & (languages < L), languages == L]
            of_example.append(np.stack([mask.mean(1) for mask in masks], 1))
        shares.append(np.array(of_example))  # [E, N, 4]
    change = (shares[1] - shares[0]).mean(0)
    np.testing.assert_allclose(found["share"].values, [each.mean(0) for each in shares], atol=1e-12)
    np.testing.assert_allclose(found["change"].values[0], change, atol=1e-12)
    np.testing.assert_allclose(found["overall_change"].values[0], change.mean(0), atol=1e-12)
    # An adapter that changed nothing would tell nothing.
    assert np.abs(change).max() > 0.01 and np.abs(found["log_probability_change"].values).min() > 0.01


# -- rules ------------------------------------------------------------------------------------------


def answerable(task: str, answer: str, choices: tuple[str, ...] = (), **more: Any) -> Answerable:
    example = Example(
        "a", {"en": "p"}, {"en": answer}, task=task, choices={"en": choices} if choices else {}, **more
    )
    candidates = [Candidate([1, 2, *range(3, 3 + len(each))], 2) for each in choices or (answer,)]
    reference = choices.index(answer) if choices else 0
    return Answerable(example, [[1, 2]], None, None, [candidates], [reference])


def judged(row: Answerable, likelihoods: list[float], text: str | None = None, **options: Any) -> int:
    answers = ExampleAnswers([np.array(likelihoods)], [text])
    return int(AnswerJudge(("en",), **options)(row, answers)["correct"][0])


def test_the_likeliest_choice_is_the_models_and_lengths_count_if_asked():
    row = answerable("xnli", "abcd", ("ab", "abcd"))
    assert judged(row, [-3.0, -4.0]) == Answer.WRONG
    for unit in ("characters", "bytes", "tokens"):
        assert judged(row, [-3.0, -4.0], choices_by=unit) == Answer.RIGHT


def test_a_written_answer_is_compared_with_the_reference_and_its_aliases():
    row = answerable("capitals", "Rome", aliases={"en": ("Roma",)})
    for text, right in (
        ("Rome, of course", 1),
        ("the Roma\nQ: ...", 1),
        ("Romeo", 0),
        ("Paris, not Rome", 0),
        ("", 0),
    ):
        assert judged(row, [-1.0], text) == right, text
    number = answerable("mgsm", "1,200")
    for text, right in (("3 + 4 = 7, so 1200.", 1), ("1200 and 5", 0), ("none", 0)):
        assert judged(number, [-1.0], text) == right, text


def test_only_answers_that_are_written_are_generated():
    judge = AnswerJudge(("en",))
    assert judge.most_tokens(answerable("xnli", "yes", ("yes", "no")), 0) == 0
    assert judge.most_tokens(answerable("capitals", "Rome"), 0) == 2 * 4 + 8
    assert judge.most_tokens(answerable("mgsm", "5"), 0) == 256
    assert AnswerJudge(("en",), max_new_tokens=7).most_tokens(answerable("mgsm", "5"), 0) == 7


def test_measures_are_named_and_tasks_without_answers_refused():
    scored = Measurement(score=True, choices_by="bytes")
    assert measures_of(Measurement(), ["xnli"]) == {}
    assert measures_of(scored, ["xnli"]) == {"xnli": "the choice of the highest log-likelihood per byte"}
    assert "last number" in measures_of(scored, ["mgsm"])["mgsm"]
    with pytest.raises(InputError, match="--score: flores has no right answers"):
        measures_of(scored, ["flores"])
    assert measures_without_texts(["xnli", "mgsm", "own"]) == {
        "xnli": "choice", "mgsm": "greedy-match", "own": "choice, or without choices greedy-match",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": True, "position": "corpus"}, "the texts of a corpus have no answers"),
        ({"choices_by": "bytes"}, "need --score"),
        ({"score": True, "choices_by": "luck"}, "must be one of likelihood"),
        ({"score": True, "max_new_tokens": 0}, "at least 1"),
    ],
)
def test_options_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        Measurement(**arguments)
