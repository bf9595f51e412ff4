"""Figures show the numbers of their analyses, read back from what was drawn; and nothing is cut off or overlaps."""

import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest

from fastneurons.analysis.selection import Selection
from fastneurons.errors import InputError
from fastneurons.report.plots import COLUMN, FIGURES, PAGE, draw, figure
from fastneurons.report.plots.analyses import Request, analyse
from fastneurons.store import CATEGORIES, open_store
from tests.report.page.simulated import simulate
from tests.report.plots.layout import problems, texts
from tests.store.runs import draw as draw_run

WIDTHS = pytest.mark.parametrize("width", [COLUMN, PAGE])


def lines(axes):
    """float64 [2, n] of each line with a label, by label."""
    return {
        line.get_label(): np.array(line.get_data(), float)
        for line in axes.lines
        if line.get_label()[0] != "_"
    }


def bands(axes):
    """Low and high ends [2, n] of each filled band, in the order in which they were drawn."""
    found = []
    for band in axes.collections:
        for path in band.get_paths():
            if path.codes is None or len(path.vertices) < 6 or type(band).__name__ == "LineCollection":
                continue
            x = path.vertices[:, 0]
            found.append(
                np.array(
                    [
                        [path.vertices[x == at, 1].min(), path.vertices[x == at, 1].max()]
                        for at in np.unique(x)
                    ]
                ).T
            )
    return found


def intervals(axes):
    """Ends [2] of each horizontal bar."""
    return [
        segment[:, 0]
        for bars in axes.collections
        if type(bars).__name__ == "LineCollection"
        for segment in bars.get_segments()
    ]


def panels(drawn):
    return [axes for axes in drawn.axes if axes.get_visible()]


def by_title(drawn, start):
    return [axes for axes in panels(drawn) if axes.get_title("left").startswith(start)]


@WIDTHS
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_overlaps(name, width, found):
    drawn = figure(name, found[name], width)
    assert drawn.get_figwidth() == width
    assert problems(drawn) == []


@WIDTHS
def test_categories_are_means_with_their_spread(width, found):
    of = found["categories"]
    drawn = figure("categories", of, width)
    for category in CATEGORIES:
        upper, lower = by_title(drawn, category)
        whole = of.isel(task=-1).sel(category=category)
        assert f"{100 * float(whole.overall_share):.1f} %" in upper.get_title("left")
        assert lines(upper)[category] == pytest.approx(np.array([of.layer.values, 100 * whole.share.values]))
        expected = [("least", "most"), ("p5", "p95"), ("share_low", "share_high")]
        for band, ends in zip(bands(upper), expected, strict=True):
            assert band == pytest.approx(100 * np.array([whole[end].values for end in ends]))
        for k, task in enumerate(("capitals", "currencies")):
            each = of.isel(task=k).sel(category=category)
            assert lines(lower)[task][1] == pytest.approx(100 * each.share.values)
            assert bands(lower)[k] == pytest.approx(
                100 * np.array([each.share_low.values, each.share_high.values])
            )


def test_several_stores_are_lines_of_one_figure(stores):
    of = analyse("categories", Request([stores["run"], stores["other"]], Selection(), 20, 0))
    drawn = figure("categories", of, COLUMN)
    assert problems(drawn) == []
    [axes] = by_title(drawn, "all-shared")
    labels = [f"{store}.zarr, {task}" for store in ("run", "other") for task in ("capitals", "currencies")]
    assert [label.partition(" (")[0] for label in lines(axes)] == labels
    drawn_shares = np.array([line[1] for line in lines(axes).values()])
    assert drawn_shares == pytest.approx(100 * of.share.sel(category="all-shared").values)


def test_every_threshold_is_a_line(found):
    of = found["thresholds"]
    [axes] = by_title(figure("thresholds", of), "specific")
    assert list(lines(axes)) == ["> 0", "> 0.5"]
    for k, line in enumerate(lines(axes).values()):
        assert line[1] == pytest.approx(100 * of.share.isel(threshold=k).sel(category="specific").values)


