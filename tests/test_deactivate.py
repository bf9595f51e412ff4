"""`deactivate` against hooks on a plain Hugging Face model, through interruptions, and where the truth is known."""

import os
import re
import signal
import string
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

import fastneurons
from fastneurons.analysis.deactivation import deactivation
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.store_sets import set_of_categories
from fastneurons.arrays import CATEGORIES, Answer
from fastneurons.data.example import Example, Skipped
from fastneurons.errors import InputError, StoreError
from fastneurons.store import Store, open_store
from tests.engine import tiny, trained
from tests.engine.forked import context
from tests.engine.support import LANGUAGES, examples

pytestmark = pytest.mark.engine

CONTROLS = 2
OPTIONS = {
    "dtype": "float32",
    "max_model_len": 128,
    "max_num_batched_tokens": 64,
    "max_num_seqs": 16,
    "progress": False,
}
PRINTABLE = string.digits + string.ascii_letters + string.punctuation
# One row is skipped, one has no German prompt, one no English answer, and every second one has choices.
SKIPPED, NO_PROMPT, NO_ANSWER = 3, 5, 6


def rows() -> list[Example | Skipped]:
    made: list[Example | Skipped] = []
    for k, row in enumerate(examples(11, seed=4, longest=20)):
        answers = {code: f"{code}{k}" for code in LANGUAGES}
        choices = {code: (f"{code}{k}", "no", "maybe") for code in LANGUAGES} if k % 2 else {}
        prompts = dict(row.prompts)
        if k == NO_PROMPT:
            del prompts["de"]
        if k == NO_ANSWER:
            del answers["en"]
        made.append(
            Example(
                row.id, prompts, answers, f"row {k}", choices=choices, joints=dict.fromkeys(LANGUAGES, " ")
            )
        )
    made[SKIPPED] = Skipped("e3", "row 3", "it is broken")
    return made


@pytest.fixture(scope="module")
def model(models) -> Path:
    return models("Llama")


@pytest.fixture(scope="module")
def store(model, tmp_path_factory) -> Store:
    out = tmp_path_factory.mktemp("deactivate") / "d.zarr"
    return fastneurons.deactivate(model, rows(), LANGUAGES, out, controls=CONTROLS, window=4, **OPTIONS)


