"""Figures are held to their goals without mercy, and a run replaces its own part of the page alone."""

from pathlib import Path

import pytest
from bench.circumstances import Circumstances
from bench.findings import Figure, Findings, Line, Plot, Table, Task
from bench.latencies import latency
from bench.report import PAGE as RESULTS_PAGE
from bench.report import keep, keep_goals, with_section

THEN = Circumstances("2026-01-02 03:04 UTC", "2 cores", "abc1234", {"numpy": "2.0"}, load_average=0.1)
PAGE = "# Benchmarks\n\n<!-- one -->\nold\n<!-- end of one -->\n\nprose\n\n<!-- two -->\nother\n<!-- end of two -->\n"


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("p50", 2.0, "ms", 2.0), "reached"),
        (Figure("p50", 2.0001, "ms", 2.0), "**not reached**"),  # also where both are shown as 2 ms
        (Figure("recall", 1.0, "", at_least=1.0), "reached"),
        (Figure("recall", 0.999, "", at_least=1.0), "**not reached**"),
        (Figure("p50", 2.0, "ms"), ""),
    ],
)
def test_a_goal_is_reached_or_not(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict


def test_a_goal_says_which_way_it_goes() -> None:
    assert Figure("p50", 1, "ms", 2.0).wanted == "≤ 2 ms"
    assert Figure("searches", 1, "/s", at_least=1_000).wanted == "≥ 1,000 /s"
    assert Figure("p50", 1, "ms").wanted == ""


def test_quantiles_are_those_of_all_samples_in_milliseconds() -> None:
    found = latency([number / 1_000 for number in range(101)])
    assert (found.p50, found.p95, found.p99, found.samples) == pytest.approx((50, 95, 99, 101))


def test_a_section_replaces_its_own_part_alone() -> None:
    replaced = with_section(PAGE, "one", "new\n")
    assert replaced == PAGE.replace("old", "new")
    assert with_section(replaced, "one", "new\n") == replaced


def test_a_section_that_is_new_goes_to_the_end() -> None:
    assert with_section(PAGE, "three", "new\n") == f"{PAGE}\n<!-- three -->\nnew\n<!-- end of three -->\n"


def test_a_section_without_an_end_swallows_nothing() -> None:
    with pytest.raises(ValueError, match="no end"):
        with_section(PAGE.replace("<!-- end of two -->\n", ""), "two", "new\n")


def test_findings_are_kept_as_json_plot_and_section(tmp_path: Path) -> None:
    (tmp_path / "tests" / "bench").mkdir(parents=True)
    (tmp_path / RESULTS_PAGE).parent.mkdir(parents=True)
    (tmp_path / RESULTS_PAGE).write_text(PAGE)
    plot = Plot("curve", "Latency", "rows", "ms", [Line("VecSec", [1, 10], [1.0, 2.0])])
    findings = Findings("What it is.", [Figure("p50", 3, "ms", 2)], [Table(("", "p50"), [("a", "1 ms")])], [plot])
    keep(tmp_path, "two", findings, THEN)
    page = (tmp_path / RESULTS_PAGE).read_text()
    assert page.startswith(PAGE.partition("other")[0])
    assert "| a | 1 ms |" in page
    assert "commit abc1234; load average before the run 0.1." in page
    assert "| p50 | 3 ms | ≤ 2 ms | **not reached** |" in page
    assert "](../../tests/bench/results/two-curve.png)" in page
    results = tmp_path / "tests" / "bench" / "results"
    assert (results / "two-curve.png").read_bytes().startswith(b"\x89PNG")
    assert '"verdict": "not reached"' in (results / "two.json").read_text()


def test_goals_of_all_sections_stand_in_one_table(tmp_path: Path) -> None:
    (tmp_path / "tests" / "bench").mkdir(parents=True)
    (tmp_path / RESULTS_PAGE).parent.mkdir(parents=True)
    (tmp_path / RESULTS_PAGE).write_text(PAGE)
    figures = [Figure("p50", 3, "ms", 2), Figure("recall", 1, "", at_least=1), Figure("p99", 9, "ms")]
    keep(tmp_path, "one", Findings("What it is.", figures), THEN)
    keep_goals(tmp_path, ["one", "never-measured"])
    _, _, goals = (tmp_path / RESULTS_PAGE).read_text().partition("<!-- goals -->\n")
    assert goals.splitlines() == [
        "1 of 2 goals are reached.",
        "",
        "| section | what | measured | goal |  |",
        "| --- | --- | --- | --- | --- |",
        "| one | p50 | 3 ms | ≤ 2 ms | **not reached** |",
        "| one | recall | 1 | ≥ 1 | reached |",
        "<!-- end of goals -->",
    ]


def test_sizes_are_those_of_the_run_unless_told_otherwise(tmp_path: Path) -> None:
    assert Task(False, tmp_path).number("rows", full=1_000, quick=10) == 1_000
    assert Task(True, tmp_path).number("rows", full=1_000, quick=10) == 10
    assert Task(True, tmp_path, {"rows": 7}).number("rows", full=1_000, quick=10) == 7


def test_sections_find_each_others_data_but_not_that_of_another_size(tmp_path: Path) -> None:
    (Task(False, tmp_path).folder("searches") / "file").touch()
    assert (Task(False, tmp_path).folder("searches") / "file").exists()
    assert not (Task(True, tmp_path).folder("searches") / "file").exists()
