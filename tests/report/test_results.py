"""The results page from made-up lines: what is read, chosen and estimated."""

import math

import numpy as np
import pytest
import sweep_lines
from sweep_lines import line

from smem_jax.errors import InputError
from smem_jax.report.results import (
    ablations,
    choose,
    estimates,
    figures_along,
    methods,
    read,
    tables,
)
from smem_jax.stream_settings import stream_defaults
from smem_jax.train.sweep import sweep


def settings(tmp_path, lines):
    return read.read("facts", [sweep_lines.write(tmp_path / "r.jsonl", lines)]).settings


def test_runs_that_differ_by_seed_alone_are_one_setting(tmp_path):
    lines = [
        line("a1", 0.5, 0.1, seed=1),
        line("a0", 0.6, 0.1),
        line("b", 0.7, 0.1, memory__block=5),
    ]
    lines[0]["config"]["evaluate"]["every"] = 50  # does not change what is learned
    found = settings(tmp_path, lines)
    assert [[run["name"] for run in setting.runs] for setting in found] == [["a0", "a1"], ["b"]]


def test_a_seed_that_was_only_measured_in_another_way_counts_once(tmp_path):
    lines = [line("a", 0.5, 0.1), line("again", 0.6, 0.1)]
    lines[1]["config"]["evaluate"]["every"] = 50
    lines[1]["key"] = "other"
    [found] = settings(tmp_path, lines)
    assert [run["name"] for run in found.runs] == ["again"]


def test_fields_that_a_line_is_too_old_for_or_its_method_does_not_use_tell_nothing_apart(tmp_path):
    lines = [
        line(f"{method}{seed}", 0.5, 0.1, seed=seed, learner={"method": method})
        for method in ("sparse", "lora")
        for seed in (0, 1)
    ]
    for old in (lines[0], lines[2]):
        del old["config"]["learner"]["relevance_threshold"]
    lines[3]["config"]["learner"]["top_t"] = 7
    lines[3]["config"]["memory"]["num_slots"] = 2**10
    found = settings(tmp_path, lines)
    assert [[run["name"] for run in s.runs] for s in found] == [
        ["sparse0", "sparse1"],
        ["lora0", "lora1"],
    ]


def test_the_last_line_of_a_name_counts_and_failed_and_short_runs_are_told(tmp_path):
    lines = [line("a", 0.5, 0.1), {"name": "bad", "status": "failed", "error": "x"}]
    lines += [line("a", 0.6, 0.2), {**line("trial", 0.9, 0.0), "num_lessons": 20}]
    path = sweep_lines.write(tmp_path / "r.jsonl", lines)
    with path.open("a") as file:
        file.write('{"name": "torn')
    found = read.read("facts", [path])
    assert [choose.learned(setting) for setting in found.settings] == [0.6]
    assert found.failed == ["bad"] and found.trials == 1
    text = tables.runs(found)
    assert "1 runs of 1 settings" in text and "shorter streams, not shown: 1" in text
    assert "failed: bad" in text and "already known 37" in text and "0.5 hours" in text
    assert "1,000 lessons each" in text and "skipped" not in text


def test_what_failed_in_one_file_and_is_done_in_another_has_not_failed(tmp_path):
    done = [
        {**line("a", 0.6, 0.2), "skipped_steps": 3},
        {**line("b", 0.5, 0.1, seed=1), "num_lessons": 960},
    ]
    failed = {"name": "a", "key": done[0]["key"], "status": "failed", "error": "x"}
    paths = [
        sweep_lines.write(tmp_path / "r.a.jsonl", [failed]),
        sweep_lines.write(tmp_path / "r.b.jsonl", done),
    ]
    found = read.read("facts", paths)
    assert found.failed == []
    text = tables.runs(found)
    assert "960 to 1,000 lessons each" in text and "not finite: 3." in text


