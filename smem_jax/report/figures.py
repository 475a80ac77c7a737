"""The figures of a report, as SVG text to stand inside an HTML page.

Text and axes take the colour of the page's text, so that a figure is legible on light and on dark.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BEFORE, AFTER = "#8a919c", "#3b82f6"
BETTER, WORSE = "#2a9d6f", "#d9652b"
_TEXT = "#010203"  # stands for the colour of the page's text, which matplotlib cannot name
_WIDTH = 7.2  # inches
_KINDS = {
    "taught_exact_match": "in other words",
    "frame_exact_match": "in another frame",
    "trained_exact_match": "as trained on",
}
_ELSEWHERE = {"wikitext_nll": "WikiText-2", "nq_answer_nll": "NaturalQuestions\nanswers"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "smem_jax",
    "font.size": 10,
    "text.color": _TEXT,
    "axes.edgecolor": _TEXT,
    "axes.labelcolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def exact_match(summary: Mapping[str, Any]) -> str:
    """Bars of the taught facts' exact match before and after, by kind of wording."""
    kinds = [kind for kind in _KINDS if kind in summary]
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, 0.75 + 0.6 * len(kinds)), layout="constrained")
        axes = figure.subplots()
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
        return _svg(figure, "exact-match", "Exact match of the taught facts, before and after")


def elsewhere(summary: Mapping[str, Any]) -> str:
    """Bars of how much the likelihood of what was not taught fell or rose."""
    names = [name for name in _ELSEWHERE if name in summary]
    changes = [summary[name]["after"] - summary[name]["before"] for name in names]
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, 0.75 + 0.5 * len(names)), layout="constrained")
        axes = figure.subplots()
        colours = [WORSE if change > 0 else BETTER for change in changes]
        bars = axes.barh(range(len(names)), changes, height=0.5, color=colours)
        axes.bar_label(bars, [f"{change:+.4f}" for change in changes], padding=4)
        axes.axvline(0, color=_TEXT, linewidth=0.8)
        axes.set_yticks(range(len(names)), [_ELSEWHERE[name] for name in names])
        axes.invert_yaxis()
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        # A change of nearly nothing should look like it.
        reach = 1.35 * max(0.01, *map(abs, changes))
        axes.set_xlim(-reach, reach)
        axes.set_xlabel("change of the NLL, nats per token (left of zero is better)")
        return _svg(figure, "elsewhere", "What was lost or gained on text that was not taught")


def training(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The loss by step, that on held-out wordings where it was measured, and the drift below."""
    has_drift = any(record.get("drift") for record in metrics)
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, 4.2 if has_drift else 2.8), layout="constrained")
        panels = figure.subplots(1 + has_drift, sharex=True, squeeze=False)[:, 0]
        _curve(panels[0], metrics, "loss", AFTER, "training")
        if any("validation_loss" in record for record in metrics):
            _curve(panels[0], metrics, "validation_loss", WORSE, "held-out wordings", marker="o")
            panels[0].legend(frameon=False)
        panels[0].set_ylabel("loss, nats")
        if has_drift:
            _curve(panels[1], metrics, "drift", BEFORE, "drift")
            panels[1].set_ylabel("drift on background")
        for axes in panels:
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.15, color=_TEXT)
        panels[-1].set_xlabel("step")
        return _svg(figure, "training", "Loss by training step")


def _curve(
    axes: Axes, metrics: Sequence[Mapping[str, Any]], name: str, colour: str, label: str, **style
) -> None:
    points = [(record["step"], record[name]) for record in metrics if name in record]
    axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.6, **style)


def _svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an `<svg>` element whose ids begin with `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg ") :].replace(_TEXT, "currentColor")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
