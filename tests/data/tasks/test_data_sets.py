"""Each data set in each of its forms, with the exact columns: what comes out, and what is said about the rest."""

import json

import pytest

from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.tasks import TaskSource, open_tasks
from fastneurons.errors import InputError
from tests.data.tasks import files


def opened(task: str, place: object, languages: str | None = "en,de", **options: object) -> TaskSource:
    codes = tuple(languages.split(",")) if languages else None
    return open_tasks([task], {task: str(place)}, codes, DataOptions(**options))  # type: ignore[arg-type]


def examples(source: TaskSource) -> dict[str, Example]:
    rows = list(source)
    assert [row for row in rows if isinstance(row, Skipped)] == []
    found = {row.id: row for row in rows if isinstance(row, Example)}
    assert len(found) == len(rows)
    return found


def skipped(source: TaskSource) -> list[Skipped]:
    return [row for row in source if isinstance(row, Skipped)]


# -- XNLI -------------------------------------------------------------------------------------------


def test_xnlis_original_is_aligned_by_pair_whatever_the_order_of_its_blocks(tmp_path):
    found = examples(opened("xnli", files.xnli_original(tmp_path) / "xnli.test.tsv", "en,de,th"))
    assert set(found) == {"1", "2", "3"}
    for pair, (label, texts) in files.XNLI.items():
        for code, (premise, hypothesis) in texts.items():
            assert premise in found[pair].prompts[code]
            assert hypothesis in found[pair].prompts[code]
        right = ["entailment", "neutral", "contradiction"].index(label)
        assert found[pair].choices["de"] == ("Ja", "Vielleicht", "Nein")
        assert found[pair].answers == {code: found[pair].choices[code][right] for code in ("en", "de", "th")}
        assert found[pair].task == "xnli"


def test_xnlis_template_is_written_out(tmp_path):
    found = examples(opened("xnli", files.xnli_original(tmp_path), "de,en"))
    assert tuple(found["1"].prompts) == ("de", "en")
    assert found["1"].prompts["de"] == (
        'Aussage: Sie sagte: "Es regnet".\nBehauptung: Sie ist nass.\n'
        "Folgt die Behauptung aus der Aussage? Ja, vielleicht oder nein?\nAntwort:"
    )
    # The first language asked for gives the place.
    assert found["1"].where == f"{tmp_path}/xnli.test.tsv:3"


def test_a_folders_test_split_is_taken_unless_another_is_asked_for(tmp_path):
    files.xnli_original(tmp_path)
    assert len(examples(opened("xnli", tmp_path))) == 3
    with pytest.raises(InputError, match=r"none of the first|no rows"):
        opened("xnli", tmp_path, split="dev").check()  # one row, in Thai
    with pytest.raises(InputError, match=r"--split train: .* has no such split; there is test, validation"):
        opened("xnli", tmp_path, split="train")


@pytest.mark.parametrize("form", ["all_languages", "xtreme"])
def test_xnlis_other_forms_hold_the_same(tmp_path, form):
    original = examples(opened("xnli", files.xnli_original(tmp_path / "o"), "en,de,th"))
    if form == "all_languages":
        place = files.xnli_all_languages(tmp_path / "all.jsonl")
    else:
        place = files.xnli_xtreme(tmp_path / "x")
    found = examples(opened("xnli", place, "en,de,th"))
    assert list(found) == ["1", "2", "3"]  # rows
    for pair in original:
        assert found[pair].prompts == original[pair].prompts
        assert found[pair].answers == original[pair].answers


def test_rows_without_labels_are_examples_without_answers(tmp_path):
    found = examples(opened("xnli", files.xnli_xtreme(tmp_path, labels=False)))
    assert found["2"].answers == {}
    assert found["2"].choices["en"] == ("Yes", "Maybe", "No")


def test_a_missing_pair_is_counted_and_measured_only_when_asked(tmp_path):
    order = {"en": ["1", "2", "3"], "de": ["3", "1"], "th": ["1", "3"]}
    place = files.xnli_original(tmp_path, order)
    source = opened("xnli", place, "en,de,th")
    assert list(examples(source)) == ["1", "3"] or set(examples(source)) == {"1", "3"}
    count = source.counts["xnli"]
    assert (count.complete, count.incomplete, dict(count.missing)) == (2, 1, {"de": 1, "th": 1})
    assert source.notes() == ["xnli: 1 of 3 examples lack a language (missing: de 1, th 1)"]
    # With one language there is nothing to compare.
    assert set(examples(opened("xnli", place, "en,de,th", allow_missing=True))) == {"1", "3"}
    files.xnli_original(tmp_path, order | {"th": ["1", "2", "3"]})
    found = examples(opened("xnli", place, "en,de,th", allow_missing=True))
    assert list(found["2"].prompts) == ["en", "th"]


