"""``aberra methods``: the catalogue."""

from __future__ import annotations

import json
from typing import Annotated

import typer

TEXTS = ("learns_from", "family", "reference", "cost", "when", "failure")


def methods(
    name: Annotated[str | None, typer.Argument(help="A method's name; all in a table without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """List the catalogue of methods, or explain one."""
    from rich.table import Table

    from aberra.console import screen, styled
    from aberra.measured import in_words, measured
    from aberra.method import SECTIONS, Method, catalogue

    names = [name] if name else list(catalogue())
    found = [Method.load(each) for each in names]
    if as_json:
        objects = [
            method.to_dict() | {"measured": measured(each)} for each, method in zip(names, found, strict=True)
        ]
        typer.echo(json.dumps(objects, indent=2))
        return
    console = screen(wrap=True)
    if not name:
        table = Table("name", "learns from", "model", "score", "title", title="Methods")
        for method in found:
            table.add_row(
                styled((method.name, "bold")),
                method.learns_from,
                method.model["name"],
                method.question,
                method.title,
            )
        console.print(table)
        console.print("`aberra methods NAME` explains one; `aberra fit NAME MANIFEST --out MODEL` trains it.")
        return
    (method,) = found
    console.print(styled((method.name, "bold"), f" · {method.title}\n{method.summary}\n"))
    table = Table(show_header=False, box=None, pad_edge=False)
    facts = [(key.replace("_", " "), getattr(method, key)) for key in TEXTS]
    facts += [("measured", in_words(row)) for row in measured(str(name))]
    facts += [("deviation", text) for text in method.deviations]
    facts += [
        ("cannot pass", f"{check}: {why}") for check, why in method.conformance.get("xfail", {}).items()
    ]
    for key, text in facts:
        if text:
            table.add_row(styled((key, "dim")), text)
    for section in SECTIONS:
        options = getattr(method, section)
        if options:
            table.add_row(
                styled((f"[{section}]", "dim")),
                ", ".join(f"{key} = {value!r}" for key, value in options.items()),
            )
    console.print(table)