def test_a_loss_that_was_not_measured_is_not_taken_for_none(tmp_path):
    unmeasured = line("unmeasured", 0.9, 0.0)
    del unmeasured["figures"]["known"]
    found = settings(tmp_path, [unmeasured, line("measured", 0.9, 0.01, learner={"top_t": 5})])
    assert choose.pick(found, 0.9).setting.runs[0]["name"] == "measured"


def test_a_curve_leaves_out_where_nothing_could_be_asked(tmp_path):
    record = line("a", 0.9, 0.1)
    record["curve"][0]["recall_reworded"] = None
    assert figures_along.curves(choose.headline(settings(tmp_path, [record]))) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_lessons": None}, r"r.jsonl:2: num_lessons=None of run 'b' must be of type int"),
        ({"recall": {}}, r"r.jsonl:2: run 'b' lacks the number recall.reworded"),
        ({"base_model": "other"}, r"r.jsonl:2: base_model='other', but .* in .*r.jsonl:1"),
        ({"figures": {"known": {"after": 1.0}}}, r"r.jsonl:2: figures of run 'b' must be objects"),
        ({"figures": {"known": 3}}, r"r.jsonl:2: figures of run 'b' must be objects with the num"),
        ({"curve": 5}, r"r.jsonl:2: curve of run 'b' must be a list of objects with the number"),
        ({"matrix": {"after": [1]}}, r"r.jsonl:2: matrix of run 'b' must be numbers 'after'"),
        ({"seconds": "x"}, r"r.jsonl:2: seconds of run 'b' must be a number"),
        ({"items": {"known": {"before": "11", "after": "1x"}}}, r"r.jsonl:2: items of run 'b'"),
        ({"items": {"known": {"before": "", "after": ""}}}, r"r.jsonl:2: items of run 'b' must"),
    ],
)
def test_lines_that_do_not_fit_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        settings(tmp_path, [line("a", 0.5, 0.1), {**line("b", 0.5, 0.1), **change}])


def test_files_without_runs_are_named(tmp_path):
    with pytest.raises(InputError, match=r"r.jsonl: no such file of results"):
        read.read("facts", [tmp_path / "r.jsonl"])
    path = sweep_lines.write(tmp_path / "r.jsonl", [{"name": "bad", "status": "failed"}])
    with pytest.raises(InputError, match="no finished run"):
        read.read("facts", [path])


def test_every_method_of_the_harness_has_a_label_and_a_look_of_its_own():
    learners = [{"method": m, "optimizer": "adam"} for m in ("full", "lora", "memory")]
    learners += [
        {
            "method": "sparse",
            "selection": s,
            "optimizer": o,
            "drift_weight": d,
            "replay": r,
            "max_document_frequency": m,
            "relevance_threshold": g,
            "new_rows_only": n,
        }
        for s in ("tf_idf", "tf", "kl", "random", "read")
        for o in ("sgd", "adam")
        for d in (0.0, 500.0)
        for r in (0, 8)
        for m in (0, 20)
        for g in (0, 32)
        for n in (False, True)
    ]
    labels = [methods.label(learner) for learner in learners]
    assert len(set(labels)) == len({methods.look(label) for label in labels}) == len(learners)
    assert [label for label in labels if methods.is_baseline(label)] == ["full finetuning", "LoRA"]
    assert methods.look("LoRA").colour == methods.look("LoRA + replay").colour


def test_equal_learning_takes_what_forgets_least_within_two_points(tmp_path):
    found = settings(
        tmp_path,
        [
            line("low", 0.87, 0.0),
            line("near", 0.881, 0.02, learner={"top_t": 100}),
            line("high", 0.95, 0.05, learner={"top_t": 900}),
        ],
    )
    pick = choose.pick(found, 0.9)
    assert pick.setting.runs[0]["name"] == "near" and pick.reached
    pick = choose.pick(found, 0.99)
    assert pick.setting.runs[0]["name"] == "high" and not pick.reached