def test_repeating_stands_beside_the_average_and_chance(found):
    of = found["repeating"]
    drawn = figure("repeating", of)
    upper, lower = by_title(drawn, "partial-shared")
    each = of.sel(category="partial-shared")
    assert lines(upper)["every example"][1] == pytest.approx(100 * each.repeating.sel(at_least=1.0).values)
    assert lines(upper)["average"][1] == pytest.approx(100 * each.average.values)
    assert lines(upper)["chance"][1] == pytest.approx(100 * each.repeating_chance.sel(at_least=1.0).values)
    expected = np.array([100 * of.at_least.values, 100 * each.repeating.mean("layer").values])
    assert lines(lower)["at least"] == pytest.approx(expected)


def test_language_neurons_are_a_heat_map_of_layers_and_agreements(found):
    of = found["lape"]
    layers, matrix, agreement = panels(figure("lape", of))
    assert np.array_equal(layers.images[0].get_array(), of.layer_count.values)
    assert [text.get_text() for text in layers.texts] == [str(n) for n in of.layer_count.values.ravel()]
    expected = 100 * of.jaccard.sel(pair="en/th").item()
    assert matrix.images[0].get_array()[0, 2] == pytest.approx(expected, nan_ok=True)
    for name in ("agreement", "agreement_chance"):
        assert lines(agreement)[name][0] == pytest.approx(100 * of[name].values, nan_ok=True)


def test_inactive_neurons_are_a_line_with_its_interval(found):
    of = found["inactive"]
    [axes] = panels(figure("inactive", of))
    assert lines(axes)["never activated"][1] == pytest.approx(100 * of.inactive.values)
    assert bands(axes)[0] == pytest.approx(100 * np.array([of.inactive_low.values, of.inactive_high.values]))


def test_distributions_are_overlaps_quantiles_and_signs(found):
    of = found["distributions"]
    drawn = figure("distributions", of)
    overlaps, values, signs = panels(drawn)
    for code in of["language"].values:
        assert lines(overlaps)[code][1] == pytest.approx(100 * of["others_overlap"].sel(language=code).values)
    chance = 100 * of["others_overlap_chance"].mean("language").values
    assert lines(overlaps)["chance"][1] == pytest.approx(chance)
    quantile = of["quantile"].mean("language")
    assert lines(values)["median"][1] == pytest.approx(quantile.sel(level=0.5).values)
    assert lines(values)["mean"][1] == pytest.approx(of["mean"].mean("language").values)
    for band, (low, high) in zip(bands(values), [(0.01, 0.99), (0.05, 0.95), (0.25, 0.75)], strict=True):
        assert band == pytest.approx(np.array([quantile.sel(level=low), quantile.sel(level=high)]))
    for case in of["case"].values:
        assert lines(signs)[case][1] == pytest.approx(
            100 * of["sign_share"].sel(case=case).mean("language").values
        )


@WIDTHS
def test_the_matrix_has_every_pair_in_the_order_of_the_tree(width, found):
    of = found["sharing"]
    drawn = figure("sharing", of, width)
    tree, matrix, bars, members, by_layer, similarities = panels(drawn)
    order = [str(code) for code in of.leaf.values]
    shown = np.ma.filled(matrix.images[0].get_array(), np.nan)
    pairs = zip(of["first"].values, of["second"].values, of.jaccard.values, strict=True)
    for first, second, overlap in pairs:
        i, j = order.index(first), order.index(second)
        assert shown[i, j] == shown[j, i] == pytest.approx(100 * overlap)
    assert [label.get_text().rpartition("(")[2][:-1] for label in matrix.get_yticklabels()] == order
    joins = sorted(line.get_ydata().max() for line in tree.lines)
    assert np.diff(joins) == pytest.approx(np.diff(np.sort(of.linkage.values[:, 2])))
    most = of.isel(set=np.argsort(-of.set_share.values, kind="stable"))
    most = most.isel(set=np.flatnonzero(most.set_size.values > 0)[: len(bars.patches)])
    assert [bar.get_height() for bar in bars.patches] == pytest.approx(100 * most.set_share.values)
    assert lines(bars)["chance"][1] == pytest.approx(100 * most.set_chance.values)
    filled = [line.get_xdata() for line in members.lines[1::2]]
    for row, code in enumerate(of.attrs["languages"]):
        inside = [k for k, label in enumerate(most.set.values) if code in str(label).split("+")]
        assert list(filled[row]) == inside
    assert lines(by_layer)["overlap"][1] == pytest.approx(100 * of.layer_jaccard.values)
    assert lines(by_layer)["chance"][1] == pytest.approx(100 * of.layer_chance.values)
    assert similarities.lines[0].get_xdata() == pytest.approx(of.rho.values)