class Hooked:
    """The model in Transformers, with a mask of neurons that are held at 0."""

    def __init__(self, folder: Path) -> None:
        import transformers

        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        torch.set_num_threads(1)  # on a busy machine, threads that wait for each other take most of the time
        config = self.model.config
        self.off = torch.zeros(config.num_hidden_layers, config.intermediate_size, dtype=torch.bool)
        self.activated: list[Any] = []
        for n, layer in enumerate(self.model.model.layers):
            layer.mlp.act_fn.register_forward_hook(
                lambda _, __, output: self.activated.append(output[0, -1] > 0)
            )
            layer.mlp.down_proj.register_forward_pre_hook(
                lambda _, x, n=n: (x[0].masked_fill(self.off[n], 0),)
            )

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def reads(self, prompt: str) -> Any:
        """bool [N, I], which neurons the prompt's last token activates."""
        self.activated.clear()
        self.off[:] = False
        with torch.no_grad():
            self.model(torch.tensor([self.ids(prompt)]))
        return torch.stack(self.activated)

    def log_probability(self, prompt: str, answer: str, off: Any) -> float:
        self.off[:] = off
        given, whole = self.ids(prompt + " "), self.ids(f"{prompt} {answer}")
        with torch.no_grad():
            scores = self.model(torch.tensor([whole])).logits[0].log_softmax(-1)
        # The space goes with the answer's first letter in no byte-level token: the answer begins after it.
        return float(sum(scores[at - 1, whole[at]] for at in range(len(given), len(whole))))

    def writes(self, prompt: str, answer: str, off: Any) -> bool:
        """Whether the likeliest tokens after a prompt, one by one, are those of an answer."""
        self.off[:] = off
        ids = self.ids(prompt)
        for token in self.ids(answer):
            with torch.no_grad():
                ids.append(int(self.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] != token:
                return False
        return True


def masks_of(hooked: Hooked, row: Example, number: int) -> dict[str, Any]:
    """The neurons that each condition holds at 0, bool [N, I], from plain forward passes and the published draw."""
    from fastneurons.engine.draw import drawn, key_of

    bits = torch.stack([hooked.reads(row.prompts[code]) for code in LANGUAGES if code in row.prompts])
    times, L = bits.sum(0), len(bits)
    masks = {"intact": torch.zeros_like(bits[0])}
    sets = [times == 0, times == 1, (times > 1) & (times < L), times == L]
    for name, members in zip(CATEGORIES, sets, strict=True):
        masks[name] = members
        for seed in range(CONTROLS):
            key = key_of("control", seed, number)
            every = torch.ones_like(members)
            masks[f"random:{name}:{seed}"] = drawn(key, range(tiny.LAYERS), members.sum(-1), every)
    return masks


def test_every_value_is_that_of_hooks_on_a_plain_model(store, model):
    hooked, data = Hooked(model), rows()
    conditions = store.header.conditions
    assert len(conditions) == 1 + 4 * (1 + CONTROLS)
    assert store["outcome"][:].tolist() == [2 if k == SKIPPED else 1 for k in range(len(data))]
    arrays = {
        name: store[name][...]
        for name in ("log_probability", "correct", "neuron_count", "overlap", "judged_count")
    }
    for number in (0, 1, SKIPPED, NO_PROMPT, NO_ANSWER):
        row = data[number]
        if isinstance(row, Skipped):
            assert np.isnan(arrays["log_probability"][number]).all()
            assert (arrays["correct"][number] == Answer.NOT_JUDGED).all()
            continue
        masks = masks_of(hooked, row, number)
        assert arrays["neuron_count"][number].tolist() == [
            masks[name].sum(-1).tolist() for name in conditions
        ]
        for c, name in enumerate(conditions):
            of = name.split(":")[1] if name.startswith("random:") else None
            expected = (masks[name] & masks[of]).sum(-1).tolist() if of else [0] * tiny.LAYERS
            assert arrays["overlap"][number, c].tolist() == expected
        for j, code in enumerate(LANGUAGES):
            found = arrays["log_probability"][number, j]
            if code not in row.prompts or code not in row.answers:
                assert np.isnan(found).all()
                assert arrays["judged_count"][number, j] == 0
                continue
            assert arrays["judged_count"][number, j] == len(row.answers[code])
            choices = row.choices.get(code, (row.answers[code],))
            scores = np.array(
                [
                    [hooked.log_probability(row.prompts[code], choice, masks[name]) for choice in choices]
                    for name in conditions
                ]
            )
            # A byte is a token here: each of them to 1e-4.
            np.testing.assert_allclose(found, scores[:, 0], rtol=0, atol=1e-4 * len(row.answers[code]))
            if len(choices) == 1:
                right = [
                    hooked.writes(row.prompts[code] + " ", choices[0], masks[name]) for name in conditions
                ]
                assert arrays["correct"][number, j].tolist() == right
            else:
                clear = np.sort(scores, -1)[:, -1] - np.sort(scores, -1)[:, -2] > 1e-3
                right = np.where(scores.argmax(-1) == 0, Answer.RIGHT, Answer.WRONG)
                assert arrays["correct"][number, j][clear].tolist() == right[clear].tolist()


class Interrupting:
    """Sends this process a signal once some examples are through."""

    def __init__(self, after: int) -> None:
        self.after, self.messages = after, []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def start(self, total: int | None, done: int) -> None:
        pass

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        self.after -= examples
        if self.after == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def stop(self) -> None:
        pass


def assert_same(found: Store, expected: Store) -> None:
    assert found.is_complete
    assert set(found) == set(expected)
    for name in expected:
        one, other = found[name][...], expected[name][...]
        if name == "log_probability":  # other prompts share a step
            np.testing.assert_allclose(one, other, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_ctrl_c_keeps_what_was_answered_and_resume_does_the_rest(store, model, tmp_path):
    progress, out = Interrupting(after=6), tmp_path / "d.zarr"
    options = OPTIONS | {"controls": CONTROLS, "window": 4}
    stopped = fastneurons.deactivate(model, rows(), LANGUAGES, out, **options | {"progress": progress})
    assert not stopped.is_complete
    assert 6 <= stopped.num_examples < len(rows())
    assert (
        progress.messages[-1] == f"stopped; {stopped.num_examples} examples are safe; continue with --resume"
    )
    assert progress.messages[0].startswith(
        "each prompt is answered 13 times, after it was read once: intact, with each"
    )
    # What differs is refused before anything is answered.
    with pytest.raises(
        StoreError, match="was begun with --operation zero, this run has --operation scale=2; pass"
    ):
        fastneurons.deactivate(model, rows(), LANGUAGES, out, **options, resume=True, operation="scale=2")
    assert_same(fastneurons.deactivate(model, rows(), LANGUAGES, out, **options, resume=True), store)


def committed(out):
    """Examples that a store has, which may not be there yet."""
    try:
        return open_store(str(out)).num_examples
    except (InputError, StoreError):
        return 0


def deactivate_all(model, out):
    fastneurons.deactivate(model, rows(), LANGUAGES, out, controls=CONTROLS, window=4, **OPTIONS)


def test_a_kill_loses_no_window(store, model, tmp_path):
    out = tmp_path / "d.zarr"
    process = context().Process(target=deactivate_all, args=(model, out))
    process.start()
    while process.is_alive() and not committed(out):
        time.sleep(0.05)
    process.kill()
    process.join()
    assert open_store(str(out)).num_examples >= 4
    options = OPTIONS | {"controls": CONTROLS, "window": 4}
    assert_same(fastneurons.deactivate(model, rows(), LANGUAGES, out, **options, resume=True), store)


def test_merged_shares_hold_what_one_run_holds(store, model, tmp_path):
    """The controls too, which are drawn by an example's number in the whole."""
    parts = [tmp_path / "1.zarr", tmp_path / "2.zarr"]
    options = OPTIONS | {"controls": CONTROLS, "window": 4}
    for number, part in enumerate(parts, 1):
        fastneurons.deactivate(model, rows(), LANGUAGES, part, **options, shard=f"{number}/2")
    assert_same(fastneurons.merge(parts, tmp_path / "merged.zarr"), store)


def test_two_engines_give_the_store_of_one(store, model, tmp_path):
    """They draw the controls of the windows that they are handed, in whatever order."""
    options = OPTIONS | {"controls": CONTROLS, "window": 4}
    found = fastneurons.deactivate(model, rows(), LANGUAGES, tmp_path / "d.zarr", **options, engines=2)
    assert_same(found, store)
    assert found.skipped() == store.skipped()
    assert found.header.edits == store.header.edits
    assert found.header.measures == store.header.measures


def test_one_set_for_all_examples_is_that_of_the_store_and_of_the_data(model, tmp_path):
    data = [row for row in rows() if isinstance(row, Example)]
    wanted = {"categories": "specific,all-shared", "min_share": 0.5, "layers": "1-2", "fraction": 0.5}
    options = OPTIONS | {"controls": 1, "window": 4, **wanted}
    run = fastneurons.run(model, data, LANGUAGES, tmp_path / "run.zarr", **OPTIONS)
    read = fastneurons.deactivate(model, data, LANGUAGES, tmp_path / "a.zarr", **options)
    given = fastneurons.deactivate(
        model, data, LANGUAGES, tmp_path / "b.zarr", **options, from_store=tmp_path / "run.zarr"
    )
    assert read.header.conditions == [
        "intact",
        "specific",
        "all-shared",
        "random:specific:0",
        "random:all-shared:0",
    ]
    assert_same(given, read)
    handed = fastneurons.deactivate(
        model, data, LANGUAGES, tmp_path / "c.zarr", **options, from_store=tmp_path / "run.zarr", engines=1
    )
    assert_same(handed, read)
    chosen = Selection(languages=LANGUAGES, at_least=1).of(run)
    for name in ("specific", "all-shared"):
        expected = set_of_categories(chosen, [name], 0.5).in_layers("1-2").sample(0.5, 0)
        at = read.header.conditions.index(name)
        assert (read["neuron_count"][:, at] == expected.counts).all()
        assert len(expected)
        control = read.header.conditions.index(f"random:{name}:0")
        shared = expected.overlap(expected.random_like(0)).common
        assert (read["overlap"][:, control] == shared).all()


def test_a_set_that_is_empty_is_one_line(model, tmp_path):
    data = [row for row in rows() if isinstance(row, Example)]
    wanted = {"min_share": 1.0, "categories": "specific", "layers": "0"}
    with pytest.raises(
        InputError, match="no neuron of layers 0 is specific in so many of the 10 examples; pass a"
    ):
        fastneurons.deactivate(model, data, LANGUAGES, tmp_path / "d.zarr", **OPTIONS | wanted)
    assert not (tmp_path / "d.zarr").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"categories": "all-shared,some"}, "--category some: must be one of non-activated, specific"),
        ({"categories": "specific,specific"}, "names one twice"),
        ({"controls": 0}, "--controls 0: must be from 1 to 1,000: no effect is reported without"),
        ({"operation": "add=1"}, "--operation add=1: must be zero or scale=NUMBER"),
        ({"operation": "scale=nan"}, "--operation scale=nan: must be zero or scale=NUMBER"),
        ({"scope": "answer"}, "--scope answer: must be one of prompt, generation, both"),
        ({"layers": "20-10"}, "20-10 runs backwards"),
        ({"fraction": 0.0}, "--fraction 0: must be above 0 and at most 1"),
        ({"rank": "contribution"}, "--rank contribution needs --fraction"),
        ({"min_share": 1.5}, "--min-share 1.5: must be above 0 and at most 1"),
        ({"from_store": "run.zarr"}, "--from needs --min-share"),
        ({"position": "corpus"}, "--position corpus: counts tokens"),
        ({"from_store": "none.zarr", "min_share": 0.5}, "none.zarr: does not exist"),
        (
            {"engines": 2, "min_share": 0.5},
            "--min-share with --engines: each engine would read all examples first",
        ),
    ],
    ids=str,
)
def test_a_wrong_call_is_one_line_before_the_model_loads(changed, said, tmp_path):
    with pytest.raises((InputError, StoreError), match=re.escape(said)):
        fastneurons.deactivate("no/model", rows(), LANGUAGES, tmp_path / "d.zarr", **OPTIONS | changed)


