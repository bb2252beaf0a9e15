"""Names are printed as they are."""

from __future__ import annotations

import pytest
from rich.table import Table

from aberra.console import bars, screen, styled

NAMES = [
    "scans [old]/nan[b].nii.gz",
    "e[/b].nii.gz",
    "[red]x[/]",
    ":smile:.nii",
    "a\\[b]",
    "[link=http://x]y",
    "{0}",
    "100%",
]


@pytest.mark.parametrize("name", NAMES)
def test_lines_tables_and_bars_show_names_as_they_are(name, capsys):
    screen().print(name)
    screen().print(styled(("failed", "red"), f" {name}: why"))
    table = Table("name", title=name)
    table.add_row(name)
    screen(wrap=True).print(table)
    with bars(show=True) as bar:
        task = bar.add_task(name, total=1)
        bar.update(task, completed=1, description=f"preparing {name}")
    said = capsys.readouterr().out
    assert said.startswith(f"{name}\nfailed {name}: why\n")
    assert said.count(name) >= 5
    assert f"preparing {name}" in said


def test_lines_are_not_folded_and_cells_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen().print("/long" * 30)
    assert capsys.readouterr().out == "/long" * 30 + "\n"
    table = Table("name")
    table.add_row("long " * 30)
    screen(wrap=True).print(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40