def test_labels_that_differ_between_languages_skip_the_pair(tmp_path):
    files.xnli_xtreme(tmp_path)
    rows = [line.split("\t") for line in (tmp_path / "dev-de.tsv").read_text().splitlines()]
    rows[1][2] = "entailment"
    files.table(tmp_path / "dev-de.tsv", rows)
    [row] = skipped(opened("xnli", tmp_path, "de,en"))
    assert row == Skipped(
        "2", f"{tmp_path}/dev-de.tsv:2",
        "its languages do not agree on label: de entailment, en contradiction", "xnli",
    )  # fmt: skip


@pytest.mark.parametrize(("label", "kind"), [("-", "left out"), ("perhaps", "skipped")])
def test_pairs_without_a_usable_label(tmp_path, label, kind):
    rows = [files.XNLI_COLUMNS]
    for code in ("en", "de"):
        rows += [files.xnli_row(code, "1", "neutral", "a", "b"), files.xnli_row(code, "2", label, "c", "d")]
    source = opened("xnli", files.table(tmp_path / "xnli.dev.tsv", rows))
    found = list(source)
    assert [row.id for row in found if isinstance(row, Example)] == ["1"]
    if kind == "left out":
        assert len(found) == 1
        reason = "its annotators did not agree on a label (gold_label is -)"
        assert dict(source.counts["xnli"].left_out) == {("en", reason): 1, ("de", reason): 1}
    else:
        assert [row.reason for row in found if isinstance(row, Skipped)] == [
            f"{code}: the label is 'perhaps'; it must be entailment, neutral, contradiction or 0 to 2"
            for code in ("en", "de")
        ]


def test_files_of_different_lengths_are_refused_where_rows_are_the_key(tmp_path):
    files.xnli_xtreme(tmp_path)
    path = tmp_path / "dev-th.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(
        InputError, match=r"aligned by row and must have as many rows each, .* most have 3 .*: th 2"
    ):
        opened("xnli", tmp_path, "en,de,th").check()


def test_a_bad_row_leaves_those_after_it_aligned(tmp_path):
    files.xnli_xtreme(tmp_path)
    path = tmp_path / "dev-de.tsv"
    rows = path.read_bytes().split(b"\n")
    rows[0] = b"Sie sagte\xff\tb\tneutral"
    path.write_bytes(b"\n".join(rows))
    source = opened("xnli", tmp_path, "en,de")
    rows = list(source)
    assert [row.id for row in rows if isinstance(row, Example)] == ["2", "3"]
    [bad] = [row for row in rows if isinstance(row, Skipped)]
    assert bad.where == f"{path}:1"
    assert "UTF-8" in bad.reason


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["en", "de", "fr"], "--tasks parallel"),
        (["question", "answer"], "question, answer; expected is language, gold_label, sentence1"),
    ],
)
def test_other_data_is_refused_with_its_columns(tmp_path, columns, said):
    path = files.table(tmp_path / "data.tsv", [columns, ["a", "b", "c"][: len(columns)]])
    with pytest.raises(InputError, match=said):
        opened("xnli", path)


# -- mParaRel ---------------------------------------------------------------------------------------


def test_facts_are_aligned_by_relation_subject_and_object(tmp_path):
    source = opened("fact", files.mpararel(tmp_path / "data" / "mpararel_reviewed"), "en,ja,ru")
    found = examples(source)
    assert set(found) == {"P36/Q227/Q9248", "P36/Q183/Q64"}
    baku = found["P36/Q227/Q9248"]
    assert baku.prompts == {
        "en": "the capital of Azerbaijan is",
        "ja": "アゼルバイジャンの首都、",
        "ru": "___ является столицей Азербайджан. ___ =",
    }
    assert baku.answers == {"en": "Baku", "ja": "バクー", "ru": "Баку"}
    count = source.counts["fact"]
    assert (count.complete, count.incomplete, dict(count.missing)) == (2, 2, {"ja": 2})


def test_facts_are_found_from_the_repositorys_root_too(tmp_path):
    files.mpararel(tmp_path / "data" / "mpararel_reviewed")
    files.mpararel(tmp_path / "data" / "mpararel_raw")
    found = examples(opened("fact", tmp_path, "en,ru"))
    assert len(found) == 4
    assert found["P37/Q142/Q150"].prompts == {
        "en": "The official language of France is",
        "ru": "Официальный язык Франция —",
    }
    assert f"{tmp_path}/data/mpararel_reviewed/tuples/en/P37.jsonl:1" == found["P37/Q142/Q150"].where


