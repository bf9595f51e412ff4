"""Whose a file is, by its path; and which files of a folder are meant."""

import pytest

from fastneurons.data.places import Place, flores_code, language_of_path, sorted_files
from fastneurons.errors import InputError
from tests.data.tasks.files import write


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("mgsm_de.tsv", "de"),
        ("deu_Latn.jsonl", "de"),
        ("devtest/zho_Hant.devtest", "zh-Hant"),
        ("Tatoeba.de-en.de", "de"),
        ("Tatoeba.de-en.en.gz", "en"),
        ("tatoeba.deu-eng.deu", "de"),
        ("test.et.jsonl", "et"),
        ("val.et.jsonl.zst", "et"),
        ("x-final/de/test_2k.tsv", "de"),
        ("de/test-00000-of-00001.parquet", "de"),
        ("test/de.parquet", "de"),
        ("20231101.th/train-00003-of-00041.parquet", "th"),
        ("patterns/zh-hans/P36.jsonl", "zh"),
        ("xquad.zh.json", "zh"),
        ("corpus-zh-hant.txt", "zh-Hant"),
        ("spring2016.val.en.tsv.split_20_80_eval.tsv", "en"),
        ("de/my_file.tsv", "de"),  # `my` is Burmese; the folder says more
        ("en.txt", "en"),
        # Words that are no languages.
        ("xnli.test.tsv", None),
        ("xnli.15way.orig.tsv", None),
        ("dev/data.jsonl", None),
        ("train-00000-of-00002.parquet", None),
        ("all_languages/test.parquet", None),
        ("data.jsonl", None),
    ],
)
def test_the_language_of_a_path(path, code):
    assert language_of_path(path) == code


@pytest.mark.parametrize(
    ("code", "expected"),
    [("de", "deu_Latn"), ("ar", "arb_Arab"), ("zh", "zho_Hans"), ("zh-Hant", "zho_Hant"), ("sw", "swh_Latn"),
     ("sr", "srp_Cyrl"), ("ja", "jpn_Jpan"), ("yue", "yue_Hant"), ("ko", "kor_Hang")],
)  # fmt: skip
def test_codes_as_flores_has_them(code, expected):
    assert flores_code(code) == expected


def make(folder, *names):
    for name in names:
        write(folder / name, "x\n")
    return Place(str(folder))


def found(place, **more):
    files = sorted_files(place, **more)
    names = {code: [place.relative(path) for path in paths] for code, paths in files.by_language.items()}
    return names, [place.relative(path) for path in files.others], files.split


def test_a_folders_files_by_language_and_split(tmp_path):
    place = make(
        tmp_path, "de/test.tsv", "de/dev.tsv", "en/test.tsv", "en/train.tsv", "README.md", "LICENSE", ".git/config",
        "__pycache__/x.pyc", "script.py",
    )  # fmt: skip
    assert found(place) == ({"de": ["de/test.tsv"], "en": ["en/test.tsv"]}, [], "test")
    dev = Place(place.location, split="validation")
    assert found(dev) == ({"de": ["de/dev.tsv"]}, [], "validation")
    with pytest.raises(
        InputError, match=r"--split eval: .* has no such split; there is test, train, validation"
    ):
        sorted_files(Place(place.location, split="eval"))


def test_of_the_same_data_in_two_formats_one_is_read(tmp_path):
    place = make(tmp_path, "xnli.test.tsv", "xnli.test.jsonl", "xnli.dev.tsv")
    assert found(place) == ({}, ["xnli.test.jsonl"], "test")


def test_a_language_in_two_folders_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"files in de in several folders \(.*/a, .*/b\); point --data at the one"
    ):
        sorted_files(make(tmp_path, "a/de.txt", "b/de.txt"))


def test_parts_of_a_language_stay_in_order(tmp_path):
    place = make(tmp_path, *(f"de/train-{n:05}-of-00003.parquet" for n in (2, 0, 1)))
    assert found(place)[0] == {"de": [f"de/train-{n:05}-of-00003.parquet" for n in range(3)]}


def test_patterns_and_urls(tmp_path):
    place = make(tmp_path, "a.de", "a.en", "b.de", "b.en")
    assert found(Place(f"{tmp_path}/a.*"))[0] == {"de": ["a.de"], "en": ["a.en"]}
    url = Place(f"file://{tmp_path}")
    assert url.is_folder and not url.is_hub
    assert set(sorted_files(Place(f"file://{tmp_path}/b.*")).by_language) == {"de", "en"}
    assert set(place.files()) == {f"{tmp_path}/{name}" for name in ("a.de", "a.en", "b.de", "b.en")}


def test_what_is_a_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Place("facebook/xnli").is_hub
    write(tmp_path / "facebook" / "xnli", "x")
    assert not Place("facebook/xnli").is_hub
    for name in ("./facebook/mgsm", "mgsm", "/facebook/mgsm", "s3://facebook/mgsm", "data/mgsm.jsonl"):
        assert not Place(name).is_hub


def test_empty_and_missing_places(tmp_path):
    with pytest.raises(InputError, match="holds no data files"):
        sorted_files(make(tmp_path, "README.md"))
    with pytest.raises(InputError, match="does not exist"):
        sorted_files(Place(str(tmp_path / "none")))
    with pytest.raises(InputError, match="fits no file"):
        sorted_files(Place(f"{tmp_path}/*.tsv"))


def test_places_are_described_for_a_resumed_run():
    assert Place("a.tsv").describe() == "a.tsv"
    assert Place("o/n", "dev", "all", "v1").describe("test") == "o/n (split dev, config all, revision v1)"
    assert Place("o/n").describe("test") == "o/n (split test)"
