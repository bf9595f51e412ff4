"""All that an engine does, in one session, as arrays: to compare one way to run a model with another."""

import threading

import numpy as np

from fastneurons.arrays import Arrays, join
from fastneurons.data.example import Example
from fastneurons.engine.conditions import Design
from fastneurons.engine.edits import Change, Edits
from fastneurons.engine.outcomes import OutcomePass
from fastneurons.engine.session import Session
from fastneurons.experiments.design import Deactivation
from fastneurons.experiments.outcome_arrays import outcome_arrays
from tests.engine.support import LANGUAGES, examples
from tests.engine.test_edits import KINDS, drawn_edits, run, texts

# What a session that edits needs: room for the edits of `edited`, and for those of two examples of `deactivated`.
BANK = {"num_edits": 32, "num_edit_values": 4, "finds_likeliest": True}
_CONTROLS = 2


def rows(number: int = 10, longest: int = 150) -> list[Example]:
    """Prompts with answers, some of them choices; with steps of 64 tokens, long ones are cut into chunks."""
    made = []
    for k, row in enumerate(examples(number, seed=12, longest=longest)):
        answers = {code: f" {code}{k % 3}" for code in LANGUAGES}
        choices = {code: (" no", answers[code], " maybe") for code in LANGUAGES} if k % 2 else {}
        made.append(Example(row.id, row.prompts, answers, choices=choices))
    return made


def measured(session: Session, given: list[Example]) -> Arrays:
    """All arrays of the measurement, in windows of four, sums added up; with those of answers if they are judged."""
    parts = list(session.measure(given, window=4))
    return join([part.arrays for part in parts], [0] * len(parts), 1) | session.constants()


def edited(session: Session, number: int = 2 * (len(KINDS) + 1), longest: int = 150) -> Arrays:
    """Log-probabilities and generated tokens of so many texts, with edits of every kind in one batch."""
    edits = drawn_edits(Edits(session.engine).model)
    scores, generated = run(session.engine, edits, texts(number, longest))
    return {
        "edited: log_probability": np.concatenate(scores),
        "edited: generated": np.concatenate(generated),
        "edited: generated_count": np.array([len(each) for each in generated]),
    }


def a_little(session: Session) -> Arrays:
    """Some of all that, for a slow engine."""
    given = rows(3, longest=16)
    return measured(session, given) | edited(session, len(KINDS) + 1, 16) | deactivated(session, given[:1])


def deactivated(session: Session, given: list[Example], by_contribution: bool = False) -> Arrays:
    """The arrays of `deactivate`; with half of each set, drawn by seed or by contribution, and without any."""
    conditions = Deactivation(controls=_CONTROLS).conditions(len(LANGUAGES), seed=7)
    found: Arrays = {}
    for share in (1.0, 0.5):
        design = Design(conditions, Change(), None, share, by_contribution and share < 1, seed=7)
        with session.tokenised(given) as encoded:
            passing = OutcomePass(session.engine, design, len(LANGUAGES), encoded, 0, True, threading.Event())
            arrays = outcome_arrays(list(passing), len(LANGUAGES), len(conditions), len(session.facts.layers))
        found |= {f"deactivated, share {share:g}: {name}": array for name, array in arrays.items()}
    return found
