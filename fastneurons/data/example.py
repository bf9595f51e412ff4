"""What every source of data yields: examples, and skipped ones with a reason."""

import msgspec


class Example(msgspec.Struct, frozen=True, gc=False):
    """One parallel input.

    Args:
        id: Names it within its source.
        prompts: By short language code. What the source was asked for, and nothing else.
        answers: Reference answers by short language code, where there are any; bare, with no space before.
        where: File and line, or what else leads to it: `facts.jsonl:17`.
        task: The task that it belongs to, where the source has several.
        choices: Where an answer is chosen, not written: what there is to choose from, by short language code,
            in the same order in every language. The reference answer is one of them.
        aliases: By short language code, the other answers that are right as well as the reference answer.
        messages: By short language code, the chat messages that a prompt was given as. Bare, the prompt is their
            contents; once it is asked for by the model's chat template, it is what the template makes of them.
        contents: Of prompts in a chat format, by short language code: the characters of the prompt that are its own
            text, not the template's, as [begin, end) in order. Empty: that is not known. A language that is not
            there: all of them.
        joints: What stands between a prompt and its answer, by short language code, where the prompt's format says.
    """

    id: str
    prompts: dict[str, str]
    answers: dict[str, str] = {}
    where: str = ""
    task: str | None = None
    choices: dict[str, tuple[str, ...]] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    messages: dict[str, list[dict[str, str]]] = {}
    contents: dict[str, tuple[tuple[int, int], ...]] = {}
    joints: dict[str, str] = {}


class Skipped(msgspec.Struct, frozen=True, gc=False, tag=True):
    """An example that is not measured, and why.

    Args:
        id: Its id; empty where it has none that can be read.
        where: File and line.
        reason: What is wrong with it, in a few words.
        task: The task that it belongs to, where the source has several.
    """

    id: str
    where: str
    reason: str
    task: str | None = None
