"""``aberra detectors``: which detectors a name finds."""

from __future__ import annotations


def detectors() -> None:
    """List the detectors that can be named instead of given by folder: those that come with aberra,
    and yours in the folders of ABERRA_DETECTORS.
    """
    from rich.table import Table

    from aberra.console import screen, styled, warn
    from aberra.detector.folder import facts_of, named_detectors
    from aberra.errors import ModelError

    damaged = []
    table = Table("name", "reads", "method", "healthy cases", "folder", title="Detectors")
    for name, folder in named_detectors().items():
        try:
            facts = facts_of(folder)
        except ModelError as error:
            facts = ("", "", "damaged")
            damaged.append(str(error))
        table.add_row(styled((name, "bold")), *facts, str(folder))
    screen(wrap=True).print(table)
    warn(damaged)
    screen().print("`aberra detect NAME PATH --out DIR` uses one.")
