"""Chat templates: what they render, where the messages' contents lie in it, and what bounds them."""

import itertools
import os
import threading
import time

import pytest

from fastneurons.data.bounded import UnboundedError, Watch, tried
from fastneurons.data.chat import ChatTemplate, Rendered, rendered
from fastneurons.data.options import DataOptions, parse_chat_template_kwargs
from fastneurons.data.tasks import open_tasks
from fastneurons.errors import InputError
from fastneurons.visible import visible
from tests.engine import tiny

LLAMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first else '' }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture
def template(tmp_path):
    """A chat template as it comes with a tokenizer."""

    def make(text: str, **kwargs) -> ChatTemplate:
        tokenizer = tiny.tokenizer()
        tokenizer.chat_template = text
        tokenizer.save_pretrained(tmp_path / "model")
        return ChatTemplate(str(tmp_path / "model"), kwargs=kwargs)

    return make


def messages(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    roles = itertools.cycle(["user", "assistant"])
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=False)
    ]


# Contents that stand in the templates themselves, repeat, are empty, or begin and end in white space.
CONTENTS = [
    ("Paris",),
    ("user",),
    ("\n",),
    ("a", "a", "a"),
    ("model", "user", "model\n"),
    (" Der Fluss\nfließt ", "ins Meer\n", "  河流"),
    ("[INST] x [/INST]", "<end_of_turn>\n", "fastneurons0content"),
]


@pytest.mark.parametrize("text", [LLAMA, GEMMA, QWEN, PHI], ids=["llama", "gemma", "qwen", "phi"])
@pytest.mark.parametrize("contents", CONTENTS, ids=repr)
def test_contents_are_found_in_the_rendered_text(text, contents, template):
    chat = template(text)
    for system in (None, "Be brief.") if text != LLAMA else (None,):
        asked = messages(*contents, system=system)
        whole, spans = chat.rendered(asked)
        assert whole == chat.render(asked)
        assert spans is not None
        found = [whole[begin:end] for begin, end in spans]
        expected = [message["content"] for message in asked]
        trimmed = [one.strip() for one in expected]
        assert found in ([one for one in expected if one], [one for one in trimmed if one]) or text == GEMMA
        assert [one.strip() for one in found if one.strip()] == [one for one in trimmed if one]
        # What is left is the template's own: the same whatever the contents are.
        marked = chat.render(
            [{**message, "content": "∎" if message["content"].strip() else ""} for message in asked]
        )
        left, place = [], 0
        for begin, end in spans:
            left.append(whole[place:begin])
            place = end
        left.append(whole[place:])
        assert "".join(left).replace(" ", "").replace("\n", "") == marked.replace("∎", "").replace(
            " ", ""
        ).replace("\n", "")


def test_a_content_that_a_template_changes_is_not_looked_for(template):
    chat = template("{% for m in messages %}{{ m.content | upper }}!{% endfor %}")
    assert chat.rendered(messages("Paris")) == Rendered("PARIS!", None)


def test_a_template_whose_text_changes_is_asked_again(template):
    chat = template("{{ strftime_now('%f') }}{% for m in messages %}<{{ m.content }}>{% endfor %}")
    assert chat.rendered(messages("Paris")).contents is None  # the clock runs on between two renderings
    chat = template("{% for m in messages %}{{ m.content | length > 10 }}<{{ m.content }}>{% endfor %}")
    assert chat.rendered(messages("Paris")).contents is None


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_a_message_that_a_template_leaves_out_is_told(role, template):
    chat = template("{% for m in messages if m.role != '" + role + "' %}<{{ m.content }}>{% endfor %}")
    asked = messages("a", "b", "c", system="d")
    with pytest.raises(InputError, match=f"leaves the {role} message out"):
        chat.rendered(asked)


def test_a_chat_that_only_renders_says_not_where_contents_are():
    class Plain:
        def render(self, messages):
            return messages[0]["content"]

    assert rendered(Plain(), messages("x")) == Rendered("x", None)


@pytest.mark.parametrize(
    ("text", "joint"), [(LLAMA, " "), (GEMMA, ""), (QWEN, ""), (PHI, ""), ("{{ messages[0].content }}", None)]
)
def test_what_stands_before_an_answer(text, joint, template):
    assert template(text).joint() == joint


def test_arguments_reach_the_template(template):
    assert template(QWEN).render(messages("x")).endswith("<|im_start|>assistant\n")
    thinking = template(QWEN, enable_thinking=False)
    assert thinking.render(messages("x")).endswith("<think>\n\n</think>\n\n")
    assert thinking.rendered(messages("x")).contents == ((17, 18),)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "must be a JSON object"),
        ('["a"]', "a list where a JSON object must be"),
        ("true", "true or false where a JSON object must be"),
        ('{"a": NaN}', "must be a JSON object"),
        ('{"tokenize": true}', "fastneurons sets this one itself"),
        ('{"messages": []}', "fastneurons sets this one itself"),
        ("[" * 100_000, "--chat-template-kwargs"),
    ],
)
def test_arguments_that_are_none(given, said):
    with pytest.raises(InputError, match=said) as caught:
        DataOptions(apply_chat_template=True, chat_template_kwargs=parse_chat_template_kwargs(given))
    assert len(str(caught.value)) < 300


