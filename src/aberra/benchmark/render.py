"""A table as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from aberra.files import csv_text


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        text: as printed.
        best: highest of its column.
        tied: not significantly worse than the best (AP only).
        chance: its interval does not lie above that of a random map (AP only).
    """

    text: str
    best: bool = False
    tied: bool = False
    chance: bool = False

    @property
    def marks(self) -> str:
        """The signs behind the text."""
        return "†" * (self.tied and not self.best) + "°" * self.chance


@dataclass(frozen=True)
class Table:
    """A table that can be rendered in four formats.

    Attributes:
        title: of the table.
        header: first column's heading first.
        rows: name and cells of each row.
        caption: what a reader must know.
        baselines: names of rows in italics.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    caption: str
    baselines: frozenset[str] = frozenset()


def as_markdown(table: Table) -> str:
    """Render: the best in bold, ties with †, what is not told from chance with °, baselines in
    italics.
    """
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.header)} |", "|---" * len(table.header) + "|"]
    for name, cells in table.rows:
        shown = [f"*{name}*" if name in table.baselines else name]
        shown += [(f"**{cell.text}**" if cell.best else cell.text) + cell.marks for cell in cells]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", table.caption, ""])


def as_csv(table: Table) -> str:
    """Render the texts alone, and columns that say which rows are tied with the best and which are
    not told from chance.
    """
    columns = (*table.header, "best or tied", "not told from chance")
    ap = table.header.index("AP") - 1 if "AP" in table.header else 0
    rows = (
        (
            name,
            *(cell.text for cell in cells),
            int(any(c.tied for c in cells) or cells[ap].best),
            int(any(c.chance for c in cells)),
        )
        for name, cells in table.rows
    )
    return csv_text(columns, (dict(zip(columns, row, strict=True)) for row in rows))


def as_latex(table: Table) -> str:
    """Render for booktabs."""
    lines = [
        r"\begin{table}", r"\centering", f"\\caption{{{_tex(table.title)}. {_tex(table.caption)}}}",
        r"\begin{tabular}{l" + "r" * (len(table.header) - 1) + "}", r"\toprule",
        " & ".join(_tex(each) for each in table.header) + r" \\", r"\midrule",
    ]  # fmt: skip
    for name, cells in table.rows:
        shown = [f"\\textit{{{_tex(name)}}}" if name in table.baselines else _tex(name)]
        for cell in cells:
            text = f"\\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text)
            shown.append(text + cell.marks.replace("†", r"$^\dagger$").replace("°", r"$^\circ$"))
        lines.append(" & ".join(shown) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def as_html(table: Table) -> str:
    """Render a table element with its caption."""
    head = "".join(f"<th>{escape(each)}</th>" for each in table.header)
    body = []
    for name, cells in table.rows:
        kind = ' class="baseline"' if name in table.baselines else ""
        shown = ""
        for cell in cells:
            best = ' class="best"' if cell.best else ""
            shown += f"<td{best}>{escape(cell.text)}{cell.marks}</td>"
        body.append(f"<tr{kind}><th>{escape(name)}</th>{shown}</tr>")
    return (
        f"<section><h2>{escape(table.title)}</h2><div class='wide'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div><p>{escape(table.caption)}</p></section>"
    )


def _tex(text: str) -> str:
    """Escape what LaTeX would take for a command, and spell what its fonts do not have."""
    for old, new in {
        "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "⌈": r"$\lceil$",
        "⌉": r"$\rceil$", "†": r"$\dagger$", "°": r"$^\circ$", "·": r"$\cdot$", "χ²": r"$\chi^2$", "≤": r"$\leq$", "±": r"$\pm$",
    }.items():  # fmt: skip
        text = text.replace(old, new)
    return text


def page(title: str, body: str) -> str:
    """A page that needs nothing from outside."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #22303c; background: #fff; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }}
h1, h2 {{ font-weight: 600; }} h2 {{ margin-top: 2.5rem; }}
.wide {{ overflow: auto; max-height: 92vh; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; white-space: nowrap; }}
thead th {{ border-bottom: 2px solid #22303c; position: sticky; top: 0; background: #fff; }}
tbody th {{ text-align: left; font-weight: 500; }} thead th:first-child {{ text-align: left; }}
tbody tr:nth-child(even) {{ background: #f3f6f8; }}
.best {{ font-weight: 700; }} .baseline th {{ font-style: italic; }}
p, figcaption {{ color: #56636e; font-size: .87rem; max-width: 60rem; }}
figure {{ margin: 2rem 0; }} img {{ max-width: 100%; }}
</style></head><body><h1>{escape(title)}</h1>
{body}
</body></html>
"""
