"""Figures along a stream: what is kept as lessons go by, and of which lessons."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smem_jax.report.results import choose, drawing, methods
from smem_jax.report.results.choose import Pick
from smem_jax.report.results.read import Setting

_COLOURS = "cividis"  # for colour-blind readers, too
_PANELS = 4  # heat maps beside one another, at most
_LETTERS = 34  # above a heat map, in a line


class _Kept(NamedTuple):
    key: str
    label: str
    scale: float
    is_change: bool  # from what the base model has
    up_is_better: bool


_RECALL = "all facts taught so far,\nrecalled in other words, %"
_KEPT = (
    _Kept("recall_reworded", _RECALL, 100, is_change=False, up_is_better=True),
    _Kept("known", "known questions\nstill answered, %", 100, is_change=False, up_is_better=True),
    _Kept("wikitext_nll", "WikiText NLL rise,\nnats per token", 1, True, up_is_better=False),
)


def curves(picks: Sequence[Pick]) -> Figure | None:
    """A line for one setting of each family, against lessons taught; None where no run has one."""
    shown = _by_family(picks)
    panels = [
        (kept, found)
        for kept in _KEPT
        if (found := [(s, c) for s in shown if (c := _curve(s, kept)) is not None])
    ]
    if not panels:
        return None
    figure = drawing.new(3.3 * len(panels) + 2.2, 3.8, "What is kept as one lesson follows another")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (kept, found) in zip(all_axes, panels, strict=True):
        for setting, curve in found:
            look = methods.look(setting.method)
            mean = curve[:, 1:].mean(axis=1)
            axes.plot(curve[:, 0], mean, color=look.colour, linewidth=1.6)
            if curve.shape[1] > 2:
                ends = curve[:, 1:].min(axis=1), curve[:, 1:].max(axis=1)
                axes.fill_between(curve[:, 0], *ends, color=look.colour, alpha=0.15, linewidth=0)
        axes.set_xlabel("lessons taught")
        axes.set_title(f"{kept.label} ({'↑' if kept.up_is_better else '↓'} better)")
        axes.set_xlim(left=0)
        axes.grid()
        if not kept.is_change:
            axes.set_ylim(0, 102)
    _label_ends(all_axes[-1], panels[-1][1])
    return figure


def matrix(picks: Sequence[Pick]) -> Figure | None:
    """Recall of each block of lessons after each evaluation; None where no run has it."""
    found = [(s, m) for s in _by_family(picks)[:_PANELS] if (m := _matrix(s)) is not None]
    if not found:
        return None
    title = "Which lessons are still recalled, in other words, as the stream goes on"
    figure = drawing.new(3.1 * len(found) + 1.2, 4.1, title)
    all_axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (setting, (after, starts, recall)) in zip(all_axes, found, strict=True):
        columns, rows = np.arange(len(after) + 1), np.arange(len(starts))
        image = axes.pcolormesh(
            columns, rows, 100 * recall.T, cmap=_COLOURS, vmin=0, vmax=100, edgecolors="none"
        )
        axes.set_facecolor("#e5e7eb")
        shown = range(len(after) - 1, -1, -max(1, math.ceil(len(after) / 5)))
        axes.set_xticks([i + 0.5 for i in shown], [f"{after[i]:,}" for i in shown])
        shown = range(0, len(starts), max(1, math.ceil(len(starts) / 5)))
        axes.set_yticks(list(shown), [f"{starts[i]:,.0f}" for i in shown])
        axes.invert_yaxis()
        axes.set_title(textwrap.fill(setting.method, _LETTERS))
        axes.set_xlabel("asked after so many lessons")
    all_axes[0].set_ylabel("lessons, in the order taught")
    figure.colorbar(image, ax=list(all_axes), label="recalled, %", shrink=0.85)
    return figure


def _curve(setting: Setting, kept: _Kept) -> np.ndarray | None:
    """[num_evaluations, 1 + num_seeds]: lessons taught, and the figure of each seed."""
    runs = []
    for run in setting.runs:
        points = {
            line["after"]: line[kept.key]
            for line in run.get("curve", [])
            if line.get(kept.key) is not None
        }
        base = run["figures"].get(kept.key, {}).get("before")
        if base is not None:
            points = {0: base, **points}
        if not points or (kept.is_change and base is None):
            return None
        runs.append({n: (v - base if kept.is_change else v) for n, v in points.items()})
    shared = sorted(set.intersection(*map(set, runs)))
    if len(shared) < 2:
        return None
    return np.array([[n, *(kept.scale * run[n] for run in runs)] for n in shared])


def _label_ends(axes: Axes, found: Sequence[tuple[Setting, np.ndarray]]) -> None:
    """The method of each line, right of its end and clear of the others."""
    low, high = axes.get_ylim()
    heights = [curve[-1, 1:].mean() for _, curve in found]
    gap = 0.065 * (high - low)
    right = max(curve[-1, 0] for _, curve in found)
    for (setting, curve), height, place in zip(
        found, heights, drawing.spread_out(heights, gap), strict=True
    ):
        look = methods.look(setting.method)
        axes.annotate(
            setting.method,
            xy=(curve[-1, 0], height),
            xytext=(1.08 * right, place),
            va="center",
            color=look.colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": look.colour,
                "linewidth": 0.6,
                "relpos": (0, 0.5),
            },
        )
    axes.set_xlim(0, right)


def _by_family(picks: Sequence[Pick]) -> list[Setting]:
    """Of each family one setting, the main sparse one first, then the baselines."""
    base = choose.main_sparse(picks)
    found = {"sparse": base} if base else {}
    for pick in picks:
        found.setdefault(methods.family(pick.setting.method), pick.setting)
    first = ["sparse", "LoRA", "full finetuning"]
    names = sorted(found, key=lambda name: first.index(name) if name in first else len(first))
    return [found[name] for name in names]


def _matrix(setting: Setting) -> tuple[list[int], np.ndarray, np.ndarray] | None:
    """Lessons taught at each evaluation, the edges of the blocks, and recall
    [num_evaluations, num_blocks], the mean over seeds, NaN before a block is taught.
    """
    found: list[dict[str, Any]] = [run["matrix"] for run in setting.runs if run.get("matrix")]
    found = [m for m in found if m["after"] == found[0]["after"]]
    arrays = [np.array(m["blocks"], np.float64) for m in found]
    arrays = [array for array in arrays if array.shape == arrays[0].shape]
    if not arrays or arrays[0].size == 0:
        return None
    num_lessons, num_blocks = setting.runs[0]["num_lessons"], arrays[0].shape[1]
    every = setting.runs[0]["config"].get("evaluate", {}).get("every")
    block = every or math.ceil(num_lessons / num_blocks)
    edges = np.minimum(block * np.arange(num_blocks + 1), num_lessons)
    return found[0]["after"], edges, np.mean(arrays, axis=0)
