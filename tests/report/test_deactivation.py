"""What the report says of a deactivation, in every form, are the numbers of its analysis."""

import io
import json
import warnings
import xml.etree.ElementTree as ET

import msgspec
import pandas
import pytest

from fastneurons import report
from fastneurons.analysis.deactivation import deactivation
from fastneurons.arrays import GREEDY_MATCH, Answer
from fastneurons.cli import main
from fastneurons.report.deactivation import Deactivation, compute_deactivation, deactivation_sentences
from fastneurons.report.export import export
from fastneurons.report.page.reproduce import command
from fastneurons.store import StoreWriter, open_store
from tests.cli.test_untrusted_text import EVIL, acting, called
from tests.store.edited import draw_edited

TASKS = ["capitals", "colours"]
RUN = draw_edited(
    "deactivate", 30, tasks=TASKS, task=",".join(TASKS), measures=dict.fromkeys(TASKS, "choice")
)
CATEGORIES = ["all-shared", "specific"]
ENDS = ("", "_low", "_high")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "d.zarr"
    RUN.write(path)
    return open_store(str(path))


@pytest.fixture(scope="module")
def result(store):
    return deactivation(store)


def test_json_has_every_number_with_all_digits(store, result):
    found = json.loads(report.summary_json(store))
    assert (found["kind"], found["measured"], found["skipped"], found["controls"]) == ("deactivate", 24, 6, 2)
    for category in CATEGORIES:
        at, given = result.sel(category=category), found["categories"][category]
        assert given["neurons"] == pytest.approx(float(at["neurons"].sum()))
        assert given["overlap"] == pytest.approx(float(at["overlap"]))
        for score in ("log_probability", "accuracy"):
            for difference in ("from_intact", "control_from_intact", "from_control"):
                for where, prefix, part in [(given, "overall_", at)] + [
                    (found["by_language"][code]["categories"][category], "", at.sel(language=code))
                    for code in RUN.header.languages
                ]:
                    expected = [float(part[f"{prefix}{score}_{difference}{end}"]) for end in ENDS]
                    shown = where[score][difference]
                    assert [shown["mean"], shown["low"], shown["high"]] == pytest.approx(expected)
    assert found["by_language"]["de"]["intact"]["accuracy"]["mean"] == pytest.approx(
        float(result["accuracy"].sel(language="de", condition="intact"))
    )
    assert (
        found["tasks"]["colours"]["categories"]["specific"]["neurons"]
        != found["categories"]["specific"]["neurons"]
    )


def test_the_tables_begin_with_log_probability_and_mark_what_differs_from_0(store, result):
    stream = io.StringIO()
    report.print_summary(store, stream)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert text.index("log-probability of the answer") < text.index("accuracy: intact")
    at = result.sel(category="specific")
    mean, low, high = (float(at[f"overall_log_probability_from_control{end}"]) for end in ENDS)
    star = "*" if low > 0 or high < 0 else " "
    cell = f"{mean:+.2f} ±{(high - low) / 2:.2f}{star}"
    row = next(line for line in text.splitlines() if line.startswith(" specific") and "±" in line)
    assert row.rstrip().endswith(cell.rstrip())
    assert "task colours" in text and "operation: zero" in text and "skipped: 6 examples" in text


