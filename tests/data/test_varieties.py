"""Scripts, regions and varieties mean the same wherever a language is named: columns, keys, rows, files, templates."""

import bz2
import gzip
import json
import os
import subprocess
import sys

import pytest

from fastneurons.data.check import check_data
from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.tasks import open_tasks
from fastneurons.errors import InputError
from tests.data.tasks.files import write


def opened(task, place, languages=None, **options):
    codes = tuple(languages.split(",")) if languages else None
    return open_tasks([task], {task: str(place)}, codes, DataOptions(**options))


def rows(source):
    return [row.prompts if isinstance(row, Example) else row.reason for row in source]


def counts(source):
    (report,) = check_data(source)
    return {code: found.prompts for code, found in report.languages.items()}, report.notes


# -- columns, keys, rows, templates ----------------------------------------------------------------------


def test_columns_with_regions_and_scripts(tmp_path):
    place = tmp_path / "a.tsv"
    write(place, "en\tpt-BR\tzh_TW\tzh-Latn\tid\nriver\trio\t河\thé\t7\n")
    source = opened("parallel", place)
    assert source.languages == ("en", "pt", "zh-Hant", "zh-Latn")
    assert rows(source) == [{"en": "river", "pt": "rio", "zh-Hant": "河", "zh-Latn": "hé"}]
    told = (
        "parallel: regions and variants of a language count as one: pt-BR is pt, zh_TW is zh-Hant "
        "(the script used there)"
    )
    assert source.remarks() == source.notes() == [told]


