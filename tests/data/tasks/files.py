"""Small data sets in the form of the real ones: their names, columns and quirks, with sentences of our own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

XNLI_COLUMNS = [
    "language",
    "gold_label",
    "sentence1_binary_parse",
    "sentence2_binary_parse",
    "sentence1_parse",
    "sentence2_parse",
    "sentence1",
    "sentence2",
    "promptID",
    "pairID",
    "genre",
    "label1",
    "label2",
    "label3",
    "label4",
    "label5",
    "sentence1_tokenized",
    "sentence2_tokenized",
    "match",
]

# Three premises' worth of pairs: pairID, label, and both sentences by language.
XNLI = {
    "1": ("neutral", {
        "en": ('She said, "it rains".', "She is wet."),
        "de": ('Sie sagte: "Es regnet".', "Sie ist nass."),
        "th": ("เธอบอกว่าฝนตก", "เธอเปียก"),
    }),
    "2": ("contradiction", {
        "en": ('She said, "it rains".', "The sky is clear."),
        "de": ('Sie sagte: "Es regnet".', "Der Himmel ist klar."),
        "th": ("เธอบอกว่าฝนตก", "ท้องฟ้าแจ่มใส"),
    }),
    "3": ("entailment", {
        "en": ("All trains are late.", "No train is on time."),
        "de": ("Alle Züge haben Verspätung.", "Kein Zug ist pünktlich."),
        "th": ("รถไฟทุกขบวนล่าช้า", "ไม่มีรถไฟขบวนใดตรงเวลา"),
    }),
}  # fmt: skip


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    """A TSV as the real ones are: no quoting, lines end in a newline."""
    return write(path, "".join("\t".join(str(cell) for cell in row) + "\n" for row in rows))


def lines(path: Path, rows: Sequence[Any]) -> Path:
    """A JSONL file."""
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def xnli_row(language: str, pair: str, label: str, premise: str, hypothesis: str) -> list[str]:
    values = dict.fromkeys(XNLI_COLUMNS, "")
    values |= {
        "language": language, "gold_label": label, "sentence1": premise, "sentence2": hypothesis,
        "promptID": "1", "pairID": pair, "genre": "facetoface", "label1": label, "match": "True",
        "sentence1_tokenized": premise, "sentence2_tokenized": hypothesis,
    }  # fmt: skip
    return [values[name] for name in XNLI_COLUMNS]


def xnli_original(folder: Path, order: Mapping[str, Sequence[str]] | None = None) -> Path:
    """XNLI-1.0: one file, a block a language, each block in an order of its own."""
    order = order or {"de": ["2", "1", "3"], "en": ["1", "2", "3"], "th": ["3", "1", "2"]}
    rows = [XNLI_COLUMNS]
    for language, pairs in order.items():
        rows += [xnli_row(language, pair, XNLI[pair][0], *XNLI[pair][1][language]) for pair in pairs]
    table(folder / "xnli.test.tsv", rows)
    table(folder / "xnli.dev.tsv", rows[:1] + rows[-1:])
    write(folder / "README.md", "The data set.")
    return folder


def xnli_all_languages(path: Path) -> Path:
    """The Hub's form, as JSONL: a struct for the premise, two lists for the hypothesis."""
    return lines(path, [
        {
            "premise": {code: pair[0] for code, pair in texts.items()},
            "hypothesis": {"language": list(texts), "translation": [pair[1] for pair in texts.values()]},
            "label": ["entailment", "neutral", "contradiction"].index(label),
        }
        for label, texts in XNLI.values()
    ])  # fmt: skip


def xnli_xtreme(folder: Path, labels: bool = True) -> Path:
    """XTREME's form: a TSV a language, aligned by row, without a header; its test files without labels."""
    for language in ("en", "de", "th"):
        rows = [[*texts[language], *([label] if labels else [])] for label, texts in XNLI.values()]
        table(folder / f"dev-{language}.tsv", rows)
    return folder


FACTS = {
    "P36": {
        "en": [("Q227", "Q9248", "Azerbaijan", "Baku"), ("Q142", "Q90", "France", "Paris"),
               ("Q183", "Q64", "Germany", "Berlin")],
        "ja": [("Q183", "Q64", "ドイツ", "ベルリン"), ("Q227", "Q9248", "アゼルバイジャン", "バクー")],
        "ru": [("Q142", "Q90", "Франция", "Париж"), ("Q227", "Q9248", "Азербайджан", "Баку"),
               ("Q183", "Q64", "Германия", "Берлин")],
    },
    "P37": {
        "en": [("Q142", "Q150", "France", "French")],
        "ru": [("Q142", "Q150", "Франция", "французский")],
    },
}  # fmt: skip
PATTERNS = {
    "P36": {
        "en": [("[Y] is the capital of [X].", True), ("the capital of [X] is [Y]", True)],
        # The first is a mistranslation: "the capital (money) of [X]".
        "ja": [("[X]の資本は[Y]です", False), ("[X]の首都は[Y]です", False), ("[X]の首都、[Y]", False),
               ("[Y]、[X]の首都", False), ("[X]、首都は[Y]", False)],
        "ru": [("[Y] является столицей [X].", False)],
    },
    "P37": {
        "en": [("The official language of [X] is [Y].", True)],
        "ru": [("Официальный язык [X] — [Y].", False)],
    },
}  # fmt: skip


