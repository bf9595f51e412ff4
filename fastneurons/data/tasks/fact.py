"""mParaRel: facts of Wikidata, asked for by the start of a sentence that they complete.

The data set has patterns ("the capital of [X] is [Y]") and tuples (Azerbaijan, Baku) for each relation and
language. Tuples are aligned by relation and both Wikidata ids; patterns are not aligned, and are made for models
that fill a gap: where [Y] does not come last, what would follow it is cut off, and where it comes before [X] the
prompt would lack its subject. So one pattern is taken for each relation and language, by these rules in turn:

1. [Y] comes last, full stops aside; else [Y] comes after [X] (`[X]の首都は[Y]です`: the rest is cut off);
   else the sentence is given with a gap, and asked for: `___ is the capital of Azerbaijan. ___ =`;
2. it was checked by a human;
3. its wording is most like that of the relation's other patterns, which leaves mistranslations aside.

The Hub's `coastalcph/mpararel_autorr` has the sentences filled in; its first template of each relation counts.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from fastneurons.data.align import Aligned, LeftOut, by_key
from fastneurons.data.example import Skipped
from fastneurons.data.places import Place
from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.columns import Records, first_record, has, wrong_form
from fastneurons.data.tasks.fields import checked_text, text
from fastneurons.data.tasks.forms import Long, pieces
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Template
from fastneurons.errors import InputError, printable
from fastneurons.languages import short_code

_FILE = re.compile(
    r"(?:^|(?P<root>.*)/)(?P<kind>patterns|tuples)/(?P<language>[^/]+)/(?P<relation>P\d+)\.jsonl"
)
_STOPS = " \t.。．।؟?!…"


class Fact(Task):
    """Facts of 36 to 38 relations in up to 46 languages."""

    name = "fact"
    about = "How does a sentence that states a fact go on?"
    fields: ClassVar = {
        "query": "the sentence up to the answer",
        "subject": "what the fact is about",
        "object": "the answer",
        "relation": "Wikidata's number of the relation: P36 is the capital",
        "pattern": "the pattern that the sentence was made by",
        "form": "final, cut or gap: which of the three ways to ask it is",
    }
    texts = ("query", "subject", "object")
    aligned_by = "relation, sub_uri and obj_uri"
    scoring = "exact-match"
    sources = (
        "https://github.com/coastalcph/mpararel: its folder data/mpararel_reviewed, with patterns/de/P36.jsonl, "
        "tuples/de/P36.jsonl, ...",
        "Hub: coastalcph/mpararel_autorr",
    )

    def template(self, language: str) -> Template | None:
        """The sentence itself, which the data has in every language."""
        return Template("{query}", answer="{object}")

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        if place.is_hub:
            return _filled_in(self, place.read(split="train"), place)
        files = _files(place)
        if not files:
            paths = place.files()
            if len(paths) == 1 or not place.is_folder or all(path.endswith(".parquet") for path in paths):
                return _filled_in(self, place.read(), place)
            raise InputError(
                f"{self.name}: {place.location} has no files like patterns/de/P36.jsonl and tuples/de/P36.jsonl; "
                "point --data at mParaRel's folder data/mpararel_reviewed"
            )
        return _Folder(place, files)

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {"query": "The capital of Azerbaijan is", "subject": "Azerbaijan", "object": "Baku"},
            "ja": {"query": "アゼルバイジャンの首都は", "subject": "アゼルバイジャン", "object": "バクー"},
        }


# -- patterns and tuples -------------------------------------------------------------------------------

_Paths = dict[str, dict[str, tuple[str, str]]]  # relation, language: patterns, tuples


def _files(place: Place) -> _Paths:
    """The files of each relation and language that has both patterns and tuples.

    Raises:
        InputError: they lie in several folders, or one language's in two.
    """
    roots: dict[str, dict[tuple[str, str, str], str]] = {}
    for path in place.files():
        if match := _FILE.fullmatch(place.relative(path).removesuffix(".gz").removesuffix(".zst")):
            code = short_code(match["language"])
            if code is not None:
                own = roots.setdefault(match["root"] or "", {})
                if other := own.get((match["relation"], code, match["kind"])):
                    raise InputError(
                        f"{place.location} has {place.relative(other)} and {place.relative(path)}, both in {code}; "
                        "remove one of them"
                    )
                own[match["relation"], code, match["kind"]] = path
    if len(roots) > 1:
        reviewed = [root for root in roots if root.endswith("mpararel_reviewed")]
        if len(reviewed) != 1:
            raise InputError(
                f"{place.location} has patterns and tuples in several folders: {', '.join(sorted(roots))}; "
                "point --data at the one that is meant"
            )
        roots = {reviewed[0]: roots[reviewed[0]]}
    found: _Paths = {}
    for paths in roots.values():
        for relation, code, kind in sorted(paths, key=lambda key: (int(key[0][1:]), key)):
            if kind == "patterns" and (relation, code, "tuples") in paths:
                both = paths[relation, code, "patterns"], paths[relation, code, "tuples"]
                found.setdefault(relation, {})[code] = both
    return found


class _Folder(Data):
    """The published folder: one relation after the other, its languages read side by side."""

    def __init__(self, place: Place, files: _Paths) -> None:
        self._place = place
        self._files = files
        counts = Counter(code for languages in files.values() for code in languages)
        # English first, then those that have the most relations.
        self.languages = tuple(sorted(counts, key=lambda code: (code != "en", -counts[code], code)))
        self.describe = place.describe()
        self._patterns: dict[tuple[str, str], _Pattern | None] = {}

    def aligned(self, languages: Sequence[str]) -> Iterator[Aligned | LeftOut | Skipped]:
        for relation, files in self._files.items():
            there = [code for code in languages if code in files]
            streams = []
            for code in there:
                patterns, tuples = files[code]
                if (relation, code) not in self._patterns:
                    self._patterns[relation, code] = chosen_pattern(self._place.read(patterns))
                pattern = self._patterns[relation, code]
                if pattern is None:
                    yield Skipped(
                        "", f"{printable(patterns)}:1", f"no pattern of {relation} has both [X] and [Y]"
                    )
                    continue
                fields = _tuple_fields(relation, pattern)
                streams.append(pieces(self._place.read(tuples), code, fields, _tuple_key(relation)))
            if streams:
                yield from by_key(streams, languages)


def _tuple_key(relation: str) -> Callable[[Record], str]:
    return lambda record: f"{relation}/{text(record, 'sub_uri')}/{text(record, 'obj_uri')}"


def _tuple_fields(relation: str, pattern: "_Pattern") -> Callable[[Record, str], dict[str, Any]]:
    def fields(record: Record, language: str) -> dict[str, Any]:
        subject, answer = text(record, "sub_label"), text(record, "obj_label")
        return {
            "query": pattern.query.replace("[X]", subject),
            "subject": subject,
            "object": answer,
            "relation": relation,
            "pattern": pattern.text,
            "form": pattern.form,
        }

    return fields


@dataclass(frozen=True)
class _Pattern:
    """A pattern, and the part of it that is asked, with [X] for the subject."""

    text: str
    query: str
    form: str


_FORMS = ("final", "cut", "gap")


def chosen_pattern(records: Records) -> "_Pattern | None":
    """The pattern of a relation for asking a causal model, by the rules above; None if none will do."""
    patterns: list[tuple[_Pattern, bool]] = []
    for record in records:
        if isinstance(record, Skipped):
            continue
        words = record.fields.get("pattern")
        if isinstance(words, str) and words.count("[X]") == 1 and words.count("[Y]") == 1:
            patterns.append((_asked(words.strip()), bool(record.fields.get("checked-by-human"))))
    if not patterns:
        return None
    pairs = [_pairs(pattern.text) for pattern, _ in patterns]
    common = Counter(pair for own in pairs for pair in own)

    def rank(index: int) -> tuple[int, bool, float, int]:
        pattern, checked = patterns[index]
        own = _pairs(pattern.query)
        typical = sum(common[pair] for pair in own) / len(own) if own else 0.0
        return _FORMS.index(pattern.form), not checked, -round(typical, 9), index

    return patterns[min(range(len(patterns)), key=rank)][0]


def _asked(pattern: str) -> _Pattern:
    before, _, after = pattern.partition("[Y]")
    if "[X]" in before:
        form = "final" if not after.strip(_STOPS) else "cut"
        return _Pattern(pattern, before.rstrip(), form)
    sentence = pattern.replace("[Y]", "___").rstrip(_STOPS)
    return _Pattern(pattern, f"{sentence}. ___ =", "gap")


def _pairs(pattern: str) -> set[str]:
    """Neighbouring characters of a pattern's own words: a measure of likeness that needs no spaces."""
    words = pattern.replace("[X]", " ").replace("[Y]", " ").casefold()
    return {pair for a, b in pairwise(words) if not (pair := a + b).isspace()}


