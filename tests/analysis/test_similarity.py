"""Similarities from files, scripts and families, and their correlation with overlaps."""

import numpy as np
import pytest
from scipy import stats

from fastneurons.analysis.overlap import pairs
from fastneurons.analysis.similarity import mantel, read_similarity, same_family, same_script, spearman
from fastneurons.errors import InputError
from fastneurons.language_families import kin_of, kinship
from fastneurons.languages import all_codes, language

LANGUAGES = ("en", "de", "zh", "th")


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    values, others = rng.integers(0, 4, (5, 9)).astype(float), rng.integers(0, 3, 9).astype(float)
    np.testing.assert_allclose(
        spearman(values, others), [stats.spearmanr(row, others).statistic for row in values]
    )
    assert np.isnan(spearman(values, np.ones(9))).all()
    assert np.isnan(spearman(values[:, :2], others[:2])).all()


def test_mantel_tries_all_orders_of_few_languages():
    overlap = np.array([0.9, 0.1, 0.2, 0.15, 0.3, 0.5])
    similarity = np.array([5.0, 1, 2, 1.5, 3, 4])
    found = mantel(overlap, similarity)
    assert found.rho.mean == pytest.approx(1) and found.num_permutations == 23
    # Of 24 orders, those with |rho| of 1: the identity alone, since all similarities differ.
    assert found.p == pytest.approx(1 / 24)


def test_mantel_p_is_uniform_under_chance():
    rng = np.random.default_rng(0)
    L = 6
    p = []
    for _ in range(200):
        # A trait of each language makes pairs dependent; permuting languages keeps that, permuting pairs would not.
        trait, other = rng.normal(size=(2, L))
        overlap = np.array([trait[i] + trait[j] for i, j in pairs(L)])
        similarity = np.array([other[i] + other[j] for i, j in pairs(L)])
        p.append(mantel(overlap, similarity, permutations=199, rng=rng).p)
    for level in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.1)


def test_pairs_without_a_similarity_are_left_out():
    overlap = np.array([0.9, 0.1, 0.2, 0.15, 0.3, 0.5])
    similarity = np.array([5.0, np.nan, 2, np.nan, 3, 4])
    found = mantel(overlap, similarity, np.stack([overlap, overlap]))
    assert found.num_pairs == 4
    known = np.isfinite(similarity)
    assert found.rho.mean == pytest.approx(stats.spearmanr(overlap[known], similarity[known]).statistic)
    assert found.rho.low == found.rho.high == pytest.approx(found.rho.mean)


def test_a_constant_similarity_has_no_correlation():
    found = mantel(np.arange(6.0), np.ones(6))
    assert np.isnan(found.rho.mean) and np.isnan(found.p)


def test_same_script_and_family():
    np.testing.assert_array_equal(same_script(("en", "de", "zh", "zh-Latn")), [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(same_family(("en", "de", "fr", "zh")), [2, 1, 0, 1, 0, 0])
    assert np.isnan(same_script(("en", "klingon"))).all() and np.isnan(same_family(("en", "eo"))).all()


def test_every_language_but_constructed_ones_has_a_family():
    without = {code for code in all_codes() if kin_of(code) is None}
    assert without == {"eo", "ia", "ie", "io", "vo"}
    assert kin_of("zh_Hant") == kin_of("zho_Hans") and kin_of("sr-Latn") == kin_of("sr")
    assert language("th").name == "Thai" and kinship("th", "lo") == 2
    assert kinship("fi", "hu") == 1 and kinship("fi", "sv") == 0 and kinship("eo", "en") is None


LINES = "first,second,value\nen,de,0.8\nzho_Hans,en,0.1\n\nde,ZH,0.2\nfr,en,0.5\nen,en,1\n"
MATRIX = "\ten\tde\tzh\tth\nen\t1\t0.8\t0.1\t\nde\t0.8\t1\t0.2\t\nzh\t0.1\t0.2\t1\t\nth\t\t\t\t1\n"


@pytest.mark.parametrize(
    "text", [LINES, MATRIX, LINES.removeprefix("first,second,value\n"), "\ufeff" + LINES]
)
def test_both_forms_of_a_file(text, tmp_path):
    path = tmp_path / "similarity.csv"
    path.write_text(text, encoding="utf-8")
    nan = np.nan
    np.testing.assert_array_equal(read_similarity(path, LANGUAGES), [0.8, 0.1, nan, 0.2, nan, nan])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("en,de\n", ":1: has 2 cells; expected two languages and a value"),
        ("en,de,0.5\nen,zh,x\n", ":2: 'x' is not a finite number"),
        ("en,de,0.5\nen,zh,nan\n", ":2: 'nan' is not a finite number"),
        ("en,de,0.5\nen,klingon,1\n", ":2: unknown language 'klingon'"),
        ("en,de,0.5\nde,en,0.6\n", ":2: de and en have 0.6 here and 0.5 on line 1"),
        ("en,de,0.5\n", "has values for 2 of the languages en, de, zh, th; a correlation needs at least 3"),
        (",en,de,zh\nen,1,0.8\n", ":2: has 3 cells; the first line has 4"),
        (",en,de,en\nen,1,0.8,1\n", ":1: names a language twice"),
        (",en,de,zh\nen,1,0.8,0.1\nde,0.7,1,0.2\n", ":3: de and en have 0.7 here and 0.8 on line 2"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text, message, tmp_path):
    path = tmp_path / "similarity.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_similarity(path, LANGUAGES)
    assert message in str(error.value) and str(path) in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_similarity(tmp_path / "missing.csv", LANGUAGES)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_similarity(tmp_path / "binary.csv", LANGUAGES)
