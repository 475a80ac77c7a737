"""Figures of settings: what each learned and forgot, Pareto fronts, and one choice at a time."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smem_jax.report.results import ablations, choose, drawing, estimates, methods
from smem_jax.report.results.choose import Pick
from smem_jax.report.results.estimates import Estimate, Statistic
from smem_jax.report.results.read import Setting


class _Forgetting(NamedTuple):
    figure: str
    statistic: Statistic
    scale: float
    label: str
    threshold: float  # below which the axis is even


_FORGETTING = (
    _Forgetting("known", "drop", 100, "known questions lost, %", 1.0),
    _Forgetting("nq_f1", "drop", 100, "NaturalQuestions F1 lost, % of it", 5.0),
    _Forgetting("wikitext_nll", "change", 1, "WikiText NLL rise, nats per token", 0.01),
)
_LETTERS = 13  # of a legend on an inch
_RECALL = "taught facts recalled\nin other words, %"


class _Row(NamedTuple):
    label: str
    setting: Setting
    look: methods.Look
    is_bold: bool


def headline(picks: Sequence[Pick]) -> Figure:
    """Dots with intervals: what each method learned and forgot, at equal learning."""
    base = choose.main_sparse(picks)
    rows = [
        _Row(
            p.setting.method + ("" if p.reached else " (learned less)"),
            p.setting,
            methods.look(p.setting.method),
            p.setting is base,
        )
        for p in picks
    ]
    return _dots([("", rows)], "What each method learned and forgot (bars: 95 % intervals)")


def ablation(axes: Sequence[ablations.Axis]) -> Figure:
    """The same dots for one choice at a time; the reference of all is filled."""
    groups = []
    for axis in axes:
        rows = []
        for number, (value, pick) in enumerate(zip(axis.values, axis.picks, strict=True)):
            look = methods.look(pick.setting.method)._replace(marker="o")
            rows.append(_Row(value, pick.setting, look, number == axis.reference))
        groups.append((axis.title, rows))
    return _dots(groups, "One choice at a time (filled, bold: the reference of all)", hollow=True)


def pareto(settings: Sequence[Setting], picks: Sequence[Pick]) -> Figure | None:
    """All settings by what they learned and forgot, and each method's front."""
    panels = _measured(settings)
    if not panels:
        return None
    title = "Learned against forgotten, every setting that was run (ringed: those of the table)"
    width = 3.4 * len(panels) + 0.4
    names = sorted({setting.method for setting in settings}, key=methods.rank)
    columns = max(1, int(_LETTERS * width / (max(map(len, names), default=0) + 9)))
    rows = -(-len(names) // columns)
    figure = drawing.new(width, 4.1 + 0.24 * rows, title)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _fronts(axes, panel, settings, [pick.setting for pick in picks])
    all_axes[0].set_ylabel(_RECALL.replace("\n", " "))
    handles: dict[str, Any] = {}
    for axes in all_axes:
        lines, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    shown = [name for name in names if name in handles]
    figure.legend(
        [handles[name] for name in shown],
        shown,
        loc="outside lower left",
        ncols=columns,
        frameon=False,
    )
    return figure


def _fronts(
    axes: Axes, panel: _Forgetting, settings: Sequence[Setting], chosen: Sequence[Setting]
) -> None:
    by_method: dict[str, list[tuple[float, float, bool]]] = {}
    for setting in settings:
        if found := estimates.without_interval(setting, panel.figure, panel.statistic):
            point = (panel.scale * found.mean, 100 * choose.learned(setting))
            is_chosen = any(setting is other for other in chosen)
            by_method.setdefault(setting.method, []).append((*point, is_chosen))
    for method, points in by_method.items():
        look = methods.look(method)
        on_front = choose.front([point[:2] for point in points])
        line = [points[i] for i in on_front]
        axes.plot(
            [x for x, _, _ in line],
            [y for _, y, _ in line],
            look.line,
            marker=look.marker,
            color=look.colour,
            label=method,
            markersize=5,
            linewidth=1.4,
        )
        behind = [point for i, point in enumerate(points) if i not in on_front]
        axes.plot(
            [x for x, _, _ in behind],
            [y for _, y, _ in behind],
            linestyle="none",
            marker=look.marker,
            color=look.colour,
            alpha=0.35,
            markersize=4,
        )
        ringed = [point for point in points if point[2]]
        axes.plot(
            [x for x, _, _ in ringed],
            [y for _, y, _ in ringed],
            "o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor=look.colour,
        )
    values = [x for points in by_method.values() for x, _, _ in points]
    drawing.symmetric_log(axes, values, panel.threshold)
    axes.set_ylim(-3, 103)
    axes.set_xlabel(panel.label)
    axes.grid()
    axes.set_title("↖ better", color=drawing.QUIET)


def _dots(groups: Sequence[tuple[str, Sequence[_Row]]], title: str, hollow: bool = False) -> Figure:
    """A row for each setting, a panel for what it learned and for each thing it forgot."""
    settings = [row.setting for _, rows in groups for row in rows]
    panels = _measured(settings)
    lines = sum(len(rows) + bool(name) for name, rows in groups)
    longest = max(len(label) for name, rows in groups for label in (name, *(r.label for r in rows)))
    width = 2.2 * (1 + len(panels)) + 0.07 * longest
    figure = drawing.new(width, 1.3 + 0.27 * lines, title)
    all_axes = figure.subplots(1, 1 + len(panels), sharey=True, squeeze=False)[0]
    place, ticks = 0, []
    ends: list[list[float]] = [[] for _ in panels]
    for name, rows in groups:
        if name:
            ticks.append((place, name, "heading"))
            place += 1
        for row in rows:
            ticks.append((place, row.label, "bold" if row.is_bold else "row"))
            _dot(all_axes[0], place, _scaled(estimates.recall(row.setting), 100), row, hollow)
            for axes, panel, reached in zip(all_axes[1:], panels, ends, strict=True):
                found = estimates.held_out(row.setting, panel.figure, panel.statistic)
                reached += _dot(axes, place, _scaled(found, panel.scale), row, hollow)
            place += 1
    all_axes[0].set_yticks([t[0] for t in ticks], [t[1] for t in ticks])
    for text, (_, _, kind) in zip(all_axes[0].get_yticklabels(), ticks, strict=True):
        text.set_fontweight("bold" if kind == "bold" else "normal")
        text.set_color(drawing.QUIET if kind == "heading" else "black")
        text.set_fontstyle("italic" if kind == "heading" else "normal")
    all_axes[0].set_ylim(place - 0.4, -0.6)
    all_axes[0].set_xlabel(_RECALL)
    all_axes[0].set_xlim(0, 103)
    for axes, panel, reached in zip(all_axes[1:], panels, ends, strict=True):
        drawing.symmetric_log(axes, reached, panel.threshold)
        axes.set_xlabel(textwrap.fill(panel.label, 20))
        axes.axvline(0, color=drawing.QUIET, linewidth=0.8)
    for number, axes in enumerate(all_axes):
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set_title("better →" if number == 0 else "← better", color=drawing.QUIET)
    return figure


def _dot(axes: Axes, place: int, found: Estimate | None, row: _Row, hollow: bool) -> list[float]:
    """Draws an estimate, and returns how far to the left and right that reaches."""
    if found is None:
        return []
    colour = row.look.colour
    axes.plot(
        [found.mean],
        [place],
        marker=row.look.marker,
        color=colour,
        markerfacecolor="white" if hollow and not row.is_bold else colour,
        markersize=6,
        zorder=3,
    )
    if math.isnan(found.low):
        return [found.mean]
    axes.plot([found.low, found.high], [place, place], color=colour, alpha=0.6)
    return [found.low, found.high]


def _measured(settings: Sequence[Setting]) -> list[_Forgetting]:
    """What was measured of any of the settings."""
    return [
        panel
        for panel in _FORGETTING
        if any(estimates.before_and_after(setting, panel.figure) for setting in settings)
    ]


def _scaled(found: Estimate | None, scale: float) -> Estimate | None:
    return found and found._replace(
        mean=scale * found.mean, low=scale * found.low, high=scale * found.high
    )
