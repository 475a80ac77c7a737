"""Two settings beside each other: what differs, and how surely."""

import numpy as np
import pytest
import sweep_lines
from sweep_lines import line

from smem_jax import cli
from smem_jax.errors import InputError
from smem_jax.report import results


def cells(tmp_path, lines, one, other):
    """The cells of each figure."""
    path = sweep_lines.write(tmp_path / "r.jsonl", lines)
    rows = results.compare([path], one, other).splitlines()
    split = [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]
    return {name: found for name, *found in split[2:]}


def numbers(text):
    return [float(word) for word in text.replace("[", " ").replace(",", " ").strip("]").split()]


def test_a_difference_is_of_pairs_of_items_and_of_lessons_of_one_seed(tmp_path):
    lines = [
        line(f"{name}_seed{seed}", recall, lost, seed=seed, learner={"top_t": top_t})
        for name, recall, lost, top_t in (("much", 0.9, 0.20, 100), ("little", 0.6, 0.15, 200))
        for seed in (0, 1)
    ]
    found = cells(tmp_path, lines, "much*", "little*")
    more, low, high = numbers(found["known set lost, %"][2])
    # The ten items of 200 that one of them loses and the other does not.
    assert more == 5 and low == pytest.approx(5 - 1.96 * 100 * np.sqrt(0.05 * 0.95 / 200), abs=0.7)
    assert found["known set lost, %"][0].startswith("20.0 [") and high < 9
    more, low, high = numbers(found["recall reworded, %"][2])
    # The same lessons are recalled, and 300 of each 1,000 more.
    assert more == 30 and high - low == pytest.approx(3.92 * 100 * np.sqrt(0.21 / 2000), rel=0.1)
    one, two = (found["recall reworded, %"][n].split()[0] for n in (0, 1))
    assert (one, two) == ("90.0", "60.0")


def test_other_seeds_and_lines_without_lessons_have_a_difference_without_an_interval(tmp_path):
    lines = [
        line("a", 0.9, 0.1),
        line("b", 0.6, 0.1, seed=1, learner={"top_t": 7}),
        line("c", 0.5, 0.1, learner={"top_t": 9}, with_items=False),
    ]
    assert cells(tmp_path, lines, "a", "b")["recall reworded, %"][2] == "+30.0"
    found = cells(tmp_path, lines, "a", "c")
    assert found["recall reworded, %"][2] == "+40.0" and found["known set lost, %"][2] == "+0.0"
    assert "MMLU, points" not in found


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("d", "--compare d: no finished run; there are a, b"), ("*", r"runs of 2 settings \(a, b\)")],
)
def test_a_pattern_is_of_the_runs_of_one_setting(tmp_path, pattern, message):
    lines = [line("a", 0.9, 0.1), line("b", 0.6, 0.1, learner={"top_t": 7})]
    with pytest.raises(InputError, match=message):
        cells(tmp_path, lines, "a", pattern)


def test_the_command_shows_it(tmp_path, capsys):
    lines = [line("a", 0.9, 0.1), line("b", 0.6, 0.1, learner={"top_t": 7})]
    path = sweep_lines.write(tmp_path / "r.jsonl", lines)
    assert cli.main(["report", str(path), "--compare", "a", "b"]) == 0
    assert capsys.readouterr().out == results.compare([path], "a", "b") + "\n"