def test_recategorised_shares_fall_with_the_number_of_languages(found):
    of = found["recategorise"]
    by_size, by_layer = panels(figure("recategorise", of))
    overall = 100 * of.overall_subset_share.sel(category="all-shared").values
    assert lines(by_size)["all-shared"] == pytest.approx(np.array([of["size"].values, overall]))
    assert np.all(np.diff(overall) < 0)
    shown = lines(by_layer)["all-shared by 3"][1]
    assert shown == pytest.approx(100 * of.subset_share.sel(size=3, category="all-shared").values)


def test_alignment_is_a_line_and_a_dot_for_each_language(found):
    of = found["alignment"].sel(direction="both")
    by_layer, overall = panels(figure("alignment", found["alignment"]))
    order = np.argsort(of.overall.values, kind="stable")
    for code in of.language.values:
        assert lines(by_layer)[code][1] == pytest.approx(100 * of.score.sel(language=code).values)
    expected = 100 * np.array([of.overall_low.values, of.overall_high.values]).T[order]
    assert np.array(intervals(overall)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("category", "language", "shown"), [(None, None, "activation_share"), ("specific", "tr", "count_share")]
)
def test_neurons_are_rows(category, language, shown, stores):
    request = Request([stores["run"]], Selection(), 40, 0, category=category, language=language)
    of = analyse("neurons", request)
    drawn = figure("neurons", of)
    assert problems(drawn) == []
    rates, listed = panels(drawn)[:2]
    K = len(rates.get_yticks())
    assert min(30, of.sizes["entry"]) == K
    assert np.asarray(rates.images[0].get_array()) == pytest.approx(100 * of.activation_rate.values[:K])
    names = [f"{layer}:{neuron}" for layer, neuron in zip(of.layer.values, of.neuron.values, strict=True)][:K]
    assert [label.get_text() for label in rates.get_yticklabels()] == names
    assert [label.get_text() for label in listed.get_yticklabels()] == names[::-1]
    ends = [of[f"{shown}_{end}"] for end in ("low", "high")]
    if shown == "activation_share":
        preferred = of.preferred.values
        ends = [np.array([each.isel(entry=k).sel(language=preferred[k]) for k in range(K)]) for each in ends]
    expected = 100 * np.array([np.asarray(each)[:K][::-1] for each in ends]).T
    assert np.array(intervals(listed)) == pytest.approx(expected)


@WIDTHS
def test_contributions_are_stacked_to_a_hundred(width, found):
    of = found["contribution"]
    drawn = figure("contribution", of, width)
    stacked, by_layer, means, most = panels(drawn)
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in stacked.containers}
    assert np.sum(list(widths.values()), 0) == pytest.approx(100)
    for category in CATEGORIES:
        each = of.sel(category=category)
        expected = [each.neuron_share, each.contribution_share, each.sum_share, *each.sum_share_by_language]
        assert widths[category] == pytest.approx([100 * float(share) for share in expected])
        assert lines(by_layer)[category][1] == pytest.approx(100 * each.sum_share_by_layer.values)
        assert lines(means)[category][1] == pytest.approx(each.contribution_mean_by_layer.values)
        assert lines(most)[category][1] == pytest.approx(each.contribution_max_by_layer.values)
    share = float(of.sum_share.sel(category="all-shared"))
    caption = " ".join(text.get_text() for text, _ in texts(drawn))
    assert f"{100 * share:.1f} %" in caption


def test_differences_have_their_sign_and_interval(found):
    of = found["compare"]
    drawn = figure("compare", of)
    for category in CATEGORIES:
        [axes] = by_title(drawn, category)
        each = of.sel(category=category)
        assert lines(axes)[category][1] == pytest.approx(100 * each.difference.values)
        assert bands(axes)[0] == pytest.approx(100 * np.array([each.difference_low, each.difference_high]))
        low, high = axes.get_ylim()
        assert low == -high
        overall = f"{100 * float(each.overall_difference):+.1f}".replace("-", "−")
        assert f"\n{overall} (" in axes.get_title("left")


