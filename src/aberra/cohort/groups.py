"""Groups of cases within which p-values are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aberra.cohort.case import Case

AGE_BAND = 10
"""Years in an age group of Mondrian p-values."""


def group_value(case: Case, column: str) -> str:
    """Return a case's group: the column's value, ages in bands of ten years; empty where unknown."""
    value = case.groups.get(column, "")
    if column == "age" and value:
        low = int(float(value) // AGE_BAND * AGE_BAND)
        return f"{low}-{low + AGE_BAND - 1}"
    return value
