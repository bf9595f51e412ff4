"""XNLI: does a claim follow from a statement? The same pairs in 15 languages.

Forms: the original's TSV or JSONL, all languages in one file, aligned by `pairID`; the Hub's `all_languages`, a
row an example; and a file or configuration for each language, aligned by row (the Hub's, and XTREME's TSV
without a header).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from fastneurons.data.place_files import notes_on_varieties, sorted_files
from fastneurons.data.places import Chained, Place
from fastneurons.data.problems import UnusableError
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.columns import (
    Records,
    first_record,
    has,
    needs_folder,
    width_without_header,
    wrong_form,
)
from fastneurons.data.tasks.fields import AbsentError, by_code, key_text, text
from fastneurons.data.tasks.forms import Long, PerLanguage, Wide
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Template
from fastneurons.languages import codes_of, short_code

LABELS = ("entailment", "neutral", "contradiction")


class Xnli(Task):
    """Natural language inference, by statement and claim."""

    name = "xnli"
    about = "Does a claim follow from a statement: yes, maybe or no?"
    fields: ClassVar = {
        "premise": "the statement",
        "hypothesis": "the claim",
        "label": "entailment, neutral or contradiction",
        "gold": "the label as a number: 0, 1, 2",
        "genre": "where the statement is from, in the original's files",
    }
    texts = ("premise", "hypothesis")
    same = ("label",)
    aligned_by = "pairID in the original's files, the row elsewhere"
    codes = ("en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
    scoring = "choice"
    sources = (
        "XNLI-1.0.zip (https://cims.nyu.edu/~sbowman/xnli/): xnli.test.tsv, xnli.dev.tsv or .jsonl",
        "Hub: facebook/xnli, its all_languages configuration",
        "XTREME: a folder with test-de.tsv, test-en.tsv, ... (premise, hypothesis, label; no header)",
        "any folder with a file for each language and the columns premise, hypothesis, label",
    )

    def template(self, language: str) -> Template | None:
        """Statement, claim, and the three answers."""
        return _TEMPLATES.get(language)

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        if place.is_hub:
            records: Records = place.read(config="all_languages", split="test")
            return self._whole(place, records, place.describe("test"))
        files = sorted_files(place)
        if len(files.by_language) > 1:
            data = self._per_language(place, files.by_language, files.split)
        else:
            paths = files.others or tuple(path for paths in files.by_language.values() for path in paths)
            data = self._whole(place, Chained(place, paths), place.describe(files.split))
        data.notes += files.notes
        return data

    def _whole(self, place: Place, records: Records, describe: str) -> Data:
        first = first_record(records, place.location)
        if has(first, "sentence1", "sentence2", "language"):
            return Long(records, _language, _original_fields, _pair_id, self.codes, describe)
        if has(first, "premise", "hypothesis"):
            if isinstance(first.fields["premise"], dict):
                keys = codes_of(first.fields["premise"], f"{first.where} has the premises")
                wide = Wide(records, _all_languages, tuple(keys), describe)
                wide.notes = notes_on_varieties(keys.values())
                return wide
            raise needs_folder(self, place, (), "de/test.parquet or test-de.tsv")
        if len([name for name in first.fields if short_code(str(name))]) > 1:
            raise wrong_form(
                self, first, "premise, hypothesis and label; for sentences alone, --tasks parallel"
            )
        raise wrong_form(
            self, first, "language, gold_label, sentence1, sentence2, pairID, or premise, hypothesis, label"
        )

    def _per_language(self, place: Place, paths: dict[str, tuple[str, ...]], split: str | None) -> Data:
        parts: dict[str, Records] = {}
        for code, own in paths.items():
            # XTREME's files: two columns where labels are kept back.
            width = width_without_header(own[0], "premise")
            columns = ("premise", "hypothesis", "label")[:width] if width in (2, 3) else None
            records: Records = Chained(place, own, columns)
            first = first_record(records, own[0])
            if not has(first, "premise", "hypothesis"):
                raise wrong_form(self, first, "premise, hypothesis, label")
            parts[code] = records
        return PerLanguage(parts, _fields, None, place.location, place.describe(split))

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {
                "premise": "The shop closes at six.",
                "hypothesis": "At seven the shop is shut.",
                "gold": 0,
            },
            "de": {
                "premise": "Der Laden schließt um sechs.",
                "hypothesis": "Um sieben ist der Laden zu.",
                "gold": 0,
            },
        }


def _language(record: Record) -> str | None:
    return short_code(str(record.fields.get("language", "")))


def _pair_id(record: Record) -> str:
    return key_text(record, "pairID")


def _original_fields(record: Record, language: str) -> dict[str, Any]:
    label = text(record, "gold_label")
    if label == "-":
        raise AbsentError("its annotators did not agree on a label (gold_label is -)")
    fields = {
        "premise": text(record, "sentence1"),
        "hypothesis": text(record, "sentence2"),
        **_label(label),
    }
    if isinstance(genre := record.fields.get("genre"), str) and genre:
        fields["genre"] = genre
    return fields


def _fields(record: Record, language: str) -> dict[str, Any]:
    return {
        "premise": text(record, "premise"),
        "hypothesis": text(record, "hypothesis"),
        **_label(record.fields.get("label")),
    }


def _label(value: Any) -> dict[str, Any]:
    """`label` and `gold` from a word or a number; nothing where the data has no labels (-1 on the Hub)."""
    if value is None or value in ("", -1, "-1"):
        return {}
    name = str(value).strip()
    if name.isdecimal() and int(name) < len(LABELS):
        name = LABELS[int(name)]
    name = {"contradictory": "contradiction"}.get(name, name)  # XNLI's translated training data
    if name not in LABELS:
        raise UnusableError(f"the label is {name[:40]!r}; it must be {', '.join(LABELS)} or 0 to 2")
    return {"label": name, "gold": LABELS.index(name)}


def _all_languages(record: Record, languages: Sequence[str]) -> tuple[str, dict[str, dict[str, Any]]]:
    premises = by_code(record.fields.get("premise"), "premise")
    hypotheses = by_code(record.fields.get("hypothesis"), "hypothesis")
    label = _label(record.fields.get("label"))
    return "", {
        code: {"premise": premises[code], "hypothesis": hypotheses[code], **label}
        for code in languages
        if code in premises and code in hypotheses
    }


_TEMPLATES = {
    "en": Template(
        "Statement: {premise}\nClaim: {hypothesis}\n"
        "Does the claim follow from the statement? Yes, maybe or no?\nAnswer:",
        choices=("Yes", "Maybe", "No"),
    ),
    "de": Template(
        "Aussage: {premise}\nBehauptung: {hypothesis}\n"
        "Folgt die Behauptung aus der Aussage? Ja, vielleicht oder nein?\nAntwort:",
        choices=("Ja", "Vielleicht", "Nein"),
    ),
    "es": Template(
        "Enunciado: {premise}\nAfirmación: {hypothesis}\n"
        "¿Se deduce la afirmación del enunciado? ¿Sí, quizás o no?\nRespuesta:",
        choices=("Sí", "Quizás", "No"),
    ),
    "fr": Template(
        "Énoncé : {premise}\nAffirmation : {hypothesis}\n"
        "L'affirmation découle-t-elle de l'énoncé ? Oui, peut-être ou non ?\nRéponse :",
        choices=("Oui", "Peut-être", "Non"),
    ),
    "el": Template(
        "Πρόταση: {premise}\nΙσχυρισμός: {hypothesis}\n"
        "Προκύπτει ο ισχυρισμός από την πρόταση; Ναι, ίσως ή όχι;\nΑπάντηση:",
        choices=("Ναι", "Ίσως", "Όχι"),
    ),
    "bg": Template(
        "Изречение: {premise}\nТвърдение: {hypothesis}\n"
        "Следва ли твърдението от изречението? Да, може би или не?\nОтговор:",
        choices=("Да", "Може би", "Не"),
    ),
    "ru": Template(
        "Высказывание: {premise}\nУтверждение: {hypothesis}\n"
        "Следует ли утверждение из высказывания? Да, возможно или нет?\nОтвет:",
        choices=("Да", "Возможно", "Нет"),
    ),
    "tr": Template(
        "İfade: {premise}\nİddia: {hypothesis}\n"
        "Bu iddia ifadeden çıkarılabilir mi? Evet, belki ya da hayır?\nCevap:",
        choices=("Evet", "Belki", "Hayır"),
    ),
    "ar": Template(
        "النص: {premise}\nالادعاء: {hypothesis}\nهل يُستنتج الادعاء من النص؟ نعم أم ربما أم لا؟\nالجواب:",
        choices=("نعم", "ربما", "لا"),
    ),
    "ur": Template(
        "بیان: {premise}\nدعویٰ: {hypothesis}\nکیا یہ دعویٰ بیان سے اخذ ہوتا ہے؟ ہاں، شاید یا نہیں؟\nجواب:",
        choices=("ہاں", "شاید", "نہیں"),
    ),
    "hi": Template(
        "कथन: {premise}\nदावा: {hypothesis}\nक्या यह दावा कथन से निकलता है? हाँ, शायद या नहीं?\nउत्तर:",
        choices=("हाँ", "शायद", "नहीं"),
    ),
    "sw": Template(
        "Kauli: {premise}\nDai: {hypothesis}\n"
        "Je, dai hili linatokana na kauli hiyo? Ndiyo, labda au hapana?\nJibu:",
        choices=("Ndiyo", "Labda", "Hapana"),
    ),
    "th": Template(
        "ข้อความ: {premise}\nข้ออ้าง: {hypothesis}\nข้ออ้างนี้สรุปได้จากข้อความหรือไม่ ใช่ อาจจะ หรือไม่ใช่\nคำตอบ:",
        choices=("ใช่", "อาจจะ", "ไม่ใช่"),
    ),
    "vi": Template(
        "Phát biểu: {premise}\nKhẳng định: {hypothesis}\n"
        "Từ phát biểu trên, khẳng định này có đúng không? Đúng, có thể hay sai?\nTrả lời:",
        choices=("Đúng", "Có thể", "Sai"),
    ),
    "zh": Template(
        "陈述：{premise}\n断言：{hypothesis}\n从陈述能推出断言吗？是、可能还是否？\n答案：",
        choices=("是", "可能", "否"),
    ),
}
