"""`data check --tokenizer`: prompts counted as a run sends them, their last tokens, and marks that they bring along."""

import json

import pytest
from typer.testing import CliRunner

from fastneurons.cli.app import app
from tests.data.test_chat import ENDLESS, GEMMA, QWEN
from tests.engine import kinds


@pytest.fixture
def model(tmp_path):
    """A folder with a tokenizer that begins texts with <s> and ends them with </s>."""

    def make(template: str | None = None) -> str:
        tokenizer = kinds.fast("byte-bpe", True, True)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return make


@pytest.fixture
def data(tmp_path):
    def write(*prompts: dict[str, str]) -> str:
        rows = [json.dumps({"id": str(k), "prompts": one}) for k, one in enumerate(prompts)]
        (tmp_path / "d.jsonl").write_text("\n".join(rows))
        return str(tmp_path / "d.jsonl")

    return write


def check(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["data", "check", *arguments])
    if code:
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_a_begin_mark_of_the_texts_own_is_found_and_counted_once(model, data):
    path = data({"en": "<s>ab:", "de": "ab:"}, {"en": "a!", "de": "b?"}, {"en": "x:", "de": "<s><user>"})
    [told] = json.loads(check(path, "--tokenizer", model(), "--json"))
    assert told["counts"]["own marks"] == 2
    found = [
        (one["where"].rpartition(":")[2], one["language"], one["detail"][:3]) for one in told["findings"]
    ]
    assert found == [("1", "en", "<s>"), ("3", "de", "<s>")]
    assert told["last_token"] == {"examples": 3, "all_same": 1 / 3, "languages": 2.0, "sharing": 4 / 3}
    tokenizer = kinds.fast("byte-bpe", True, True)
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("ab:", "a!", "x:")]
    assert told["languages"]["en"]["tokens"]["total"] == sum(lengths) + 3  # <s> each, and no </s>
    shown = check(path, "--tokenizer", model())
    assert "the same in all languages in 33.3 % of examples" in shown
    assert "largest group of languages that share one has 1.33 of 2 languages" in shown
    assert "2 own marks: texts that begin with the mark that the tokenizer itself puts before a text" in shown
    [told] = json.loads(check(path, "--tokenizer", model(), "--no-add-bos-token", "--json"))
    assert told["counts"]["own marks"] == 0
    assert told["languages"]["en"]["tokens"]["total"] == sum(lengths) + 1


def test_a_chat_format_ends_in_the_same_token_in_every_language(model, data):
    path = data({"en": "ab", "de": "cd"}, {"en": "x", "de": "y"})
    [told] = json.loads(check(path, "--tokenizer", model(GEMMA), "--apply-chat-template", "--json"))
    assert told["last_token"]["all_same"] == 1
    assert told["counts"]["own marks"] == 0  # the template puts it, and the tokenizer does not


def test_arguments_of_the_chat_template(model, data):
    path = data({"en": "ab", "de": "cd"})
    asked = (path, "--tokenizer", model(QWEN), "--apply-chat-template", "--json")
    [plain] = json.loads(check(*asked))
    [thinking] = json.loads(check(*asked, "--chat-template-kwargs", '{"enable_thinking": false}'))
    more = len("<think>\n\n</think>\n\n")
    assert (
        thinking["languages"]["en"]["characters"]["total"]
        == plain["languages"]["en"]["characters"]["total"] + more
    )
    assert "must be a JSON object" in check(*asked, "--chat-template-kwargs", "{enable_thinking}", code=2)


def test_a_template_that_fills_memory_is_one_line(model, data):
    path = data({"en": "ab", "de": "cd"})
    said = check(path, "--tokenizer", model(ENDLESS["a long text"]), "--apply-chat-template", code=2)
    assert "takes more than 512 MiB of memory" in said and "\n" not in said