def test_answers_that_nobody_judged_have_no_accuracy(tmp_path):
    path = str(tmp_path / "d.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        for window in RUN.windows():
            window.arrays["correct"][:] = Answer.NOT_JUDGED
            writer.commit(window)
    stream = io.StringIO()
    report.print_summary(open_store(path), stream)
    assert "Not complete" in stream.getvalue()
    assert "accuracy:" not in stream.getvalue()
    found = compute_deactivation(open_store(path))
    assert not found.has_accuracy
    assert not any("accuracy" in each.text for each in deactivation_sentences(found))


def test_the_tables_say_how_written_answers_are_judged_and_name_the_adapter(store, tmp_path):
    written = draw_edited("deactivate", 9, measures={"capitals": GREEDY_MATCH}, lora="/models/adapter")
    written.write(tmp_path / "d.zarr")
    said = {}
    for each in (store, open_store(str(tmp_path / "d.zarr"))):
        stream = io.StringIO()
        report.print_summary(each, stream)
        said[each.path] = stream.getvalue()
    chosen, matched = said.values()
    assert "greedy decoding would write it" in matched and "adapter: /models/adapter\n" in matched
    assert "greedy" not in chosen and "adapter" not in chosen


def test_the_sentences_have_the_largest_effect_first(store, result):
    found = report.compute_findings(store)
    assert isinstance(found, Deactivation)
    said = deactivation_sentences(found)
    beyond = result["overall_log_probability_from_control"]
    largest = CATEGORIES[int(beyond.values.argmin())]
    assert said[0].text.startswith(
        f"With {largest} neurons switched off, the log-probability of the answer changes by "
    )
    assert f"{float(beyond.sel(category=largest)):+.2f}" in said[0].parts
    assert said[1].text.startswith(f"{largest.capitalize()} neurons cost ")
    assert len(said) == 1 + len(CATEGORIES)


def test_the_figure_has_a_panel_for_each_category_and_score(store, tmp_path):
    path = tmp_path / "d.svg"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report.plot(store, path)
    drawn = ["".join(each.itertext()) for each in ET.parse(path).iter() if each.tag.endswith("text")]
    for category in CATEGORIES:
        assert drawn.count(category) == 2  # of log-probability and of accuracy
    assert "German (de)" in drawn and "all languages" in drawn


def test_tables_are_exported_as_rows(store, tmp_path):
    export(store, tmp_path)
    arrays = RUN.arrays()
    found = pandas.read_csv(tmp_path / "outcomes.csv")
    assert len(found) == int(RUN.present.sum()) * len(RUN.header.conditions)
    for k in (0, 17, len(found) - 1):
        row = found.iloc[k]
        at = (
            row["example"],
            RUN.header.languages.index(row["language"]),
            RUN.header.conditions.index(row["condition"]),
        )
        assert row["log_probability"] == pytest.approx(float(arrays["log_probability"][at]), rel=1e-6)
        assert row["correct"] == arrays["correct"][at]
    edited = pandas.read_csv(tmp_path / "edited_neurons.csv")
    assert len(edited) == int(RUN.measured.sum()) * len(RUN.header.conditions) * 2
    assert edited["neurons"].sum() == arrays["neuron_count"][RUN.measured].sum()
    assert "correct" not in pandas.read_csv(tmp_path / "prompts.csv")


def test_it_can_be_exported_as_arrays_but_not_published(store, tmp_path, capsys):
    export(store, tmp_path, "safetensors")
    assert json.loads((tmp_path / "labels.json").read_text())["condition"] == RUN.header.conditions
    with pytest.raises(SystemExit) as end:
        main(["publish", store.path, "--to", str(tmp_path / "p")])
    assert end.value.code == 2
    assert "is of kind deactivate" in capsys.readouterr().err


def test_only_the_summary_is_drawn_of_it(store, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["plot", store.path, "--all", "--output", str(tmp_path / "f")])
    assert end.value.code == 0
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["summary.png"]
    with pytest.raises(SystemExit) as end:
        main(["plot", store.path, "categories"])
    assert end.value.code == 2
    assert "is of kind deactivate: it holds answers with neurons switched off" in capsys.readouterr().err


def test_no_text_of_the_store_acts_on_a_terminal(tmp_path, capsys):
    evil = msgspec.structs.replace(
        RUN.header, model=f"./m{EVIL}", tasks=[f"t{EVIL}", "b"], task=f"t{EVIL}", source=f"s{EVIL}",
        edits={f"e{EVIL}": f"v{EVIL}", "operation": f"o{EVIL}"}, measures={f"t{EVIL}": f"h{EVIL}"},
        languages=[f"l{EVIL}", "de", "zh"],
        conditions=[name.replace("all-shared", f"c{EVIL}") for name in RUN.header.conditions],
    )  # fmt: skip
    path = tmp_path / "s.zarr"
    with StoreWriter.create(str(path), evil) as writer:
        for window in RUN.windows():
            writer.commit(window)
        writer.finish()
    called(capsys, "summary", path)
    called(capsys, "summary", path, "--json")
    called(capsys, "plot", path, "-o", tmp_path / "p.svg")
    drawn = [
        "".join(each.itertext()) for each in ET.parse(tmp_path / "p.svg").iter() if each.tag.endswith("text")
    ]
    assert not any(acting(text) for text in drawn)
    called(capsys, "report", path, "-o", tmp_path / "p.html")
    assert not acting(command(evil))