def test_facts_in_two_folders_that_could_both_be_meant_are_refused(tmp_path):
    for name in ("a", "b"):
        files.mpararel(tmp_path / name)
    with pytest.raises(InputError, match="in several folders: a, b"):
        opened("fact", tmp_path, "en,ru")


@pytest.mark.parametrize(
    ("patterns", "asked", "form"),
    [
        (["[X] lies in [Y] ."], "[X] lies in", "final"),
        (["[Y] has [X].", "[X] ist in [Y] gelegen"], "[X] ist in", "cut"),
        (["[Y] has [X]."], "___ has [X]. ___ =", "gap"),
        # Checked by a human, but with the answer in the wrong place: form comes first.
        ([("[X] in [Y] lies", True), ("[X] lies in [Y]", False)], "[X] lies in", "final"),
        ([("[X] lies in [Y]", False), ("[X] is in [Y]", True)], "[X] is in", "final"),
        # The odd one out is left aside.
        (["[X] money [Y]", "the capital of [X] is [Y]", "capital of [X]: [Y]"], None, "final"),
        (["no subject [Y]", "[X] twice [X] [Y]", "none"], None, None),
    ],
)
def test_the_pattern_that_is_asked_by(patterns, asked, form):
    from fastneurons.data.readers.data_set import Record
    from fastneurons.data.tasks.fact import chosen_pattern

    rows = [
        {"pattern": one, "checked-by-human": False}
        if isinstance(one, str)
        else {"pattern": one[0], "checked-by-human": one[1]}
        for one in patterns
    ]
    chosen = chosen_pattern([Skipped("", "p:1", "broken"), *(Record(row, "p:2") for row in rows)])
    if form is None:
        assert chosen is None
        return
    assert chosen is not None
    assert chosen.form == form
    assert "[X]" in chosen.query
    assert asked is None or chosen.query == asked
    assert "money" not in chosen.query


def test_facts_with_sentences_filled_in(tmp_path):
    def row(language, template, query, answer):
        return {
            "id": "x", "language": language, "relation": "P36", "template": f"t{template}", "template_id": template,
            "query": query, "sub_uri": "Q142", "obj_uri": "Q90", "obj_label": answer, "sub_label": "France",
            "lineid": 0,
        }  # fmt: skip

    path = files.lines(tmp_path / "facts.jsonl", [
        row("en", 3, "The capital of France is", ["Paris", "City of Paris"]),
        row("en", 4, "France's capital is", ["Paris"]),
        row("de", 1, "Die Hauptstadt von Frankreich ist [Y].", ["Paris"]),
    ])  # fmt: skip
    found = examples(opened("fact", path))
    assert found["P36/Q142/Q90"].prompts == {
        "en": "The capital of France is",
        "de": "Die Hauptstadt von Frankreich ist",
    }
    assert found["P36/Q142/Q90"].answers == {"en": "Paris", "de": "Paris"}


# -- MzsRE ------------------------------------------------------------------------------------------


def test_new_facts_in_both_directions(tmp_path):
    files.mzsre(tmp_path, (("en", "zh"), ("en", "de")))
    forth = examples(opened("ke-en2xx", tmp_path, "en,de,zh"))
    assert forth["1"].prompts["zh"] == (
        "New fact: Who built the bridge? Anna Berg\n问题：谁建造了这座桥？\n答案："
    )
    assert forth["1"].prompts["en"].splitlines()[1] == "Question: Who built the bridge?"
    assert forth["2"].answers == {"en": "In Bergen", "de": "In Bergen", "zh": "在卑尔根"}
    back = examples(opened("ke-xx2en", tmp_path, "en,de,zh"))
    assert back["1"].prompts["zh"] == (
        "新事实：谁建造了这座桥？ 安娜·贝格\nQuestion: Who built the bridge?\nAnswer:"
    )
    assert set(back["2"].answers.values()) == {"In Bergen"}


def test_pairs_are_known_by_their_names_as_they_are_spelled(tmp_path):
    # `du` is Dutch there.
    files.mzsre(tmp_path, (("en", "du"), ("zh", "en")))
    source = opened("ke-en2xx", tmp_path, None)
    assert source.languages == ("en", "nl", "zh")
    with pytest.raises(InputError, match=f"{tmp_path} has no de; there are en, nl, zh"):
        opened("ke-en2xx", tmp_path, "en,de")


