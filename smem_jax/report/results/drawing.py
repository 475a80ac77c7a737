"""How every figure of the results looks, and how it is written: the same bytes each time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smem_jax import atomic

QUIET = "#6b7280"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # labels stand close: another font's widths would make them overlap
    "svg.hashsalt": "smem_jax",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "figure.titlesize": 11,
}


@contextmanager
def style() -> Iterator[None]:
    """Within it figures are made, drawn and saved."""
    with mpl.style.context(["default", _STYLE]):
        yield


def new(width: float, height: float, title: str) -> Figure:
    """A figure of so many inches whose title stands at the left."""
    figure = Figure((width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg]
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as `path`.svg and `path`.png, each all of it or nothing."""
    for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        with atomic.replaced(path.with_name(f"{path.name}.{kind}")) as partial:
            figure.savefig(partial, format=kind, dpi=150, metadata=metadata)


def symmetric_log(axes: Axes, values: Sequence[float], threshold: float) -> None:
    """An x axis in powers of ten, and even between `threshold` and its negative.

    Even all the way where the values reach no further than a few times the threshold.
    """
    low, high = min([0.0, *values]), max([threshold, *values])
    margin = 0.25 * threshold
    if max(-low, high) < 7 * threshold:
        axes.set_xlim(1.2 * low - margin, 1.2 * high)
        return
    axes.set_xscale("symlog", linthresh=threshold, linscale=0.6)
    powers = [threshold * 10**power for power in range(8)]
    ticks = [-p for p in reversed(powers) if -p >= low * 1.5] + [0.0]
    ticks += [p for p in powers if p <= high * 1.5]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low * 1.5 - margin, high * 1.6)


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Heights of labels as near to `heights` as their order and a distance of `gap` allow.

    >>> spread_out([0.5, 0.5, 3.0], 1.0)
    [0.0, 1.0, 3.0]
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    # Groups of labels that touch: their numbers, and the height of the lowest of them.
    groups: list[tuple[list[int], float]] = []
    for i in order:
        members, low = [i], heights[i]
        while groups and groups[-1][1] + gap * len(groups[-1][0]) > low:
            members = groups.pop()[0] + members
            wanted = [heights[m] - gap * n for n, m in enumerate(members)]
            low = sum(wanted) / len(wanted)
        groups.append((members, low))
    placed = dict.fromkeys(order, 0.0)
    for members, low in groups:
        placed |= {member: low + gap * n for n, member in enumerate(members)}
    return [placed[i] for i in range(len(heights))]
