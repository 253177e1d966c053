"""How values show themselves in notebooks: a small table in HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

MOST_ROWS = 20
"""More are counted, not shown."""


def html_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of the first `MOST_ROWS`: floats with two decimals, everything else as it is."""
    lines = [_row("th", heads), *(_row("td", row) for row in rows[:MOST_ROWS])]
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return f"<table><caption>{html.escape(title)}</caption>{''.join(lines)}</table>{more}"


def _row(cell: str, values: Sequence[object]) -> str:
    texts = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in values)
    return f"<tr>{''.join(f'<{cell}>{html.escape(text)}</{cell}>' for text in texts)}</tr>"