def mpararel(folder: Path) -> Path:
    """mParaRel's folder, with everything but ASCII escaped, as it is published."""
    for relation, languages in FACTS.items():
        for language, facts in languages.items():
            tuples = [
                {"sub_uri": s, "obj_uri": o, "obj_label": answer, "sub_label": subject, "lineid": number}
                for number, (s, o, subject, answer) in enumerate(facts)
            ]
            escaped = "".join(json.dumps(row) + "\n" for row in tuples)
            write(folder / "tuples" / language / f"{relation}.jsonl", escaped)
    for relation, languages in PATTERNS.items():
        for language, patterns in languages.items():
            rows = [{"pattern": text, "checked-by-human": checked} for text, checked in patterns]
            escaped = "".join(json.dumps(row) + "\n" for row in rows)
            write(folder / "patterns" / language / f"{relation}.jsonl", escaped)
    return folder


MZSRE = [
    {
        "en": ("Who built the bridge?", "Anna Berg", "Which person built the bridge?"),
        "de": ("Wer hat die Brücke gebaut?", "Anna Berg", "Welche Person baute die Brücke?"),
        "zh": ("谁建造了这座桥？", "安娜·贝格", "这座桥是哪个人建造的？"),
    },
    {
        "en": ("Where is the mill?", "In Bergen", "What place is the mill in?"),
        "de": ("Wo steht die Mühle?", "In Bergen", "An welchem Ort steht die Mühle?"),
        "zh": ("磨坊在哪里？", "在卑尔根", "磨坊位于什么地方？"),
    },
]


def mzsre_block(language: str, row: Mapping[str, tuple[str, str, str]]) -> dict[str, Any]:
    src, alt, rephrase = row[language]
    prefix = "nq question: " if language == "en" else ""
    return {
        "subject": "x", "src": src, "rephrase": rephrase, "alt": alt, "loc": f"{prefix}unrelated {language}",
        "loc_ans": "nothing", "portability": {"New Question": f"further {language}", "New Answer": "yes"},
    }  # fmt: skip


def mzsre(
    folder: Path, pairs: Sequence[tuple[str, str]] = (("en", "du"), ("en", "zh"), ("zh", "en"))
) -> Path:
    """MzsRE's folder: a JSON list for each pair of languages; `du` is written where Dutch is meant, as it is there."""
    for first, second in pairs:
        rows = [
            {code: mzsre_block({"du": "de"}.get(code, code), row) for code in (first, second)}
            for row in MZSRE
        ]
        path = folder / f"mzsre_test_duplicate_{first}{second}.json"
        write(path, json.dumps(rows, ensure_ascii=False, indent=1))
    return folder


MGSM = {
    "en": [("Tom has 3 hens that lay 2 eggs each. How many eggs are there?", "6"),
           ("A shop sold 2,800 tickets twice. How many tickets is that?", "5,600")],
    "de": [("Tom hat 3 Hennen, die je 2 Eier legen. Wie viele Eier sind das?", "6"),
           ("Ein Laden verkaufte zweimal 2.800 Karten. Wie viele Karten sind das?", "5,600")],
    "th": [("ทอมมีแม่ไก่ 3 ตัว ออกไข่ตัวละ 2 ฟอง มีไข่กี่ฟอง", "6"),
           ("ร้านขายตั๋ว 2,800 ใบสองครั้ง รวมกี่ใบ", "5,600")],
}  # fmt: skip
EXEMPLARS = '''"""Prompts for mgsm."""
# pylint: disable=line-too-long

EXEMPLAR_NUMBER_ANSWERS = [11, 29]

MGSM_EXEMPLARS = {
    "en": {
        "1": {"q": "Question: Ann has 5 pens and buys "
                   "6 more. How many pens has she?",
              "a": "Step-by-Step Answer: 5 and 6 make 11. The answer is 11."},
        "2": {"q": "Question: 9 and 20 make what?", "a": "Step-by-Step Answer: 9 + 20 = 29. The answer is 29."},
    },
    "de": {
        "1": {"q": "Frage: Ann hat 5 Stifte und kauft 6 dazu. Wie viele hat sie?",
              "a": "Schritt-f\\u00fcr-Schritt-Antwort: 5 und 6 sind 11. Die Antwort ist 11."},
        "2": {"q": "Frage: Was ergeben 9 und 20?",
              "a": "Schritt-f\\u00fcr-Schritt-Antwort: 9 + 20 = 29. Die Antwort ist 29."},
    },
}
'''


def mgsm(folder: Path, exemplars: bool = True) -> Path:
    """The published folder: TSV without a header, and the solved examples as a Python file."""
    for language, rows in MGSM.items():
        table(folder / f"mgsm_{language}.tsv", rows)
    if exemplars:
        write(folder / "exemplars.py", EXEMPLARS)
    write(folder / "README.md", "# MGSM\n")
    write(folder / "LICENSE", "CC-BY 4.0\n")
    return folder


