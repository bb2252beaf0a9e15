"""``aberra methods``: the catalogue."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="A method's name; all in a table without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """List the catalogue of methods, or explain one."""
    from rich.table import Table

    from aberra.console import screen, styled
    from aberra.method import SECTIONS, Method, catalogue

    found = [Method.load(name)] if name else [Method.load(each) for each in catalogue()]
    if as_json:
        typer.echo(json.dumps([method.to_dict() for method in found], indent=2))
        return
    console = screen(wrap=True)
    if not name:
        table = Table("name", "learns from", "model", "score", "title", title="Methods")
        for method in found:
            table.add_row(
                styled((method.name, "bold")),
                method.learns_from,
                method.model["name"],
                method.score["name"],
                method.title,
            )
        console.print(table)
        console.print("`aberra methods NAME` explains one; `aberra fit NAME MANIFEST --out MODEL` trains it.")
        return
    (method,) = found
    console.print(styled((method.name, "bold"), f" · {method.title}\n{method.summary}\n"))
    table = Table(show_header=False, box=None, pad_edge=False)
    for key in ("learns_from", "reference", "cost", "when", "failure", "measured"):
        if getattr(method, key):
            table.add_row(styled((key.replace("_", " "), "dim")), getattr(method, key))
    for deviation in method.deviations:
        table.add_row(styled(("deviation", "dim")), deviation)
    for check, reason in method.conformance.get("xfail", {}).items():
        table.add_row(styled(("cannot pass", "dim")), f"{check}: {reason}")
    for section in SECTIONS:
        options = getattr(method, section)
        if options:
            table.add_row(
                styled((f"[{section}]", "dim")),
                ", ".join(f"{key} = {value!r}" for key, value in options.items()),
            )
    console.print(table)
