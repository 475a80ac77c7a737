"""The results page and its figures, from made-up lines."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import sweep_lines
from sweep_lines import line

from smem_jax.errors import InputError
from smem_jax.report import results
from smem_jax.report.results import (
    choose,
    drawing,
    estimates,
    figures,
    figures_along,
    methods,
    read,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a page of all blocks."""
    folder = tmp_path_factory.mktemp("results")
    write(folder, sweep_lines.sweep())
    return folder


def write(folder: Path, lines: list[dict]) -> list[str]:
    path = sweep_lines.write(folder / "facts.h200.jsonl", lines)
    return results.write(
        results.by_experiment([path]), folder / "docs" / "RESULTS.md", folder / "docs" / "results"
    )


def test_the_page_has_every_block_and_its_figures(folder):
    text = (folder / "docs" / "RESULTS.md").read_text()
    names = ["runs", "headline", "ratios", "elsewhere", "pareto", "ablations", "curves", "matrix"]
    for name in names:
        assert text.count(f"<!-- results:begin facts/{name} -->\n") == 1
    assert "| LoRA | learning rate 0.0005 | 1 | 93.0 [91.0, 95.0] |" in text
    assert "| full finetuning † |" in text and "None came within 2 points" in text
    assert "| LoRA | 50.0 [" in text
    for name in ("headline", "pareto", "ablations", "curves", "matrix"):
        assert f"](results/facts_{name}.svg)" in text
        assert (folder / "docs" / "results" / f"facts_{name}.svg").stat().st_size > 10_000
        png = (folder / "docs" / "results" / f"facts_{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) > 10_000
    assert not list(folder.rglob("*.partial"))


@pytest.mark.slow  # draws everything again
def test_the_same_lines_give_the_same_bytes(folder, tmp_path):
    write(tmp_path, sweep_lines.sweep())
    first, again = (
        {path.relative_to(root): path.read_bytes() for path in (root / "docs").rglob("*.*")}
        for root in (folder, tmp_path)
    )
    assert len(first) == 11 and first == again


def test_a_figure_has_the_same_bytes_each_time(folder, tmp_path):
    experiment = read.read("facts", [folder / "facts.h200.jsonl"])
    picks = choose.headline(experiment.settings)
    with drawing.style():
        drawing.save(figures.headline(picks), tmp_path / "headline")
    for kind in ("svg", "png"):
        before = (folder / "docs" / "results" / f"facts_headline.{kind}").read_bytes()
        assert (tmp_path / f"headline.{kind}").read_bytes() == before


def test_prose_around_the_marks_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "save", lambda figure, path: None)
    page = tmp_path / "docs" / "RESULTS.md"
    page.parent.mkdir()
    marks = "<!-- results:begin facts/{0} -->\nold\n<!-- results:end facts/{0} -->"
    page.write_text(
        f"# Mine\n\nBefore. {marks.format('ablations')} Between.\n"
        f"{marks.format('headline')}\nAfter.\n"
    )
    lines = [line("a", 0.9, 0.01), line("b", 0.9, 0.1, learner={"method": "lora"})]
    written = write(tmp_path, lines)
    text = page.read_text()
    assert "facts/ablations" not in written and "facts/headline" in written
    empty = "<!-- results:begin facts/ablations -->\n<!-- results:end facts/ablations -->"
    assert text.startswith(f"# Mine\n\nBefore. {empty} Between.\n<!-- results:begin facts/head")
    assert "old" not in text and "\nAfter.\n\n## What was run (facts)\n" in text
    assert "results/facts_headline.svg" in text and "## One choice" not in text
    write(tmp_path, lines)
    assert page.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "<!-- results:begin facts/runs -->",
        "<!-- results:end facts/runs --><!-- results:begin facts/runs -->",
        2 * "<!-- results:begin facts/runs --><!-- results:end facts/runs -->",
    ],
)
def test_marks_without_their_other_end_are_refused(tmp_path, text):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "RESULTS.md").write_text(text)
    with pytest.raises(InputError, match="facts/runs --> must stand there once each"):
        write(tmp_path, [line("a", 0.9, 0.01)])
    assert (tmp_path / "docs" / "RESULTS.md").read_text() == text
    assert not (tmp_path / "docs" / "results").exists()