def test_the_headline_asks_for_the_best_baseline(tmp_path):
    found = settings(tmp_path, sweep_lines.sweep())
    assert choose.best_baseline(found) == pytest.approx(0.93)
    picks = choose.headline(found)
    names = {pick.setting.method: (pick.setting.runs[0]["name"], pick.reached) for pick in picks}
    assert names == {
        "sparse, SGD": ("sparse_seed0", True),
        "sparse, Adam": ("sparse_adam", True),
        "TF only, SGD": ("tf", True),
        "LoRA": ("lora_0.0005", True),
        "full finetuning": ("full_1e-05", False),
    }
    assert choose.main_sparse(picks).runs[0]["name"] == "sparse_seed0"
    only = [setting for setting in found if not methods.is_baseline(setting.method)]
    assert choose.best_baseline(only) is None
    assert all(choose.learned(pick.setting) >= 0.9 for pick in choose.headline(only))


def test_the_front_holds_what_nothing_beats():
    points = np.random.default_rng(0).random((60, 2)).round(1)  # rounded, so that some are equal
    found = choose.front([tuple(point) for point in points])
    for i, (x, y) in enumerate(points):
        beaten = ((points[:, 0] <= x) & (points[:, 1] >= y) & (points != points[i]).any(1)).any()
        first = np.flatnonzero((points == points[i]).all(1))[0] == i
        assert (i in found) == (not beaten and first)


def test_an_interval_over_seeds_is_of_items_and_not_of_seeds(tmp_path):
    one = settings(tmp_path, [line("a", 0.9, 0.05)])[0]
    three = settings(tmp_path, [line(f"a{seed}", 0.9, 0.05, seed=seed) for seed in range(3)])[0]
    found = [estimates.held_out(setting, "known", "drop") for setting in (one, three)]
    assert found[0][:3] == found[1][:3]  # the seeds lost the same questions, and so tell no more
    assert found[0].spread is None and found[1].spread == 0
    # Of 200 questions 10 were lost: the normal approximation gives +-0.030.
    assert found[0].mean == pytest.approx(0.05)
    assert found[0].low == pytest.approx(0.02, abs=0.006)
    assert found[0].high == pytest.approx(0.08, abs=0.006)


def test_without_items_the_intervals_of_the_lines_are_averaged(tmp_path):
    lines = [line(f"a{s}", 0.9, 0.1 * s, seed=s, with_items=False) for s in (0, 1)]
    lines[1]["figures"]["known"] |= {"drop_low": 0.02, "drop_high": 0.2}
    found = estimates.held_out(settings(tmp_path, lines)[0], "known", "drop")
    assert found.mean == pytest.approx(0.05) and found.spread == pytest.approx(0.1 / math.sqrt(2))
    assert (found.low, found.high) == pytest.approx(((-0.01 + 0.02) / 2, (0.01 + 0.2) / 2))
    assert estimates.held_out(settings(tmp_path, lines)[0], "mmlu_accuracy", "change") is None


def test_ratios_are_of_pairs_of_items(tmp_path):
    lines = [
        line("lora", 0.9, 0.4, learner={"method": "lora"}),
        line("none", 0.9, 0.0, learner={"top_t": 5}),
        line("sparse", 0.9, 0.02, 0.01),
        line("gaining", 0.9, 0.0, -0.2, learner={"method": "full"}),
    ]
    by_name = {setting.runs[0]["name"]: setting for setting in settings(tmp_path, lines)}
    gaining, lora, none, sparse = (by_name[name] for name in sorted(by_name))
    found = estimates.times(lora, sparse, "known", "drop")
    assert found.mean == pytest.approx(20) and found.low < 20 < found.high and found.low > 5
    more = estimates.more(lora, sparse, "known", "drop")
    assert more.mean == pytest.approx(0.38) and 0.3 < more.low < 0.38 < more.high < 0.46
    same = estimates.times(sparse, sparse, "known", "drop")
    assert same[:3] == (1, 1, 1)
    assert estimates.times(lora, none, "known", "drop") is None
    assert estimates.times(none, sparse, "known", "drop").mean == 0
    assert estimates.times(gaining, sparse, "wikitext_nll", "change") is None


