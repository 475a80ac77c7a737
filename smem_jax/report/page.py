"""The report of a run as one HTML page that needs nothing but itself."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from smem_jax import atomic
from smem_jax.report import answers, figures, slot_view
from smem_jax.report.html import cell, colour, figure, pairs, quiet, table
from smem_jax.report.read import Run, read_run
from smem_jax.report.table import cost, rows

_STYLE = Path(__file__).with_name("style.css")
# Whatever a run's texts contain, a browser fetches nothing for this page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write(workdir: Path) -> Path:
    """Writes `report.html` into the work directory of a finished run, and returns its path.

    Its figures are also written as files, into `figures/`. Raises InputError where a file of the
    run is missing or damaged.
    """
    path = workdir / "report.html"
    run = read_run(workdir)
    drawn = figures.draw(run)
    text = page(run, drawn)
    figures.save(drawn, workdir / "figures")
    atomic.write_text(path, text)
    return path


def page(run: Run, drawn: Mapping[str, figures.Drawn]) -> str:
    """The HTML of the report, with the figures that `figures.draw` gives."""
    summary = run.summary
    title = f"{_model_name(summary)}: {summary['num_facts']} facts taught"
    parts = [
        *_headline(summary),
        quiet(f"{_elsewhere(summary)}{cost(summary)}."),
        _comparison(summary),
        *_figures(drawn),
        "<h2>Every answer</h2>",
        quiet(
            "An answer counts as right when it equals an accepted one, articles, case and "
            "punctuation aside. Only what stands under 'as trained on' was trained on."
        ),
        *answers.facts(run.answers),
    ]
    if run.slot_reads is not None:
        view = slot_view.view(run.slot_reads)
        parts.append(f"<section>\n<h2>What reads the trained slots</h2>\n{view}\n</section>")
    parts += ["<h2>The memory</h2>", _memory(summary)]
    if run.slot_reads is not None:
        parts.append(
            figure(
                figures.svg("slot-use", drawn["slot-use"]),
                f"Of {run.slot_reads.documents:,} background documents. What is written to a slot "
                "is heard wherever that slot is read.",
            )
        )
    parts += ["<h2>The run</h2>", _run(summary)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n"
        "</head>\n<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _headline(summary: Mapping[str, Any]) -> Iterable[str]:
    """What was learned, in a sentence or two."""
    name, facts = _model_name(summary), summary["num_facts"]
    yield f"<h1>{escape(name)} was taught {facts} facts in {summary['steps']} steps</h1>"
    if match := summary.get("taught_exact_match"):
        yield (
            f'<p class="lead">It answers {match["after"]:.0%} of the questions about them that it '
            f"never saw ({match['before']:.0%} before).</p>"
        )


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
    return table(
        ("", "before", "after", "change"),
        (
            (
                cell(row.label),
                cell(row.before, "number"),
                cell(row.after, "number strong"),
                cell(row.change, "number " + colour(row.better)),
            )
            for row in rows(summary)
        ),
        numbers=("before", "after", "change"),
        kind="comparison",
    )


_SECTIONS = {
    "exact-match": (
        "What it learned",
        "'In other words' is what counts: these wordings were kept out of training.",
    ),
    "elsewhere": (
        "What it lost or gained elsewhere",
        "Change of the negative log-likelihood of text that has nothing to do with the facts.",
    ),
    "along": (
        "Along the way",
        "Recall of reworded questions, token by token, and how much less likely a part of the text "
        "that was not taught became, nats per token.",
    ),
    "training": (
        "Training",
        "A step takes one batch of wordings; drift is what the memory adds to background text.",
    ),
}


def _figures(drawn: Mapping[str, figures.Drawn]) -> Iterable[str]:
    for name, (title, caption) in _SECTIONS.items():
        if name in drawn:
            yield f"<h2>{title}</h2>"
            yield figure(figures.svg(name, drawn[name]), caption)


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
    return pairs(shown)


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
    return pairs(shown) + f"<details><summary>Configuration</summary><pre>{config}</pre></details>"
