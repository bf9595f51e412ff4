"""Whose a file is: names as data sets have them, and names that must tell nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastneurons.data.file_names import (
    _ALSO_WORDS,
    _COLLECTIONS,
    _WORDS_AROUND,
    SPLITS,
    kin,
    language_of_path,
    split_of,
    unread_tag,
)
from fastneurons.languages import all_codes, read_code, short_code

NAMES = """
# BCP 47 and locales
ko-KR.jsonl                                             ko
am-ET.jsonl                                             am
hy-AM.jsonl                                             hy
af-ZA.jsonl                                             af
ms-MY.jsonl                                             ms
jv-ID.jsonl                                             jv
ml-IN.jsonl                                             ml
bn-IN.txt                                               bn
sv-SE.txt                                               sv
de_CH.tsv                                               de
fr-BE.txt                                               fr
es_AR.txt                                               es
es-CO.txt                                               es
es-419.txt                                              es
en-ZA.txt                                               en
en_IN.txt                                               en
en-US.txt                                               en
pt-BR.txt                                               pt
pt_br                                                   pt
fr_CA.txt                                               fr
cmn-TW.txt                                              zh-Hant
zho-TW.txt                                              zh-Hant
zh-TW/validated.tsv                                     zh-Hant
zh_CN.UTF-8.txt                                         zh
de_DE@euro.txt                                          de
sr@latin.txt                                            sr-Latn
sr-Latn-RS.txt                                          sr-Latn
sr-ME.txt                                               sr-Latn
hi_rom.txt                                              hi-Latn
EN.txt                                                  en
DE/train.jsonl                                          de
# FLORES, Belebele, NTREX, MASSIVE, MGSM, XNLI, XQuAD, XCOPA, PAWS-X, MMMLU
eng_Latn.devtest                                        en
devtest/zho_Hant.devtest                                zh-Hant
flores200.deu_Latn.dev                                  de
belebele/deu_Latn.jsonl                                 de
newstest2019-ref.fra-CA.txt                             fr
newstest2019-ref.srp-Latn.txt                           sr-Latn
newstest2019-ref.ckb-Arab.txt                           ckb
newstest2019-src.eng.txt                                en
zh-TW.jsonl                                             zh-Hant
mgsm_de.tsv                                             de
dev-de.tsv                                              de
test-is.tsv                                             is
xquad.zh.json                                           zh
xcopa/data/et/val.et.jsonl                              et
x-final/de/test_2k.tsv                                  de
mmmlu/test/mmlu_PT-BR.csv                               pt
mmmlu/test/mmlu_ZH-CN.csv                               zh
spring2016.val.en.tsv.split_20_80_eval.tsv              en
global_piqa_deu_latn.tsv                                de
# OPUS, WMT, IWSLT, Tatoeba, Europarl
OpenSubtitles.en-pt_br.pt_br                            pt
OpenSubtitles.en-pt_br.en                               en
TED2020.en-zh_tw.zh_tw                                  zh-Hant
Tatoeba.de-en.de                                        de
tatoeba.deu-eng.eng.gz                                  en
europarl-v7.de-en.de                                    de
opus.en-mt-train.mt                                     mt
train.tags.de-en.de                                     de
IWSLT14.TED.dev2010.de-en.de.xml                        de
newstest2014-deen-ref.en.sgm                            en
newstest2020-ende-src.en.txt                            en
corpus.tok.de                                           de
de.sent.tsv                                             de
ref.de.txt                                              de
# Corpora
c4-de.tfrecord-00000-of-01024.json.gz                   de
c4-zh-Latn.tfrecord-00000-of-00001.json.gz              zh-Latn
c4-de-validation.tfrecord-00000-of-00001.json.gz        de
c4-is.tfrecord-00000-of-00010.json.gz                   is
c4-no.tfrecord-00000-of-00010.json.gz                   no
c4-iw.tfrecord-00000-of-00010.json.gz                   he
zh-Hans.txt.xz                                          zh
bn_rom.txt                                              bn-Latn
af_dedup.txt.gz                                         af
de_part_1.jsonl.gz                                      de
en/en_part_00000.parquet                                en
zh_Latn_clean_0000.jsonl.gz                             zh-Latn
deu-Latn/deu-Latn_0.parquet                             de
data/deu_Latn/train/000_00000.parquet                   de
cmn_Hani/train/000_00000.parquet                        zh
20231101.th/train-00003-of-00041.parquet                th
dewiki-20240320-pages-articles.txt                      de
zh_yuewiki-20240320.txt                                 yue
de/AA/wiki_00                                           de
deu_news_2020_10K/deu_news_2020_10K-sentences.txt       de
deu-de_web_2021_10K-sentences.txt                       de
por-br_web_2015_10K-sentences.txt                       pt
fin_news_2020_10K-sentences.txt                         fi
udhr_deu_1996.txt                                       de
udhr_fin.txt                                            fi
deu-x-bible-luther1545.txt                              de
cv-corpus-17.0-2024-03-15-zh-TW.tsv                     zh-Hant
wiki.de.00                                              de
corpus-zh-hant.txt                                      zh-Hant
patterns/zh-hans/P36.jsonl                              zh
# A user's own
val.de.jsonl                                            de
test/de.parquet                                         de
mydata_de.tsv                                           de
alpaca_de_train.json                                    de
exemplars_de.json                                       de
id.txt                                                  id
no/train.jsonl                                          no
test.is.jsonl                                           is
de/my_file.tsv                                          de
# No language, two languages, or one with something unknown behind it
xnli.test.tsv                                           -
xnli.15way.orig.tsv                                     -
train-00000-of-00041.parquet                            -
dev/data.jsonl                                          -
all_languages/test.parquet                              -
wiki_00                                                 -
AA/wiki_00                                              -
AB/wiki_01.bz2                                          -
en-de.tsv                                               -
en-mt/train-00000-of-00001.parquet                      -
news-commentary-v16.de-en.tsv                           -
OpenSubtitles.ze_zh                                     -
bn_old.txt                                              -
my_zaw.txt                                              -
eng-engkjv.txt                                          -
de_AT_standard.txt                                      -
de-QQ.txt                                               -
xx-CA.txt                                               -
sco-GB.txt                                              -
sales_CA.tsv                                            -
en-thai.jsonl                                           -
test_MSA.jsonl                                          -
xlsum/chinese_simplified.jsonl                          -
my_data.tsv                                             -
is_test.jsonl                                           -
no_dedup.txt                                            -
how_to.txt                                              -
sign-in.txt                                             -
and-or.tsv                                              -
id_list.txt                                             -
run_1.jsonl                                             -
may_2020.txt                                            -
orig.ref.src.txt                                        -
"""
ROWS = [line.split() for line in NAMES.strip().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("path", "code"), ROWS)
def test_the_language_of_a_name(path, code):
    assert language_of_path(path) == (None if code == "-" else code)


def test_no_word_that_is_passed_over_is_a_language():
    assert not [word for word in _COLLECTIONS | _WORDS_AROUND | SPLITS.keys() if short_code(word)]
    assert all(short_code(word) for word in _ALSO_WORDS)


CODES = sorted({code for code in all_codes() if "-" not in code} - _ALSO_WORDS)
WORDS = st.from_regex(r"[a-z]{5,9}", fullmatch=True).filter(
    lambda word: not (word in _COLLECTIONS | _WORDS_AROUND | SPLITS.keys() or word.endswith("wiki"))
)
TOKENS = st.one_of(
    st.sampled_from(["de", "zh", "Latn", "Hant", "BR", "TW", "x", "1996", "my", "to", "AA", "CA", "wiki", "00", "rom"]),
    st.from_regex(r"[A-Za-z0-9]{1,5}", fullmatch=True),
)  # fmt: skip
NAME = st.lists(st.tuples(TOKENS, st.sampled_from("-_.")), min_size=1, max_size=6)


@given(st.lists(NAME, min_size=1, max_size=3))
def test_a_language_is_always_one_that_a_whole_tag_in_the_path_says(parts):
    path = "/".join("".join(f"{token}{separator}" for token, separator in name) for name in parts)
    code = language_of_path(path)
    if code is None:
        return
    said = set()
    for name in path.split("/"):
        ends = [0, *(match.end() for match in re.finditer("[-_.@]", name)), len(name) + 1]
        for i, start in enumerate(ends):
            for end in ends[i + 1 :]:
                text = name[start : end - 1]
                said |= {
                    reading.code for reading in [read_code(text), read_code(text[: -len("wiki")])] if reading
                }
    assert code in said


@given(st.sampled_from(CODES), st.sampled_from("-_"), WORDS)
def test_a_code_with_something_unknown_behind_it_is_no_language(code, separator, word):
    if read_code(f"{code}{separator}{word}"):  # a registered variant
        return
    assert language_of_path(f"{code}{separator}{word}.txt") is None
    assert language_of_path(f"corpus.{code}{separator}{word}.jsonl.gz") is None
    assert unread_tag(f"{code}{separator}{word}.txt") == f"{code}{separator}{word}"


@given(
    st.sampled_from([code for code in CODES if len(code) == 2]),
    st.sampled_from(["BR", "IN", "CA", "TW", "KR", "ET"]),
)
def test_a_region_in_capitals_keeps_the_language(code, region):
    for name in (f"{code}-{region}.txt", f"data.{code}_{region}.jsonl", f"{code}-{region}/train.parquet"):
        found = language_of_path(name)
        assert found is not None and found.partition("-")[0] == code


@given(st.sampled_from(CODES), st.sampled_from(CODES))
def test_two_languages_are_none(first, second):
    if read_code(f"{first}-{second}") is None:
        assert language_of_path(f"{first}-{second}.tsv") is None


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("de/train.jsonl", "train"),
        ("de/test.jsonl", "test"),
        ("xx.train.gz", "train"),
        ("xnli.dev.tsv", "validation"),
        ("val.de.jsonl", "validation"),
        ("de/valid.txt", "validation"),
        ("valid/de.txt", "validation"),
        ("IWSLT14.TED.tst2012.de-en.de", "test"),
        ("deu_Latn.devtest", "devtest"),
        ("c4-de-validation.tfrecord-00000-of-00001.json.gz", "validation"),
        ("x-test.jsonl", "test"),
        ("c4-de.tfrecord-00000-of-01024.json.gz", None),
        ("newstest2019-ref.deu.txt", None),
        ("trainer/de.txt", None),
    ],
)
def test_the_split_of_a_name(path, split):
    assert split_of(path) == split


@pytest.mark.parametrize(
    ("unmarked", "marked"),
    [
        ("c4-de.tfrecord-00000-of-01024.json.gz", "c4-sw-validation.tfrecord-00000-of-00001.json.gz"),
        ("x.jsonl", "x-test.jsonl"),
        ("x.jsonl", "x.dev.tsv"),
        ("de.txt", "test/en.txt"),
        ("de/data.txt", "en/data.valid.txt"),
        ("data_de.jsonl", "data_en_test.jsonl"),
    ],
)
def test_names_that_differ_in_language_split_and_number_are_kin(unmarked, marked):
    assert kin(unmarked) == kin(marked)


def test_other_names_are_no_kin():
    assert kin("notes.txt") != kin("x-test.txt")
    assert kin("wiki.de.txt") != kin("news.de.test.txt")