def test_rows_whose_english_differs_are_not_put_together(tmp_path):
    files.mzsre(tmp_path, (("en", "de"), ("en", "zh")))
    path = tmp_path / "mzsre_test_duplicate_enzh.json"
    rows = json.loads(path.read_text())
    rows[1]["en"]["src"] = "Something else?"
    path.write_text(json.dumps(rows))
    source = opened("ke-en2xx", tmp_path, "en,de,zh")
    rows = list(source)
    assert [row.id for row in rows if isinstance(row, Example)] == ["1"]
    [bad] = [row for row in rows if isinstance(row, Skipped)]
    assert "its English is not that of" in bad.reason
    assert "mzsre_test_duplicate_enzh.json" in bad.where
    path.write_text(json.dumps(rows[:1], default=str))
    path.write_text(json.dumps(json.loads((tmp_path / "mzsre_test_duplicate_ende.json").read_text())[:1]))
    with pytest.raises(InputError, match="must have as many rows each"):
        opened("ke-en2xx", tmp_path, "en,de,zh").check()


def test_a_file_with_all_languages_will_do(tmp_path):
    rows = [{code: files.mzsre_block(code, row) for code in ("en", "de", "zh")} for row in files.MZSRE]
    path = files.lines(tmp_path / "mzsre_12way.jsonl", rows)
    found = examples(opened("ke-xx2en", path, "de,zh"))
    assert list(found["1"].prompts) == ["de", "zh"]


def test_a_block_that_lacks_its_question_is_told(tmp_path):
    rows = [{code: files.mzsre_block(code, row) for code in ("en", "de")} for row in files.MZSRE]
    del rows[0]["de"]["alt"]
    source = opened("ke-en2xx", files.lines(tmp_path / "rows.jsonl", rows))
    [bad] = skipped(source)
    assert (bad.id, bad.where, bad.reason) == ("1", f"{tmp_path}/rows.jsonl:1", "no alt in de")


# -- MGSM -------------------------------------------------------------------------------------------


def test_problems_from_tsv_without_a_header(tmp_path):
    found = examples(opened("mgsm", files.mgsm(tmp_path), "en,de,th"))
    assert list(found) == ["1", "2"]
    assert found["2"].answers == {"en": "5,600", "de": "5,600", "th": "5,600"}
    assert found["1"].prompts["de"].startswith("Frage: Tom hat 3 Hennen")
    assert found["1"].prompts["de"].endswith("\nAntwort:")


def test_problems_with_the_hubs_columns(tmp_path):
    for code, rows in files.MGSM.items():
        files.lines(tmp_path / code / "test.jsonl", [
            {"question": question, "answer": None, "answer_number": int(answer.replace(",", "")),
             "equation_solution": None}
            for question, answer in rows
        ])  # fmt: skip
    found = examples(opened("mgsm", tmp_path, "en,th"))
    assert found["2"].answers == {"en": "5600", "th": "5600"}


def test_numbers_that_differ_show_rows_that_do_not_belong_together(tmp_path):
    files.mgsm(tmp_path)
    files.table(tmp_path / "mgsm_de.tsv", [("Wie viele?", "5600"), ("Wie viel?", "7")])
    assert [row.reason for row in skipped(opened("mgsm", tmp_path))] == [
        "its languages do not agree on number: en 6, de 5600",
        "its languages do not agree on number: en 5600, de 7",
    ]
    with pytest.raises(InputError, match=r"none of the first 2 examples can be measured: .*do not agree"):
        opened("mgsm", tmp_path).check()


def test_solved_examples_come_from_the_published_file_which_is_not_run(tmp_path):
    files.mgsm(tmp_path)
    path = tmp_path / "exemplars.py"
    path.write_text("import os\nos.remove(__file__)\n" + path.read_text())
    found = examples(opened("mgsm-cot", tmp_path, num_fewshot=2))
    assert path.exists()
    assert list(found) == ["1", "2"]  # nothing was held back
    assert found["1"].prompts["en"] == (
        "Question: Ann has 5 pens and buys 6 more. How many pens has she?\nLet us work it out step by step: "
        "5 and 6 make 11. The answer is 11.\n\n"
        "Question: 9 and 20 make what?\nLet us work it out step by step: 9 + 20 = 29. The answer is 29.\n\n"
        "Question: Tom has 3 hens that lay 2 eggs each. How many eggs are there?\nLet us work it out step by step:"
    )
    assert "Rechnen wir Schritt für Schritt: 5 und 6 sind 11. Die Antwort ist 11." in found["1"].prompts["de"]
    direct = examples(opened("mgsm", tmp_path, num_fewshot=1))
    assert (
        direct["1"]
        .prompts["de"]
        .startswith("Frage: Ann hat 5 Stifte und kauft 6 dazu. Wie viele hat sie?\nAntwort: 11\n\nFrage: Tom")
    )