def belebele_row(language: str, number: int, right: Any) -> dict[str, Any]:
    return {
        "link": "https://example.org/bridge", "question_number": number,
        "flores_passage": f"passage in {language}", "question": f"question {number} in {language}",
        "mc_answer1": "one", "mc_answer2": "two", "mc_answer3": "three", "mc_answer4": "four",
        "correct_answer_num": right, "dialect": language, "ds": "2023-05-03",
    }  # fmt: skip


def belebele(folder: Path) -> Path:
    """Belebele's folder: a JSONL a language, in orders of their own; numbers are numbers here, texts there."""
    lines(folder / "eng_Latn.jsonl", [belebele_row("eng_Latn", 1, "3"), belebele_row("eng_Latn", 2, "1")])
    lines(folder / "deu_Latn.jsonl", [belebele_row("deu_Latn", 2, 1), belebele_row("deu_Latn", 1, 3)])
    lines(folder / "arb_Arab.jsonl", [belebele_row("arb_Arab", 1, "3")])
    return folder


def pawsx(folder: Path) -> Path:
    """x-final: a folder a language; sentences that were not translated are NS."""
    header = ["id", "sentence1", "sentence2", "label"]
    table(folder / "en" / "test_2k.tsv", [
        header, [1, "He went from A to B.", "He went from B to A.", 0], [2, "It was so.", "So it was.", 1],
        [3, "One.", "Two.", 0],
    ])  # fmt: skip
    table(folder / "de" / "test_2k.tsv", [
        header, [1, "Er ging von A nach B.", "Er ging von B nach A.", 0], [2, "NS", "So war es.", 1],
        [3, "Eins.", "Zwei.", 1],
    ])  # fmt: skip
    table(folder / "de" / "dev_2k.tsv", [header, [1, "Andere.", "Daten.", 0]])
    table(folder / "en" / "dev_2k.tsv", [header, [1, "Other.", "Data.", 0]])
    table(folder / "en" / "train.tsv", [header, [1, "Training.", "Data.", 0]])
    return folder


XCOPA = {
    "et": ("Tänav oli märg.", "Oli sadanud.", "Päike paistis."),
    "tr": ("Sokak ıslaktı.", "Islak yağmur yağmıştı.", "İnce bir güneş vardı."),
    "zh": ("街道是湿的。", "下过雨。", "阳光灿烂。"),
}


def xcopa(folder: Path) -> Path:
    """XCOPA's repository: the data, and beside it the machine translations, which are not meant."""
    for language, (premise, choice1, choice2) in XCOPA.items():
        rows = [
            {"premise": premise, "choice1": choice1, "choice2": choice2, "question": question, "label": label,
             "idx": number, "changed": False}
            for number, (question, label) in enumerate([("cause", 0), ("effect", 1)])
        ]  # fmt: skip
        lines(folder / "data" / language / f"test.{language}.jsonl", rows)
        lines(folder / "data" / language / f"val.{language}.jsonl", rows[:1])
        lines(folder / "data-gmt" / language / f"test.{language}.jsonl", rows)
    return folder


def xstorycloze(folder: Path, hub_names: bool = True) -> Path:
    """XStoryCloze, as JSONL with the Hub's names or as TSV with those of its publication."""
    sentences = {"en": ["It rained.", "Ann had no coat.", "She ran.", "She reached home."],
                 "zh": ["下雨了。", "安没有外套。", "她跑了。", "她到家了。"]}  # fmt: skip
    endings = {"en": ["She was wet.", "She was dry."], "zh": ["她湿了。", "她是干的。"]}
    for language in sentences:
        values = ["abc-1", *sentences[language], *endings[language], 1]
        if hub_names:
            names = ["story_id", *(f"input_sentence_{n}" for n in range(1, 5)), "sentence_quiz1",
                     "sentence_quiz2", "answer_right_ending"]  # fmt: skip
            lines(folder / language / "eval.jsonl", [dict(zip(names, values, strict=True))])
        else:
            names = ["InputStoryid", *(f"InputSentence{n}" for n in range(1, 5)), "RandomFifthSentenceQuiz1",
                     "RandomFifthSentenceQuiz2", "AnswerRightEnding"]  # fmt: skip
            table(folder / f"spring2016.val.{language}.tsv.split_20_80_eval.tsv", [names, values])
    return folder


def flores(folder: Path) -> Path:
    """FLORES-200's folders: a text file a language, whose ending is the split's name."""
    for code, sentences in {
        "eng_Latn": ["The river rose.", "Nobody came."],
        "deu_Latn": ["Der Fluss stieg.", "Niemand kam."],
        "zho_Hans": ["河水上涨了。", "没有人来。"],
    }.items():
        write(folder / "devtest" / f"{code}.devtest", "\n".join(sentences) + "\n")
        write(folder / "dev" / f"{code}.dev", f"only the dev set of {code}\n")
    table(folder / "metadata_devtest.tsv", [["URL", "domain"], ["https://example.org", "news"]])
    return folder
