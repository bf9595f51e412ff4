"""The text around the prompts of cases: few-shot examples, chat format and answer prefix."""

from collections.abc import Sequence

from fastneurons.data.chat import Chat, Message, Rendered, joint, rendered
from fastneurons.data.messages import contents
from fastneurons.data.options import DataOptions
from fastneurons.data.problems import UnusableError
from fastneurons.data.tasks.cases import Case
from fastneurons.data.tasks.task import Task
from fastneurons.data.template import gap

_BETWEEN_SHOTS = "\n\n"


class Around:
    """The text around the prompts of a task in one language: few-shot examples, chat format, answer prefix."""

    def __init__(
        self, task: Task, language: str, shots: Sequence[Case], options: DataOptions, chat: Chat | None
    ) -> None:
        self._prefix = options.answer_prefix
        self._num_shots = len(shots)
        self._chat = chat if options.apply_chat_template else None
        self._before: list[Message] = []
        asked_in = task.answer_language(language)
        solved = []
        for case in shots:
            question = case.example.prompts[language]
            before = self._prefix if options.apply_chat_template else question + self._prefix
            worked = case.worked[language]
            solved.append((question, (before + gap(asked_in, before) if before else "") + worked))
        if options.system_instruction is not None:
            self._before.append({"role": "system", "content": options.system_instruction})
        for question, answer in solved:
            self._before += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        self._head = "".join(text + _BETWEEN_SHOTS for _, text in solved)

    def joint(self, messages: Sequence[Message] | None) -> str | None:
        """The text between prompt and answer, where the chat format determines it.

        Args:
            messages: Those that the prompt was given as, if it was.
        """
        begun = messages is not None and messages[-1]["role"] == "assistant"
        return None if self._chat is None or self._prefix or begun else joint(self._chat)

    def __call__(self, prompt: str) -> Rendered:
        """Put few-shot examples, chat format and answer prefix around a bare prompt."""
        if self._chat is None:
            return Rendered(f"{self._head}{prompt}{self._prefix}", None)
        return self._in_chat([*self._before, {"role": "user", "content": prompt}], self._prefix)

    def of_messages(self, messages: Sequence[Message], code: str) -> Rendered:
        """Render a prompt given as chat messages by the chat template; without one, join their contents.

        A last turn of the assistant is one that it has begun: its text follows where the answer begins.

        Raises:
            UnusableError: the messages do not go with `--num-fewshot` or `--system-instruction`.
            InputError: the chat template refuses them.
        """
        if self._chat is None:
            return Rendered(f"{contents(messages)}{self._prefix}", None)
        of = f"the prompt in {code} is chat messages"
        if self._num_shots:
            raise UnusableError(f"{of}, which --num-fewshot puts no examples in front of")
        if self._before and messages[0]["role"] in ("system", "developer"):
            raise UnusableError(f"{of} with a system message, and --system-instruction is another one")
        begun = ""
        if messages[-1]["role"] == "assistant":
            *messages, last = messages
            begun = last["content"]
        return self._in_chat([*self._before, *messages], begun + self._prefix)

    def _in_chat(self, messages: list[Message], behind: str) -> Rendered:
        """Messages in the chat format, followed by a text."""
        assert self._chat is not None
        # 0.03 ms a prompt with SmolLM2's template: no shortcut that a template could see through is worth it.
        text, own = rendered(self._chat, messages)
        if own is not None and behind:
            own = (*own, (len(text), len(text) + len(behind)))
        return Rendered(text + behind, own)
