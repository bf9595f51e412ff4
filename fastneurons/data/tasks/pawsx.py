"""PAWS-X: do two sentences mean the same? Seven languages, aligned by `id`.

In each language some translations are missing: the sentence is "NS". The Hub's copy leaves those rows out, so that
its rows do not correspond; ids do.
"""

from typing import Any, ClassVar

from fastneurons.data.places import Place
from fastneurons.data.readers.data_set import Record
from fastneurons.data.tasks.fields import AbsentError, key_text, text, whole_number
from fastneurons.data.tasks.forms import open_by_language
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Template

_PLACEHOLDER = "NS"


class PawsX(Task):
    """Paraphrase identification, by two sentences with many words in common."""

    name = "pawsx"
    about = "Do two sentences mean the same: yes or no?"
    fields: ClassVar = {
        "sentence1": "the first sentence",
        "sentence2": "the second sentence",
        "label": "1 where they mean the same, else 0",
        "gold": "the label as a number",
    }
    texts = ("sentence1", "sentence2")
    same = ("label",)
    aligned_by = "id; rows without a translation (NS) are left out"
    codes = ("en", "de", "es", "fr", "ja", "ko", "zh")
    scoring = "choice"
    sources = (
        "x-final.tar.gz (https://github.com/google-research-datasets/paws/tree/master/pawsx): its folder x-final,"
        " with de/test_2k.tsv, de/dev_2k.tsv, ... (id, sentence1, sentence2, label)",
        "Hub: google-research-datasets/paws-x, a configuration for each language",
    )

    def template(self, language: str) -> Template | None:
        """Both sentences, and a question."""
        return _TEMPLATES.get(language)

    def open(self, place: Place) -> Data:
        """See `Task.open`."""
        return open_by_language(
            self, place, _fields, _id, ("id", "sentence1", "sentence2"), config=str, split="test",
            example="x-final/de/test_2k.tsv",
        )  # fmt: skip

    def example(self) -> dict[str, dict[str, Any]]:
        """See `Task.example`."""
        return {
            "en": {
                "sentence1": "He left Rome for Paris.",
                "sentence2": "He left Paris for Rome.",
                "label": 0,
                "gold": 0,
            },
            "de": {
                "sentence1": "Er zog von Rom nach Paris.",
                "sentence2": "Er zog von Paris nach Rom.",
                "label": 0,
                "gold": 0,
            },
        }


def _id(record: Record) -> str:
    return key_text(record, "id")


def _fields(record: Record, language: str) -> dict[str, Any]:
    for name in ("sentence1", "sentence2"):
        value = record.fields.get(name)
        if isinstance(value, str) and value.strip() in (_PLACEHOLDER, ""):
            raise AbsentError("no translation (NS)")
    fields: dict[str, Any] = {name: text(record, name) for name in ("sentence1", "sentence2")}
    if record.fields.get("label") not in (None, ""):
        fields["label"] = fields["gold"] = whole_number(record, "label", range(2))
    return fields


_TEMPLATES = {
    "en": Template(
        "Sentence 1: {sentence1}\nSentence 2: {sentence2}\n"
        "Do the two sentences mean the same? Yes or no?\nAnswer:",
        choices=("No", "Yes"),
    ),
    "de": Template(
        "Satz 1: {sentence1}\nSatz 2: {sentence2}\nBedeuten die beiden Sätze dasselbe? Ja oder nein?\nAntwort:",
        choices=("Nein", "Ja"),
    ),
    "es": Template(
        "Oración 1: {sentence1}\nOración 2: {sentence2}\n"
        "¿Significan lo mismo las dos oraciones? ¿Sí o no?\nRespuesta:",
        choices=("No", "Sí"),
    ),
    "fr": Template(
        "Phrase 1 : {sentence1}\nPhrase 2 : {sentence2}\n"
        "Les deux phrases ont-elles le même sens ? Oui ou non ?\nRéponse :",
        choices=("Non", "Oui"),
    ),
    "ja": Template(
        "文1：{sentence1}\n文2：{sentence2}\n二つの文は同じ意味ですか。はい、それともいいえ？\n答え：",
        choices=("いいえ", "はい"),
    ),
    "ko": Template(
        "문장 1: {sentence1}\n문장 2: {sentence2}\n두 문장의 뜻이 같습니까? 예 또는 아니요?\n답:",
        choices=("아니요", "예"),
    ),
    "zh": Template(
        "句子1：{sentence1}\n句子2：{sentence2}\n两个句子的意思相同吗？是还是否？\n答案：",
        choices=("否", "是"),
    ),
}
