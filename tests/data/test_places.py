"""Whose a file is, by its path; and which files of a folder are meant."""

import os

import pytest

from fastneurons.data.file_names import language_of_path, split_of
from fastneurons.data.place_files import sorted_files
from fastneurons.data.places import Place, flores_code
from fastneurons.errors import InputError, printable
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


# -- parts, varieties, splits ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["c4-de.tfrecord-00001-of-00002.json.gz", "c4-de.tfrecord-00000-of-00002.json.gz"], {"de": 2}),
        (["de_part_1.jsonl", "de_part_2.jsonl", "en_part_1.jsonl"], {"de": 2, "en": 1}),
        (["de.0.txt", "de.1.txt"], {"de": 2}),
        (["de/AA/wiki_00", "de/AB/wiki_00", "sw/AA/wiki_00"], {"de": 2, "sw": 1}),
        (["de/news.txt", "de/web.txt"], {"de": 2}),
        (["de/news_de.txt", "de/web_de.txt"], {"de": 2}),
        ([f"de_{n:04}.txt" for n in range(1890, 1910)], {"de": 20}),
        (["zh.txt", "zh-Latn.txt", "zh-TW.txt"], {"zh": 1, "zh-Latn": 1, "zh-Hant": 1}),
        (["mine_no.txt", "mine_de.txt"], {"no": 1, "de": 1}),  # beside the second, the first is no word
    ],
)
def test_what_belongs_together(tmp_path, names, files):
    by_language = sorted_files(make(tmp_path, *names)).by_language
    assert {code: len(paths) for code, paths in by_language.items()} == files
    assert all(list(paths) == sorted(paths) for paths in by_language.values())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["por.txt", "por-BR.txt"],
            r"has por-BR.txt and por.txt, both in pt \(por-BR and por: regions and variants",
        ),
        (["x.spa.txt", "x.spa-MX.txt"], r"both in es .* choose by a pattern, such as '.*/x\.\*\.txt'"),
        (["es/es-MX.txt", "es/es-ES.txt"], "es/es-ES.txt and es/es-MX.txt, both in es"),
        (["es/es-MX.txt", "es/other.txt"], "both in es"),
        (["pt/a.txt", "pt-BR/a.txt"], "files in pt in several folders"),
        (["de.txt", "deu.txt"], "de.txt and deu.txt, both in de, and neither numbers nor a folder de/ say"),
        (["news.de.txt", "web.de.txt"], "news.de.txt and web.de.txt, both in de"),
        (["europarl-v7.de", "europarl-v8.de"], "both in de"),
        (["deu_news_2019_10K-sentences.txt", "deu_news_2020_10K-sentences.txt"], "both in de"),
        (["en.txt", "de.txt", "bn_old.txt"], "bn_old.txt names no language that is known here: 'bn_old' is"),
        (["en.txt", "de.txt", "fr-QQ.txt"], "fr-QQ.txt names no language that is known here"),
    ],
)
def test_what_may_not_belong_together_is_refused_by_name(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        sorted_files(make(tmp_path, *names))


def test_one_of_two_varieties_is_chosen_by_a_pattern(tmp_path):
    make(tmp_path, "x.spa.txt", "x.spa-MX.txt", "x.deu.txt")
    files = sorted_files(Place(f"{tmp_path}/x.[!s]*.txt"))
    assert list(files.by_language) == ["de"]
    files = sorted_files(Place(f"{tmp_path}/x.*-MX.txt"))
    assert files.by_language == {"es": (f"{tmp_path}/x.spa-MX.txt",)}


def test_regions_and_files_left_out_are_told(tmp_path):
    files = sorted_files(make(tmp_path, "x.eng.txt", "x.fra-CA.txt", "x.zho-TW.txt", "notes.txt"))
    assert files.notes == (
        "left out, as their names name no language: notes.txt",
        "regions and variants of a language count as one: fra-CA is fr, zho-TW is zh-Hant "
        "(the script used there)",
    )
    assert sorted_files(make(tmp_path / "plain", "de.txt", "en.txt")).notes == ()


def test_the_places_own_folder_names_the_language_where_no_file_does(tmp_path):
    files = sorted_files(make(tmp_path / "de", "AA/wiki_00", "AB/wiki_00"))
    assert {code: len(paths) for code, paths in files.by_language.items()} == {"de": 2}
    assert files.of_folder
    assert sorted_files(make(tmp_path / "extracted", "AA/x.txt", "AM/x.txt", "AR/x.txt")).by_language == {}


MC4 = [
    f"c4-{code}{split}.tfrecord-00000-of-00001.json" for code in ("de", "sw") for split in ("", "-validation")
]


def test_files_without_a_split_beside_others_are_for_training(tmp_path):
    place = make(tmp_path, *MC4)
    training = {code: [f"c4-{code}.tfrecord-00000-of-00001.json"] for code in ("de", "sw")}
    validation = {code: [f"c4-{code}-validation.tfrecord-00000-of-00001.json"] for code in ("de", "sw")}
    assert found(place, default_splits=("train", "test", "validation")) == (training, [], "train")
    assert found(Place(place.location, "train")) == (training, [], "train")
    assert found(Place(place.location, "dev")) == (validation, [], "validation")
    assert found(place, default_splits=("test", "validation", "train"))[2] == "validation"
    assert sorted_files(Place(place.location, "train")).notes == (
        "split train, left out: validation (2); files without a split in their names, "
        "c4-de.tfrecord-00000-of-00001.json, c4-sw.tfrecord-00000-of-00001.json, are the training split",
    )
    with pytest.raises(InputError, match="no such split; there is train, validation"):
        sorted_files(Place(place.location, "test"))


@pytest.mark.parametrize(
    ("names", "training"),
    [
        (["x.jsonl", "x-test.jsonl"], ["x.jsonl"]),
        (["x.jsonl", "x.dev.tsv"], ["x.jsonl"]),
        (["x.jsonl", "x.dev.jsonl", "notes.jsonl"], ["x.jsonl"]),
        (["corpus.jsonl", "test.jsonl"], ["corpus.jsonl"]),
        (["train.jsonl", "test.jsonl", "more.jsonl"], ["train.jsonl"]),
        (["data.train.gz", "data.valid.gz"], ["data.train.gz"]),
    ],
)
def test_the_training_split_of_a_folder(tmp_path, names, training):
    place = make(tmp_path, *names)
    assert found(Place(place.location, "train")) == ({}, training, "train")
    notes = " ".join(sorted_files(Place(place.location, "train")).notes)
    assert all(name in notes for name in names if split_of(name) is None and name not in training)


def test_splits_as_folders(tmp_path):
    place = make(tmp_path, "de.txt", "en.txt", "dev/de.txt", "dev/en.txt")
    assert found(Place(place.location, "train"))[0] == {"de": ["de.txt"], "en": ["en.txt"]}
    assert found(Place(place.location, "valid"))[0] == {"de": ["dev/de.txt"], "en": ["dev/en.txt"]}


def test_a_name_with_bytes_that_are_no_utf_8_is_told_with_them_escaped(tmp_path):
    name = os.fsdecode(b"\xff\xfe.txt")
    try:
        (tmp_path / name).write_text("x\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    make(tmp_path, "de.txt", "en.txt")
    assert sorted_files(Place(str(tmp_path))).notes == (
        r"left out, as their names name no language: \xff\xfe.txt",
    )
    place = Place(str(tmp_path / name), split="x")
    assert place.describe() == rf"{tmp_path}/\xff\xfe.txt (split x)"
    [row] = place.read(str(tmp_path / name))
    assert row.where == rf"{tmp_path}/\xff\xfe.txt:1"
    assert str(InputError(name)) == r"\xff\xfe.txt"
    assert printable("é\ud800") == r"é\ud800"
