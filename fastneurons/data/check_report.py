"""A report on a task's data: findings with file and line, lengths of prompts, and last tokens shared by languages."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Kinds of findings, with what they mean. The first three are not measured.
KINDS = {
    "skipped": "rows that cannot be used",
    "incomplete": "examples that lack a language",
    "left out": "rows that the data set marks as unusable",
    "chat messages": "prompts given as chat messages, which are measured with --apply-chat-template alone; here their "
    "contents are counted",
    "numbered lines": "every line begins with its number and a tab, which are measured as part of the text; cut -f2- "
    "FILE leaves the text alone",
    "decomposed": "texts with decomposed characters (NFD), of which a tokenizer makes other and more tokens than of "
    "composed ones (NFC)",
    "wrong script": "texts that are not in their language's script",
    "same as English": "texts equal to the English ones",
    "duplicate": "texts that another example has too, once composed (NFC)",
    "own marks": "texts that begin with the mark that the tokenizer itself puts before a text",
    "broken characters": "texts that were decoded wrongly, or hold control characters or byte order marks",
    "answer same as English": "reference answers equal to the English ones",
}


@dataclass(frozen=True)
class Finding:
    """A suspicious row or text.

    Args:
        kind: One of `KINDS`.
        task: The task.
        id: The example.
        language: The language; None if it concerns all.
        where: File and line.
        detail: The details.
    """

    kind: str
    task: str
    id: str
    language: str | None
    where: str
    detail: str


@dataclass
class Lengths:
    """Lengths of the prompts of a language: how many of each."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, length: int) -> None:
        """Count one."""
        self.counts[length] += 1

    def summary(self) -> dict[str, float]:
        """Minimum, median, mean, 95th percentile, maximum and total; empty if there are none."""
        total = self.counts.total()
        if not total:
            return {}
        sum_ = sum(length * count for length, count in self.counts.items())
        return {
            "min": min(self.counts),
            "median": self._at(0.5),
            "mean": round(sum_ / total, 1),
            "p95": self._at(0.95),
            "max": max(self.counts),
            "total": sum_,
        }

    def _at(self, share: float) -> int:
        before, needed = 0, share * self.counts.total()
        for length in sorted(self.counts):
            before += self.counts[length]
            if before >= needed:
                return length
        raise AssertionError


@dataclass
class LanguageReport:
    """One language of a task."""

    prompts: int = 0
    characters: Lengths = field(default_factory=Lengths)
    tokens: Lengths = field(default_factory=Lengths)


@dataclass
class LastTokens:
    """The last tokens of the examples that have prompts in two languages or more.

    Args:
        examples: How many those are.
        all_same: In how many of them all languages end in the same token.
        languages: Their languages, added up.
        sharing: The sizes of the largest group of each one's languages that end in the same token, added up.
    """

    examples: int = 0
    all_same: int = 0
    languages: int = 0
    sharing: int = 0

    def add(self, last: Sequence[int]) -> None:
        """Count an example by the last token of each of its languages."""
        if len(last) < 2:
            return
        largest = Counter(last).most_common(1)[0][1]
        self.examples += 1
        self.all_same += largest == len(last)
        self.languages += len(last)
        self.sharing += largest

    def summary(self) -> dict[str, float] | None:
        """The same values as in a store's summary; None if there are no such examples."""
        if not self.examples:
            return None
        return {
            "examples": self.examples,
            "all_same": self.all_same / self.examples,
            "languages": self.languages / self.examples,
            "sharing": self.sharing / self.examples,
        }


@dataclass
class TaskReport:
    """One task.

    Args:
        task: Its name.
        place: Description of the data.
        languages: By short code.
        examples: Those that can be measured.
        with_answers: Those of them that have a reference answer in every language they are in.
        incomplete: Those that lack a language, measured or not.
        missing: How many lack each language.
        last_token: In how many languages prompts end in the same token.
        counts: How many findings there are of each kind.
        findings: The first of each kind, in the order of the source.
        notes: How the place's names were read, and what was left out.
    """

    task: str
    place: str
    languages: dict[str, LanguageReport]
    examples: int = 0
    with_answers: int = 0
    incomplete: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    last_token: LastTokens = field(default_factory=LastTokens)
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def to_builtins(self) -> dict[str, Any]:
        """The report as numbers and texts that JSON can hold."""
        return {
            "task": self.task,
            "place": self.place,
            "notes": list(self.notes),
            "examples": self.examples,
            "with_answers": self.with_answers,
            "incomplete": self.incomplete,
            "missing": dict(self.missing),
            "languages": {
                code: {
                    "prompts": report.prompts,
                    "characters": report.characters.summary(),
                    "tokens": report.tokens.summary() or None,
                }
                for code, report in self.languages.items()
            },
            "last_token": self.last_token.summary(),
            "counts": {kind: self.counts[kind] for kind in KINDS},
            "findings": [vars(finding) for finding in self.findings],
        }


def findings_by_kind(report: TaskReport) -> Iterator[tuple[str, list[Finding]]]:
    """The kinds that occurred, each with the findings that were kept."""
    for kind in KINDS:
        if report.counts[kind]:
            yield kind, [finding for finding in report.findings if finding.kind == kind]