def test_steps_cannot_be_shown_where_the_data_has_none(tmp_path):
    files.mgsm(tmp_path, exemplars=False)
    with pytest.raises(InputError, match=r"--num-fewshot 1: mgsm-cot has 0 examples .*exemplars.py"):
        opened("mgsm-cot", tmp_path, num_fewshot=1)
    assert len(examples(opened("mgsm", tmp_path, num_fewshot=1))) == 1  # one of two held back
    files.write(tmp_path / "exemplars.py", "MGSM_EXEMPLARS = dict()")
    with pytest.raises(InputError, match=r"exemplars.py cannot be read as MGSM's exemplars"):
        opened("mgsm", tmp_path, num_fewshot=1)


# -- aligned by a key -------------------------------------------------------------------------------


def test_belebele_is_aligned_by_link_and_question(tmp_path):
    source = opened("belebele", files.belebele(tmp_path), "en,de")
    found = examples(source)
    assert set(found) == {"https://example.org/bridge#1", "https://example.org/bridge#2"}
    first = found["https://example.org/bridge#1"]
    assert "Question: question 1 in eng_Latn\nA: one\n" in first.prompts["en"]
    assert "Frage: question 1 in deu_Latn\nA: one\n" in first.prompts["de"]
    assert first.answers == {"en": "C", "de": "C"}
    source = opened("belebele", tmp_path, "en,de,ar")
    examples(source)
    assert dict(source.counts["belebele"].missing) == {"ar": 1}


def test_belebele_has_a_way_to_ask_in_languages_without_words_of_ours(tmp_path):
    files.belebele(tmp_path)
    files.lines(tmp_path / "kac_Latn.jsonl", [files.belebele_row("kac_Latn", 1, "3")])
    [found] = examples(opened("belebele", tmp_path, "en,kac")).values()
    assert found.prompts["kac"].endswith("\nD: four\n(A/B/C/D):")


def test_sentences_that_were_not_translated_are_left_out(tmp_path):
    source = opened("pawsx", files.pawsx(tmp_path / "x-final"))
    rows = list(source)
    assert [row.id for row in rows if isinstance(row, Example)] == ["1"]
    assert [row.reason for row in rows if isinstance(row, Skipped)] == [
        "its languages do not agree on label: en 0, de 1"
    ]
    assert source.notes() == [
        "pawsx: 1 of 3 examples lack a language (missing: de 1); left out: 1 in de: no translation (NS)"
    ]
    found = examples(opened("pawsx", tmp_path / "x-final", split="dev"))
    assert found["1"].prompts["de"].startswith("Satz 1: Andere.\nSatz 2: Daten.\n")


def test_causes_and_effects_are_the_ends_of_a_sentence(tmp_path):
    found = examples(opened("xcopa", files.xcopa(tmp_path) / "data", "et,tr,zh"))
    assert found["0"].prompts == {
        "et": "Tänav oli märg sest",
        "tr": "Sokak ıslaktı çünkü",
        "zh": "街道是湿的，因为",
    }
    assert found["0"].choices["tr"] == ("ıslak yağmur yağmıştı.", "ince bir güneş vardı.")
    assert found["1"].prompts["et"] == "Tänav oli märg seetõttu"
    assert found["1"].answers == {"et": "päike paistis.", "tr": "ince bir güneş vardı.", "zh": "阳光灿烂。"}
    with pytest.raises(InputError, match=r"has files in et in several folders \(.*data-gmt/et"):
        opened("xcopa", tmp_path, "et,tr")


@pytest.mark.parametrize("hub_names", [True, False])
def test_stories_are_joined_as_their_script_is_written(tmp_path, hub_names):
    [found] = examples(opened("xstorycloze", files.xstorycloze(tmp_path, hub_names), "en,zh")).values()
    assert found.prompts == {
        "en": "It rained. Ann had no coat. She ran. She reached home.",
        "zh": "下雨了。安没有外套。她跑了。她到家了。",
    }
    assert found.answers == {"en": "She was wet.", "zh": "她湿了。"}
    assert found.id == "abc-1"


def test_a_key_that_comes_twice_counts_once(tmp_path):
    files.belebele(tmp_path)
    rows = [files.belebele_row("deu_Latn", number, 3 if number == 1 else 1) for number in (1, 1, 2, 2)]
    files.lines(tmp_path / "deu_Latn.jsonl", rows)
    rows = list(opened("belebele", tmp_path))
    assert sum(isinstance(row, Example) for row in rows) == 2
    assert [row.reason for row in rows if isinstance(row, Skipped)] == ["its key is there already in de"] * 2


# -- sentences --------------------------------------------------------------------------------------