# -- sentences filled in -------------------------------------------------------------------------------


def _filled_in(task: Task, records: Records, place: Place) -> Data:
    first = first_record(records, place.location)
    needed = ("language", "relation", "query", "sub_uri", "obj_uri", "obj_label")
    if not has(first, *needed):
        raise wrong_form(task, first, f"{', '.join(needed)}, or mParaRel's folders patterns and tuples")
    languages = {code: None for row in records if (code := _language(row)) is not None}
    ordered = sorted(languages, key=lambda code: (code != "en", code))
    return Long(
        _FirstTemplates(records),
        _language,
        _filled_fields,
        _filled_key,
        tuple(ordered),
        place.describe("train"),
    )


def _language(row: Record | Skipped) -> str | None:
    if isinstance(row, Skipped):
        return None
    value = row.fields.get("language")
    return short_code(value) if isinstance(value, str) else None


class _FirstTemplates:
    """Keep the first way to ask for a fact of each relation and language."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __iter__(self) -> Iterator[Record | Skipped]:
        first: dict[tuple[Any, Any], Any] = {}
        for row in self._records:
            if isinstance(row, Record):
                group = (row.fields.get("language"), row.fields.get("relation"))
                template = row.fields.get("template_id", row.fields.get("template"))
                if first.setdefault(group, template) != template:
                    continue
            yield row


def _filled_key(record: Record) -> str:
    return "/".join(text(record, name) for name in ("relation", "sub_uri", "obj_uri"))


def _filled_fields(record: Record, language: str) -> dict[str, Any]:
    labels = record.fields.get("obj_label")
    answer = labels[0] if isinstance(labels, Sequence) and not isinstance(labels, str) and labels else labels
    answer = checked_text(answer, "obj_label")
    fields: Mapping[str, Any] = record.fields
    query = text(record, "query").partition("[Y]")[0].rstrip()
    if not query:
        raise UnusableError("the query has nothing before [Y]")
    return {
        "query": query,
        "subject": _optional(fields.get("sub_label")),
        "object": answer,
        "relation": text(record, "relation"),
        "pattern": _optional(fields.get("template")),
        "form": "final",
    }


def _optional(value: Any) -> str:
    """An optional text; any other value in its place is ignored."""
    return value if isinstance(value, str) else ""
