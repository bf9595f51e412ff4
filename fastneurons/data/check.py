"""Read all of a source before measuring it: count what it holds, and report what is suspicious, with file and line.

This needs no model; it needs a tokenizer for lengths in tokens.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from fastneurons.data.align import LeftOut
from fastneurons.data.check_report import Finding, LanguageReport, TaskReport
from fastneurons.data.example import Skipped
from fastneurons.data.first_seen import FirstSeen
from fastneurons.data.problems import UnusableError, one_line
from fastneurons.data.tasks.cases import Case, Incomplete
from fastneurons.data.tasks.source import TaskSource
from fastneurons.data.tasks.task import Task
from fastneurons.data.writing_systems import wrong_script
from fastneurons.errors import InputError

# U+FFFD; U+FEFF; control characters; UTF-8 that was read as Latin-1 ("Ã©", "â€™").
_BROKEN = re.compile(
    "[\ufffd\ufeff]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]|Ã[\x80-\xbf¡-¿]|â€[\x80-\u2122]"
)
_NUMBERED = re.compile(r"\d+\t")
_BATCH = 256


class Counted(NamedTuple):
    """A prompt in tokens.

    Args:
        ids: As a run sends them.
        own_mark: The mark that it begins with by itself, where the tokenizer would have put one; empty if none.
    """

    ids: Sequence[int]
    own_mark: str = ""


Tokenize = Callable[[list[str]], Iterable[Counted]]


def check_data(source: TaskSource, tokenize: Tokenize | None = None, keep: int = 1000) -> list[TaskReport]:
    """Read a source from end to end.

    Lengths are those of the prompts as they would be measured, few-shot examples and chat format included. What
    is suspicious is looked for in the data's own texts, which templates would hide.

    Args:
        source: The tasks; `--select`, `--shuffle`, `--skip` and `--limit` are not looked at.
        tokenize: Counts the tokens of prompts.
        keep: Findings of each kind and task that are kept with file and line; all are counted.
    Returns:
        A report for each task. Memory: 12 to 24 bytes for each text, and the findings that are kept.
    Raises:
        InputError: a file fails.
    """
    checks = {
        name: _TaskCheck(source, name, place, tokenize, keep) for name, place in source.places().items()
    }
    for task, row in source.cases():
        checks[task.name].add(task, row)
    for name, check in checks.items():
        check.finish()
        count = source.counts[name]
        check.report.notes = source.remarks_on(name)
        check.report.incomplete, check.report.missing = count.incomplete, dict(count.missing)
    if any(check.duplicates for check in checks.values()):
        _find_first(source, checks)
    return [check.report for check in checks.values()]


class _TaskCheck:
    """Checks the rows of one task as they come."""

    def __init__(
        self, source: TaskSource, task: str, place: str, tokenize: Tokenize | None, keep: int
    ) -> None:
        self.report = TaskReport(task, place, {code: LanguageReport() for code in source.languages})
        self.duplicates: list[
            tuple[Finding, int]
        ] = []  # with the number of the example that has the text first
        self._source = source
        self._tokenize = tokenize
        self._keep = keep
        self._batch: list[tuple[Case, str, str]] = []
        self._texts = {code: FirstSeen() for code in source.languages}
        # For each language whose texts have all begun with a number and a tab: how many, and the first.
        self._numbered: dict[str, tuple[int, str, str]] = {}
        self._not_numbered: set[str] = set()

    def add(self, task: Task, row: Case | Skipped | LeftOut | Incomplete) -> None:
        if isinstance(row, Skipped):
            self._found("skipped", row.id, None, row.where, row.reason)
        elif isinstance(row, LeftOut):
            self._found("left out", row.key, row.language, row.where, row.reason)
        elif isinstance(row, Incomplete):
            self._found("incomplete", row.key, None, row.where, f"no {', '.join(row.missing)}")
        else:
            self._case(task, row)

    def _case(self, task: Task, case: Case) -> None:
        report, example = self.report, case.example
        try:
            finished = self._source.finished(case)
        except (InputError, UnusableError) as error:
            if not example.messages:
                raise
            self._found("skipped", example.id, None, example.where, str(error))
            return
        missing = [code for code in report.languages if code not in example.prompts] if task.parallel else []
        if missing:  # measured all the same, with --allow-missing
            self._found("incomplete", example.id, None, example.where, f"no {', '.join(missing)}")
        report.examples += 1
        report.with_answers += set(example.answers) >= set(example.prompts)
        for code, prompt in finished.prompts.items():
            report.languages[code].prompts += 1
            report.languages[code].characters.add(len(prompt))
            if self._tokenize is not None:
                self._batch.append((case, code, prompt))
        if len(self._batch) >= _BATCH:
            self.end()
        if example.messages and not self._source.options.apply_chat_template:
            self._found("chat messages", example.id, None, example.where, f"in {', '.join(example.messages)}")
        pieces = case.pieces
        texts = {
            code: "\n".join(str(piece.fields[name]) for name in task.texts if piece.fields.get(name))
            for code, piece in pieces.items()
        }
        if task.texts == ("text",):
            for code, text in texts.items():
                self._number(case, code, text)
        for code, text in texts.items():
            self._text(case, code, text)
            if code != "en" and text == texts.get("en") and any(character.isalpha() for character in text):
                self._at("same as English", case, code, text)
            if task.scoring == "exact-match" and code != "en" and task.answer_language(code) == code:
                answer = example.answers.get(code)
                if answer is not None and answer == example.answers.get("en") and not answer.isdecimal():
                    self._at("answer same as English", case, code, answer)

    def _number(self, case: Case, code: str, text: str) -> None:
        """Keep track of languages whose texts so far all begin with a number and a tab."""
        if code in self._not_numbered:
            return
        if _NUMBERED.match(text) is None:
            self._not_numbered.add(code)
            self._numbered.pop(code, None)
            return
        count, where, first = self._numbered.get(code, (0, case.pieces[code].where, _short(text)))
        self._numbered[code] = count + 1, where, first

    def _text(self, case: Case, code: str, text: str) -> None:
        composed = text if text.isascii() else unicodedata.normalize("NFC", text)
        if len(composed) < len(text):
            self._at(
                "decomposed", case, code, f"{len(text):,} characters, {len(composed):,} composed: {text}"
            )
            text = composed
        if script := wrong_script(text, code):
            self._at("wrong script", case, code, f"{script}: {text}")
        if match := _BROKEN.search(text):
            around = text[max(0, match.start() - 15) : match.end() + 15]
            self._at("broken characters", case, code, repr(around))
        number = self.report.examples
        first = self._texts[code].of(text, number)
        if first:
            finding = self._at("duplicate", case, code, text)
            if finding is not None:
                self.duplicates.append((finding, first))

    def end(self) -> None:
        """Count the tokens of the prompts collected so far."""
        if self._tokenize is not None and self._batch:
            counted = self._tokenize([prompt for _, _, prompt in self._batch])
            last: dict[int, list[int]] = {}
            for (case, code, prompt), found in zip(self._batch, counted, strict=True):
                self.report.languages[code].tokens.add(len(found.ids))
                if found.ids:
                    last.setdefault(id(case), []).append(found.ids[-1])
                if found.own_mark:
                    self._at(
                        "own marks",
                        case,
                        code,
                        f"{found.own_mark}, which is not put before it again: {prompt}",
                    )
            for tokens in last.values():
                self.report.last_token.add(tokens)
        self._batch.clear()

    def finish(self) -> None:
        """Report findings that only the end of the source shows."""
        self.end()
        for code, (count, where, first) in self._numbered.items():
            if count > 1:  # one may well begin so
                self._found("numbered lines", "", code, where, first)

    def _at(self, kind: str, case: Case, code: str, text: str) -> Finding | None:
        return self._found(kind, case.example.id, code, case.pieces[code].where, _short(text))

    def _found(self, kind: str, id: str, language: str | None, where: str, detail: str) -> Finding | None:
        self.report.counts[kind] += 1
        if self.report.counts[kind] > self._keep:
            return None
        finding = Finding(kind, self.report.task, one_line(id), language, where, detail)
        self.report.findings.append(finding)
        return finding


def _find_first(source: TaskSource, checks: Mapping[str, _TaskCheck]) -> None:
    """Name the file and line of the first for each duplicate: a second reading, as holding them all takes memory."""
    wanted = {(name, number) for name, check in checks.items() for _, number in check.duplicates}
    firsts: dict[tuple[str, int], dict[str, str]] = {}
    numbers: Counter[str] = Counter()
    for task, row in source.cases():
        if isinstance(row, Case):
            numbers[task.name] += 1
            if (task.name, numbers[task.name]) in wanted:
                firsts[task.name, numbers[task.name]] = {
                    code: piece.where for code, piece in row.pieces.items()
                }
                if len(firsts) == len(wanted):
                    break
    for name, check in checks.items():
        where = {
            id(finding): firsts[name, number].get(finding.language or "", "")
            for finding, number in check.duplicates
        }
        check.report.findings = [
            Finding(**{**vars(one), "detail": f"as in {where[id(one)]}: {one.detail}"})
            if id(one) in where
            else one
            for one in check.report.findings
        ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