def test_flores_is_its_devtest_unless_asked_otherwise(tmp_path):
    files.flores(tmp_path)
    found = examples(opened("flores", tmp_path, "en,de,zh"))
    assert found["2"].prompts == {"en": "Nobody came.", "de": "Niemand kam.", "zh": "没有人来。"}
    assert found["2"].answers == {}
    assert found["2"].where == f"{tmp_path}/devtest/eng_Latn.devtest:2"
    assert len(examples(opened("flores", tmp_path, "en,de", split="dev"))) == 1
    assert opened("flores", tmp_path, None).languages == ("de", "en", "zh")


def test_flores_plus_is_aligned_by_id(tmp_path):
    def rows(iso, script, texts):
        return [
            {"id": number, "iso_639_3": iso, "iso_15924": script, "text": text, "domain": "news"}
            for number, text in texts
        ]

    english, chinese = rows("eng", "Latn", [(1, "a"), (2, "b")]), rows("cmn", "Hans", [(2, "乙"), (1, "甲")])
    path = files.lines(tmp_path / "devtest.jsonl", english + chinese)
    for place in (path, tmp_path / "folder"):
        files.lines(tmp_path / "folder" / "eng_Latn.jsonl", english)
        files.lines(tmp_path / "folder" / "cmn_Hans.jsonl", chinese)
        found = examples(opened("flores", place, "en,zh"))
        assert {row.id: row.prompts for row in found.values()} == {
            "1": {"en": "a", "zh": "甲"},
            "2": {"en": "b", "zh": "乙"},
        }


@pytest.mark.parametrize("named_by", ["the common beginning", "a pattern", "the folder"])
def test_moses_files(tmp_path, named_by):
    files.write(tmp_path / "Tatoeba.de-en.de", "Eins.\n\nDrei.\u2028Immer noch drei.\n")
    files.write(tmp_path / "Tatoeba.de-en.en", "One.\nTwo.\nThree.\n")
    files.write(tmp_path / "README", "Tatoeba\n")
    place = {
        "the common beginning": tmp_path / "Tatoeba.de-en",
        "a pattern": tmp_path / "Tatoeba.*",
        "the folder": tmp_path,
    }[named_by]
    source = opened("parallel", place, "de,en")
    assert [row.prompts["de"] for row in examples(source).values()] == [
        "Eins.",
        "Drei.\u2028Immer noch drei.",
    ]
    assert list(examples(source)) == ["1", "3"]
    assert dict(source.counts["parallel"].left_out) == {("de", "empty line"): 1}


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "translation", "parquet"])
def test_tables_with_a_column_for_each_language(tmp_path, form):
    rows = [
        {"id": "x1", "en": "One.", "deu_Latn": 'Eins, "zwei".'},
        {"id": "x2", "en": "Three.", "deu_Latn": "Drei."},
    ]
    path = tmp_path / f"data.{'jsonl' if form == 'translation' else form}"
    if form == "tsv":
        files.table(path, [list(rows[0]), *(list(row.values()) for row in rows)])
    elif form == "csv":
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    elif form == "jsonl":
        files.lines(path, rows)
    else:
        files.lines(path, [{"id": row.pop("id"), "translation": row} for row in rows])
    found = examples(opened("parallel", path, "de,en"))
    assert {row.id: row.prompts for row in found.values()} == {
        "x1": {"de": 'Eins, "zwei".', "en": "One."},
        "x2": {"de": "Drei.", "en": "Three."},
    }


def test_places_that_hold_no_parallel_text_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.de-en"):
        opened("parallel", tmp_path / "nothing.de-en")
    files.write(tmp_path / "one" / "de.txt", "Eins.\n")
    with pytest.raises(InputError, match=r"has the columns text; expected is one for each language"):
        opened("parallel", tmp_path / "one")
    files.write(tmp_path / "two" / "a.txt", "Eins.\n")
    files.write(tmp_path / "two" / "b.txt", "One.\n")
    with pytest.raises(InputError, match=r"no language by the names of its files; .* en.txt and de.txt"):
        opened("parallel", tmp_path / "two")


# -- the others -------------------------------------------------------------------------------------


