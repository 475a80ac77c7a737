"""The figures of `smem explain`, each as an SVG and a PNG file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from smem_jax.explain import analysis, summary
from smem_jax.explain.summary import SHARES, Taught
from smem_jax.report.figures import AFTER, BEFORE, WORSE
from smem_jax.report.results import drawing

_WIDTH = 7.2  # inches
_COLUMNS = 88  # characters of a line of text
_LINE = 0.26  # inches from line to line
_HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", AFTER])
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "smem_jax",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def tokens(path: Path, facts: Sequence[Taught]) -> None:
    """Heat strips: the first and the last row of each fact, coloured by `TokenShare.weight`."""
    strips = [_strip(taught, row) for taught in facts for row in (0, taught.readers.total_rows - 1)]
    num_lines = sum(1 + strip[-1][0] for strip in strips) + 0.8 * len(facts)
    most = max(float(taught.share.weight.max()) for taught in facts) or 1.0
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, _LINE * num_lines + 0.7), layout="constrained")
        axes = figure.subplots()
        axes.set_xlim(0, _COLUMNS)
        axes.set_ylim(num_lines, 0)
        axes.axis("off")
        top = 0.0
        for number, strip in enumerate(strips):
            for line, column, text, share in strip:
                _token(axes, top + line, column, text, share / most)
            top += 1 + strip[-1][0] + 0.8 * (number % 2)
        scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, most), _HEAT)
        figure.colorbar(
            scale,
            ax=axes,
            location="bottom",
            aspect=60,
            label="share of a token's read weight that goes to the slots its fact trains",
        )
        drawing.save(figure, path)


def roles(path: Path, found: Mapping[str, Mapping[str, float | None]]) -> None:
    """Bars: the share of the tokens of each role, and of the reads of chosen slots."""
    names = list(found)
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, 0.9 + 0.5 * len(names)), layout="constrained")
        axes = figure.subplots()
        for offset, key, colour, label in (
            (-0.19, "tokens", BEFORE, "of all tokens"),
            (0.19, "chosen_reads", AFTER, "of all reads of chosen slots"),
        ):
            shares = [100 * (found[name][key] or 0.0) for name in names]
            places = [place + offset for place in range(len(names))]
            bars = axes.barh(places, shares, height=0.36, color=colour, label=label)
            axes.bar_label(bars, [f"{share:.0f} %" for share in shares], padding=4)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel("share, %")
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
        drawing.save(figure, path)


def core(path: Path, facts: Sequence[Taught]) -> None:
    """How many slots a share of a fact's rows read, and the sizes of the core sets of all rows."""
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        sizes = {name: summary.core(facts, name == "chosen") for name in ("read", "chosen")}
        for name, colour in (("read", BEFORE), ("chosen", AFTER)):
            low, middle, high = np.quantile(sizes[name], (0.1, 0.5, 0.9), axis=0)
            percents = [100 * share for share in SHARES]
            left.plot(percents, middle, color=colour, marker="o", markersize=3, label=name)
            left.fill_between(percents, low, high, color=colour, alpha=0.2, linewidth=0)
        left.set_yscale("symlog", linthresh=10)
        left.set_ylim(bottom=0)
        left.set_xlabel("read by at least this share of a fact's rows, %")
        left.set_ylabel("slots (median, 10 % to 90 % of facts)")
        left.legend(frameon=False)
        right.hist(
            [sizes["read"][:, -1], sizes["chosen"][:, -1]],
            bins=12,
            color=[BEFORE, AFTER],
            label=["read", "chosen"],
        )
        right.set_xlabel("slots read by every row (core set)")
        right.set_ylabel("facts")
        drawing.save(figure, path)


def overlap(path: Path, facts: Sequence[Taught], num_slots: int) -> None:
    """The overlap of any two facts' chosen slots, and its distribution against random sets."""
    sets = summary.sets_of(facts)
    matrix = analysis.overlap(sets["chosen"])
    np.fill_diagonal(matrix, np.nan)
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        image = left.imshow(matrix, cmap=_HEAT, vmin=0, vmax=max(np.nanmax(matrix), 1e-3))
        figure.colorbar(image, ax=left, label="Jaccard index of chosen slots", shrink=0.85)
        left.set_xlabel("fact")
        left.set_ylabel("fact")
        left.locator_params(integer=True)
        found = {name: summary.pairs(sets[name]) for name in ("read", "chosen")}
        bins = np.linspace(0, max(float(max(map(np.max, found.values()))), 1e-3), 31).tolist()
        for name, colour in (("read", BEFORE), ("chosen", AFTER)):
            right.hist(found[name], bins=bins, color=colour, alpha=0.7, label=name)
        right.axvline(
            summary.expected(sets["chosen"], num_slots),
            color=WORSE,
            linestyle="--",
            label="random, as many as chosen",
        )
        right.set_xlabel("Jaccard index of two facts' slots")
        right.set_ylabel("pairs of facts")
        figure.legend(loc="outside upper right", ncols=3, frameon=False)
        drawing.save(figure, path)


def frequency(path: Path, facts: Sequence[Taught], document_frequency: np.ndarray) -> None:
    """In how many background documents the slots are read: the chosen, and all that facts read."""
    found = {
        "read": document_frequency[np.concatenate([taught.readers.slots for taught in facts])],
        "chosen": document_frequency[np.concatenate([taught.chosen for taught in facts])],
    }
    edges = [0.0, *(2.0**power for power in range(int(found["read"].max()).bit_length() + 1))]
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, 2.8), layout="constrained")
        axes = figure.subplots()
        for offset, (name, colour) in zip(
            (-0.19, 0.19), (("read", BEFORE), ("chosen", AFTER)), strict=True
        ):
            counts = np.histogram(found[name], bins=edges)[0]
            places = np.arange(len(counts)) + offset
            axes.bar(places, 100 * counts / counts.sum(), width=0.36, color=colour, label=name)
        axes.set_xticks(range(len(edges) - 1), [f"{edge:.0f}" for edge in edges[:-1]])
        axes.set_xlabel("background documents that read the slot (so many, or up to the next)")
        axes.set_ylabel("share of slots, %")
        axes.legend(frameon=False)
        drawing.save(figure, path)


def _strip(taught: Taught, row: int) -> list[tuple[int, int, str, float]]:
    """The tokens of a row as (line, column, text, share), with line breaks made visible."""
    text, ends = taught.rows.texts[row], taught.rows.ends[row]
    found, line, column, start = [], 0, 0, 0
    for place, end in enumerate(ends):
        shown = text[start:end].replace("\n", "↵")
        start = end
        if column and column + len(shown) > _COLUMNS:
            line, column = line + 1, 0
        found.append((line, column, shown, float(taught.share.weight[row, place])))
        column += len(shown)
    return found


def _token(axes: Axes, line: float, column: int, text: str, heat: float) -> None:
    box = Rectangle(
        (column, line + 0.06), len(text), 0.88, facecolor=_HEAT(heat), edgecolor="#e3e6ea"
    )
    box.set_linewidth(0.4)
    axes.add_patch(box)
    # An SVG drops the space that a token begins with, so only what is visible is placed.
    visible = text.strip()
    place = column + text.index(visible) + len(visible) / 2
    axes.text(
        place,
        line + 0.5,
        visible,
        family="monospace",
        fontsize=9,
        ha="center",
        va="center",
        parse_math=False,
        color="white" if heat > 0.75 else "black",
    )
