"""Which tokens are read of models whose tokenizers mark texts, against Transformers' activations of every token."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from fastneurons.config import Measurement
from fastneurons.data.example import Example
from tests.engine import tiny
from tests.engine.agreement import unpack
from tests.engine.reference import references
from tests.engine.support import LANGUAGES, examples, tiny_options
from tests.engine.test_attribution import assert_equal, expected_attribution, together
from tests.engine.test_positions import WITHIN, assert_bits, largest

pytestmark = pytest.mark.engine

ROWS = examples(20, seed=90, longest=100)
ANSWERS = {"en": "a bed", "de": "äüö", "th": "กข"}


@pytest.fixture(scope="module")
def marking(tmp_path_factory) -> Path:
    """A model whose tokenizer makes "<s> text </s>" of a text, a token a byte."""
    from tokenizers.processors import TemplateProcessing

    folder = tiny.make("Llama", tmp_path_factory.mktemp("own") / "marking")
    made = tiny.tokenizer().backend_tokenizer
    made.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def without_offsets(tmp_path_factory) -> Path:
    """A model with ByT5's tokenizer: in Python only, it tells no offsets and puts </s> after a text."""
    folder = tiny.make("Llama", tmp_path_factory.mktemp("own") / "byt5", vocab_size=384)
    for file in [*folder.glob("tokenizer*"), *folder.glob("special*")]:
        file.unlink()
    transformers.ByT5Tokenizer().save_pretrained(folder)
    return folder


def every_token(model: Path, prompts: list[list[int]], **more: Any) -> dict[str, Any]:
    """Activations and coefficients of all tokens, by prompt; and the weights, if they are asked for."""
    request = {"model": str(model), "dtype": "float32", "prompts": prompts, "every_token": True, **more}
    [result] = references([request])
    ends = np.cumsum(result.pop("lengths"))[:-1]
    return {
        name: np.split(values, ends) if name in ("activations", "coefficients") else values
        for name, values in result.items()
    }


def at_last(values: list[np.ndarray], num_rows: int) -> np.ndarray:
    flat = np.stack([of_prompt[-1] for of_prompt in values])
    return flat.reshape(num_rows, len(LANGUAGES), *flat.shape[1:])


def bytes_of(model: Path, text: str) -> list[int]:
    return transformers.AutoTokenizer.from_pretrained(model)(text, add_special_tokens=False)["input_ids"]


def test_the_last_token_is_the_prompts_own_and_attribution_is_there(marking, open_session, tmp_path):
    rows = [Example(row.id, row.prompts, ANSWERS) for row in ROWS]
    rows[0] = Example("marked already", {**rows[0].prompts, "en": "<s>abc"}, ANSWERS)
    session = open_session(marking, measurement=Measurement(attribution=True), options=tiny_options())
    parts = list(session.measure(rows))
    prompts = [
        [*([] if row.prompts[code].startswith("<s>") else [1]), *bytes_of(marking, row.prompts[code])]
        for row in rows
        for code in LANGUAGES
    ]
    found = every_token(marking, prompts, weights=True)
    activated = np.concatenate([part["activated"] for part in parts])[:, 0]
    assert_bits(activated, at_last(found["activations"], len(rows)))
    lengths = np.reshape([len(ids) for ids in prompts], (len(rows), -1))
    np.testing.assert_array_equal(np.concatenate([part["token_count"] for part in parts]), lengths)
    last = np.reshape([ids[-1] for ids in prompts], (len(rows), -1))
    np.testing.assert_array_equal(np.concatenate([part["last_token"] for part in parts]), last)
    assert session.totals.begun == 1
    coefficients = at_last(found["coefficients"], len(rows))
    first = {code: bytes_of(marking, ANSWERS[code])[0] for code in LANGUAGES}
    tokens = np.array([[first[code] for code in LANGUAGES] for _ in rows])
    reference = {"coefficients": coefficients, "values": found["values"], "unembedding": found["unembedding"]}
    bits = unpack(activated, tiny.NEURONS).astype(bool)
    expected = expected_attribution(reference, bits, tokens, session.top_k)
    assert_equal(together(parts), expected, reference, session.top_k)


def test_any_token_of_several_contents_in_chunks(marking, open_session, tmp_path):
    def chat(row: Example) -> Example:
        prompts, contents = {}, {}
        for code, prompt in row.prompts.items():
            before = "<s>user: be brief, as brief as you can\n"
            prompts[code] = f"{before}{prompt}\nassistant: "
            contents[code] = ((9, len(before) - 1), (len(before), len(before) + len(prompt)))
        return Example(row.id, prompts, contents=contents)

    rows = [chat(row) for row in ROWS]
    ids = [bytes_of(marking, row.prompts[code]) for row in rows for code in LANGUAGES]
    values = every_token(marking, ids)["activations"]
    what = Measurement((0.3,), "any")
    session = open_session(marking, measurement=what, options=tiny_options())
    parts = list(session.measure(rows, add_special_tokens=False))
    # A token a byte, but one for <s>: the instruction is from token 7 on, the prompt from token 37 on.
    lengths = [len(row.prompts[code].encode()) for row in ROWS for code in LANGUAGES]
    own = [
        np.concatenate([of[7:36], of[37 : 37 + length]]) for of, length in zip(values, lengths, strict=True)
    ]
    activated = np.concatenate([part["activated"] for part in parts])[:, 0]
    assert_bits(activated, largest(own, len(rows)), 0.3)
    everything = largest(values, len(rows)) > 0.3
    assert (everything != unpack(activated, tiny.NEURONS)).mean() > 0.01  # it makes a difference


def test_the_answer_of_a_tokenizer_without_offsets(without_offsets, open_session, tmp_path):
    rows = [Example(row.id, row.prompts, ANSWERS) for row in ROWS]
    session = open_session(
        without_offsets, measurement=Measurement(position="answer"), options=tiny_options()
    )
    parts = list(session.measure(rows))
    texts = [
        row.prompts[code] + ("" if code == "th" or row.prompts[code][-1] == " " else " ") + ANSWERS[code]
        for row in rows
        for code in LANGUAGES
    ]
    values = every_token(without_offsets, [bytes_of(without_offsets, t) for t in texts])["activations"]
    lengths = [len(ANSWERS[code].encode()) for _ in rows for code in LANGUAGES]
    own = [of[-length:] for of, length in zip(values, lengths, strict=True)]
    assert_bits(np.concatenate([part["activated"] for part in parts])[:, 0], largest(own, len(rows)))


def test_marks_between_the_texts_of_a_corpus_are_sent_and_not_counted(marking, open_session, tmp_path):
    rows = [Example(row.id, {"en": row.prompts["en"]}) for row in ROWS]
    what = Measurement(position="corpus")
    session = open_session(marking, ("en",), measurement=what, options=tiny_options())
    parts = list(session.measure(rows, window=8, block_size=50))
    joined = [id for row in rows for id in (1, *bytes_of(marking, row.prompts["en"]), 2)]
    blocks = [joined[k : k + 50] for k in range(0, len(joined), 50)]
    values = np.concatenate(every_token(marking, blocks)["activations"])
    chosen = np.array([id > 2 for id in joined])
    counts = np.sum([part["activation_count"] for part in parts], axis=0)[0, 0]
    close = (np.abs(values[chosen]) <= WITHIN).sum(0)
    assert (np.abs(counts - (values[chosen] > 0).sum(0)) <= close).all()
    assert sum(part["corpus_tokens"][0] for part in parts) == chosen.sum()
    assert sum(part["token_count"].sum() for part in parts) == len(joined)