def test_capitals_need_no_data():
    source = open_tasks(["capitals"], {}, ("en", "th"), DataOptions(limit=5))
    found = list(source)
    assert len(found) == 5
    assert all(row.task == "capitals" and set(row.answers) == {"en", "th"} for row in found)
    with pytest.raises(InputError, match=r"CLDR facts has no sw; there are en, de, es"):
        open_tasks(["capitals"], {}, ("en", "sw"))


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_examples_of_ones_own(tmp_path, form):
    rows = [
        {"id": "a", "prompts": {"en": "one", "de": "eins"}, "answers": {"en": "1", "de": None}},
        {"id": "b", "prompts": {"en": "two", "de": None}, "answers": None},
        {"id": "a", "prompts": {"en": "three", "de": "drei"}, "answers": None},
        {"id": "d", "prompts": {"en": "four", "de": "vier"}, "answers": None},
    ]
    path = tmp_path / f"data.{form}"
    if form == "jsonl":
        files.lines(path, rows)
    elif form == "json":
        files.write(path, json.dumps(rows))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    found = list(opened("jsonl", path))
    assert [type(row).__name__ for row in found] == ["Example", "Skipped", "Skipped", "Example"]
    assert found[0].answers == {"en": "1"}
    assert found[1].reason == "no prompt in de"
    assert "already" in found[2].reason
    assert opened("jsonl", path, None).languages == ("en", "de")


def test_a_corpus_gives_a_text_of_each_language_in_turn(tmp_path):
    files.write(tmp_path / "de.txt", "Eins.\n\nZwei.\n")
    files.lines(tmp_path / "wiki.en.jsonl", [{"id": 17, "text": "One."}, {"title": "no text"}])
    rows = list(opened("corpus", tmp_path))
    assert [(row.id, dict(row.prompts)) for row in rows if isinstance(row, Example)] == [
        ("en:17", {"en": "One."}),
        ("de:1", {"de": "Eins."}),
        ("de:3", {"de": "Zwei."}),
    ]
    assert [row.where for row in rows if isinstance(row, Skipped)] == [f"{tmp_path}/wiki.en.jsonl:2"]


def test_a_corpus_may_be_one_file_whose_rows_name_their_language(tmp_path):
    path = files.lines(
        tmp_path / "all.jsonl",
        [{"lang": "deu", "text": "Eins."}, {"lang": "fr", "text": "Un."}, {"lang": "en", "text": "One."}],
    )
    found = examples(opened("corpus", path))
    assert [dict(row.prompts) for row in found.values()] == [{"de": "Eins."}, {"en": "One."}]


# -- all of them ------------------------------------------------------------------------------------

EVERY = {
    "xnli": (files.xnli_original, "en,de,th"),
    "fact": (files.mpararel, "en,ja"),
    "ke-en2xx": (files.mzsre, "en,zh"),
    "ke-xx2en": (files.mzsre, "en,zh"),
    "mgsm": (files.mgsm, "en,th"),
    "mgsm-cot": (files.mgsm, "en,th"),
    "belebele": (files.belebele, "en,de"),
    "xcopa": (lambda folder: files.xcopa(folder) / "data", "et,zh"),
    "xstorycloze": (files.xstorycloze, "en,zh"),
    "pawsx": (files.pawsx, "en,de"),
    "flores": (files.flores, "en,zh"),
}


@pytest.mark.parametrize("task", EVERY)
def test_every_data_set_is_read_the_same_again_and_again(tmp_path, task):
    make, languages = EVERY[task]
    source = opened(task, make(tmp_path), languages)
    source.check()
    rows = list(source)
    assert rows == list(source)
    assert rows == list(opened(task, make(tmp_path), languages))
    assert any(isinstance(row, Example) for row in rows)
    for row in rows:
        assert row.task == task
        assert str(tmp_path) in row.where
        if isinstance(row, Example):
            assert tuple(row.prompts) == source.languages
            assert all(prompt == prompt.rstrip() for prompt in row.prompts.values())


@pytest.mark.parametrize("task", EVERY)
@pytest.mark.parametrize("packed", ["gz"])
def test_every_data_set_may_be_compressed(tmp_path, task, packed):
    import gzip

    make, languages = EVERY[task]
    place = make(tmp_path)
    plain = [(row.id, getattr(row, "prompts", None)) for row in opened(task, place, languages)]
    for path in [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".py"]:
        path.with_name(f"{path.name}.{packed}").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert [(row.id, getattr(row, "prompts", None)) for row in opened(task, place, languages)] == plain


