"""Values, intervals and tables as Markdown."""

import math
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from smem_jax.report.results.estimates import Estimate

Form = Callable[[float], str]
MISSING = "-"


def percent(share: float) -> str:
    """A share of 1 as per cent, without the sign.

    >>> percent(0.9785), percent(-0.00001)
    ('97.9', '0.0')
    """
    return f"{100 * share:.1f}".replace("-0.0", "0.0")


def points(share: float) -> str:
    """A difference of shares, in percentage points."""
    return f"{100 * share:+.1f}"


def nats(change: float) -> str:
    """A change of a negative log-likelihood."""
    return f"{change:+.4f}"


def factor(ratio: float) -> str:
    """How many times, in two or three figures.

    >>> factor(7.94), factor(123.4)
    ('7.9', '123')
    """
    return f"{ratio:.1f}" if ratio < 99.95 else f"{ratio:.0f}"


def estimate(found: Estimate | None, form: Form) -> str:
    """The mean, its interval in brackets where known, and the spread over seeds.

    >>> estimate(Estimate(0.979, 0.96, 0.99, 0.004), percent)
    '97.9 [96.0, 99.0] ± 0.4'
    """
    if found is None:
        return MISSING
    text = form(found.mean)
    if math.isfinite(found.low) and math.isfinite(found.high):
        text += f" [{form(found.low)}, {form(found.high)}]"
    if found.spread is not None:
        text += f" ± {form(found.spread).lstrip('+')}"
    return text


def value(value: Any) -> str:
    """A configuration value as it is shown: a path by its name, a number without idle zeros.

    >>> value(5e-06), value(262144), value("../data/background_qa.jsonl"), value("")
    ('5e-06', '262,144', 'background qa', 'none')
    """
    if isinstance(value, str):
        return PurePosixPath(value).stem.replace("_", " ") or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if type(value) is int else str(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without the columns that are empty in all rows."""
    kept = [
        column
        for column in range(len(heads))
        if any(row[column] not in ("", MISSING) for row in rows)
    ]
    lines = [[heads[column] for column in kept], ["---"] * len(kept)]
    lines += [[row[column].replace("|", "\\|") for column in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
