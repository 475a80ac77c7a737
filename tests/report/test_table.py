"""The table in the terminal."""

import json

from smem_jax import report
from smem_jax.report.table import rows


def test_rows_say_what_is_better(summary):
    better = {row.label: row.better for row in rows(summary)}
    assert better["taught facts, asked in other words"] is True
    assert better["WikiText-2, NLL per token"] is False
    assert better["NaturalQuestions answers, NLL per token"] is True
    assert better["NaturalQuestions, F1"] is None


def test_table_fits_a_terminal_and_aligns(summary):
    lines = report.table(summary).splitlines()
    heads, *body = lines[: lines.index("")]
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in (heads, *body)}) == 1
    assert body[0].split()[-4:] == ["0%", "75%", "+75", "points"]
    assert body[4].split()[-4:] == ["3.5000", "3.5075", "+0.0075", "nats"]


def test_table_leaves_out_what_was_not_measured(summary):
    del summary["wikitext_nll"], summary["nq_f1"]
    shown = report.table(summary)
    assert "WikiText" not in shown and "F1" not in shown
    assert "3,960 of 262,144 slots changed; 200 s, 2.9 GB at most" in shown


def test_examples_are_of_different_facts_and_held_out(workdir):
    lines = report.examples(workdir)
    assert len(lines) == 2 * 3
    assert all("Say it otherwise" in line for line in lines[::3])
    assert lines[2] == "  after   Ada & Grace  (right)"


def test_a_wrong_answer_is_shown_with_the_right_one(workdir):
    path = workdir / "answers.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = records[-1] | {"fact": "other", "after": "a\n" + 90 * "b"}
    path.write_text(json.dumps(wrong))
    line = report.examples(workdir)[-1]
    assert line.startswith("  after   a bbb") and line.endswith("...  (wrong: 1984)")
