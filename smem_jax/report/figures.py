"""The figures of a report: SVG that stands inside of the page, and the same as files beside it.

In the page, text and axes take the colour of its text, so that a figure is legible on light and on
dark. The files are dark on white.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smem_jax.report.read import Run
from smem_jax.report.results import drawing
from smem_jax.report.slot_reads import Frequency

BEFORE, AFTER = "#8a919c", "#3b82f6"
BETTER, WORSE = "#2a9d6f", "#d9652b"
_TEXT = "#010203"  # stands for the colour of the page's text, which matplotlib cannot name
_WIDTH = 5.0  # inches; a phone shows two thirds of that, and text has to stay legible
_KINDS = {
    "taught_exact_match": "in other words",
    "frame_exact_match": "in another frame",
    "trained_exact_match": "as trained on",
}
_ELSEWHERE = {"wikitext_nll": "WikiText-2", "nq_answer_nll": "NaturalQuestions\nanswers"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "smem_jax",
    "font.size": 10.5,
    "text.color": _TEXT,
    "axes.edgecolor": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}


class Drawn(NamedTuple):
    """A figure, and what it shows in a few words."""

    figure: Figure
    title: str


@mpl.rc_context(_STYLE)
def draw(run: Run) -> dict[str, Drawn]:
    """All figures of what was measured, by name."""
    found = {}
    if any(name in run.summary for name in _KINDS):
        found["exact-match"] = _exact_match(run.summary)
    if any(name in run.summary for name in _ELSEWHERE):
        found["elsewhere"] = _elsewhere(run.summary)
    if any(name in record for record in run.metrics for name in ("recall", "text_nll")):
        found["along"] = _along(run.metrics)
    if any("loss" in record for record in run.metrics):
        found["training"] = _training(run.metrics)
    if run.slot_reads is not None:
        found["slot-use"] = _slot_use(run.slot_reads.frequency)
    return found


@mpl.rc_context(_STYLE)
def svg(name: str, drawn: Drawn) -> str:
    """A figure as an `<svg>` element whose ids begin with `name`."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    drawn.figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg ") :].replace(_TEXT, "currentColor")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{drawn.title}" ', 1)


@mpl.rc_context(_STYLE)
def save(figures: Mapping[str, Drawn], directory: Path) -> None:
    """Writes each as NAME.svg and NAME.png."""
    for name, drawn in figures.items():
        drawing.save(drawn.figure, directory / name)


def _exact_match(summary: Mapping[str, Any]) -> Drawn:
    """Bars of the taught facts' exact match before and after, by kind of wording."""
    kinds = [kind for kind in _KINDS if kind in summary]
    figure, axes = _new(0.75 + 0.6 * len(kinds))
    for offset, when, colour in ((-0.19, "before", BEFORE), (0.19, "after", AFTER)):
        shares = [100 * summary[kind][when] for kind in kinds]
        places = [place + offset for place in range(len(kinds))]
        bars = axes.barh(places, shares, height=0.36, color=colour, label=when)
        axes.bar_label(bars, [f"{share:.0f} %" for share in shares], padding=4)
    axes.set_yticks(range(len(kinds)), [_KINDS[kind] for kind in kinds])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("questions answered exactly, %")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return Drawn(figure, "Exact match of the taught facts, before and after")


def _elsewhere(summary: Mapping[str, Any]) -> Drawn:
    """Bars of how much the likelihood of what was not taught fell or rose."""
    names = [name for name in _ELSEWHERE if name in summary]
    changes = [summary[name]["after"] - summary[name]["before"] for name in names]
    figure, axes = _new(0.75 + 0.5 * len(names))
    colours = [WORSE if change > 0 else BETTER for change in changes]
    bars = axes.barh(range(len(names)), changes, height=0.5, color=colours)
    axes.bar_label(bars, [f"{change:+.4f}" for change in changes], padding=4)
    axes.axvline(0, color=_TEXT, linewidth=0.8)
    axes.set_yticks(range(len(names)), [_ELSEWHERE[name] for name in names])
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    # A change of nearly nothing should look like it.
    reach = 1.6 * max(0.01, *map(abs, changes))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("change of the NLL, nats per token (less is better)")
    return Drawn(figure, "What was lost or gained on text that was not taught")


def _along(metrics: Sequence[Mapping[str, Any]]) -> Drawn:
    """What was recalled after so many steps, and below what other text lost by then."""
    panels = []
    if recall := _points(metrics, "recall"):
        panels.append(_Panel("recalled, %", AFTER, [(step, 100 * y) for step, y in recall]))
    if text := _points(metrics, "text_nll"):
        _, untaught = text[0]
        panels.append(_Panel("lost, nats", WORSE, [(step, y - untaught) for step, y in text]))
    figure, all_axes = _stacked(panels, marker="o")
    if recall:
        all_axes[0].set_ylim(0, 104)
    if text:  # a change of nearly nothing should look like it
        reach = 1.2 * max(0.01, *(abs(y) for _, y in panels[-1].points))
        all_axes[-1].set_ylim(-reach, reach)
        all_axes[-1].axhline(0, color=_TEXT, linewidth=0.8)
    all_axes[-1].set_xlabel("steps taken")
    return Drawn(figure, "Recall of the taught facts, and loss on other text, by steps taken")


def _training(metrics: Sequence[Mapping[str, Any]]) -> Drawn:
    """The loss by step, and the drift below."""
    panels = [_Panel("loss, nats", AFTER, _points(metrics, "loss"))]
    if any(record.get("drift") for record in metrics):
        panels.append(_Panel("drift on background", BEFORE, _points(metrics, "drift")))
    figure, all_axes = _stacked(panels)
    for axes in all_axes:
        axes.set_ylim(bottom=0)
    all_axes[-1].set_xlabel("step")
    return Drawn(figure, "Loss by training step")


class _Panel(NamedTuple):
    label: str
    colour: str
    points: list[tuple[float, float]]


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(record["step"], record[name]) for record in metrics if name in record]


def _stacked(panels: Sequence[_Panel], marker: str = "") -> tuple[Figure, list[Axes]]:
    """Lines by step, one panel below the other."""
    figure = Figure((_WIDTH, 1.2 + 1.5 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        x, y = zip(*panel.points, strict=True)
        axes.plot(x, y, color=panel.colour, linewidth=1.6, marker=marker)
        axes.set_ylabel(panel.label)
        axes.grid(alpha=0.15, color=_TEXT)
    return figure, list(all_axes)


def _slot_use(frequency: Frequency) -> Drawn:
    """Shares of all slots and of the trained, by how many background documents read them."""
    figure, axes = _new(2.9)
    for offset, label, counts, colour in (
        (-0.19, "all slots", frequency.all, BEFORE),
        (0.19, "trained", frequency.trained, AFTER),
    ):
        places = [place + offset for place in range(len(counts))]
        shares = [100 * count / max(sum(counts), 1) for count in counts]
        axes.bar(places, shares, width=0.36, color=colour, label=label)
    names = [f"{n // 1024}k" if n >= 1024 else str(n) for n in frequency.least]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("background documents that read a slot, at least")
    axes.set_ylabel("share of them, %")
    axes.legend(frameon=False)
    return Drawn(figure, "How often ordinary text reads the slots, all and those trained")


def _new(height: float) -> tuple[Figure, Axes]:
    figure = Figure((_WIDTH, height), layout="constrained")
    return figure, figure.subplots()