@pytest.mark.parametrize("task", [name for name in EVERY if name not in ("capitals", "jsonl")])
@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\x00\x01\x02", b"{}\n", b"<html></html>\n", "ä".encode("utf-16")]
)
def test_files_that_are_something_else_are_an_error_that_names_them(tmp_path, task, content):
    if task == "flores" and content.startswith(b"<"):
        pytest.skip("a sentence like any other")
    make, languages = EVERY[task]
    place = make(tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        opened(task, place, languages).check()
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", EVERY)
def test_an_empty_folder_and_a_missing_place_are_named(tmp_path, task):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(InputError, match=name):
            opened(task, tmp_path / name, EVERY[task][1]).check()


# -- on the Hub -------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A Hub that holds what is put into it by name, split and configuration; and what was asked of it."""
    from fastneurons.data import places
    from fastneurons.data.readers.raw_record import Record

    held: dict[tuple[str, str | None, str | None], list[dict[str, object]]] = {}
    asked: list[tuple[str, str | None, str | None, str | None]] = []

    def read(location, *, columns=None, split=None, config=None, revision=None):
        asked.append((location, split, config, revision))
        if (location, split, config) not in held:
            raise InputError(f"{location} has no configuration {config!r}, or no split {split!r}")
        rows = held[location, split, config]
        return [Record(row, f"{location} ({config}): row {number}") for number, row in enumerate(rows, 1)]

    monkeypatch.setattr(places, "read_records", read)
    read.held, read.asked = held, asked  # type: ignore[attr-defined]
    return read


def jsonl_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_xnli_from_the_hub(hub, tmp_path):
    rows = jsonl_rows(files.xnli_all_languages(tmp_path / "x.jsonl"))
    hub.held["facebook/xnli", "test", "all_languages"] = rows
    source = opened("xnli", "facebook/xnli", None)
    assert source.languages == ("en", "de", "th")
    assert len(examples(source)) == 3
    assert source.describe() == "xnli=facebook/xnli (split test)"
    hub.held["facebook/xnli", "validation", "all_languages"] = rows[:1]
    source = opened("xnli", "facebook/xnli", "de,th", split="validation", revision="v1")
    assert len(examples(source)) == 1
    assert hub.asked[-1] == ("facebook/xnli", "validation", "all_languages", "v1")


def test_configurations_of_languages_on_the_hub(hub, tmp_path):
    for code, own in {"en": "eng_Latn", "de": "deu_Latn", "ar": "arb_Arab"}.items():
        rows = [files.belebele_row(own, number, "3") for number in (1, 2)]
        hub.held["facebook/belebele", "test", own] = rows
        hub.held["juletxara/mgsm", "test", code] = [
            {"question": f"{code}?", "answer": None, "answer_number": 6}
        ]
        hub.held["juletxara/mgsm", "train", code] = [
            {"question": f"Question: {code}", "answer": "Step-by-Step Answer: six.", "answer_number": 6}
        ]
    assert len(examples(opened("belebele", "facebook/belebele", "en,de,ar"))) == 2
    [row] = examples(opened("mgsm-cot", "juletxara/mgsm", "en,de", num_fewshot=1)).values()
    assert row.prompts["en"] == (
        "Question: en\nLet us work it out step by step: six.\n\nQuestion: en?\nLet us work it out step by step:"
    )
    with pytest.raises(InputError, match="--languages is needed"):
        opened("belebele", "facebook/belebele", None)
    with pytest.raises(InputError, match="has no configuration 'fra_Latn'"):
        opened("belebele", "facebook/belebele", "en,fr").check()


def test_sentences_and_texts_on_the_hub(hub):
    hub.held["openlanguagedata/flores_plus", "devtest", "eng_Latn"] = [
        {"id": 0, "text": "One."},
        {"id": 1, "text": "Two."},
    ]
    hub.held["openlanguagedata/flores_plus", "devtest", "cmn_Hans"] = [
        {"id": 1, "text": "二。"},
        {"id": 0, "text": "一。"},
    ]
    found = examples(opened("flores", "openlanguagedata/flores_plus", "en,zh"))
    assert found["0"].prompts == {"en": "One.", "zh": "一。"}
    hub.held["o/pairs", "train", "de-en"] = [{"id": "7", "translation": {"de": "Eins.", "en": "One."}}]
    assert list(examples(opened("parallel", "o/pairs", None, config="de-en"))) == ["7"]
    hub.held["wikimedia/wikipedia", "train", "20231101.de"] = [{"id": "9", "title": "x", "text": "Ein Text."}]
    hub.held["wikimedia/wikipedia", "train", "20231101.en"] = [{"id": "3", "title": "x", "text": "A text."}]
    assert list(examples(opened("corpus", "wikimedia/wikipedia", "de,en"))) == ["de:9", "en:3"]
    hub.held["o/own", "train", None] = [{"id": 1, "prompts": {"en": "x", "de": "y"}, "answers": None}]
    assert list(examples(opened("jsonl", "o/own", None))) == ["1"]


def test_a_hub_without_a_network_is_told_how_to_go_on(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"facebook/xnli: there is no such file or folder"):
        opened("xnli", "facebook/xnli").check()
    with pytest.raises(InputError, match=r"ke-en2xx: MzsRE is not read from the Hub; point --data at https"):
        opened("ke-en2xx", "some/mzsre")
