"""Parts of an HTML page, with all text escaped."""

from collections.abc import Iterable, Sequence
from html import escape


def table(
    heads: Sequence[str], body: Iterable[Iterable[str]], numbers: Sequence[str] = (), kind: str = ""
) -> str:
    """A table of `cell`s; the columns of the heads in `numbers` are aligned as numbers."""
    top = "".join(
        f'<th scope="col"{_class("number" if head in numbers else "")}>{escape(head)}</th>'
        for head in heads
    )
    lines = [f"<tr>{top}</tr>"] if heads else []
    lines += [f"<tr>{''.join(cells)}</tr>" for cells in body]
    return f"<table{_class(kind)}>\n" + "\n".join(lines) + "\n</table>"


def cell(text: str, kind: str = "", head: str = "") -> str:
    """A cell; `head` is what stands before it where the page is too narrow for columns."""
    shown = f' data-head="{escape(head)}"' if head else ""
    return f"<td{_class(kind)}{shown}>{escape(text)}</td>"


def pairs(shown: Iterable[tuple[str, str]]) -> str:
    """A table of names and values."""
    return table((), ((cell(name), cell(value, "number")) for name, value in shown), kind="pairs")


def figure(svg: str, caption: str) -> str:
    """A figure with what it shows."""
    return f"<figure>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def quiet(text: str) -> str:
    """A paragraph that explains."""
    return f'<p class="quiet">{escape(text)}</p>'


def colour(good: bool | None) -> str:
    """The class of what is good or bad; '' for neither."""
    return "" if good is None else "good" if good else "bad"


def _class(kind: str) -> str:
    return f' class="{kind.strip()}"' if kind.strip() else ""