def test_a_column_of_numbers_is_no_language(tmp_path):
    write(tmp_path / "a.tsv", "no\ten\tde\n1\tone\teins\n2\ttwo\tzwei\n")
    assert opened("parallel", tmp_path / "a.tsv").languages == ("en", "de")
    write(tmp_path / "b.tsv", "no\ten\tde\nhus\thouse\tHaus\n")
    assert opened("parallel", tmp_path / "b.tsv").languages == ("no", "en", "de")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "en\tpt\tpt-BR\nx\ty\tz\n", "the columns pt and pt-BR, which are both pt here; keep one"),
        ("a.csv", "en,zh,cmn_Hans\nx,y,z\n", "the columns zh and cmn_Hans, which are both zh here"),
        (
            "a.jsonl",
            '{"translation": {"en": "x", "zh-TW": "y", "zh-Hant": "z"}}\n',
            "the translations zh-TW and zh-Hant, which are both zh-Hant here",
        ),
    ],
)
def test_two_columns_of_one_language_are_refused(tmp_path, name, content, message):
    write(tmp_path / name, content)
    with pytest.raises(InputError, match=message):
        opened("parallel", tmp_path / name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_prompts_of_two_varieties_are_never_mixed(tmp_path, name):
    examples = [
        {"id": "1", "prompts": {"en": "x", "pt-BR": "y"}},
        {"id": "2", "prompts": {"en": "x", "pt": "y", "pt-BR": "z"}},
    ]
    text = "".join(json.dumps(row) + "\n" for row in examples) if name == "a.jsonl" else json.dumps(examples)
    write(tmp_path / name, text)
    source = opened("jsonl", tmp_path / name, "en,pt")
    assert rows(source) == [{"en": "x", "pt": "y"}, "prompts has pt twice, as pt and pt-BR"]
    assert source.remarks() == ["jsonl: regions and variants of a language count as one: pt-BR is pt"]
    assert opened("jsonl", tmp_path / name).languages == ("en", "pt")


def test_rows_that_name_their_language(tmp_path):
    write(tmp_path / "a.jsonl", '{"text": "x", "lang": "en_IN"}\n{"text": "y", "lang": "hi_rom"}\n')
    source = opened("corpus", tmp_path / "a.jsonl")
    assert source.languages == ("en", "hi-Latn")
    assert "en_IN is en" in source.remarks()[0]
    write(tmp_path / "b.jsonl", '{"text": "x", "lang": "es"}\n{"text": "y", "lang": "es-MX"}\n')
    with pytest.raises(InputError, match="rows in es and in es-MX, which are both es here"):
        opened("corpus", tmp_path / "b.jsonl")


def test_rows_say_more_than_the_places_own_folder(tmp_path):
    write(tmp_path / "de" / "a.jsonl", '{"text": "x", "lang": "en"}\n{"text": "y", "lang": "sw"}\n')
    assert opened("corpus", tmp_path / "de").languages == ("en", "sw")


def test_templates_of_two_varieties_are_refused(tmp_path):
    write(tmp_path / "a.jsonl", '{"id": "1", "prompts": {"en": "x", "pt": "y"}}\n')
    write(tmp_path / "t.toml", 'en = "{prompt}?"\n"pt-BR" = "{prompt}!"\n')
    assert rows(opened("jsonl", tmp_path / "a.jsonl", "en,pt", template=str(tmp_path / "t.toml"))) == [
        {"en": "x?", "pt": "y!"}
    ]
    write(tmp_path / "t.toml", 'en = "{prompt}?"\npt = "{prompt}."\n"pt-BR" = "{prompt}!"\n')
    with pytest.raises(InputError, match="'pt-BR' is one of two entries for pt"):
        opened("jsonl", tmp_path / "a.jsonl", "en,pt", template=str(tmp_path / "t.toml"))


def test_two_folders_of_one_language_are_refused(tmp_path):
    for code in ("en", "zh", "zh-hans"):
        write(tmp_path / "patterns" / code / "P36.jsonl", '{"pattern": "[X] [Y]"}\n')
        write(tmp_path / "tuples" / code / "P36.jsonl", '{"sub_uri": "Q1"}\n')
    with pytest.raises(
        InputError, match=r"patterns/zh-hans/P36\.jsonl and patterns/zh/P36\.jsonl, both in zh"
    ):
        opened("fact", tmp_path)


# -- whole layouts ---------------------------------------------------------------------------------------


def test_ntrex(tmp_path):
    texts = {"deu": "Fluss", "eng-US": "river", "fra-CA": "rivière", "por-BR": "rio", "zho-TW": "河"}
    for tag, text in texts.items():
        write(tmp_path / f"newstest2019-ref.{tag}.txt", f"{text}\n")
    found, (note,) = counts(opened("parallel", tmp_path))
    assert found == {"de": 1, "en": 1, "fr": 1, "pt": 1, "zh-Hant": 1}
    assert note.endswith(
        "eng-US is en, fra-CA is fr, por-BR is pt, zho-TW is zh-Hant (the script used there)"
    )
    write(tmp_path / "newstest2019-ref.por.txt", "rio\n")
    with pytest.raises(InputError, match=r"ref.por-BR.txt and newstest2019-ref.por.txt, both in pt"):
        opened("parallel", tmp_path)


def test_opus(tmp_path, monkeypatch):
    write(tmp_path / "opus" / "OpenSubtitles.en-pt_br.en", "river\n")
    write(tmp_path / "opus" / "OpenSubtitles.en-pt_br.pt_br", "rio\n")
    monkeypatch.chdir(tmp_path)
    # The second one looks like a name on the Hub.
    for place in (tmp_path / "opus" / "OpenSubtitles.en-pt_br", "opus/OpenSubtitles.en-pt_br"):
        assert rows(opened("parallel", place)) == [{"en": "river", "pt": "rio"}]


def test_cc100(tmp_path):
    for name in ("bn", "bn_rom", "en"):
        write(tmp_path / f"{name}.txt", f"{name}\n")
    assert counts(opened("corpus", tmp_path)) == ({"bn": 1, "bn-Latn": 1, "en": 1}, ())


def mc4(folder, name, *texts):
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    write(folder / f"c4-{name}.tfrecord-00000-of-00001.json.gz", gzip.compress(content.encode()))


def test_mc4(tmp_path):
    for code in ("de", "sw", "zh", "zh-Latn"):
        mc4(tmp_path, code, f"{code} a", f"{code} b")
        mc4(tmp_path, f"{code}-validation", f"{code} c")
    two, one = (dict.fromkeys(("de", "sw", "zh-Latn", "zh"), number) for number in (2, 1))
    found, (note,) = counts(opened("corpus", tmp_path))
    assert found == two
    assert note.startswith(
        "split train, left out: validation (4); files without a split in their names, c4-de.tf"
    )
    assert counts(opened("corpus", tmp_path, split="train"))[0] == two
    assert counts(opened("corpus", tmp_path, split="validation"))[0] == one


@pytest.mark.parametrize("packed", [False, True])
def test_wikiextractor(tmp_path, packed):
    for code in ("de", "sw"):
        for part in ("AA", "AB"):
            lines = "".join(f'{{"text": "{code} {part} {number}"}}\n' for number in (1, 2)).encode()
            content = bz2.compress(lines) if packed else lines
            write(tmp_path / code / part / f"wiki_00{'.bz2' if packed else ''}", content)
    assert counts(opened("corpus", tmp_path))[0] == {"de": 4, "sw": 4}
    assert counts(opened("corpus", tmp_path / "de"))[0] == {"de": 4}


def test_leipzig(tmp_path):
    for code in ("deu", "fra"):
        name = f"{code}_news_2021_10K"
        write(tmp_path / name / f"{name}-sentences.txt", "1\ta\n2\tb\n")
    assert counts(opened("corpus", tmp_path))[0] == {"de": 2, "fr": 2}


# -- names that are not UTF-8 ----------------------------------------------------------------------------


@pytest.fixture
def not_utf8(tmp_path):
    name = os.fsdecode(b"\xff\xfe.jsonl")
    try:
        (tmp_path / name).write_text('{"id": 1.5}\n{"id": "a", "prompts": {"en": "a", "de": "b"}}\n')
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    return tmp_path


def test_rows_of_a_file_whose_name_is_not_utf_8(not_utf8):
    source = opened("jsonl", not_utf8, "en,de", shuffle=1)  # shuffled rows are written to a temporary file
    found = list(source)
    [bad] = [row for row in found if isinstance(row, Skipped)]
    assert bad.where == rf"{not_utf8}/\xff\xfe.jsonl:1"
    for row in found:
        row.where.encode()


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_data_check_of_a_file_whose_name_is_not_utf_8(not_utf8, more):
    arguments = [
        sys.executable,
        "-m",
        "fastneurons",
        "data",
        "check",
        str(not_utf8),
        "--languages",
        "en,de",
        *more,
    ]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(arguments, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (rb"\\xff\\xfe.jsonl:1" if more else rb"\xff\xfe.jsonl:1") in done.stdout
