"""What kinds of anomaly there are: data (``taxonomy.toml``), read once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, get_args

from aberra.errors import ConfigError, expect_known

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Family = Literal["toy", "train", "validation", "test"]
FAMILIES: tuple[Family, ...] = get_args(Family)

CATEGORIES = ("rendered", "images", "pathologies", "contrast", "deformation", "sharpness", "slices")
"""The seven kinds, in the order of the documentation."""

REMEDY = {
    "images": "--images DIR, a folder of pictures",
    "masks": "--masks DIR, a folder of lesion masks",
    "labels": "a tissue map of each scan (column 'labels')",
}
"""What a subclass may need, and how it is given."""


@dataclass(frozen=True, kw_only=True)
class Subclass:
    """One kind of anomaly; the fields are explained in ``taxonomy.toml``."""

    name: str
    category: str
    family: Family
    operation: str
    summary: str
    scope: Literal["local", "global"] = "local"
    shape: str = ""
    radius_mm: tuple[float, float] = (0.0, 0.0)
    amount: tuple[float, float] = (0.0, 0.0)
    signs: tuple[int, ...] = (1,)
    relative: bool = False
    texture: float = 0.0
    needs: str = ""
    profile: str = ""


@cache
def taxonomy() -> dict[str, Subclass]:
    """All subclasses by name."""
    text = (files("aberra") / "mood" / "taxonomy.toml").read_text(encoding="utf-8")
    return {name: Subclass(name=name, **table) for name, table in tomllib.loads(text).items()}


def chosen(
    family: Family, *, given: Collection[str] = (), only: Sequence[str] = ()
) -> tuple[list[Subclass], list[str]]:
    """The subclasses of a family, and what is left out for want of pictures, masks or tissue maps.

    Args:
        family: whose.
        given: what there is of ``images``, ``masks`` and ``labels``.
        only: categories and subclasses to choose from; all without.

    Returns:
        The subclasses in the order of the file; and one line for each need that is not met.

    Raises:
        ConfigError: an unknown name, or none is left.
    """
    expect_known("family of anomalies", [family], FAMILIES)
    expect_known("category or subclass of anomalies", only, {*CATEGORIES, *taxonomy()})
    asked = [
        each
        for each in taxonomy().values()
        if each.family == family and (not only or {each.name, each.category} & set(only))
    ]
    found = [each for each in asked if not each.needs or each.needs in given]
    left = [
        f"left out: {', '.join(each.name for each in asked if each.needs == need)}; needs {remedy}"
        for need, remedy in REMEDY.items()
        if need not in given and any(each.needs == need for each in asked)
    ]
    if not found:
        why = "; ".join(left) or f"family {family} has none of {', '.join(only)}"
        raise ConfigError(f"mood: no anomaly to make: {why}")
    return found, left
