"""The race on contenders that take fixed times: who is timed, with whom by turns, and the arithmetic."""

import numpy as np
import pytest

from fastneurons.bench.child import ChildError, Round
from fastneurons.bench.contender import Findings, Work, categories_of
from fastneurons.bench.rounds import Percentiles, Point, race

WORK = Work([[[1, 2, 3, 4], [5, 6, 7, 8]]] * 8, [[1, 2]] * 8)  # 64 tokens
POINTS = [Point(4, 2, WORK)]


class Fake:
    """Takes so many seconds for a token; keeps what was asked of it."""

    start_s = 1.5

    def __init__(self, name, asked, seconds, reference=None, portion=1.0, wrong=False):
        self.name, self.asked, self.seconds, self.reference = name, asked, list(seconds), reference
        self.portion, self.wrong, self.closed = portion, wrong, False

    def find(self, work):
        self.asked.append(f"{self.name} find")
        return Findings(category=np.full((1, 8, 1, 1), int(self.wrong), np.int8))

    def round(self, work):
        self.asked.append(f"{self.name} {work.num_tokens}")
        seconds = self.seconds.pop(0)
        if isinstance(seconds, Exception):
            raise seconds
        return Round(seconds, 0.25)

    def reference_round(self, work):
        if self.reference is None:
            return None
        self.asked.append(f"{self.name} reference")
        return self.reference.pop(0)

    def close(self):
        self.closed = True


def run(contenders, names, rounds=3, every_round=lambda: None):
    log: list[str] = []
    results = race(
        names,
        POINTS,
        load=lambda name: contenders[name],
        differs=lambda found: "it is wrong" if found.category is not None and found.category.any() else None,
        check=WORK,
        rounds=rounds,
        log=log.append,
        every_round=every_round,
    )
    return results, log


def test_percentiles_are_numpys():
    assert Percentiles.of([1.0, 2.0, 3.0, 4.0, 6.0]) == Percentiles(3.0, 1.8, 4.4)


def test_a_contender_is_warmed_up_and_timed_by_turns_in_changing_order_with_its_own_engine():
    asked: list[str] = []
    last = Fake("last", asked, [9.0, 2.0, 4.0, 1.0], reference=[9.0, 4.0, 2.0, 1.0])
    [result], _ = run({"last": last}, ["last"])
    own, other = "last 64", "last reference"
    assert asked == ["last find", own, other, other, own, own, other, other, own]
    # 64 tokens in 2, 4 and 1 s; each round's own pair: 4/2, 2/4, 1/1.
    assert result.tokens_per_s == Percentiles.of([32.0, 16.0, 64.0])
    assert result.ratio == Percentiles.of([2.0, 0.5, 1.0])
    assert (result.compared_with, result.start_s, result.store_s) == ("the same engine", 1.5, 0.25)
    assert (result.prompts, result.tokens) == (16, 64)
    assert last.closed


def test_the_machine_is_timed_at_the_start_of_each_round_but_not_of_the_warm_up():
    asked: list[str] = []
    unpatched = Fake("unpatched", asked, [1.0] * 3)
    last = Fake("last", asked, [1.0] * 3, reference=[1.0] * 3)
    run({"unpatched": unpatched, "last": last}, ["unpatched", "last"], 2, lambda: asked.append("machine"))
    of_unpatched = ["unpatched 64", "machine", "unpatched 64", "machine", "unpatched 64"]
    own, other = "last 64", "last reference"
    assert asked == [*of_unpatched, "last find", own, other, "machine", other, own, "machine", own, other]


def test_others_are_compared_with_the_unpatched_engine_by_tokens_a_second():
    asked: list[str] = []
    unpatched = Fake("unpatched", asked, [9.0, 1.0, 9.0, 1.0, 1.0, 1.0])
    hooks = Fake("hooks", asked, [9.0, 2.0, 2.0], portion=1 / 8)
    results, _ = run({"unpatched": unpatched, "hooks": hooks}, ["unpatched", "hooks"], rounds=2)
    assert results[0].ratio is None
    # An eighth of the examples, 8 tokens in 2 s, beside 64 tokens in 1 s.
    assert results[1].tokens == 8
    assert results[1].ratio == Percentiles.of([1 / 16, 1 / 16])
    assert results[1].compared_with == "unpatched"
    assert "unpatched find" not in asked  # it finds nothing
    assert unpatched.closed


def test_one_that_finds_something_else_is_named_and_not_timed():
    asked: list[str] = []
    wrong = Fake("last", asked, [], wrong=True)
    results, log = run({"last": wrong}, ["last"])
    assert asked == ["last find"]
    assert results[0].tokens_per_s is None
    assert results[0].why_not == "it is wrong"
    assert "  not timed: it is wrong" in log
    assert wrong.closed


def test_one_that_fails_does_not_stop_the_others():
    asked: list[str] = []
    broken = Fake("lape", asked, [ChildError("out of memory")])
    last = Fake("last", asked, [1.0, 1.0], reference=[1.0, 1.0])
    results, _ = run({"lape": broken, "last": last}, ["lape", "last"], rounds=1)
    assert results[0].why_not == "out of memory"
    assert results[1].tokens_per_s == Percentiles(64.0, 64.0, 64.0)


@pytest.mark.parametrize(
    ("languages", "category"), [([0, 0, 0], 0), ([0, 1, 0], 1), ([1, 0, 1], 2), ([1, 1, 1], 3)]
)
def test_categories(languages, category):
    assert categories_of(np.array(languages, bool)[:, None], axis=0).tolist() == [category]