def test_ablations_differ_from_the_reference_in_one_group(tmp_path):
    lines = sweep_lines.sweep()
    both = {"top_t": 100, "selection": "tf"}
    lines.append(line("two_at_once", 0.9, 0.0, learner=both))
    lines.append(line("t100_fast", 0.92, 0.02, learner={"top_t": 100, "learning_rate": 5.0}))
    lines.append(line("other_text", 0.9, 0.1, background__text="../data/half_trivia.txt"))
    found = settings(tmp_path, lines)
    base = ablations.reference(found, None)
    assert base.runs[0]["name"] == "sparse_seed0"
    axes = {axis.title: axis for axis in ablations.axes(found, base)}
    assert set(axes) == {
        "slots trained in a step (t)",
        "how the slots are chosen",
        "block that carries the memory",
        "optimizer",
        "background text of the IDF",
    }
    slots = axes["slots trained in a step (t)"]
    assert slots.values == ["100", "500", "1,000"] and slots.reference == 1
    # At t = 100 the faster of two learning rates is the one that learns as much.
    assert [p.setting.runs[0]["name"] for p in slots.picks] == [
        "t100_fast",
        "sparse_seed0",
        "top_t1000",
    ]
    assert axes["background text of the IDF"].values == ["none", "half trivia"]
    assert axes["optimizer"].values == ["adam", "sgd"]


def test_an_axis_of_one_field_is_named_after_it(tmp_path):
    lines = [
        line("prose", 0.9, 0.1),
        line("with_questions", 0.9, 0.1, background__questions="../data/qa.jsonl"),
    ]
    prose, questions = settings(tmp_path, lines)
    (axis,) = ablations.axes([prose, questions], questions)
    assert axis.title == "questions beside the background text of the IDF"
    assert axis.values == ["none", "qa"]


def test_the_lines_of_a_sweep_are_read(tmp_path):
    (tmp_path / "c.py").write_text(
        "from smem_jax.train.sweep_runs import grid\n"
        "def get_config():\n    return {'model': 'a.gguf'}\n"
        "def get_runs():\n"
        "    return grid('a', **{'memory.block': (3, 4), 'seed': (0, 1)})\n"
    )

    def run(config, workdir):
        return line("other", 0.1 * config.memory.block, 0.1, seed=config.seed)

    path = tmp_path / "facts.jsonl"
    sweep(tmp_path / "c.py", path, tmp_path / "work", run, stream_defaults())
    found = read.read("facts", [path]).settings
    assert [setting.fields["memory.block"] for setting in found] == [3, 4]
    assert [choose.learned(setting) for setting in found] == pytest.approx([0.3, 0.4])
    assert found[0].runs[1]["name"] == "a_block3_seed1"  # not what the summary says


def test_tables_leave_out_what_was_not_measured(tmp_path):
    lines = [line("a", 0.9, 0.01), line("b", 0.9, 0.1, learner={"method": "lora"})]
    for record in lines:
        del record["figures"]["nq_f1"], record["recall"]["trained"], record["seconds"]
    found = settings(tmp_path, lines)
    picks = choose.headline(found)
    text = tables.headline(picks, found)
    assert "F1" not in text and "as trained" not in text and "minutes" not in text
    assert "| sparse, SGD | learning rate 2 | 1 | 90.0 [88.0, 92.0] | 99.0 [97.5, 100.0] |" in text
    assert "F1" not in tables.elsewhere(picks) and "F1" not in tables.ratios(picks)
    assert tables.ratios(picks[:1]) == "" and tables.ablation([]) == ""
