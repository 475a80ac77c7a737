"""Wordings whose tokens show the slots that they read, and what else reads these.

The tokens stand in the page as text. `page.js` makes them answer to the mouse, to the keyboard and
to a touch, from the data beside it.
"""

import json
from html import escape
from itertools import groupby
from pathlib import Path

from smem_jax.report.answers import KINDS
from smem_jax.report.html import quiet
from smem_jax.report.slot_reads import Row, SlotReads, Token

_SCRIPT = Path(__file__).with_name("page.js")


def view(found: SlotReads) -> str:
    """The panel, the wordings below it, the data and the script."""
    numbered = list(enumerate(found.rows))
    facts = [list(group) for _, group in groupby(numbered, lambda item: item[1].fact)]
    shown = "\n".join(_fact(rows, is_open=number == 0) for number, rows in enumerate(facts))
    return (
        quiet(
            "A token is the bluer, the more of what it reads lies in trained slots. Point at one, "
            "tap it, or move to it with Tab and the arrow keys: the panel says which trained slots "
            "weigh most for it and what else reads them. Tokens for which the same slots weigh "
            "most are underlined. A click or Enter holds the token, Escape lets it go."
        )
        + '\n<p id="unscripted" class="quiet">This needs JavaScript; slot_reads.json beside this '
        "page has the same.</p>\n"
        '<aside id="panel" aria-label="What the token reads" hidden tabindex="0">'
        '<p id="said" role="status"></p><div id="read"></div></aside>\n'
        f"{shown}\n"
        f'<script type="application/json" id="slot-reads">{_data(found)}</script>\n'
        f"<script>\n{_SCRIPT.read_text(encoding='utf-8')}</script>"
    )


def _fact(rows: list[tuple[int, Row]], is_open: bool) -> str:
    first = rows[0][1]
    lines = "\n".join(
        f'<p class="kind">{escape(KINDS.get(row.kind, row.kind))}</p>'
        f'<p class="wording" role="group" data-row="{number}" '
        f'aria-label="Tokens of the wording {escape(KINDS.get(row.kind, row.kind))}">'
        f"{''.join(map(_token, row.tokens))}</p>"
        for number, row in rows
    )
    return (
        f'<details class="fact"{" open" if is_open else ""}><summary>'
        f"<span>{escape(first.question)} <b>{escape(first.answer)}</b></span></summary>\n"
        f"{lines}\n</details>"
    )


def _token(token: Token) -> str:
    # What is left of a character of several tokens, and a line break, would not be seen.
    shown = token.text.replace("\n", "↵") or "·"
    return f'<span class="token" style="--share:{token.share:.2f}">{escape(shown)}</span>'


def _data(found: SlotReads) -> str:
    """What the script looks up, as JSON that cannot end its element."""
    data = {
        "documents": found.documents,
        "reads": found.reads_per_token,
        "rows": [
            {
                "fact": row.fact,
                "question": row.question,
                "tokens": [[t.text, t.share, t.reads, t.slots] for t in row.tokens],
            }
            for row in found.rows
        ],
        "slots": {number: slot._asdict() for number, slot in found.slots.items()},
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
