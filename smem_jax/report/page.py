"""The report of a run as one HTML page that needs nothing but itself."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from smem_jax.report import figures
from smem_jax.report.read import Run, read_run
from smem_jax.report.table import cost, rows

_STYLE = Path(__file__).with_name("style.css")
_KINDS = {
    "reworded": "in other words",
    "frame": "in another frame",
    "trained": "as trained on",
}


def write(workdir: Path) -> Path:
    """Writes `report.html` into the work directory of a finished run, and returns its path.

    Raises InputError where one of its files is missing or damaged.
    """
    path = workdir / "report.html"
    text = page(read_run(workdir))
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def page(run: Run) -> str:
    """The HTML of the report."""
    title = f"{_model_name(run.summary)}: {run.summary['num_facts']} facts taught"
    parts = [
        f"<h1>{escape(headline(run.summary))}</h1>",
        f'<p class="quiet">{escape(_elsewhere(run.summary) + cost(run.summary))}.</p>',
        _comparison(run.summary),
        *_figures(run),
        "<h2>Every answer</h2>",
        '<p class="quiet">An answer counts as right when it equals an accepted one, articles, case '
        "and punctuation aside. Only what stands under 'as trained on' was trained on.</p>",
        *(_fact(list(group)) for _, group in groupby(run.answers, lambda a: a["fact"])),
        "<h2>The memory</h2>",
        _memory(run.summary),
        "<h2>The run</h2>",
        _run(run.summary),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n"
        "</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def headline(summary: Mapping[str, Any]) -> str:
    """What was learned, in a sentence or two."""
    name, facts = _model_name(summary), summary["num_facts"]
    sentence = f"{name} was taught {facts} facts in {summary['steps']} steps."
    if match := summary.get("taught_exact_match"):
        sentence += (
            f" It answers {match['after']:.0%} of the questions about them that it never saw"
            f" ({match['before']:.0%} before)."
        )
    return sentence


def _elsewhere(summary: Mapping[str, Any]) -> str:
    """What that did to text that was not taught, in a sentence; empty where it was not measured."""
    changes = [
        f"the NLL of {label} {_rose(summary[key]['after'] - summary[key]['before'])}"
        for key, label in (
            ("wikitext_nll", "WikiText-2"),
            ("nq_answer_nll", "NaturalQuestions answers"),
        )
        if key in summary
    ]
    return f"Elsewhere {' and '.join(changes)} per token. " if changes else ""


def _model_name(summary: Mapping[str, Any]) -> str:
    """The name of a checkpoint without its folder and suffix."""
    return PurePosixPath(summary["base_model"]).name.removesuffix(".gguf")


def _rose(change: float) -> str:
    verb = "rose" if change > 0 else "fell"
    return f"{verb} by {abs(change):.4f} nats" if change else "stayed as it was"


def _comparison(summary: Mapping[str, Any]) -> str:
    return _table(
        ("", "before", "after", "change"),
        (
            (
                _cell(row.label),
                _cell(row.before, "number"),
                _cell(row.after, "number"),
                _cell(row.change, "number " + _colour(row.better)),
            )
            for row in rows(summary)
        ),
    )


def _figures(run: Run) -> Iterable[str]:
    summary = run.summary
    if any(name.endswith("exact_match") for name in summary):
        yield "<h2>What it learned</h2>"
        yield _figure(
            figures.exact_match(summary),
            "'In other words' is what counts: these wordings were kept out of training.",
        )
    if "wikitext_nll" in summary or "nq_answer_nll" in summary:
        yield "<h2>What it lost or gained elsewhere</h2>"
        yield _figure(
            figures.elsewhere(summary),
            "Change of the negative log-likelihood of text that has nothing to do with the facts.",
        )
    if run.metrics:
        yield "<h2>Training</h2>"
        yield _figure(
            figures.training(run.metrics),
            "A step takes one batch of wordings; drift is what the memory adds to background text.",
        )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def _fact(answers: Sequence[Mapping[str, Any]]) -> str:
    """One fact: how many of its questions are answered, and every answer on demand."""
    first = next((a for a in answers if a["kind"] == "trained"), answers[0])
    right = sum(bool(answer["correct_after"]) for answer in answers)
    was_right = sum(bool(answer["correct_before"]) for answer in answers)
    rank = list(_KINDS)
    ordered = sorted(answers, key=lambda a: rank.index(a["kind"]) if a["kind"] in rank else 9)
    shown = _table(
        ("wording", "prompt", "before", "after"),
        (
            (
                _cell(_KINDS.get(answer["kind"], answer["kind"])),
                _cell(answer["prompt"], "prompt"),
                _cell(answer["before"], _colour(answer["correct_before"])),
                _cell(answer["after"], _colour(answer["correct_after"])),
            )
            for answer in ordered
        ),
    )
    accepted = " / ".join(first["accepted"])
    colour = _colour(right == len(answers))
    return (
        f"<details><summary>{escape(' '.join(first['prompt'].split()))} "
        f"<b>{escape(accepted)}</b> "
        f'<span class="{colour}">{right} of {len(answers)}</span> '
        f"({was_right} before)</summary>{shown}</details>"
    )


def _memory(summary: Mapping[str, Any]) -> str:
    updated, total = summary["slots_updated"], summary["num_slots"]
    use = summary["slot_use"]
    shown = [
        ("slots (value rows)", f"{total:,}"),
        ("changed by the teaching", f"{updated:,} ({updated / total:.2%})"),
    ]
    if "share" in use:
        shown.append(("read by the background text", f"{use['share']:.1%}"))
    if "perplexity" in use:
        shown.append(
            ("read evenly would be all; here as if", f"{use['perplexity']:,.0f} slots (perplexity)")
        )
    return _pairs(shown)


def _run(summary: Mapping[str, Any]) -> str:
    shown = [
        (f"seconds: {name}", f"{took:.1f}") for name, took in summary["seconds_by_part"].items()
    ]
    shown += [
        ("seconds in all", f"{summary['seconds']:.1f}"),
        ("most memory held", f"{summary['peak_rss_bytes'] / 1e9:.2f} GB"),
        ("base model", summary["base_model"]),
        ("fingerprint", str(summary.get("fingerprint", ""))),
        ("seed", str(summary["seed"])),
        *((f"version of {name}", str(version)) for name, version in summary["versions"].items()),
    ]
    config = escape(json.dumps(summary["config"], indent=2))
    return _pairs(shown) + f"<details><summary>Configuration</summary><pre>{config}</pre></details>"


def _pairs(shown: Iterable[tuple[str, str]]) -> str:
    return _table((), ((_cell(name), _cell(value, "number")) for name, value in shown))


def _table(heads: Sequence[str], body: Iterable[Iterable[str]]) -> str:
    numbers = {"before", "after", "change"} if "change" in heads else set()
    top = "".join(
        f'<th class="number">{head}</th>' if head in numbers else f"<th>{head}</th>"
        for head in heads
    )
    lines = [f"<tr>{top}</tr>"] if heads else []
    lines += [f"<tr>{''.join(cells)}</tr>" for cells in body]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _cell(text: str, kind: str = "") -> str:
    return (
        f'<td class="{kind.strip()}">{escape(text)}</td>'
        if kind.strip()
        else f"<td>{escape(text)}</td>"
    )


def _colour(good: bool | None) -> str:
    return "" if good is None else "good" if good else "bad"