def test_two_languages_share_all_or_nothing(tmp_path):
    with pytest.raises(
        InputError, match="--category partial-shared: with two languages, no neuron is shared by some"
    ):
        fastneurons.deactivate("m", rows(), "en,de", tmp_path / "d", categories="partial-shared", **OPTIONS)


def some_written(hooked: Hooked) -> list[Example]:
    """The trained model's facts, every second one without choices, and two with longer answers in German.

    Of these, greedy decoding writes one, and of the other its first token alone.
    """
    facts = trained.facts()
    rows = [msgspec.structs.replace(row, choices={} if k % 2 else row.choices) for k, row in enumerate(facts)]
    prompt, answer = facts[0].prompts["de"], facts[0].answers["de"]
    second = next(each for each in PRINTABLE if hooked.writes(prompt, answer + each, False))
    other = next(each for each in PRINTABLE if each != second)
    for name, longer in (("right", answer + second), ("wrong", answer + other)):
        rows.append(msgspec.structs.replace(facts[0], id=name, answers={"de": longer}, choices={}))
    return rows


def test_it_finds_the_neurons_that_one_language_answers_with(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    trained.train(folder / "model")
    hooked = Hooked(folder / "model")
    data = some_written(hooked)
    store = fastneurons.deactivate(
        folder / "model",
        data,
        trained.LANGUAGES,
        folder / "d.zarr",
        categories="specific",
        window=16,
        **OPTIONS,
    )
    found = deactivation(store)
    # The set is found, in every example, and it is what was trained.
    specific = store.header.conditions.index("specific")
    assert (store["neuron_count"][:, specific] == len(trained.SPECIFIC)).all()
    # Written answers are right if they are what greedy decoding writes, intact and without these neurons.
    off = np.zeros((trained.LAYERS, trained.NEURONS), bool)
    for name in ("intact", "specific"):
        off[:, list(trained.SPECIFIC)] = name == "specific"
        correct = store["correct"][:, :, store.header.conditions.index(name)]
        for e, row in enumerate(data):
            for j, code in enumerate(trained.LANGUAGES):
                if code not in row.answers:
                    assert correct[e, j] == Answer.NOT_JUDGED
                elif not row.choices:
                    right = hooked.writes(row.prompts[code], row.answers[code], torch.from_numpy(off))
                    assert correct[e, j] == (Answer.RIGHT if right else Answer.WRONG)
        of_written = correct[1:16:2].mean(0)
        assert of_written.tolist() == ([1, 1] if name == "intact" else [1, 0])
    assert store.header.measures == {"python": "choice, or without choices greedy-match"}
    of = {code: found.sel(language=code, category="specific") for code in trained.LANGUAGES}
    # German loses its answers, and random neurons of the same number take none.
    assert float(of["de"]["log_probability_from_control_high"]) < -1.5
    assert float(of["de"]["log_probability_control_from_intact"]) > -0.2
    assert float(of["de"]["accuracy_from_control_high"]) < -0.4
    # English keeps them.
    assert abs(float(of["en"]["log_probability_from_intact"])) < 0.1
    assert float(of["en"]["accuracy_from_intact"]) == 0
    # And so the report says.
    from fastneurons.report import compute_findings
    from fastneurons.report.deactivation import Deactivation, deactivation_sentences

    findings = compute_findings(store)
    assert isinstance(findings, Deactivation)
    said = [each.text for each in deactivation_sentences(findings)]
    assert any("1 of 2 languages" in text and "German (de) most" in text for text in said), said
