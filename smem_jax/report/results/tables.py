"""The tables of the page, each Markdown, empty where nothing was run for it."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from smem_jax.report.results import ablations, choose, estimates, words
from smem_jax.report.results.choose import Pick
from smem_jax.report.results.estimates import Statistic
from smem_jax.report.results.read import Experiment, Setting, mean_seconds

_MARK = " †"  # of a method of which no setting learned enough
_KEY = (
    "In brackets 95 % intervals by the bootstrap over items, after ± the standard deviation over "
    "seeds."
)


class Column(NamedTuple):
    """A figure of the held-out suite: its heading, its name in a line, and how it is told."""

    head: str
    figure: str
    statistic: Statistic
    form: words.Form


_KNOWN = Column("known set lost, %", "known", "drop", words.percent)
_WIKITEXT = Column("WikiText rise, nats", "wikitext_nll", "change", words.nats)
_F1 = Column("NQ F1 lost, % of it", "nq_f1", "drop", words.percent)
FORGETTING = (_KNOWN, _F1, _WIKITEXT)
ELSEWHERE = (
    Column("known answers' NLL rise, nats", "known_nll", "change", words.nats),
    Column("NQ answers' NLL rise, nats", "nq_nll", "change", words.nats),
    Column("GSM8K rise, nats", "gsm8k_nll", "change", words.nats),
    Column("MMLU, points", "mmlu_accuracy", "change", words.points),
    Column("trivia choices, points", "trivia_choices_accuracy", "change", words.points),
    Column("untaught facts, points", "untaught_exact", "change", words.points),
    Column("untaught answers' NLL rise, nats", "untaught_nll", "change", words.nats),
)


def headline(picks: Sequence[Pick], settings: Sequence[Setting]) -> str:
    """What each method learned and forgot, at equal learning."""
    heads = ["method", "settings", "seeds", "recall reworded, %", "as trained, %"]
    heads += ["known set kept, %", _F1.head, _WIKITEXT.head]
    heads += ["first 100 kept, %", "minutes a run"]
    rows = []
    for setting, reached in picks:
        lost = estimates.held_out(setting, "known", "drop")
        kept = lost and estimates.Estimate(1 - lost.mean, 1 - lost.high, 1 - lost.low, lost.spread)
        took = mean_seconds(setting)
        rows.append(
            [
                setting.method + ("" if reached else _MARK),
                varied(setting, settings),
                str(len(setting.runs)),
                words.estimate(estimates.recall(setting), words.percent),
                words.estimate(estimates.recall(setting, "trained"), words.percent),
                words.estimate(kept, words.percent),
                *(_cell(setting, column) for column in (_F1, _WIKITEXT)),
                words.estimate(estimates.recall(setting, "first_100_kept"), words.percent),
                words.MISSING if took is None else f"{took / 60:.1f}",
            ]
        )
    return f"{words.table(heads, rows)}\n\n{_rule(picks, settings)} {_KEY}"


def elsewhere(picks: Sequence[Pick]) -> str:
    """What teaching did to everything else that was measured, for the settings of the headline.

    '' where nothing else was measured.
    """
    heads = ["method", "NQ F1 before", "after"]
    heads += [column.head for column in ELSEWHERE] + ["backward transfer, points"]
    rows = []
    for setting, _ in picks:
        f1 = estimates.before_and_after(setting, "nq_f1")
        rows.append(
            [
                setting.method,
                *([f"{score:.4f}" for score in f1] if f1 else 2 * [words.MISSING]),
                *(_cell(setting, column) for column in ELSEWHERE),
                words.estimate(estimates.recall(setting, "backward_transfer"), words.points),
            ]
        )
    is_measured = any(cell != words.MISSING for _, *cells in rows for cell in cells)
    return words.table(heads, rows) if is_measured else ""


def ratios(picks: Sequence[Pick]) -> str:
    """What the other methods lose beside the sparse setting; '' without one or without others."""
    base = choose.main_sparse(picks)
    others = [pick.setting for pick in picks if pick.setting is not base]
    if base is None or not others:
        return ""
    heads = ["method", "known set lost, %", "more than sparse, points"]
    heads += [f"times sparse's: {what}" for what in ("known set", "NQ F1", "WikiText")]
    rows = [[f"**{base.method}**", _cell(base, _KNOWN), *4 * [""]]]
    for setting in others:
        more = estimates.more(setting, base, "known", "drop")
        rows.append(
            [
                setting.method,
                _cell(setting, _KNOWN),
                words.estimate(more, words.points),
                *(
                    words.estimate(
                        estimates.times(setting, base, column.figure, column.statistic),
                        words.factor,
                    )
                    for column in FORGETTING
                ),
            ]
        )
    return words.table(heads, rows) + (
        "\n\nIntervals are of pairs: both methods are asked the same items. A dash stands where "
        "sparse loses nothing or the other gains, so that there is no ratio."
    )


def ablation(axes: Sequence[ablations.Axis]) -> str:
    """One choice at a time; the reference of all in bold."""
    heads = ["choice", "value", "learning rate", "seeds", "recall reworded, %"]
    heads += [column.head for column in FORGETTING]
    rows = []
    for axis in axes:
        for number, (value, pick) in enumerate(zip(axis.values, axis.picks, strict=True)):
            setting = pick.setting
            rows.append(
                [
                    axis.title,
                    f"**{value}**" if number == axis.reference else value,
                    words.value(setting.fields.get("learner.learning_rate", words.MISSING)),
                    str(len(setting.runs)),
                    words.estimate(estimates.recall(setting), words.percent)
                    + ("" if pick.reached else _MARK),
                    *(_cell(setting, column) for column in FORGETTING),
                ]
            )
    return words.table(heads, rows) if rows else ""


def every(settings: Sequence[Setting]) -> str:
    """All settings that were run, for whoever wants another rule than that of the headline."""
    heads = ["method", "settings", "seeds", "recall reworded, %"]
    heads += [column.head for column in FORGETTING]
    rows = []
    for setting in settings:
        lost = [
            words.estimate(
                estimates.without_interval(setting, column.figure, column.statistic), column.form
            )
            for column in FORGETTING
        ]
        recall = words.percent(choose.learned(setting))
        rows.append(
            [setting.method, varied(setting, settings), str(len(setting.runs)), recall, *lost]
        )
    return words.table(heads, rows)


def runs(experiment: Experiment) -> str:
    """How much was run, on what, with which releases, for how long: from the lines themselves."""
    lines = [run for setting in experiment.settings for run in setting.runs]
    seeds = sorted({run.get("seed", 0) for run in lines})
    lengths = sorted({run["num_lessons"] for run in lines})
    each = " to ".join(f"{n:,}" for n in dict.fromkeys((lengths[0], lengths[-1])))
    longest = max(lines, key=lambda run: run["num_lessons"])
    left_out = longest.get("left_out") or {}
    found = [
        f"{len(lines)} runs of {len(experiment.settings)} settings; seeds "
        f"{', '.join(map(str, seeds))}; {each} lessons each.",
        f"Base model: {PurePosixPath(str(longest.get('base_model', 'not said'))).name}.",
    ]
    if any(left_out.values()):
        parts = [f"{name.replace('_', ' ')} {n:,}" for name, n in left_out.items() if n]
        found.append(f"Left out before the stream: {', '.join(parts)}.")
    skipped = sum(run.get("skipped_steps", 0) for run in lines)
    if skipped:
        found.append(
            f"Steps that were skipped, as their loss or gradient was not finite: {skipped:,}."
        )
    if experiment.trials:
        found.append(f"Runs of shorter streams, not shown: {experiment.trials}.")
    if experiment.failed:
        found.append(f"Runs that failed: {', '.join(experiment.failed)}.")
    for device in sorted({str(run.get("device", "not said")) for run in lines}):
        own = [run for run in lines if str(run.get("device", "not said")) == device]
        hours = sum(run.get("seconds", 0.0) for run in own) / 3600
        found.append(f"Device {device}: {len(own)} runs, {hours:.1f} hours in all.")
    found += [f"Versions: {text}." for text in sorted({_versions(run) for run in lines})]
    return "\n".join(f"- {line}" for line in found)


def varied(setting: Setting, settings: Sequence[Setting]) -> str:
    """The learning rate, and what else was varied for the setting's method."""
    own = [s for s in settings if s.method == setting.method]
    names = [
        name
        for name in setting.fields
        if name == "learner.learning_rate"
        or len({repr(other.fields.get(name)) for other in own}) > 1
    ]
    return ", ".join(
        f"{name.rpartition('.')[2].replace('_', ' ')} {words.value(setting.fields[name])}"
        for name in names
    )


def _rule(picks: Sequence[Pick], settings: Sequence[Setting]) -> str:
    """The rule by which the rows were chosen, as it came out."""
    margin = f"{100 * choose.MARGIN:g} points"
    best = choose.best_baseline(settings)
    if best is None:
        text = "No baseline was run: compared is with the setting that learned most."
    else:
        text = (
            f"The best baseline's recall is {words.percent(best)} %. Of each method's settings "
            f"within {margin} of that, the row shows the one that forgets least."
        )
    if not all(pick.reached for pick in picks):
        text += f"{_MARK} None came within {margin}; the row shows the one that learned most."
    return text


def _cell(setting: Setting, column: Column) -> str:
    found = estimates.held_out(setting, column.figure, column.statistic)
    return words.estimate(found, column.form)


def _versions(run: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items())
