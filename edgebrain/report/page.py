"""The page of a report: one file that loads nothing, with every text escaped."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

from edgebrain.errors import printable
from edgebrain.report.tables import DISCLAIMER, grids, subject
from edgebrain.report.write import shade_colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebrain.evaluation.record import Evaluation
    from edgebrain.report.plots import Plot
    from edgebrain.report.tables import Cell, Grid

# The policy makes browsers refuse whatever the page might be made to load, should an escape ever be forgotten.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p { margin: .25rem 0 .75rem; }
.subject { color: #555; }
.warning { border-left: 4px solid #d55e00; background: #fdf4ee; padding: .6rem .9rem; }
.notes { color: #444; padding-left: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem; text-align: right; border-bottom: 1px solid #e3e3e3; white-space: nowrap; }
th { font-weight: 600; color: #444; border-bottom: 1.5px solid #999; }
tbody th { font-weight: 500; color: #1a1a1a; border-bottom: 1px solid #e3e3e3; }
th:first-child { text-align: left; padding-left: 0; }
th.prose, td.prose { text-align: left; white-space: normal; color: #555; }
.caption { color: #555; font-size: .87rem; margin-top: .4rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; }
figure img { width: 100%; height: auto; }
figcaption { color: #555; font-size: .87rem; }
pre { background: #f5f5f5; padding: .75rem .9rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } figure, table { break-inside: avoid; } }
"""


def page(evaluation: Evaluation, plots: Sequence[Plot], *, title: str, command: str, more: Sequence[Grid] = ()) -> str:
    """The whole page.

    Args:
        evaluation: What to show.
        plots: Its plots; they are embedded.
        title: Title of the page.
        command: The command line that gives the same report again.
        more: Further tables, after those of the evaluation.

    Returns:
        HTML, free of lone surrogates.
    """
    first, *others = [_section(grid) for grid in (*grids(evaluation), *more)]
    body = f"{first}\n{_gallery(plots)}{''.join(others)}"
    return _document(title, subject(evaluation), evaluation.notes, body, command=command, numbers="evaluation.json")


def comparison_page(
    tables: Sequence[Grid], plots: Sequence[Plot], notes: Sequence[str], *, title: str, command: str, numbers: str
) -> str:
    """The page of a comparison of models.

    Args:
        tables: What to show, in order.
        plots: They are embedded, after the first table.
        notes: What a reader must know.
        title: Title of the page.
        command: The command line that gives the same page again.
        numbers: Name of the file beside it that holds the same numbers.
    """
    first, *others = [_section(grid) for grid in tables]
    body = f"{first}\n{_gallery(plots)}{''.join(others)}"
    return _document(title, "", notes, body, command=command, numbers=numbers)


def _document(title: str, about: str, notes: Sequence[str], body: str, *, command: str, numbers: str) -> str:
    listed = "".join(f"<li>{_safe(note)}</li>" for note in notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_safe(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_safe(title)}</h1>
<p class="subject">{_safe(about)}</p>
<p class="warning">{_safe(DISCLAIMER)}</p>
{f'<ul class="notes">{listed}</ul>' if listed else ""}
{body}<h2>How to get this report again</h2>
<pre><code>{_safe(command)}</code></pre>
<p class="caption">The same numbers, and more of them, are in {_safe(numbers)} next to this page.</p>
</body>
</html>
"""


def _safe(text: str) -> str:
    return html.escape(printable(text))


def _gallery(plots: Sequence[Plot]) -> str:
    figures = "".join(_figure(plot) for plot in plots)
    return f'<h2>Plots</h2>\n<div class="plots">\n{figures}</div>\n' if figures else ""


def _figure(plot: Plot) -> str:
    source = base64.b64encode(plot.png).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{source}" alt="{_safe(plot.title)}">'
        f"<figcaption>{_safe(plot.caption)}</figcaption></figure>\n"
    )


def _section(grid: Grid) -> str:
    prose = len(grid.columns) - grid.prose
    head = "".join(f"<th{_class(number >= prose)}>{_safe(name)}</th>" for number, name in enumerate(grid.columns))
    body = "".join(f"<tr>{_row(row, prose)}</tr>\n" for row in grid.rows)
    caption = f'<p class="caption">{_safe(grid.caption)}</p>\n' if grid.caption else ""
    return (
        f'<h2>{_safe(grid.title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n{caption}"
    )


def _row(row: Sequence[Cell], prose: int) -> str:
    cells = [f"<td{_class(number >= prose)}{_shade(cell)}>{_safe(cell.text)}</td>" for number, cell in enumerate(row)]
    return f'<th scope="row">{_safe(row[0].text)}</th>' + "".join(cells[1:])


def _class(is_prose: bool) -> str:
    return ' class="prose"' if is_prose else ""


def _shade(cell: Cell) -> str:
    if cell.shade is None:
        return ""
    background, ink = shade_colors(cell.shade)
    return f' style="background:{background};color:{ink}"'