def test_arguments_need_a_template_and_are_part_of_the_source(template, tmp_path):
    with pytest.raises(InputError, match="needs --apply-chat-template"):
        DataOptions(chat_template_kwargs={"a": 1})
    data = tmp_path / "d.jsonl"
    data.write_text('{"id": "a", "prompts": {"en": "x", "de": "y"}, "answers": {"en": "u", "de": "v"}}\n')
    options = DataOptions(
        apply_chat_template=True, chat_template_kwargs={"b": 1, "a": None}, answer_prefix=" So:"
    )
    source = open_tasks(["jsonl"], {"jsonl": str(data)}, ("en", "de"), options, template(QWEN))
    assert '--chat-template-kwargs {"a":null,"b":1}' in source.describe()
    [example] = source
    assert example.prompts["en"].endswith("<|im_start|>assistant\n So:")
    assert [example.prompts["en"][a:b] for a, b in example.contents["en"]] == ["x", " So:"]
    assert example.joints == {}  # what the prefix ends in says how an answer joins
    plain = open_tasks(
        ["jsonl"], {"jsonl": str(data)}, ("en", "de"), DataOptions(apply_chat_template=True), template(LLAMA)
    )
    [example] = plain
    assert example.joints == {"en": " ", "de": " "}


# -- templates that do not end ------------------------------------------------------------------------

ENDLESS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x",
    "a long text": "{{ 'a' * 3000000000 }}",
    "a filter": "{{ 'a' | center(3000000000) }}",
    "doubling": "{% set n = namespace(x='ab') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "a list": "{% set x = [1] * 3000000000 %}{{ x | length }}",
    "megabytes": "{{ 'abcd' * 2000000 }}",
    "a large number": "{{ 7 ** 99999999999 }}",
    "brackets": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "itself": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_a_template_that_does_not_end_is_one_line(text, template):
    chat = template(text)
    chat._seconds = 1.0
    began = time.monotonic()
    with pytest.raises(InputError, match="--apply-chat-template: the template of") as caught:
        chat.render(messages("x"))
    assert time.monotonic() - began < 30
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_template_that_ends_at_first_and_not_later(template):
    chat = template(
        "{% if 'Q' in messages[0].content %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}"
        "{% endfor %}{% endif %}x"
    )
    assert chat.render(messages("a")) == "x"
    chat._watch = Watch(0.3)
    for _ in range(2):
        with pytest.raises(InputError, match=r"does not end within 0\.3 s"):
            chat.render(messages("Q"))
        assert chat.render(messages("a")) == "x"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("\x1b]0;pwned\x07\x1b[31mX", r"\x1b]0;pwned\x07\x1b[31mX"),
        ("a\nb\r\nc", "a b c"),
        ("\u202eabc", r"\u202eabc"),
    ],
)
def test_what_a_template_raises_is_made_visible(raised, said, template):
    chat = template("{{ raise_exception('" + raised + "') }}")
    with pytest.raises(InputError) as caught:
        chat.render(messages("x"))
    assert str(caught.value).endswith(f"refuses messages of user: {said}")


def test_calls_are_tried_in_a_child():
    changed = []
    tried(lambda: changed.append(1))
    tried(lambda: 1 / 0)  # an end, too
    assert not changed
    with pytest.raises(UnboundedError, match=r"does not end within 0\.2 s"):
        tried(lambda: time.sleep(10), seconds=0.2)
    with pytest.raises(UnboundedError, match="takes more than 64 MiB"):
        tried(lambda: bytearray(1 << 30), memory=1 << 26)
    with pytest.raises(UnboundedError, match="ends the process"):
        tried(lambda: os._exit(3))


def test_a_watch_ends_calls_of_several_threads_and_no_other():
    watch, ends = Watch(0.3), []

    def endless():
        try:
            watch(lambda: [None for _ in itertools.count()])
        except UnboundedError as error:
            ends.append(str(error))
        ends.append(watch(lambda: "well"))

    threads = [threading.Thread(target=endless) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert watch(lambda: 1) == 1
        time.sleep(0.01)
    assert sorted(ends) == ["does not end within 0.3 s"] * 2 + ["well"] * 2


@pytest.mark.parametrize("text", ["plain", "Ä ü 河 ✓", "a b"])
def test_visible_leaves_text_alone(text):
    assert visible(text) == text