# -- names, and many of them ------------------------------------------------------------------------------

HOSTILE = "<script>alert('1')</script> & $x_1$ \\alpha 日本語 ภาษาไทย العربية"


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """A store of many languages, some of the user's own, with names that are markup, in many scripts, and long."""
    path = tmp_path_factory.mktemp("awkward") / "ชื่อ <b>.zarr"
    languages = ["en", "de", "zh", "ar", "th", "hi", "ja", "ko", "ru", "el", "he", "ka", "am", "bn", "ta", "te",
                 "my-own", "ภาษา", "x-<b>"]  # fmt: skip
    tasks = [HOSTILE, "a-very-long-name-of-a-task-" * 3]
    model = "someone/a-model-with-a-very-long-name-that-does-not-fit-into-a-column-of-a-paper-at-all"
    of = {"languages": languages, "tasks": tasks, "task": ",".join(tasks), "model": model}
    run = simulate(14, top_k=8, neurons=40, **of)
    return open_store(run.write(path))


@pytest.mark.parametrize("name", ["categories", "sharing", "alignment", "neurons", "contribution"])
def test_long_names_and_many_languages_fit(name, awkward):
    of = analyse(name, Request([awkward], Selection(), 0, 0))
    for width in (COLUMN, PAGE):
        assert problems(figure(name, of, width)) == []


def test_distributions_of_many_languages_fit(awkward, tmp_path):
    h = awkward.header
    draw_run(
        40, position="corpus", bins=16, counts_signs=True, languages=h.languages, model=h.model
    ).write(tmp_path / "a.zarr")  # fmt: skip
    of = analyse("distributions", Request([open_store(str(tmp_path / "a.zarr"))]))
    for width in (COLUMN, PAGE):
        assert problems(figure("distributions", of, width)) == []


def test_text_in_an_svg_is_text(awkward, tmp_path):
    of = analyse("categories", Request([awkward], Selection(), 0, 0))
    draw("categories", of, tmp_path / "a.svg")
    source = (tmp_path / "a.svg").read_text("utf-8")
    assert "<script" not in source
    tree = ElementTree.fromstring(source)
    shown = "".join("".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text"))
    for part in ("<script>alert('1')</script> & $x_1$ \\alpha", "日本語", "ภาษาไทย", "العربية"):
        assert part in shown, part
    draw("categories", of, tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_text("utf-8") == source  # the same store, the same picture


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_as_wide_as_asked(ending, found, tmp_path):
    path = tmp_path / f"a.{ending}"
    draw("inactive", found["inactive"], path, COLUMN)
    data = path.read_bytes()
    if ending == "png":
        assert int.from_bytes(data[16:20], "big") == pytest.approx(COLUMN * 200, abs=1)
    elif ending == "svg":
        assert float(ElementTree.fromstring(data).attrib["width"].removesuffix("pt")) == pytest.approx(
            COLUMN * 72
        )
    else:
        assert data.startswith(b"%PDF")


def test_without_intervals_there_are_means(stores):
    for name in ("categories", "sharing", "contribution", "repeating", "alignment"):
        of = analyse(name, Request([stores["run"]], Selection(), 0, 0))
        assert np.isnan(of[next(each for each in of if str(each).endswith("_low"))]).all()
        assert any(lines(axes) for axes in panels(figure(name, of)))


def test_two_languages_have_no_partial_sharing(stores):
    of = analyse("categories", Request([stores["run"]], Selection(languages=("en", "de")), 0, 0))
    titles = [axes.get_title("left").split()[0] for axes in panels(figure("categories", of, COLUMN))]
    assert titles[:3] == ["non-activated", "specific", "all-shared"]


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        ("heat", 7, "there is no figure heat; there are categories"),
        ("sharing", 1, "1 inches wide: must be 2.5 to 20"),
    ],
)
def test_what_cannot_be_drawn_is_said(name, width, message, found):
    with pytest.raises(InputError, match=message):
        figure(name, found["sharing"], width)


def test_the_callers_matplotlib_is_not_touched(found):
    before = dict(matplotlib.rcParams)
    figure("categories", found["categories"])
    assert dict(matplotlib.rcParams) == before