def test_a_single_run_without_anything_along_it_makes_a_page(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(drawing, "save", lambda figure, path: drawn.append(path.name))
    bare = line("a", 0.9, 0.01, with_items=False)
    bare |= {"figures": {}, "recall": {"reworded": 0.9}}
    for name in ("curve", "matrix", "items", "seconds", "versions", "device", "left_out"):
        del bare[name]
    written = write(tmp_path, [bare])
    assert written == [f"facts/{name}" for name in ("runs", "headline", "every")]
    assert drawn == ["facts_headline"]


def test_the_matrix_is_the_mean_over_seeds_with_nothing_before_a_lesson(folder):
    found = read.read("facts", [folder / "facts.h200.jsonl"]).settings
    sparse = next(setting for setting in found if len(setting.runs) == 3)
    after, edges, recall = figures_along._matrix(sparse)
    assert after[-1] == edges[-1] == 1000 and len(edges) == 11
    assert np.isnan(recall[0, 1]) and recall[0, 0] == pytest.approx(0.93)
    assert recall[9, 0] == pytest.approx(0.93 - 0.18)


def test_curves_begin_at_the_base_model(folder):
    found = read.read("facts", [folder / "facts.h200.jsonl"]).settings
    lora = next(s for s in found if s.runs[0]["name"] == "lora_0.0005")
    wikitext = figures_along._curve(lora, figures_along._KEPT[2])
    np.testing.assert_allclose(wikitext[[0, -1]], [[0, 0], [1000, 1.5]], atol=1e-9)
    recall = figures_along._curve(lora, figures_along._KEPT[0])
    np.testing.assert_allclose(recall[0], [100, 93])


@pytest.mark.parametrize("marker", ["o", "8", (4, 0, 45)])
def test_a_method_is_a_dot_and_a_bar_in_its_row_whatever_its_marker(folder, monkeypatch, marker):
    settings = read.read("facts", [folder / "facts.h200.jsonl"]).settings
    picks = choose.headline(settings)
    monkeypatch.setattr(methods, "look", lambda method: methods.Look("black", marker, "-"))
    recall = figures.headline(picks).axes[0]
    dots = [line for line in recall.lines if line.get_marker() == marker]
    bars = [line for line in recall.lines if line.get_marker() != marker]
    assert [tuple(*dot.get_xydata()) for dot in dots] == [
        (pytest.approx(100 * estimates.recall(pick.setting).mean), row)
        for row, pick in enumerate(picks)
    ]
    assert [{y for _, y in bar.get_xydata()} for bar in bars] == [
        {row} for row, _ in enumerate(picks)
    ]
    drawn = figures.pareto(settings, picks)
    num_methods = len({setting.method for setting in settings})
    assert {len(axes.lines) for axes in drawn.axes} == {3 * num_methods}  # front, others, rings


def test_long_names_are_within_the_figure_and_apart(folder):
    settings = read.read("facts", [folder / "facts.h200.jsonl"]).settings
    longer = " + relevance gate + new rows only + rare slots only"
    renamed = [setting._replace(method=setting.method + longer) for setting in settings]
    with drawing.style():
        drawn = figures.pareto(renamed, choose.headline(renamed))
        drawn.draw_without_rendering()
        maps = figures_along.matrix(choose.headline(renamed))
        maps.draw_without_rendering()
        box = drawn.legends[0].get_window_extent()
        whole = [axes.get_tightbbox() for axes in maps.axes]
    assert box.x1 <= drawn.bbox.x1 and box.y0 >= 0
    assert len(whole) > 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(whole))


def test_labels_keep_their_order_and_distance():
    heights = [0.0, 5.0, 0.1, 0.2, 5.0, 9.0]
    placed = np.array(drawing.spread_out(heights, 1.0))
    assert (np.diff(np.sort(placed)) >= 1 - 1e-9).all()
    assert list(np.argsort(placed)) == [0, 2, 3, 1, 4, 5]
    assert placed[5] == 9.0 and np.abs(placed - heights).max() < 1.2
